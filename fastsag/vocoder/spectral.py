"""Between spectrogram and waveform, in the framing of `mel.LogMel`.

Spectra are (B, F, T) as everywhere, but lie in memory frame by frame, as the Fourier transforms
give and take them: what is computed element by element then never copies one to another layout.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastsag.config import MelConfig
from fastsag.mel import filterbank, frame_spectrum

# Width of a Hann window's main lobe as the Gaussian that fits it best (Průša et al. 2017, table 1).
_HANN_GAMMA = 0.25645
_BLOCK_BINS = 128
_MAGNITUDE_ROUNDS = 10  # more no longer improve the sound


class PhaseClock:
    """Lets phases go on from one piece of a recording to the next, which overlaps it.

    Pieces agree at a frame in the middle of the overlap, where both know their surroundings.
    """

    def __init__(self) -> None:
        self._start = self._meets = self._leaves = 0
        self._turned: Tensor | None = None

    def piece(self, start: int, leaves: int) -> None:
        """Announce a piece from frame `start` on, whose successor will meet it at `leaves`."""
        self._start, self._meets, self._leaves = start, self._leaves, leaves

    def before(self, offset: Tensor, cycle: float) -> tuple[int, Tensor]:
        """What comes before a piece: frames, and the sum of their offsets (B, F).

        Args:
            offset: bins (B, T, F) by which tones are off their centres, of the piece.
            cycle: what leads back to the same phase; the sum stays below it, and so exact.
        """
        before = torch.zeros_like(offset[:, 0])
        if self._turned is not None:
            before = self._turned - offset[:, : self._meets - self._start].sum(1)
        self._turned = (before + offset[:, : self._leaves - self._start].sum(1)) % cycle
        return self._start, before


class Spectral(nn.Module):
    """STFT and its inverse on the mel's frame grid, and mel -> magnitude.

    (B, T * hop) samples <-> (B, n_fft // 2 + 1, T) complex spectrum.
    """

    window: Tensor
    filters: Tensor
    shares: Tensor
    inverse_filters: Tensor

    def __init__(self, config: MelConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("window", torch.hann_window(config.win_length), persistent=False)
        filters = torch.from_numpy(filterbank(config))
        shares = filters / filters.sum(0, keepdim=True).clamp(min=1e-9)  # of a bin, by band
        inverse = torch.linalg.pinv(filters)
        self.register_buffer("filters", filters.float(), persistent=False)
        self.register_buffer("shares", shares.float(), persistent=False)
        self.register_buffer("inverse_filters", inverse.float(), persistent=False)
        self.blocks = _blocks(self.filters)

    def forward(self, wave: Tensor, stride: int = 1) -> Tensor:
        """Samples (B, T * hop) -> complex spectrum (B, F, T), or every `stride`-th frame of it."""
        return frame_spectrum(wave, self.config, self.window, stride)

    def magnitude(self, log_mel: Tensor) -> Tensor:
        """Log mel (B, M, T) -> a magnitude (B, F, T) >= 0 with nearly those bands.

        Starts from the pseudo-inverse, whose negative values become a hundredth of the band's.
        """
        with torch.autocast(log_mel.device.type, enabled=False):  # large terms cancel here
            bands = _by_frame(log_mel.float().exp())
            least = 0.01 * (bands @ self.shares)
            magnitude = torch.maximum(bands @ self.inverse_filters.T, least)
        return self.fit(magnitude.transpose(1, 2), log_mel, _MAGNITUDE_ROUNDS)

    def fit(self, magnitude: Tensor, log_mel: Tensor, rounds: int) -> Tensor:
        """Rescale `magnitude` (B, F, T) towards the bands of `log_mel` (B, M, T).

        Expectation maximisation for non-negative linear systems (Shepp and Vardi 1982): each bin
        takes the mean of what its bands lack; the shape inside a band stays.
        """
        with torch.autocast(log_mel.device.type, enabled=False):
            bands, whole = _by_frame(log_mel.float().exp()), _by_frame(magnitude)
            parts = [whole[..., bins] for bins, _ in self.blocks]
            for _ in range(rounds):
                ratio = bands / self._sums(parts).clamp(min=self.config.log_floor)
                parts = [
                    part * (ratio[..., own] @ self.shares[own, bins])
                    for part, (bins, own) in zip(parts, self.blocks, strict=True)
                ]
        return torch.cat(parts, -1).transpose(1, 2).clamp(min=self.config.log_floor)

    def _sums(self, parts: list[Tensor]) -> Tensor:
        """The bands (B, T, M) of a magnitude that is given in the parts of `blocks`."""
        count = len(self.filters)
        sums = [
            F.pad(part @ self.filters[own, bins].T, (own.start, count - own.stop))
            for part, (bins, own) in zip(parts, self.blocks, strict=True)
        ]
        return torch.stack(sums).sum(0)

    def integrated_phase(self, magnitude: Tensor, clock: PhaseClock | None = None) -> Tensor:
        """Unit complex numbers (B, F, T): a phase in which steady tones go on from frame to frame.

        The slope of the log magnitude across bins says how far each bin is from the tone that
        fills it (phase gradient of Průša et al. 2017, "A Noniterative Method for Reconstruction of
        Phase from STFT Magnitude"); that frequency is summed over time from phase 0, or from where
        `clock` stands, which then knows the end of this piece.
        """
        n_fft, hop = self.config.n_fft, self.config.hop_length
        log = _by_frame(magnitude).clamp(min=self.config.log_floor).log()
        slope = F.pad((log[..., 2:] - log[..., :-2]) / 2, (1, 1))
        width = (n_fft / self.config.win_length) ** 2 / (2 * torch.pi * _HANN_GAMMA)
        offset = (width * slope).clamp(-2, 2)  # bins from bin centre to tone
        turned = offset.cumsum(1) - offset / 2  # trapezoids between frame centres
        first = 0
        if clock is not None:
            first, before = clock.before(offset, n_fft / hop)
            turned = turned + before[:, None]
        # In whole samples modulo n_fft: exact however long the recording is. So many frames later
        # each bin's centre has turned by whole cycles.
        period = n_fft // math.gcd(n_fft, hop)
        bins = torch.arange(magnitude.shape[1], device=magnitude.device)
        frames = first + torch.arange(period, device=magnitude.device)[:, None]
        centre = ((bins * (hop * frames + n_fft // 2)) % n_fft).to(turned.dtype)
        centre = centre.repeat(-(-magnitude.shape[2] // period), 1)[: magnitude.shape[2]]
        angle = (2 * torch.pi / n_fft) * (centre + hop * turned)
        return torch.complex(angle.cos(), angle.sin()).transpose(1, 2)

    def inverse(self, spectrum: Tensor, stride: int = 1, frames: int | None = None) -> Tensor:
        """Complex spectrum (B, F, T) -> samples (B, T * hop), least-squares overlap-add.

        Of every `stride`-th frame alone, as many samples as `frames` in all have; None is T *
        stride.
        """
        n_fft, hop = self.config.n_fft, self.config.hop_length
        count = spectrum.shape[-1]
        pad, length = (n_fft - hop) // 2, hop * (frames or count * stride)
        parts = torch.fft.irfft(spectrum.transpose(1, 2), n_fft) * self.window
        square = self.window.square().expand(1, count, -1)
        wave, envelope = (
            _overlap_add(each, hop * stride)[:, pad : pad + length] for each in (parts, square)
        )
        return wave / envelope.clamp(min=1e-8)


def _blocks(filters: Tensor) -> list[tuple[slice, slice]]:
    """Neighbouring bins and the bands that any of them belongs to, from filters (M, F).

    Nearly all of the matrix is zero; these are the pieces of it that are not.
    """
    found = []
    for first in range(0, filters.shape[1], _BLOCK_BINS):
        bins = slice(first, min(first + _BLOCK_BINS, filters.shape[1]))
        bands = filters[:, bins].any(1).nonzero()
        own = slice(int(bands.min()), int(bands.max()) + 1) if len(bands) else slice(0, 0)
        found.append((bins, own))
    return found


def _by_frame(spectrum: Tensor) -> Tensor:
    """(B, F, T) -> (B, T, F), contiguous: no copy of what lies in memory frame by frame."""
    return spectrum.transpose(1, 2).contiguous()


def _overlap_add(frames: Tensor, hop: int) -> Tensor:
    """Frames (B, T, n_fft) -> (B, (T - 1) * hop + n_fft)."""
    batch, count, size = frames.shape
    pieces = F.pad(frames, (0, -size % hop)).unflatten(-1, (-1, hop))  # (B, T, n_fft / hop, hop)
    shares = pieces.shape[2]
    out = frames.new_zeros(batch, count + shares - 1, hop)
    for share in range(shares):
        out[:, share : share + count] += pieces[:, :, share]
    return out.flatten(1)[:, : (count - 1) * hop + size]
