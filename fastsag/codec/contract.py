"""What every codec is: a waveform as a few tokens a frame, each refining those before it."""

from __future__ import annotations

from torch import Tensor, nn


class Codec(nn.Module):
    """Waveform (B, N) at `sample_rate` Hz <-> codes (B, L, Q), integers below `codebook_size`.

    Quantiser q encodes what quantisers 0..q-1 leave over, so that the first few alone give a
    coarser sound.

    codebooks: Q. hop_length: samples a frame. margin: frames that a piece needs on either side to
    sound as within the whole.
    """

    sample_rate: int
    hop_length: int
    codebooks: int
    codebook_size: int
    margin: int = 0

    @property
    def rate_hz(self) -> float:
        """Frames per second."""
        return self.sample_rate / self.hop_length

    def encode(self, wave: Tensor) -> Tensor:
        """(B, N) -> (B, N // hop, Q)."""
        raise NotImplementedError

    def decode(self, codes: Tensor) -> Tensor:
        """(B, L, q) with 1 <= q <= Q -> (B, L * hop)."""
        raise NotImplementedError
