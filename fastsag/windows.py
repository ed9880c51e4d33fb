"""Cutting a long recording into overlapping windows and joining what comes out."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Window(NamedTuple):
    """Frames start..stop, of which the first `known` were covered by the window before."""

    start: int
    stop: int
    known: int


def spans(total: int, size: int, overlap: int) -> list[Window]:
    """Windows of at most `size` frames that cover 0..total, each `overlap` into the one before.

    Raises:
        ValueError: the overlap is not smaller than the size.
    """
    if overlap >= size:
        raise ValueError(f"an overlap of {overlap} frames needs windows longer than {size}")
    windows = [Window(0, min(size, total), 0)]
    while windows[-1].stop < total:
        start = windows[-1].stop - overlap
        windows.append(Window(start, min(start + size, total), overlap))
    return windows


def join(out: np.ndarray, part: np.ndarray, window: Window, fade: int) -> None:
    """Write `part` (..., stop - start) into `out` (..., total), cross-fading into what is known.

    The fade is linear and covers the last `fade` known frames; before it the old frames stay.
    """
    fade = min(fade, window.known)
    keep = window.known - fade
    middle = window.start + window.known
    if fade:
        ramp = (np.arange(fade, dtype=out.dtype) + 0.5) / fade
        old = out[..., middle - fade : middle]
        out[..., middle - fade : middle] = old * (1 - ramp) + part[..., keep : keep + fade] * ramp
    out[..., middle : window.stop] = part[..., window.known : window.stop - window.start]
