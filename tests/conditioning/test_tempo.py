"""Beats counted along a noisy phasor, whose tempo is steady or bends."""

import numpy as np
import pytest

from fastsag.conditioning import tempo
from fastsag.conditioning.beats import beat_times

RATE = 11.72  # tokens a second


def phasor_of(tempo_hz: np.ndarray, noise: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A phasor with phase noise (in turns), and the beats that have passed."""
    rng = np.random.default_rng(seed)
    turns = np.cumsum(tempo_hz) / RATE
    return np.exp(2j * np.pi * (turns + noise * rng.standard_normal(len(turns)))), turns


def wandering(bpm: float, by: float, seconds: float) -> np.ndarray:
    """A tempo (L,) in Hz that comes and goes by a share of itself."""
    times = np.arange(int(seconds * RATE)) / RATE
    return bpm / 60 * (1 + by * np.sin(2 * np.pi * times / 35))


def off(turns: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Distance from the true count, in beats, but for whole ones."""
    apart = turns - truth
    return np.abs(apart - np.round(apart))


@pytest.mark.parametrize("by", [0.03, 0.05])
@pytest.mark.parametrize("bpm", [84, 120, 168])
def test_a_tempo_that_wanders_is_followed(bpm, by, monkeypatch):
    phasor, truth = phasor_of(wandering(bpm, by, 60), 0.12, bpm)
    turns, fit = tempo.count_beats(phasor, RATE)
    inner = slice(36, -36)
    assert np.percentile(off(turns, truth)[inner], 95) < 0.12 and fit > 0.6
    monkeypatch.setattr(tempo, "_CLEARLY", 2.0)  # one tempo for the whole is lost
    assert np.percentile(off(tempo.count_beats(phasor, RATE)[0], truth)[inner], 95) > 0.3


@pytest.mark.parametrize("noise", [0.05, 0.2])
@pytest.mark.parametrize("bpm", [75, 97.3, 150])
def test_a_steady_tempo_stays_steady(bpm, noise):
    """Noise must not bend it: a band that wavers is worse than one that waits."""
    phasor, truth = phasor_of(np.full(int(40 * RATE), bpm / 60), noise, int(bpm))
    turns, _ = tempo.count_beats(phasor, RATE)
    assert off(turns, truth).max() < 0.05
    beats, _ = beat_times(phasor, RATE, 40.0)
    assert np.std(np.diff(beats)) < 0.004


def test_beats_cover_the_recording_and_go_on_at_its_ends_tempo():
    phasor, _ = phasor_of(np.linspace(1.5, 1.8, int(50 * RATE)), 0.02, 0)
    beats, _ = beat_times(phasor, RATE, 55.0)
    assert 0 <= beats[0] < 0.7 and 55 <= beats[-1] < 55.7
    assert np.diff(beats)[0] == pytest.approx(1 / 1.5, rel=0.03)
    assert np.diff(beats)[-3:] == pytest.approx(1 / 1.8, rel=0.03)


@pytest.mark.parametrize("length", [1, 5, 40, 600])
def test_silence_and_short_clips_give_finite_beats(length):
    for phasor in (np.zeros(length, complex), phasor_of(np.full(length, 2.0), 0.1, 0)[0]):
        beats, fit = beat_times(phasor, RATE, length / RATE)
        assert len(beats) >= 2 and np.isfinite(beats).all() and (np.diff(beats) > 0).all()
        assert 0 <= fit <= 1
