"""How a band sounds, whatever it plays: do partials hold, do attacks bite, is there noise between?

A band can be in tune and still sound torn. The measures need no reference; they do not depend on
level. What they give for true bands depends on the music: read them beside the true band's.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from scipy.ndimage import maximum_filter1d, median_filter

from fastsag.evaluation.chroma import SAMPLE_RATE

NOISE_WOBBLE_DB = 2.66  # of the peaks of white noise, whose steadiness is therefore 0
_PARTIALS_HZ = (60.0, 5_000.0)
_TONES_HZ = (50.0, 8_000.0)
_RANGE_DB = 60.0  # below the loudest, nothing counts
_ATTACK_BANDS = 8
_RISE_FRAMES, _AROUND_FRAMES = 4, 17  # of 5.8 ms: 23 ms and 99 ms
_PROMINENCE_DB = 12.0  # of a tone over the median of its surroundings
_SURROUNDINGS_BINS = 41
LEAST_TONALITY_DB, MOST_TONALITY_DB = -40.0, 40.0


def steadiness(samples: np.ndarray) -> float:
    """1 where partials hold or fade evenly, 0 where they flicker as the peaks of white noise do.

    For each spectral peak (93 ms windows every 23 ms, 60 Hz to 5 kHz, within 60 dB of the loudest):
    how far its level is off the mean of the levels there one frame before and after, twice. The
    median over all peaks, against white noise's.

    Args:
        samples: (N,) at 22,050 Hz.
    """
    size, hop = 2048, 512
    level = _level_db(samples, size, hop)
    if level is None or level.shape[1] < 3:
        return 0.0
    peaks = _is_peak(level, 2) & (level > level.max() - _RANGE_DB)
    peaks &= _between(_PARTIALS_HZ, size)[:, None]
    peaks[:, [0, -1]] = False
    k, t = np.nonzero(peaks)
    if len(k) == 0:
        return 0.0
    near = np.maximum(level, np.maximum(np.roll(level, 1, 0), np.roll(level, -1, 0)))
    wobble = np.median(np.abs(near[k, t - 1] - 2 * near[k, t] + near[k, t + 1]))
    return float(np.clip(1 - wobble / NOISE_WOBBLE_DB, 0, 1))


def attack(samples: np.ndarray) -> float:
    """How much of the rise around a note's start happens in 23 of 99 ms: 0.24 no attack, 1 a click.

    Rise is the mean over eight bands of the growth in dB from frame to frame (23 ms windows every
    5.8 ms, within 60 dB of the loudest). Starts are its peaks of more than one standard deviation.

    Args:
        samples: (N,) at 22,050 Hz.
    """
    size, hop = 512, 128
    level = _level_db(samples, size, hop)
    if level is None or level.shape[1] <= _AROUND_FRAMES:
        return 0.0
    edges = np.unique(np.geomspace(2, size // 2, _ATTACK_BANDS + 1).astype(int))
    power = 10 ** (level / 10)
    bands = np.stack([power[low:high].mean(0) for low, high in pairwise(edges)])
    bands_db = 10 * np.log10(np.maximum(bands, bands.max() * 10 ** (-_RANGE_DB / 10)))
    rise = np.maximum(np.diff(bands_db, axis=1), 0).mean(0)
    short, around = (np.convolve(rise, np.ones(n), "same") for n in (_RISE_FRAMES, _AROUND_FRAMES))
    starts = (short == maximum_filter1d(short, _AROUND_FRAMES)) & (
        short > short.mean() + short.std()
    )
    return float((short[starts] / around[starts]).mean()) if starts.any() else 0.0


def tonality_db(samples: np.ndarray) -> float:
    """Energy of lasting tones over all other energy, 50 Hz to 8 kHz; the median over time in dB.

    A tone is a peak of 186 ms windows, 12 dB above the median of its surroundings, that is there
    one frame (46 ms) before and after too. Between -40 (noise, silence) and 40.

    Args:
        samples: (N,) at 22,050 Hz.
    """
    size, hop = 4096, 1024
    level = _level_db(samples, size, hop)
    if level is None or level.shape[1] < 3:
        return LEAST_TONALITY_DB
    level = level[_between(_TONES_HZ, size)]
    peaks = _is_peak(level, 1)
    peaks &= level > median_filter(level, size=(_SURROUNDINGS_BINS, 1)) + _PROMINENCE_DB
    near = peaks | np.roll(peaks, 1, 0) | np.roll(peaks, -1, 0)
    lasting = peaks.copy()
    lasting[:, 1:-1] &= near[:, :-2] & near[:, 2:]
    tones = lasting.copy()
    for shift in (1, 2):  # a Hann window's main lobe is four bins wide
        tones |= np.roll(lasting, shift, 0) | np.roll(lasting, -shift, 0)
    power = 10 ** (level / 10)
    sounding = power.sum(0) > power.sum(0).max() * 10 ** (-_RANGE_DB / 10)
    tonal, whole = (power * tones).sum(0)[sounding], power.sum(0)[sounding]
    ratio = np.median(tonal / np.maximum(whole - tonal, 1e-12 * whole))
    found = 10 * np.log10(max(float(ratio), 1e-12))
    return float(np.clip(found, LEAST_TONALITY_DB, MOST_TONALITY_DB))


def gap(one: dict[str, float], other: dict[str, float]) -> float:
    """How differently two bands sound: mean distance of the three measures, 20 dB counting as 1."""
    scale = {"steadiness": 1.0, "attack": 1.0, "tonality_db": 20.0}
    return float(np.mean([abs(one[name] - other[name]) / unit for name, unit in scale.items()]))


def scores(samples: np.ndarray) -> dict[str, float]:
    """All three of samples (N,) at 22,050 Hz."""
    return {
        "steadiness": steadiness(samples),
        "attack": attack(samples),
        "tonality_db": tonality_db(samples),
    }


def _level_db(samples: np.ndarray, size: int, hop: int) -> np.ndarray | None:
    """STFT level (size // 2 + 1, L) in dB, 120 dB deep; None for silence or too few samples."""
    peak = float(np.abs(samples).max(initial=0))
    if peak < 1e-7 or len(samples) < size:
        return None
    wave = torch.from_numpy(np.ascontiguousarray(samples, dtype=np.float32)) / peak
    spectrum = torch.stft(wave, size, hop, window=torch.hann_window(size), return_complex=True)
    power = spectrum.abs().square().numpy().astype(np.float64)
    return 10 * np.log10(np.maximum(power, power.max() * 1e-12))


def _is_peak(level: np.ndarray, reach: int) -> np.ndarray:
    """Where (K, L) is higher than its `reach` neighbours on both sides in frequency."""
    peaks = np.zeros(level.shape, dtype=bool)
    inner = slice(reach, len(level) - reach)
    peaks[inner] = True
    for shift in range(1, reach + 1):
        above = level[reach + shift : len(level) - reach + shift]
        below = level[reach - shift : len(level) - reach - shift]
        peaks[inner] &= (level[inner] > below) & (level[inner] >= above)
    return peaks


def _between(limits_hz: tuple[float, float], size: int) -> np.ndarray:
    hz = np.arange(size // 2 + 1) * SAMPLE_RATE / size
    return (hz >= limits_hz[0]) & (hz < limits_hz[1])
