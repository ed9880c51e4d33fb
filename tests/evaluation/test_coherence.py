"""The measures tell bands that fit from bands that do not."""

import numpy as np
import pytest

pytest.importorskip("librosa")

from fastsag.chords import CHORDS, chord_index, chord_tones
from fastsag.errors import UserError
from fastsag.evaluation.coherence import coherence
from fastsag.evaluation.rhythm import beat_match
from fastsag.evaluation.truth import estimate

RATE = 22_050
BEAT = 0.5


def truth() -> dict:
    labels = ["C:maj", "A:min", "F:maj", "G:maj"]
    beats = 0.3 + BEAT * np.arange(len(labels) * 4 + 1)
    return {
        "key": "C major",
        "beats_per_bar": 4,
        "beats": beats.tolist(),
        "downbeats": beats[::4].tolist(),
        "chords": [
            {"start": beats[4 * i], "end": beats[4 * i + 4], "label": label}
            for i, label in enumerate(labels)
        ],
        "notes": [
            {
                "start": beats[4 * i],
                "end": beats[4 * i + 3],
                "pitch": 60 + chord_tones(chord_index(label))[0],
                "lyric": "la",
            }
            for i, label in enumerate(labels)
        ],
    }


def band(song: dict, transpose: int = 0, shift: float = 0.0) -> np.ndarray:
    """Plucked triads on every beat with clicks."""
    length = int((song["beats"][-1] + 1) * RATE)
    out = np.zeros(length)
    time = np.arange(int(0.45 * RATE)) / RATE
    for beat in song["beats"][:-1]:
        label = next(c["label"] for c in song["chords"] if c["start"] <= beat < c["end"])
        start = int((beat + shift) * RATE)
        for tone in chord_tones(CHORDS.index(label)):
            hz = 220 * 2 ** ((tone - 9 + transpose) / 12)
            pluck = np.sin(2 * np.pi * hz * time) * np.exp(-4 * time)
            out[start : start + len(time)] += pluck[: length - start]
        out[start : start + 200] += np.hanning(200)
    return 0.1 * out


def voice(song: dict) -> np.ndarray:
    out = np.zeros(int((song["beats"][-1] + 1) * RATE))
    for note in song["notes"]:
        span = slice(int(note["start"] * RATE), int(note["end"] * RATE))
        time = np.arange(span.stop - span.start) / RATE
        out[span] = 0.1 * np.sin(2 * np.pi * 440 * 2 ** ((note["pitch"] - 69) / 12) * time)
    return out


@pytest.fixture(scope="module")
def scores() -> dict:
    song = truth()
    sung = voice(song)
    systems = {
        "true": band(song),
        "wrong key": band(song, transpose=1),
        "late": band(song, shift=BEAT / 2),
        "noise": 0.1 * np.random.default_rng(0).standard_normal(len(sung)),
        "copy": sung,
    }
    return {name: coherence(audio, sung, RATE, song) for name, audio in systems.items()}


def test_the_true_band_scores_high(scores):
    true = scores["true"]
    assert true.in_key > 0.9 and true.chord == 1 and true.chord_soft > 0.8
    assert true.chord_move > 0.7 and true.beat > 0.9 and true.pulse > 0.6
    assert true.coherence > 0.75


@pytest.mark.parametrize(
    ("name", "measure"),
    [
        ("wrong key", "in_key"),
        ("wrong key", "consonance"),
        ("wrong key", "chord_soft"),
        ("late", "pulse"),
        ("late", "beat"),
        ("noise", "chord_move"),
    ],
)
def test_each_fault_lowers_its_measure(scores, name, measure):
    assert getattr(scores[name], measure) < getattr(scores["true"], measure) - 0.3


def test_order_of_the_whole(scores):
    order = ("true", "wrong key", "noise")
    values = [scores[name].coherence for name in order]
    assert values == sorted(values, reverse=True)
    assert scores["copy"].leak > 0.9 and scores["copy"].coherence < 0.1


def test_what_else_a_band_is_asked(scores):
    true = scores["true"]
    assert true.key == 1 and true.tempo == pytest.approx(0, abs=0.05)
    assert scores["wrong key"].key < 0.5
    assert scores["noise"].steadiness < 0.2 < true.steadiness
    assert scores["noise"].tonality_db < 0 < true.tonality_db
    assert scores["noise"].attack < true.attack
    assert scores["copy"].level_db == pytest.approx(0, abs=0.1)
    assert np.isnan(true.sound_gap)  # no reference was given


def test_a_song_that_changes_its_key_is_judged_by_each():
    song = truth()
    half = song["beats"][8]
    up = band(song, transpose=1)
    cut = int(half * RATE)
    rising = np.concatenate([band(song)[:cut], up[cut:]])
    keys = [
        {"start": 0.3, "end": half, "key": "C major"},
        {"start": half, "end": song["beats"][-1], "key": "C# major"},
    ]
    follows, stays, unaware = (
        coherence(audio, voice(song), RATE, known)
        for audio, known in (
            (rising, song | {"keys": keys}),
            (band(song), song | {"keys": keys}),
            (rising, song),
        )
    )
    assert follows.in_key > 0.9
    assert max(stays.in_key, unaware.in_key) < follows.in_key - 0.15
    assert stays.key < follows.key


def test_a_reference_gives_its_note_starts_and_its_sound():
    song = truth()
    known = coherence(band(song), voice(song), RATE, song, reference=band(song))
    late = coherence(band(song, shift=BEAT / 2), voice(song), RATE, song, reference=band(song))
    assert known.onset == 1 > late.onset + 0.4
    assert known.sound_gap == 0 < late.sound_gap < 0.2
    louder = coherence(2 * band(song), voice(song), RATE, song)
    assert louder.level_db - known.level_db == pytest.approx(6.02, abs=0.05)


def test_silence_scores_and_does_not_fail():
    song = truth()
    silent = coherence(np.zeros(len(band(song))), voice(song), RATE, song, reference=band(song))
    row = silent.row()
    assert silent.coherence == 0 and silent.beat == 0 and silent.onset == 0 and silent.key == 0
    assert row["level_db"] is None and row["tempo"] is None and row["in_key"] == 0


@pytest.mark.parametrize("source", ["band", pytest.param("mix", marks=pytest.mark.slow), "voice"])
def test_truth_can_be_estimated(source):
    song = truth()
    known = estimate(source, voice(song).astype(np.float32), band(song).astype(np.float32))
    assert known["estimated_from"] == source and known["key"] == "C major"
    pitches = {note["pitch"] for note in known["notes"]}
    assert pitches == {60, 65, 67, 69}
    if source == "mix":
        return
    right = coherence(band(song), voice(song), RATE, known)
    assert right.coherence > 0.6
    if source == "voice":
        assert known["chords"] == [] and np.isnan(right.chord_move)
        return
    labels = [chord["label"] for chord in known["chords"]]
    assert labels[:4] == ["C:maj", "A:min", "F:maj", "G:maj"]
    assert np.median(np.diff(known["beats"])) == pytest.approx(BEAT, abs=0.02)
    wrong = coherence(band(song, transpose=1), voice(song), RATE, known)
    assert right.coherence > wrong.coherence + 0.3


def test_bars_of_three_are_counted_from_the_downbeat():
    beats = 0.3 + BEAT * np.arange(25)
    song = {"beats": beats, "downbeats": beats[2::3], "beats_per_bar": 3}
    assert beat_match(beats[2::3], song) == 1
    assert beat_match(beats[0::3], song) < 0.7


def test_an_estimate_needs_what_it_is_estimated_from():
    with pytest.raises(UserError, match="own accompaniment"):
        estimate("band", np.zeros(RATE), None)
