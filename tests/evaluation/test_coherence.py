"""The measures tell bands that fit from bands that do not."""

import numpy as np
import pytest

pytest.importorskip("librosa")

from fastsag.chords import CHORDS, chord_index, chord_tones
from fastsag.evaluation.coherence import coherence

RATE = 22_050
BEAT = 0.5


def truth() -> dict:
    labels = ["C:maj", "A:min", "F:maj", "G:maj"] * 2
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
