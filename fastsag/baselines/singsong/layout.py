"""The token sequences of the three stages, as pure functions.

A stage reads one block of tokens and writes another:

    start_1  t0q0 t0q1 .. t1q0 ..  eos_1  start_2  t0q0 t0q1 ..  eos_2

Frames follow one another, and within a frame its quantisers. Every block has its own range of ids:
quantiser q's code c is `base + q * size + c`; then come the block's eos and its start.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fastsag.baselines.singsong.config import StageName


@dataclass(frozen=True)
class Block:
    """One range of ids: `codebooks` quantisers of `size` codes, an eos and a start token."""

    codebooks: int
    size: int
    base: int = 0

    @property
    def eos(self) -> int:
        return self.base + self.codebooks * self.size

    @property
    def start(self) -> int:
        return self.eos + 1

    @property
    def stop(self) -> int:
        """The first id behind the block."""
        return self.start + 1

    def codes(self, quantiser: int) -> range:
        """The ids of a quantiser's codes."""
        first = self.base + quantiser * self.size
        return range(first, first + self.size)


@dataclass(frozen=True)
class Layout:
    """What a stage reads (`given`) and writes (`wanted`)."""

    given: Block
    wanted: Block

    @property
    def vocabulary(self) -> int:
        """Number of ids."""
        return self.wanted.stop

    def positions(self, given_frames: int, wanted_frames: int) -> int:
        """Tokens of a whole sequence."""
        given, wanted = self.given.codebooks, self.wanted.codebooks
        return given_frames * given + wanted_frames * wanted + 4


def stage_layout(
    stage: StageName, clusters: int, codebooks: int, codebook_size: int, coarse: int
) -> Layout:
    """The layout of a stage.

    Args:
        stage: semantic (voice -> band), coarse (band's semantics -> coarse) or fine.
        clusters: semantic tokens.
        codebooks, codebook_size: of the codec.
        coarse: codebooks of the coarse stage.

    Raises:
        ValueError: the codec leaves no codebook for the fine stage, or the coarse one has none.
    """
    if not 1 <= coarse < codebooks:
        raise ValueError(f"{coarse} of {codebooks} codebooks cannot be the coarse ones")
    semantic = (1, clusters)
    rough, rest = (coarse, codebook_size), (codebooks - coarse, codebook_size)
    given, wanted = {
        "semantic": (semantic, semantic),
        "coarse": (semantic, rough),
        "fine": (rough, rest),
    }[stage]
    first = Block(*given)
    return Layout(first, Block(*wanted, base=first.stop))


def pack(block: Block, codes: Tensor) -> Tensor:
    """Codes (..., L, Q) -> ids (..., L * Q), frame by frame.

    Raises:
        ValueError: another number of quantisers, or codes outside 0..size - 1.
    """
    if codes.shape[-1] != block.codebooks:
        raise ValueError(f"{codes.shape[-1]} quantisers, not {block.codebooks}")
    if _outside(block, codes):
        raise ValueError(f"codes from {codes.min()} to {codes.max()}, not 0 to {block.size - 1}")
    offset = block.base + block.size * torch.arange(block.codebooks, device=codes.device)
    return (codes.long() + offset).flatten(-2)


def unpack(block: Block, ids: Tensor) -> Tensor:
    """Ids (..., L * Q) -> codes (..., L, Q).

    Raises:
        ValueError: not whole frames, or an id outside its quantiser's range.
    """
    if ids.shape[-1] % block.codebooks:
        raise ValueError(f"{ids.shape[-1]} tokens are not whole frames of {block.codebooks}")
    offset = block.base + block.size * torch.arange(block.codebooks, device=ids.device)
    codes = ids.unflatten(-1, (-1, block.codebooks)) - offset
    if _outside(block, codes):
        raise ValueError("a token left its quantiser's range")
    return codes


def prompt(layout: Layout, given: Tensor, known: Tensor | None = None) -> Tensor:
    """What a stage continues: the given codes, then those wanted ones that are known already.

    Args:
        given: (B, L, Q).
        known: (B, l, Q'), the first frames of what is wanted; None for none.

    Returns:
        (B, P) ids.
    """
    parts = [
        _filled(given, layout.given.start),
        pack(layout.given, given),
        _filled(given, layout.given.eos),
        _filled(given, layout.wanted.start),
    ]
    if known is not None:
        parts.append(pack(layout.wanted, known))
    return torch.cat(parts, dim=1)


def sequence(layout: Layout, given: Tensor, wanted: Tensor) -> Tensor:
    """A whole sequence (B, P) for training from codes (B, L, Q) and (B, L', Q')."""
    return torch.cat([prompt(layout, given, wanted), _filled(given, layout.wanted.eos)], dim=1)


def _outside(block: Block, codes: Tensor) -> bool:
    return codes.numel() > 0 and bool((codes < 0).any() or (codes >= block.size).any())


def _filled(like: Tensor, token: int) -> Tensor:
    return torch.full((len(like), 1), token, dtype=torch.long, device=like.device)
