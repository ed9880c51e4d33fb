"""Stems -> paired clips: cutting, levels, and the gate that keeps clear pairs (paper section 5.1).

"Keeping pairs where both the vocal and accompaniment have a peak RMS amplitude over -25 dB" has
two readings, and they keep different clips:

- paper: the words. The RMS of the loudest `WINDOW_SECONDS` of a clip is over -25 dBFS.
- authors: their code. 10 ln(rms) of the whole clip is at least -25, that is -21.7 dBFS.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fastsag.levels import rms_db_natural

THRESHOLD_DB = -25.0
AUTHORS_DBFS = 2 * THRESHOLD_DB / math.log(10)  # where 10 ln(rms) is -25
WINDOW_SECONDS = 0.05  # of "peak RMS", as the stats of SoX and FFmpeg measure it
GATES = ("paper", "authors", "none")
FLOOR_DB = -120.0  # stands for silence


@dataclass(frozen=True)
class Levels:
    """Of one stem of one clip, dBFS: of its loudest window, and of the whole clip."""

    peak_rms_db: float
    rms_db: float
    natural_db: float  # 10 ln(rms), the authors' figure

    @property
    def passes(self) -> dict[str, bool]:
        """Whether this stem passes each gate."""
        return {
            "paper": self.peak_rms_db > THRESHOLD_DB,
            "authors": self.natural_db >= THRESHOLD_DB,
            "none": True,
        }


def levels(samples: np.ndarray, rate: int) -> Levels:
    """Levels of samples (N,); windows follow each other, a part of one at the end is left out."""
    size = max(1, min(len(samples), round(WINDOW_SECONDS * rate)))
    windows = samples[: len(samples) // size * size].reshape(-1, size).astype(np.float64)
    loudest = float(np.square(windows).mean(1).max(initial=0.0))
    whole = float(np.square(samples, dtype=np.float64).mean())
    return Levels(_db(loudest), _db(whole), rms_db_natural(samples))


def gates(voice: Levels, band: Levels) -> dict[str, bool]:
    """Whether both stems of a clip pass each gate."""
    return {gate: voice.passes[gate] and band.passes[gate] for gate in GATES}


def cut(count: int, rate: int, clip_seconds: float) -> list[slice]:
    """Clips that follow each other without overlap; what is left at the end is dropped."""
    size = round(clip_seconds * rate)
    return [slice(start, start + size) for start in range(0, count - size + 1, size)]


def _db(power: float) -> float:
    return max(FLOOR_DB, 10 * math.log10(power)) if power > 0 else FLOOR_DB
