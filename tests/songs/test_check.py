"""The check finds what is right and what is wrong: on sounds whose faults are known."""

import json
from pathlib import Path

import numpy as np
import pytest

from fastsag.data.shards import Record, write_shard
from fastsag.songs import check, pictures, tracking

RATE = 24_000


def sung(notes: list[dict], cents: float = 0.0, noise: float = 0.0) -> np.ndarray:
    """Harmonic tones at the notes, `cents` off."""
    time = np.arange(int((notes[-1]["end"] + 0.5) * RATE)) / RATE
    voice = noise * np.random.default_rng(0).standard_normal(len(time))
    for note in notes:
        inside = (time >= note["start"]) & (time < note["end"])
        hz = 440 * 2 ** ((note["pitch"] + cents / 100 - 69) / 12)
        for number in range(1, 13):
            voice[inside] += 0.1 / number * np.sin(2 * np.pi * number * hz * time[inside])
    return voice.astype(np.float32)


def scale() -> list[dict]:
    pitches = [57, 59, 60, 62, 64, 65, 67, 64, 60, 57]
    return [
        {"start": 0.4 * i + 0.1, "end": 0.4 * i + 0.4, "pitch": pitch, "lyric": "la"}
        for i, pitch in enumerate(pitches)
    ]


@pytest.mark.parametrize("noise", [0.0, 0.03])
def test_voices_in_tune_and_out_of_tune(noise: float) -> None:
    notes = scale()
    assert check.in_tune(sung(notes, 0, noise), RATE, notes) == 1
    assert check.in_tune(sung(notes, 30, noise), RATE, notes) == 1
    assert check.in_tune(sung(notes, 80, noise), RATE, notes) == 0
    late = [{**note, "start": note["start"] + 0.4, "end": note["end"] + 0.4} for note in notes]
    assert check.in_tune(sung(notes, 0, noise), RATE, late) < 0.5


def test_chords_are_heard_where_they_sound() -> None:
    pytest.importorskip("librosa")
    labels = {"C:maj": (48, 64, 67), "A:min": (45, 60, 64), "F:maj": (41, 60, 65)}
    chords, parts = [], []
    for place, (label, pitches) in enumerate(labels.items()):
        time = np.arange(2 * RATE) / RATE
        parts.append(sum(np.sin(2 * np.pi * 440 * 2 ** ((p - 69) / 12) * time) for p in pitches))
        chords.append({"start": 2.0 * place, "end": 2.0 * place + 2, "label": label})
    band = np.concatenate(parts).astype(np.float32) / 5
    assert check.chords_heard(band, RATE, chords) == {"chords": 1.0, "chords_first": 1.0}
    turned = [{**chord, "label": "F#:maj"} for chord in chords]
    assert check.chords_heard(band, RATE, turned)["chords"] == 0


@pytest.mark.parametrize(
    ("meter", "tracked", "expected"),
    [
        ("4/4", np.arange(0, 20, 0.5), 1.0),
        ("4/4", np.arange(0, 20, 0.25), 1.0),  # eighths
        ("4/4", np.arange(0.5, 20, 1.0), 1.0),  # the back beat
        ("3/4", np.arange(0, 20, 1.5), 1.0),  # bars
        ("6/8", np.arange(0, 20, 0.5 / 3), 1.0),  # eighths
        ("4/4", np.arange(0, 20, 0.5 / 3), 0.0),
        ("4/4", np.arange(0.2, 20, 0.5), 0.0),
        ("4/4", np.arange(0, 20, 0.61), 0.0),
    ],
)
def test_beats_count_at_the_levels_of_the_meter(
    meter: str, tracked: np.ndarray, expected: float
) -> None:
    pytest.importorskip("mir_eval")
    agreement = tracking.beat_agreement(tracked, np.arange(0, 20.1, 0.5), meter)
    if expected:
        assert agreement > 0.97
    else:
        assert agreement < 0.72


def test_tempo_counts_up_to_octaves() -> None:
    assert tracking.tempo_agrees(123, 120) and tracking.tempo_agrees(61, 120)
    assert tracking.tempo_agrees(238, 120)
    assert not tracking.tempo_agrees(180, 120) and not tracking.tempo_agrees(126, 120)


def row(**changes: object) -> dict:
    usual = {
        "song": "a", "split": "train", "style": "pop", "family": "soft pop", "meter": "4/4",
        "mode": "major", "language": "en", "voice_type": "alto", "free_tempo": False,
        "duration": 40.0, "tempo": 100.0, "key": "C major", "source": "formant", "groove": "x:X",
        "conditions": ["room"], "lowest": 55, "highest": 69, "notes_a_second": 1.5, "harte": 5,
        "in_tune": 1.0, "chords": 1.0, "chords_first": 0.9, "beats": 1.0, "tempo_heard": 100.0,
        "tempo_right": True,
    }  # fmt: skip
    return {**usual, **changes}


def test_the_summary_says_what_was_missed_and_sets_free_tempo_apart() -> None:
    rows = [row(song=str(i)) for i in range(8)]
    good = check.summary([*rows, row(song="free", free_tempo=True, beats=0.1, tempo_right=False)])
    assert all(goal["reached"] for goal in good["goals"])
    assert good["measured"]["beats_free"]["median"] == 0.1
    bad = check.summary([*rows, *(row(song=f"bad{i}", beats=0.2) for i in range(2))])
    missed = [(g["measure"], g["statistic"]) for g in bad["goals"] if not g["reached"]]
    assert missed == [("beats", "p10")]
    text = check.table(bad)
    assert "MISSED" in text and "beats within 70 ms" in text and "conditions: room 10" in text


def test_a_corpus_is_measured_one_record_a_song(tmp_path: Path) -> None:
    """From shards to rows, table and picture, with tones for voices and a click for a band."""
    pytest.importorskip("librosa")
    pytest.importorskip("matplotlib")
    notes = scale()
    voice = sung(notes)
    band = sung([{"start": 0, "end": len(voice) / RATE - 0.5, "pitch": 60}])
    clicks = np.random.default_rng(0).standard_normal(300)
    for start in range(0, len(band) - 300, RATE // 2):
        band[start : start + 300] += (0.8 * clicks).astype(np.float32)
    beats = [0.5 * i for i in range(int(len(voice) / RATE / 0.5))]
    meta = {
        "song": "one", "split": "train", "style": "pop", "family": "soft pop", "meter": "4/4",
        "mode": "major", "key": "C major", "language": "en", "voice_type": "alto",
        "free_tempo": False, "duration": len(voice) / RATE, "tempo": 120.0, "beats": beats,
        "beats_per_bar": 4, "sample_rate": RATE, "notes": notes, "voice": {"source": "formant"},
        "groove": "x:X", "conditions": {},
        "chords": [{"start": 0.0, "end": 4.0, "label": "C:maj"}],
    }  # fmt: skip
    records = [Record(f"one-{n}", voice, band[: len(voice)], meta) for n in range(2)]
    write_shard(tmp_path / "songs-0000-00000.tar", records)
    rows = [check.measures(records[0])]
    assert rows[0]["in_tune"] == 1 and rows[0]["tempo_right"]
    assert rows[0]["beats"] > 0.8
    assert check.check_shard(tmp_path / "songs-0000-00000.tar", 5) == rows
    result = check.summary(rows)
    json.dumps(result)
    pictures.check_picture(rows, result, tmp_path / "check.png")
    assert (tmp_path / "check.png").stat().st_size > 10_000
