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
_REACH = 5  # frames on either side that one output depends on
_BLOCK = 2**18  # samples at once on each core of a CPU: they stay in its cache


class SnakeBeta(nn.Module):
    """x + sin^2(x e^alpha) / (e^beta + 1e-9), elementwise on (B, C, 1, T).

    `alpha` and `beta` (C,) are logarithms of frequency and of inverse magnitude, by channel.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return _snake(x, *self.factors())

    def factors(self) -> tuple[Tensor, Tensor]:
        """Frequency and magnitude of the sine, (C, 1, 1) each."""
        return self.alpha.exp()[:, None, None], 1 / (self.beta.exp()[:, None, None] + 1e-9)


class AntiAliasedSnake(nn.Module):
    """SnakeBeta at twice the rate: (B, C, 1, T) -> the same, borders repeating the last sample.

    In single precision whatever it is given, block by block in time on a CPU. Fastest for input
    that is stored frame by frame (`fastsag.nn.sequence`).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.act = SnakeBeta(channels)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            factors = self.act.factors()
            batch, channels, _, length = x.shape
            size = length
            if x.device.type == "cpu":
                size = _BLOCK * torch.get_num_threads() // (batch * channels)
            size = max(_REACH, size)
            blocks = []
            for first in range(0, length, size):
                last = min(first + size, length)
                left, right = min(first, _REACH), min(length - last, _REACH)
                block = x[..., first - left : last + right].to(factors[0].dtype)
                missing = _REACH - left, _REACH - right
                blocks.append(_anti_aliased(block, missing, *factors).to(x.dtype))
            return torch.cat(blocks, dim=-1)


def _snake(x: Tensor, frequency: Tensor, magnitude: Tensor) -> Tensor:
    return torch.addcmul(x, (x * frequency).sin_().square_(), magnitude)


def _anti_aliased(
    x: Tensor, missing: tuple[int, int], frequency: Tensor, magnitude: Tensor
) -> Tensor:
    """Up, snake, down: (B, C, 1, T + 2 * _REACH - sum(missing)) -> (B, C, 1, T).

    The doubled signal is kept as its even and its odd samples, so that both filters become 6-tap
    ones at the original rate. `missing` is what a border lacks of the reach to the left and right;
    there the signal, and then the doubled signal, repeats its last sample.
    """
    left, right = missing
    if left or right:
        x = torch.cat([*left * [x[..., :1]], x, *right * [x[..., -1:]]], dim=-1)
    even = _snake(_fir(x, _UP_EVEN), frequency, magnitude)  # from 2 frames before the block
    odd = _snake(_fir(x, _UP_ODD), frequency, magnitude)  # from 3 frames before
    if left > 2:
        first = even[..., left - 3, None].clone()
        even[..., : left - 3], odd[..., : left - 2] = first, first
    if right > 2:
        last = odd[..., odd.shape[-1] - right + 2, None].clone()
        even[..., even.shape[-1] - right + 2 :] = last
        odd[..., odd.shape[-1] - right + 3 :] = last
    return _fir(even, _DOWN_EVEN) + _fir(odd, _DOWN_ODD)


def _fir(x: Tensor, taps: list[float]) -> Tensor:
    """Correlation with `taps`, the same for all channels.

    (..., T + len(taps) - 1) -> (..., T).
    """
    if x.device.type == "cpu":
        kernel = x.new_tensor(taps).expand(x.shape[1], 1, 1, -1)
        return F.conv2d(x, kernel, groups=x.shape[1])
    # A depthwise convolution is slower there than shifted sums.
    length = x.shape[-1] - len(taps) + 1
    total = x[..., :length] * taps[0]
    for shift, tap in enumerate(taps[1:], start=1):
        total.add_(x[..., shift : shift + length], alpha=tap)
    return total
