"""Waveform <-> tokens: one contract, one file for each codec."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from fastsag.codec.contract import Codec
from fastsag.codec.encodec import EncodecCodec
from fastsag.codec.mel import MelCodec
from fastsag.windows import join, spans

__all__ = ["Codec", "EncodecCodec", "MelCodec", "sound"]

_PIECE_SECONDS = 40


@torch.inference_mode()
def sound(
    codec: Codec, codes: Tensor, progress: Callable[[int, int], None] | None = None
) -> np.ndarray:
    """Codes (L, Q) of any length -> samples (L * hop,), piece by piece with context on both sides.

    Args:
        progress: told of (pieces done, pieces in all).
    """
    hop, margin = codec.hop_length, codec.margin
    out = np.zeros(len(codes) * hop, dtype=np.float32)
    windows = spans(len(codes), int(_PIECE_SECONDS * codec.rate_hz), 2 * margin)
    for index, window in enumerate(windows):
        part = codec.decode(codes[None, window.start : window.stop])[0].float().cpu().numpy()
        half = margin if window.known else 0
        trimmed = window._replace(start=window.start + half, known=window.known - half)
        in_samples = type(window)(*(edge * hop for edge in trimmed))
        join(out, part[half * hop :], in_samples, 8 * hop)
        if progress:
            progress(index + 1, len(windows))
    return out
