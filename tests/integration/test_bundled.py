"""The bundled checkpoint: in every way of sampling its band follows the chords that it is given."""

from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from fastsag import audio, notation
from fastsag.pipeline import Accompanist
from fastsag.take import Settings

CHORDS = "D | A | Bm | G"  # their tones change with every bar
SECONDS = 11.0


@pytest.fixture(scope="module")
def player() -> Accompanist:
    return Accompanist.from_pretrained("compact", "cpu")


@pytest.fixture(scope="module")
def demo() -> audio.Recording:
    path = Path(str(resources.files("fastsag"))) / "assets" / "demo-voice.flac"
    whole = audio.read(path)
    count = int(SECONDS * whole.sample_rate)
    return audio.Recording(whole.samples[:, :count], whole.sample_rate)


def follows(samples: np.ndarray, rate: int, sheet) -> np.ndarray:
    """Mean correlation of pitch classes with the sheet's chords, moved up by 0..11 semitones.

    Pitch classes are those of FFT bins from 80 to 1,500 Hz, by nearest semitone.
    """
    size, hop = 8192, 4096
    frames = np.lib.stride_tricks.sliding_window_view(samples, size)[::hop]
    power = np.abs(np.fft.rfft(frames * np.hanning(size))) ** 0.5
    hz = np.fft.rfftfreq(size, 1 / rate)
    kept = (hz > 80) & (hz < 1500)
    pitch_class = np.round(12 * np.log2(hz[kept] / 440) + 69).astype(int) % 12
    count = np.maximum(1, np.bincount(pitch_class, minlength=12))
    chroma = np.stack([np.bincount(pitch_class, row, 12) / count for row in power[:, kept]])
    seconds = (np.arange(len(frames)) * hop + size / 2) / rate
    tones = sheet.harmony_at(sheet.beat_position(seconds))[:12].T
    chroma, tones = chroma[tones.any(1)], tones[tones.any(1)]
    scores = [
        np.mean([np.corrcoef(c, np.roll(t, up))[0, 1] for c, t in zip(chroma, tones, strict=True)])
        for up in range(12)
    ]
    return np.array(scores)


@pytest.mark.parametrize(("sampler", "steps"), [("distilled", 1), ("distilled", 4)])
def test_the_band_follows_its_chords(player, demo, sampler, steps):
    """By far better than the same chords in any other key; the voice alone and noise do not."""
    hints = notation.field("chords", CHORDS)
    made = player.accompany(demo, lead_sheet=hints, settings=Settings(sampler, steps))
    rate, sheet = made.sample_rate, made.lead_sheet
    played = {label for _, label in sheet.chord_times()}
    assert played == {"D:maj", "A:maj", "B:min", "G:maj"}
    scores = follows(made.accompaniment[0], rate, sheet)
    assert scores[0] > 0.6 and scores[0] > scores[1:].max() + 0.2, scores.round(2)
    noise = np.random.default_rng(0).normal(size=made.accompaniment.shape[1])
    assert abs(follows(noise, rate, sheet)[0]) < 0.1
    assert follows(demo.samples[0], rate, sheet)[0] < scores[0] - 0.3


def test_the_student_plays_in_one_call_a_step(player, demo):
    from fastsag.benchmarks.rtf import count_evaluations

    calls = {
        way: count_evaluations(player, lambda way=way: player.accompany(demo, settings=way))
        for way in (Settings("distilled", 2), Settings("euler", 2))
    }
    few, guided = calls.values()
    assert guided == 2 * few == 2 * 2 * 2  # two windows of two steps; guidance doubles
