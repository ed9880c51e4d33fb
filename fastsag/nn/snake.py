"""Anti-aliased SnakeBeta, the activation of BigVGAN (Lee et al. 2023, section 3.2).

A periodic activation makes harmonics above half the sampling rate, which fold back as noise. It is
therefore applied at twice the rate: up, activate, low-pass, down.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

FILTER_TAPS = 12
_CUTOFF = 0.25  # cycles per sample at the doubled rate: the Nyquist frequency of the original
_TRANSITION = 0.6  # cycles per sample, width of the transition band


def low_pass() -> Tensor:
    """The FIR (12,) before and after the activation: a Kaiser-windowed sinc with sum 1.

    Source: Kaiser's formulas for attenuation and beta as in Karras et al. 2021 ("Alias-Free
    Generative Adversarial Networks", appendix C); cutoff and width are BigVGAN's.
    """
    half = FILTER_TAPS // 2
    attenuation = 2.285 * (half - 1) * math.pi * (2 * _TRANSITION) + 7.95  # dB
    beta = 0.1102 * (attenuation - 8.7)  # Kaiser's, for more than 50 dB
    time = np.arange(-half, half) + 0.5
    taps = np.sinc(2 * _CUTOFF * time) * np.kaiser(FILTER_TAPS, beta)
    return torch.from_numpy(taps / taps.sum()).float()


_TAPS: list[float] = low_pass().tolist()
_UP_EVEN, _UP_ODD = [2 * tap for tap in _TAPS[0::2]], [2 * tap for tap in _TAPS[1::2]]
_DOWN_EVEN, _DOWN_ODD = _TAPS[1::2], _TAPS[0::2]
_CACHED = 2**18  # samples at once; 10 s in one piece took 1.6 times as long


class SnakeBeta(nn.Module):
    """x + sin^2(x e^alpha) / (e^beta + 1e-9), elementwise on (B, C, T).

    `alpha` and `beta` (C,) are logarithms of frequency and of inverse magnitude, by channel.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return _snake(x, *self.factors())

    def factors(self) -> tuple[Tensor, Tensor]:
        """Frequency and magnitude of the sine, (C, 1) each."""
        return self.alpha.exp()[:, None], 1 / (self.beta.exp()[:, None] + 1e-9)


class AntiAliasedSnake(nn.Module):
    """SnakeBeta at twice the rate: (B, C, T) -> (B, C, T), borders repeating the last sample."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.act = SnakeBeta(channels)

    def forward(self, x: Tensor) -> Tensor:
        factors = self.act.factors()
        if x.device.type != "cpu":
            return _anti_aliased(x, *factors)
        batch, _, length = x.shape
        group = max(1, _CACHED // (batch * length))  # channels
        parts = zip(x.split(group, dim=1), *(factor.split(group) for factor in factors))
        return torch.cat([_anti_aliased(*part) for part in parts], dim=1)


def _snake(x: Tensor, frequency: Tensor, magnitude: Tensor) -> Tensor:
    return torch.addcmul(x, (x * frequency).sin_().square_(), magnitude)


def _anti_aliased(x: Tensor, frequency: Tensor, magnitude: Tensor) -> Tensor:
    """Up, snake, down. The doubled signal is kept as its even and its odd samples, so that both
    filters become 6-tap ones at the original rate.
    """
    x = F.pad(x, (3, 3), mode="replicate")
    even = _snake(_fir(x[..., :-1], _UP_EVEN), frequency, magnitude)
    odd = _snake(_fir(x[..., 1:], _UP_ODD), frequency, magnitude)
    first, last = even[..., :1], odd[..., -1:]  # of the doubled signal
    even = torch.cat([first, first, even, last, last, last], dim=-1)
    odd = torch.cat([first, first, first, odd, last, last], dim=-1)
    return _fir(odd, _DOWN_ODD, _fir(even, _DOWN_EVEN))


def _fir(x: Tensor, taps: list[float], onto: Tensor | None = None) -> Tensor:
    """Correlation with `taps`, the same for all channels, added in place to `onto` if given.

    (..., T + len(taps) - 1) -> (..., T). As shifted sums, faster than a depthwise convolution.
    """
    length = x.shape[-1] - len(taps) + 1
    for shift, tap in enumerate(taps):
        shifted = x[..., shift : shift + length]
        onto = shifted * tap if onto is None else onto.add_(shifted, alpha=tap)
    assert onto is not None
    return onto
