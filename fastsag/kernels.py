"""librosa's compiled kernels, made ready before several processes need them."""

from __future__ import annotations

import numpy as np

from fastsag.errors import require

_RATE = 22_050


def compile_kernels() -> None:
    """Have numba compile what beats, onsets and pitches need, and keep it for later processes.

    Two processes that do so at once can leave kernels that do not fit each other, with which every
    later process crashes (numba's issue 10128): before a pool of workers starts, its parent calls
    this. It takes some seconds the first time.
    """
    librosa = require("librosa", extra="eval")
    clicks = np.zeros(4 * _RATE, dtype=np.float32)
    clicks[:: _RATE // 2] = 1
    strength = librosa.onset.onset_strength(y=clicks, sr=_RATE)
    librosa.beat.beat_track(onset_envelope=strength, sr=_RATE)
    librosa.onset.onset_detect(onset_envelope=strength, sr=_RATE)
    tone = np.sin(2 * np.pi * 220 * np.arange(_RATE // 2) / _RATE)
    librosa.pyin(tone, fmin=100, fmax=400, sr=_RATE)
