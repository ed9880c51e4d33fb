"""Lead sheets on paper: what is written reads back, what is wrong is named."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastsag import notation
from fastsag.chords import CHORDS, key_name, parse_chord, parse_key, written
from fastsag.conditioning.decoding import decode
from fastsag.conditioning.planner import METRES, PlanFrames
from fastsag.errors import UserError
from fastsag.lead_sheet import STYLES, Hints, LeadSheet

SONG = """
# A comment
key: Em
tempo: 97
meter: 4/4
downbeat: 0.31
style: folk

| Em | C | G D/F# | Am7 |
| F#m7b5 | % | N.C. | Bbmaj7 |
"""


def silent(tokens: int = 200) -> PlanFrames:
    """A planner that heard nothing."""
    import torch

    shapes = [(2,), (len(METRES), 2), (len(CHORDS),), (24,), (len(STYLES),)]
    return PlanFrames(*(torch.zeros(tokens, *shape) for shape in shapes))


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("C", "C:maj"), ("am", "A:min"), ("F#m7b5", "F#:hdim7"), ("Bbmaj7", "Bb:maj7"),
        ("G/B", "G:maj/3"), ("Db7", "C#:7"), ("Esus4", "E:sus4"), ("Cdim", "C:dim"),
        ("C#:min7", "C#:min7"), ("C-", "C:min"), ("Aaug", "A:aug"), ("N.C.", "N"), ("N", "N"),
        ("Cmaj9", "C:maj9"), ("Dm(maj7)", "D:minmaj7"), ("Gadd9", "G:maj"), ("D6/9", "D:maj6"),
        ("E5", "E:5"), ("A7sus4", "A:sus4"), ("G7b9", "G:7"), ("Fm6", "F:min6"), ("C13", "C:9"),
        ("Bø", "B:hdim7"), ("Bo7", "B:dim7"), ("F/G", "F:maj/2"), ("A:min7/b3", "A:min7/b3"),
        ("C^7", "C:maj7"), ("Gm11", "G:min9"), ("Dsus2", "D:sus2"), ("Em7/D", "E:min7/b7"),
    ],
)  # fmt: skip
def test_chords_as_people_write_them(text, label):
    assert parse_chord(text) == label


@pytest.mark.parametrize("text", ["H", "", "x", "C|", "7", "Nope", "Cm/", "C E"])
def test_what_is_no_chord_is_refused(text):
    with pytest.raises(ValueError, match="not a chord"):
        parse_chord(text)


def test_every_label_reads_back():
    assert [parse_chord(written(label)) for label in CHORDS] == list(CHORDS)
    for key in map(key_name, range(24)):
        assert [parse_chord(written(label, key)) for label in CHORDS] == list(CHORDS)
    assert [parse_key(key_name(index)) for index in range(24)] == list(map(key_name, range(24)))
    assert parse_key("F#m") == "F# minor" and parse_key("Bb") == "Bb major"


def test_text_is_read():
    hints = notation.parse(SONG)
    assert (hints.key, hints.bpm, hints.metre, hints.downbeat) == ("E minor", 97, 4, 0.31)
    assert hints.style == "folk"
    assert hints.chords == (
        "E:min", "C:maj", "G:maj D:maj/3", "A:min7", "F#:hdim7", "F#:hdim7", "N", "Bb:maj7",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("tempo: fast", "line 2.*tempo"),
        ("tempo: 1000", "30..300"),
        ("meter: 7/8", "3/4 or 4/4"),
        ("key: X", "line 2.*key"),
        ("colour: red", "line 2.*neither"),
        ("| C | Q |", "'Q' is not a chord"),
        ("| % | C |", "first bar"),
        ("beats: 1", "two ascending"),
        ("beats: 1 0.5", "two ascending"),
        ("beats: 1 nan", "two ascending"),
    ],
)
def test_faults_are_named(line, fault):
    with pytest.raises(UserError, match=fault):
        notation.parse("key: C\n" + line, "song.txt")


@given(
    bpm=st.floats(40, 220),
    metre=st.sampled_from([3, 4]),
    start=st.floats(0, 0.5),
    first=st.integers(0, 7),
    seed=st.integers(0, 1000),
    wobble=st.sampled_from([0.0, 0.02]),
)
def test_what_is_written_is_played_again(bpm, metre, start, first, seed, wobble):
    rng = np.random.default_rng(seed)
    count = 30
    beats = start * 60 / bpm + 60 / bpm * (np.arange(count) + wobble * rng.standard_normal(count))
    bars = (count - 1 - first) // metre + 2
    entries = [" ".join(rng.choice(CHORDS, rng.integers(1, 3))) for _ in range(bars)]
    entries[0] = entries[0].split()[-1] if first else entries[1].split()[0]
    sheet = LeadSheet(
        beats, metre, first, key_name(seed % 24), tuple(entries), STYLES[seed % 12], 12.0
    )
    again = decode(silent(), 23.4, float(beats[-1]), notation.parse(notation.text_of(sheet)))
    assert (again.beats_per_bar, again.key, again.style) == (metre, sheet.key, sheet.style)
    assert again.confidence == {}
    extra = again.first_downbeat - first  # beats written before the first one
    assert 0 <= extra <= 1
    common = again.beats[extra : extra + count]
    np.testing.assert_allclose(common, beats[: len(common)], atol=0.011)
    times = beats[first:-1] + 0.37 * np.diff(beats[first:])
    asked, played = (each.features(times)[4:28] for each in (sheet, again))
    assert np.array_equal(asked, played)


def test_json_and_midi(tmp_path):
    midi = pytest.importorskip("pretty_midi")
    hints = notation.parse(SONG)
    sheet = decode(silent(), 23.4, 20.0, hints)
    notation.write(sheet, tmp_path / "song.json")
    (tmp_path / "record.json").write_text(
        json.dumps({"lead_sheet": json.loads((tmp_path / "song.json").read_text())})
    )
    for name in ("song.json", "record.json"):
        again = decode(silent(), 23.4, 20.0, notation.read(tmp_path / name))
        np.testing.assert_allclose(again.beats, sheet.beats, atol=1e-3)
        assert again.chords == sheet.chords and again.key == sheet.key
    notation.write(sheet, tmp_path / "song.mid")
    song = midi.PrettyMIDI(str(tmp_path / "song.mid"))
    chords, bass, clicks = song.instruments
    np.testing.assert_allclose(sorted(note.start for note in clicks.notes), sheet.beats, atol=0.005)
    assert bass.notes[0].pitch % 12 == 4  # E
    assert {note.pitch % 12 for note in chords.notes[:3]} == {4, 7, 11}
    with pytest.raises(UserError, match=r"\.txt, \.json or \.mid"):
        notation.write(sheet, tmp_path / "song.pdf")
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(UserError, match=r"bad\.json.*lead sheet in JSON"):
        notation.read(tmp_path / "bad.json")


def test_the_truth_of_a_song_is_its_lead_sheet(tmp_path):
    beats = [0.5 * beat for beat in range(1, 18)]
    labels = ("A:min", "F:maj", "C:maj", "G:maj")
    record = {
        "beats": beats,
        "downbeats": beats[::4],
        "beats_per_bar": 4,
        "key": "A minor",
        "style": "folk",
        "chords": [
            {"start": beats[4 * bar], "end": beats[4 * bar] + 2, "label": label}
            for bar, label in enumerate(labels)
        ],
    }
    (tmp_path / "song.truth.json").write_text(json.dumps(record))
    path = notation.sheet_of(Path("voices/song.vocals.wav"), tmp_path)
    hints = notation.read(path)
    assert hints.chords[:4] == labels and hints.key == "A minor" and hints.downbeat == 0.5
    assert hints.tuning is None and hints.beats == tuple(beats)
    edited = tmp_path / "song.vocals.lead-sheet.txt"
    edited.write_text("key: C")
    assert notation.sheet_of(Path("voices/song.vocals.wav"), tmp_path) == edited
    with pytest.raises(UserError, match=r"no lead sheet of other\.wav; looked for other\."):
        notation.sheet_of(Path("other.wav"), tmp_path)


def test_lists_of_beats(tmp_path):
    (tmp_path / "beats.txt").write_text("0.5 1\n1.1 2\n\n1.6\n")
    assert notation.read_beats(tmp_path / "beats.txt") == Hints(beats=(0.5, 1.1, 1.6))
    (tmp_path / "beats.txt").write_text("one\n")
    with pytest.raises(UserError, match="list of beat times"):
        notation.read_beats(tmp_path / "beats.txt")


def test_what_one_says_goes_before_what_the_other_says():
    sheet = Hints(beats=(0.0, 1.0), key="C major", style="pop")
    hints = Hints(bpm=90.0, style="folk").over(sheet)
    assert hints == Hints(bpm=90.0, key="C major", style="folk")
    assert Hints().over(sheet) == sheet


@pytest.mark.parametrize("times", ["1e9 1000000000.5", "-1e9 0", "0 1 1e10"])
def test_beats_beyond_any_recording_are_refused(times):
    """Beats are laid out over all the time between, which must not fill the memory."""
    with pytest.raises(UserError, match="is not within"):
        notation.parse(f"beats: {times}")


def test_midi_of_a_song_that_ends_before_its_first_bar_line(tmp_path):
    pytest.importorskip("pretty_midi")
    sheet = LeadSheet(np.array([0.0, 0.6]), 4, 2, "C major", ("C:maj", "C:maj"))
    assert sheet.chord_times() == []
    notation.write(sheet, tmp_path / "a.mid")
    assert (tmp_path / "a.mid").read_bytes().startswith(b"MThd")
