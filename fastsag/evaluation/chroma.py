"""What the harmonic measures read: pitch-class energy over time."""

from __future__ import annotations

import numpy as np

from fastsag.errors import require

SAMPLE_RATE = 22_050  # Hz, of everything that coherence judges
HOP = 512  # samples between frames


def harmonic_chroma(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Chroma energy (12, L) of the harmonic part from C2 to B5 at A440, and frame times (L,)."""
    librosa = require("librosa", extra="eval")
    harmonic = librosa.effects.harmonic(samples, margin=2.0)
    low = librosa.note_to_hz("C2")
    # Three bins a semitone, the middle one read: with one, half the energy is the neighbours'.
    cqt = librosa.cqt(
        harmonic,
        sr=SAMPLE_RATE,
        hop_length=HOP,
        fmin=low,
        n_bins=4 * 36,
        bins_per_octave=36,
        tuning=0.0,
    )
    energy = np.abs(cqt[::3]).astype(np.float64) ** 2
    chroma = energy.reshape(4, 12, -1).sum(0)
    return chroma, np.arange(chroma.shape[1]) * HOP / SAMPLE_RATE


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson correlation of flattened arrays; 0 where one is constant."""
    a, b = a.ravel() - a.mean(), b.ravel() - b.mean()
    norm = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b / norm) if norm > 1e-9 else 0.0
