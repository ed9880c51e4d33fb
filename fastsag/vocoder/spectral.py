"""Between spectrogram and waveform, in the framing of `mel.LogMel`."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastsag.config import MelConfig
from fastsag.mel import filterbank, frame_spectrum


# Width of a Hann window's main lobe as the Gaussian that fits it best (Průša et al. 2017, table 1).
_HANN_GAMMA = 0.25645


class Spectral(nn.Module):
    """STFT and its inverse on the mel's frame grid, and mel -> magnitude.

    (B, T * hop) samples <-> (B, n_fft // 2 + 1, T) complex spectrum.
    """

    window: Tensor
    inverse_filters: Tensor

    def __init__(self, config: MelConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("window", torch.hann_window(config.win_length), persistent=False)
        inverse = torch.linalg.pinv(torch.from_numpy(filterbank(config)))
        self.register_buffer("inverse_filters", inverse.float(), persistent=False)

    def forward(self, wave: Tensor) -> Tensor:
        return frame_spectrum(wave, self.config, self.window)

    def magnitude(self, log_mel: Tensor) -> Tensor:
        """Log mel (B, M, T) -> the least-squares magnitude (B, F, T), at least the log floor."""
        magnitude = self.inverse_filters @ log_mel.float().exp()
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
