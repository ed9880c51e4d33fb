"""How well the beats that a tracker hears in audio agree with the written ones."""

from __future__ import annotations

import numpy as np

from fastsag.errors import require

TOLERANCE = 0.07  # s; half of it on a grid finer than the beat
_HOP = 512
_RATE = 22_050  # Hz


def track(samples: np.ndarray, rate: int) -> tuple[float, np.ndarray]:
    """Tempo in BPM and beat times in s that librosa hears in (N,) samples."""
    librosa = require("librosa", extra="eval")
    sound = librosa.resample(
        np.asarray(samples, dtype=np.float32), orig_sr=rate, target_sr=_RATE, res_type="soxr_mq"
    )
    strength = librosa.onset.onset_strength(y=sound, sr=_RATE, hop_length=_HOP)
    tempo, beats = librosa.beat.beat_track(
        onset_envelope=strength, sr=_RATE, hop_length=_HOP, units="time"
    )
    return float(np.atleast_1d(tempo)[0]), beats


def beat_agreement(tracked: np.ndarray, beats: np.ndarray, meter: str) -> float:
    """F-measure of tracked beats against the true ones at the best metrical level, 0..1.

    Levels: the beat, its half and double, and what the meter adds: whole bars of 3/4 and the
    eighths of 6/8.
    """
    mir_eval = require("mir_eval.beat", extra="eval")
    levels = [(beats, TOLERANCE), (finer(beats, 2), TOLERANCE / 2)]
    levels += [(beats[phase::2], TOLERANCE) for phase in range(2)]
    if meter == "3/4":
        levels.append((beats[::3], TOLERANCE))
    if meter == "6/8":
        levels.append((finer(beats, 3), TOLERANCE / 2))
    return float(max(mir_eval.f_measure(grid, tracked, window) for grid, window in levels))


def finer(beats: np.ndarray, parts: int) -> np.ndarray:
    """Beat times with each beat in `parts` equal parts."""
    positions = np.arange((len(beats) - 1) * parts + 1) / parts
    return np.interp(positions, np.arange(len(beats)), beats)


def tempo_agrees(heard: float, true: float, within: float = 0.04) -> bool:
    """A tempo within 4 % of the true one, up to octaves."""
    return any(abs(heard / (true * factor) - 1) <= within for factor in (0.25, 0.5, 1, 2, 4))
