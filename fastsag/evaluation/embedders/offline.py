"""offline-v1: an embedder that needs no download, deterministic on every machine.

For each 0.96 s: how loud 32 bands are, how much they vary and change from frame to frame, and how
clearly the twelve pitch classes stand out. It hears timbre, noise, rhythm and harmony coarsely; it
knows nothing of music beyond that, and its figures are comparable only with its own.
"""

from __future__ import annotations

import numpy as np
import torch

from fastsag.config import MelConfig
from fastsag.mel import LogMel

SAMPLE_RATE = 24_000  # Hz
WINDOW = 90  # frames of 10.7 ms, 0.96 s; windows do not overlap
BANDS = 32
_MEL = MelConfig(n_mels=BANDS)
_FINE = MelConfig(n_fft=4096, win_length=4096, scale="low_linear", n_mels=400)
_PITCH_HZ = 55.0 * 2 ** (np.arange(60) / 12)  # A1 to five octaves up


class Offline:
    """Samples (N,) at 24 kHz -> (frames, 108), one frame for each whole 0.96 s, at least one."""

    name = "offline-v1"
    sample_rate = SAMPLE_RATE
    size = 3 * BANDS + 12

    def __init__(self) -> None:
        self.mel, self.fine = LogMel(_MEL), LogMel(_FINE)
        from fastsag.mel import band_centres

        centres = band_centres(_FINE)
        self.pitches = np.abs(centres[None] - _PITCH_HZ[:, None]).argmin(1)

    @torch.no_grad()
    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """Embeddings (frames, 108) of samples (N,)."""
        hop = _MEL.hop_length
        wave = np.pad(samples, (0, max(0, WINDOW * hop - len(samples)))).astype(np.float32)
        batch = torch.from_numpy(wave).unsqueeze(0)
        mel = self.mel(batch)[0].numpy()
        fine = self.fine(batch)[0].numpy()
        count = mel.shape[1] // WINDOW
        bands = mel[:, : count * WINDOW].reshape(BANDS, count, WINDOW)
        # A note stands out of its surroundings: its bands against the mean of a third around.
        notes = fine[self.pitches, : count * WINDOW].reshape(5, 12, count, WINDOW)
        surroundings = fine[:, : count * WINDOW].reshape(len(fine), count, WINDOW).mean(0)
        chroma = np.sort((notes - surroundings).max(0).mean(-1), axis=0)
        parts = [bands.mean(-1), bands.std(-1), np.abs(np.diff(bands)).mean(-1), chroma]
        return np.concatenate(parts).T.astype(np.float32)
