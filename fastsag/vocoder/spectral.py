"""Between spectrogram and waveform, in the framing of `mel.LogMel`."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastsag.config import MelConfig
from fastsag.mel import filterbank, frame_spectrum

# Width of a Hann window's main lobe as the Gaussian that fits it best (Průša et al. 2017, table 1).
_HANN_GAMMA = 0.25645
_MAGNITUDE_ROUNDS = 10  # more no longer improve the sound


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

    def forward(self, wave: Tensor) -> Tensor:
        return frame_spectrum(wave, self.config, self.window)

    def magnitude(self, log_mel: Tensor) -> Tensor:
        """Log mel (B, M, T) -> a magnitude (B, F, T) >= 0 with nearly those bands.

        Starts from the pseudo-inverse, whose negative values become a hundredth of the band's.
        """
        with torch.autocast(log_mel.device.type, enabled=False):  # large terms cancel here
            bands = log_mel.float().exp()
            least = 0.01 * (self.shares.T @ bands)
            magnitude = torch.maximum(self.inverse_filters @ bands, least)
        return self.fit(magnitude, log_mel, _MAGNITUDE_ROUNDS)

    def fit(self, magnitude: Tensor, log_mel: Tensor, rounds: int) -> Tensor:
        """Rescale `magnitude` (B, F, T) towards the bands of `log_mel` (B, M, T).

        Expectation maximisation for non-negative linear systems (Shepp and Vardi 1982): each bin
        takes the mean of what its bands lack; the shape inside a band stays.
        """
        with torch.autocast(log_mel.device.type, enabled=False):
            bands = log_mel.float().exp()
            for _ in range(rounds):
                ratio = bands / (self.filters @ magnitude).clamp(min=self.config.log_floor)
                magnitude = magnitude * (self.shares.T @ ratio)
        return magnitude.clamp(min=self.config.log_floor)

    def integrated_phase(self, magnitude: Tensor) -> Tensor:
        """Unit complex numbers (B, F, T): a phase in which steady tones go on from frame to frame.

        The slope of the log magnitude across bins says how far each bin is from the tone that
        fills it (phase gradient of Průša et al. 2017, "A Noniterative Method for Reconstruction of
        Phase from STFT Magnitude"); that frequency is summed over time from phase 0.
        """
        n_fft, hop = self.config.n_fft, self.config.hop_length
        log = magnitude.clamp(min=self.config.log_floor).log()
        slope = F.pad((log[:, 2:] - log[:, :-2]) / 2, (0, 0, 1, 1))
        width = (n_fft / self.config.win_length) ** 2 / (2 * torch.pi * _HANN_GAMMA)
        offset = (width * slope).clamp(-2, 2)  # bins from bin centre to tone
        turned = offset.cumsum(-1) - offset / 2  # trapezoids between frame centres
        bins = torch.arange(magnitude.shape[1], device=magnitude.device)[:, None]
        frames = torch.arange(magnitude.shape[2], device=magnitude.device)
        # In whole samples modulo n_fft: exact however long the recording is.
        centre = (bins * (hop * frames + n_fft // 2)) % n_fft
        angle = (2 * torch.pi / n_fft) * (centre + hop * turned)
        return torch.polar(torch.ones_like(angle), angle)

    def inverse(self, spectrum: Tensor) -> Tensor:
        """Complex spectrum (B, F, T) -> samples (B, T * hop), least-squares overlap-add."""
        n_fft, hop = self.config.n_fft, self.config.hop_length
        frames = torch.fft.irfft(spectrum, n_fft, dim=1) * self.window[:, None]
        pad = (n_fft - hop) // 2
        square = self.window.square()[None, :, None].expand(1, -1, spectrum.shape[-1])
        envelope = _overlap_add(square, hop)[:, pad:-pad]
        return _overlap_add(frames, hop)[:, pad:-pad] / envelope.clamp(min=1e-8)


def _overlap_add(frames: Tensor, hop: int) -> Tensor:
    """Frames (B, n_fft, T) -> (B, (T - 1) * hop + n_fft)."""
    batch, size, count = frames.shape
    length = (count - 1) * hop + size
    folded = F.fold(frames, (1, length), kernel_size=(1, size), stride=(1, hop))
    return folded.view(batch, length)
