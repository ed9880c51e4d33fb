"""Discriminators of vocoder training: one looks at periods, one at spectrograms.

Multi-period: Kong et al. 2020 (HiFi-GAN). Multi-resolution, on complex spectrograms: Jang et al.
2021 and Kumar et al. 2023. Small and in channels-last layout, with a frequency stride in every
layer: at full resolution they would cost nine tenths of a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

_SLOPE = 0.1


class Verdict(NamedTuple):
    """score: a map, near 1 for what is held for real. features: of the layers before it."""

    score: Tensor
    features: list[Tensor]


class Discriminators(nn.Module):
    """Waveform (B, N) -> a verdict of each discriminator.

    Args:
        periods: samples, of the multi-period ones; primes.
        resolutions: n_fft of the spectrogram ones; the hop is a quarter of it.
        channels: of their first layers.
    """

    def __init__(self, periods: Sequence[int], resolutions: Sequence[int], channels: int) -> None:
        super().__init__()
        self.members = nn.ModuleList(
            [
                *(PeriodDiscriminator(period, channels) for period in periods),
                *(SpectrumDiscriminator(n_fft, channels) for n_fft in resolutions),
            ]
        )
        for parameter in self.parameters():
            if parameter.dim() == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)

    def forward(self, wave: Tensor) -> list[Verdict]:
        return [member(wave) for member in self.members]


class PeriodDiscriminator(nn.Module):
    """Sees the waveform as an image whose rows are one period long."""

    def __init__(self, period: int, channels: int) -> None:
        super().__init__()
        self.period = period
        sizes = [1, channels, 2 * channels, 4 * channels, 8 * channels]
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(a, b, (5, 1), (3, 1), padding=(2, 0))) for a, b in pairwise(sizes)
        )
        self.last = weight_norm(nn.Conv2d(sizes[-1], 1, (3, 1), padding=(1, 0)))

    def forward(self, wave: Tensor) -> Verdict:
        padded = F.pad(wave[:, None], (0, -wave.shape[-1] % self.period), mode="reflect")
        image = padded.unflatten(-1, (-1, self.period))
        return _judge(image, self.layers, self.last)


class SpectrumDiscriminator(nn.Module):
    """Sees real and imaginary part of a spectrogram as an image (frequency, time)."""

    window: Tensor

    def __init__(self, n_fft: int, channels: int) -> None:
        super().__init__()
        self.n_fft = n_fft
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        sizes = [2, channels, channels, channels, channels]
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(a, b, (7, 3), (stride, 1), padding=(3, 1)))
            for (a, b), stride in zip(pairwise(sizes), (4, 2, 2, 2), strict=True)
        )
        self.last = weight_norm(nn.Conv2d(channels, 1, 3, padding=1))

    def forward(self, wave: Tensor) -> Verdict:
        spectrum = torch.stft(
            wave.float(), self.n_fft, self.n_fft // 4, window=self.window, return_complex=True
        )
        image = torch.stack([spectrum.real, spectrum.imag], dim=1)
        return _judge(image, self.layers, self.last)


def _judge(image: Tensor, layers: nn.ModuleList, last: nn.Module) -> Verdict:
    features = []
    h = image.contiguous(memory_format=torch.channels_last)
    for layer in layers:
        h = F.leaky_relu(layer(h), _SLOPE)
        features.append(h)
    return Verdict(last(h), features)


def discriminator_loss(real: Sequence[Verdict], made: Sequence[Verdict]) -> Tensor:
    """Least squares: real sound to 1, made sound to 0 (Mao et al. 2017); mean over all."""
    losses = [
        (1 - a.score).square().mean() + b.score.square().mean()
        for a, b in zip(real, made, strict=True)
    ]
    return torch.stack(losses).mean()


def adversarial_loss(made: Sequence[Verdict]) -> Tensor:
    """Least squares: made sound to 1; mean over all."""
    return torch.stack([(1 - verdict.score).square().mean() for verdict in made]).mean()


def feature_loss(real: Sequence[Verdict], made: Sequence[Verdict]) -> Tensor:
    """Mean absolute difference of the features, against their size in real sound."""
    losses = [
        (a.detach() - b).abs().mean() / a.detach().abs().mean().clamp(min=1e-6)
        for one, other in zip(real, made, strict=True)
        for a, b in zip(one.features, other.features, strict=True)
    ]
    return torch.stack(losses).mean()
