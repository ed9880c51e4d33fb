"""Cutting a long recording into overlapping windows and joining what comes out."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastsag.config import EDGE_FRAMES, WindowConfig
from fastsag.spool import Array


class Window(NamedTuple):
    """Frames start..stop, of which the first `known` were covered by the window before."""

    start: int
    stop: int
    known: int


def cut(total: int, window: WindowConfig) -> list[Window]:
    """The windows of a recording of `total` mel frames, without `edge` frames at their ends."""
    if window.overlap:
        return tiles(total, window.frames, window.overlap)
    return spans(total, window.frames - edge(window), window.context)


def edge(window: WindowConfig) -> int:
    """Frames that are generated after each window and thrown away."""
    return EDGE_FRAMES if window.context else 0


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


def tiles(total: int, size: int, overlap: int) -> list[Window]:
    """Windows of exactly `size` frames, evenly spread over 0..total, at least `overlap` shared.

    A total shorter than one window is covered by one that ends beyond it.

    Raises:
        ValueError: the overlap is not smaller than the size.
    """
    if overlap >= size:
        raise ValueError(f"an overlap of {overlap} frames needs windows longer than {size}")
    count = 1 + max(0, -(-(total - size) // (size - overlap)))
    last = max(0, total - size)
    starts = [round(index * last / max(1, count - 1)) for index in range(count)]
    ends = [0] + [start + size for start in starts[:-1]]
    return [
        Window(start, start + size, max(0, end - start))
        for start, end in zip(starts, ends, strict=True)
    ]


def join(out: Array, part: np.ndarray, window: Window, fade: int) -> None:
    """Write `part` (..., stop - start) into `out` (..., total), cross-fading into what is known.

    The fade is linear and covers the last `fade` known frames; before it the old frames stay.
    """
    fade = min(fade, window.known)
    keep = window.known - fade
    middle = window.start + window.known
    if fade:
        ramp = (np.arange(fade, dtype=part.dtype) + 0.5) / fade
        old = out[..., middle - fade : middle]
        out[..., middle - fade : middle] = old * (1 - ramp) + part[..., keep : keep + fade] * ramp
    out[..., middle : window.stop] = part[..., window.known : window.stop - window.start]
