"""A waveform of any length from a vocoder that is given one piece of the mel at a time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from fastsag.config import MelConfig
from fastsag.spool import Array, Memory, Store
from fastsag.vocoder.spectral import PhaseClock
from fastsag.windows import join, spans

PIECE_SECONDS = 10
MARGIN_FRAMES = 48  # context on both sides of a piece

Tick = Callable[[int, int], None]  # pieces done, pieces in all


def waveform(
    vocoder: Callable[..., Tensor],
    mel: Array,
    config: MelConfig,
    clocked: bool,
    tick: Tick,
    store: Store | None = None,
) -> Array:
    """Log-unit mel (M, T) -> samples (1, T * hop).

    Args:
        vocoder: log mel (1, M, t) -> samples (1, t * hop).
        mel: of the whole recording.
        config: its contract.
        clocked: the vocoder takes a `PhaseClock`; without one, every piece begins at phase 0.
        tick: told of each piece.
        store: makes the array of the samples; None: `Memory`.
    """
    hop, total = config.hop_length, mel.shape[1]
    out = (store or Memory()).zeros(1, total * hop)
    windows = spans(total, int(PIECE_SECONDS * config.frame_rate), 2 * MARGIN_FRAMES)
    clock = PhaseClock() if clocked else None
    for index, window in enumerate(windows):
        part = torch.from_numpy(mel[:, window.start : window.stop]).unsqueeze(0)
        time = {}
        if clock is not None:
            clock.piece(window.start, window.stop - MARGIN_FRAMES)
            time = {"clock": clock}
        samples = vocoder(part, **time).float().cpu().numpy()
        half = MARGIN_FRAMES if window.known else 0
        trimmed = window._replace(start=window.start + half, known=window.known - half)
        in_samples = type(window)(*(edge * hop for edge in trimmed))
        join(out, samples[:, half * hop :], in_samples, 8 * hop)
        tick(index + 1, len(windows))
    return out
