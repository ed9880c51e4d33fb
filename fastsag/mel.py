"""Log spectrogram and its normalisation (Eq. 13-14): the contract between model and vocoder.

Two band layouts share one code path. `slaney` is BigVGAN's mel (the paper's). `low_linear` has one
band per FFT bin up to `linear_until_hz` and log-spaced triangles above: a mel filterbank merges
neighbouring bass notes, this one keeps them apart.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastsag.config import MelConfig

BASS_HZ = 150.0  # below lie the lowest two octaves of a bass


class LogMel(nn.Module):
    """Waveform (B, N) -> natural-log magnitude spectrogram (B, M, T), T = N // hop.

    Framing as in BigVGAN: reflect padding of (n_fft - hop) / 2, no centring, so that frame t is
    centred at sample t * hop + hop / 2.
    """

    window: Tensor
    filters: Tensor

    def __init__(self, config: MelConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("window", torch.hann_window(config.win_length), persistent=False)
        filters = torch.from_numpy(filterbank(config)).float()
        self.register_buffer("filters", filters, persistent=False)

    def forward(self, wave: Tensor) -> Tensor:
        spectrum = frame_spectrum(wave, self.config, self.window)
        magnitude = torch.sqrt(spectrum.real.square() + spectrum.imag.square() + 1e-9)
        bands = self.filters @ magnitude
        return bands.clamp(min=self.config.log_floor).log()


def frame_spectrum(wave: Tensor, config: MelConfig, window: Tensor, stride: int = 1) -> Tensor:
    """Complex STFT (B, n_fft // 2 + 1, T) of `wave` (B, N) in the contract's framing.

    With a `stride`, every such frame of it.

    Raises:
        ValueError: fewer samples than the reflect padding needs.
    """
    pad = (config.n_fft - config.hop_length) // 2
    if wave.shape[-1] <= pad:
        raise ValueError(f"{wave.shape[-1]} samples are too few: at least {pad + 1} are needed")
    padded = F.pad(wave.unsqueeze(1), (pad, pad), mode="reflect").squeeze(1)
    return torch.stft(
        padded,
        config.n_fft,
        config.hop_length * stride,
        config.win_length,
        window=window,
        center=False,
        return_complex=True,
    )


def normalize(log_mel: Tensor, config: MelConfig) -> Tensor:
    """Log units -> about -1..1 (Eq. 13); the identity where normalisation is switched off."""
    if not config.normalize:
        return log_mel
    return (log_mel - config.norm_min) / (config.norm_max - config.norm_min) * 2 - 1


def denormalize(mel: Tensor, config: MelConfig) -> Tensor:
    """Inverse of `normalize` (Eq. 14)."""
    if not config.normalize:
        return mel
    return (mel + 1) / 2 * (config.norm_max - config.norm_min) + config.norm_min


def silence(config: MelConfig) -> float:
    """The value of a band of silence, in what `normalize` gives."""
    return float(normalize(torch.tensor(config.log_floor).log(), config))


def band_centres(config: MelConfig) -> np.ndarray:
    """Centre frequency in Hz of each band, shape (M,)."""
    return band_edges(config)[1:-1]


def band_weights(config: MelConfig, bass: float) -> Tensor:
    """Weights (M,), 1 on the average, in which bands up to `BASS_HZ` count `bass` times as much.

    A bass note is told from its neighbour by a few dB between two of them.
    """
    low = torch.from_numpy(band_centres(config) <= BASS_HZ)
    weights = torch.where(low, bass, 1.0)
    return weights / weights.mean()


def band_edges(config: MelConfig) -> np.ndarray:
    """The M + 2 corner frequencies in Hz of the triangular bands."""
    if config.scale == "slaney":
        low, high = hz_to_slaney(np.array([config.f_min, config.f_max]))
        return slaney_to_hz(np.linspace(low, high, config.n_mels + 2))
    bin_hz = config.sample_rate / config.n_fft
    linear = np.arange(1, int(config.linear_until_hz / bin_hz) + 1) * bin_hz
    above = config.n_mels + 2 - 1 - len(linear)
    logarithmic = np.geomspace(linear[-1], config.f_max, above + 1)[1:]
    return np.concatenate([[0.0], linear, logarithmic])


def filterbank(config: MelConfig) -> np.ndarray:
    """Triangular filters (M, n_fft // 2 + 1).

    `slaney`: area-normalised, as librosa's `mel(htk=False, norm="slaney")` that BigVGAN uses.
    `low_linear`: each band is an average of its bins (rows sum to 1), so that a band that is a
    single bin holds that bin's magnitude.
    """
    edges = band_edges(config)
    bins = np.linspace(0, config.sample_rate / 2, config.n_fft // 2 + 1)
    rising = (bins[None] - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins[None]) / np.diff(edges)[1:, None]
    weights = np.maximum(0.0, np.minimum(rising, falling))
    if config.scale == "slaney":
        return weights * (2.0 / (edges[2:] - edges[:-2]))[:, None]
    return weights / weights.sum(1, keepdims=True)


# Slaney's mel scale: linear below 1 kHz (200/3 Hz a mel), logarithmic above (6.4 to the 27th).
_LINEAR_HZ = 200.0 / 3
_BREAK_HZ = 1000.0
_LOG_STEP = np.log(6.4) / 27.0


def hz_to_slaney(hz: np.ndarray) -> np.ndarray:
    """Hz -> mel on Slaney's scale."""
    hz = np.asarray(hz, dtype=np.float64)
    above = _BREAK_HZ / _LINEAR_HZ + np.log(np.maximum(hz, 1e-9) / _BREAK_HZ) / _LOG_STEP
    return np.where(hz < _BREAK_HZ, hz / _LINEAR_HZ, above)


def slaney_to_hz(mel: np.ndarray) -> np.ndarray:
    """Mel on Slaney's scale -> Hz."""
    break_mel = _BREAK_HZ / _LINEAR_HZ
    above = _BREAK_HZ * np.exp(_LOG_STEP * (mel - break_mel))
    return np.where(mel < break_mel, mel * _LINEAR_HZ, above)
