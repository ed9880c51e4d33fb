"""Vocoders: framing, lengths, and that phases are found."""

import numpy as np
import pytest
import torch

from fastsag.config import GriffinLimConfig, MelConfig, VocosConfig
from fastsag.mel import LogMel
from fastsag.vocoder import build_vocoder
from fastsag.vocoder.griffin_lim import griffin_lim
from fastsag.vocoder.spectral import Spectral

PAPER = MelConfig()
COMPACT = MelConfig(n_fft=2048, win_length=2048, scale="low_linear")


def chord(seconds: float = 1.0) -> torch.Tensor:
    time = torch.arange(int(seconds * 93) * 256) / 24_000
    tones = [torch.sin(2 * np.pi * hz * time) for hz in (110.0, 277.2, 329.6, 880.0)]
    return 0.1 * torch.stack(tones).sum(0)[None]


@pytest.mark.parametrize("config", [PAPER, COMPACT])
def test_inverse_undoes_the_transform(config):
    spectral = Spectral(config)
    wave = torch.randn(2, 256 * 40)
    edge = config.n_fft // 2
    error = (spectral.inverse(spectral(wave)) - wave)[:, edge:-edge].abs().max()
    assert error < 1e-4


@pytest.mark.parametrize("config", [PAPER, COMPACT])
@pytest.mark.parametrize("kind", [GriffinLimConfig(iterations=2), VocosConfig(width=16, depth=1)])
@pytest.mark.parametrize("frames", [5, 17, 94])
def test_every_frame_is_one_hop(config, kind, frames):
    vocoder = build_vocoder(kind, config)
    assert vocoder(torch.zeros(2, 100, frames) - 8).shape == (2, frames * 256)


def convergence(spectral: Spectral, wave: torch.Tensor, magnitude: torch.Tensor) -> float:
    return float((spectral(wave).abs() - magnitude).norm() / magnitude.norm())


def test_griffin_lim_converges():
    spectral = Spectral(COMPACT)
    magnitude = spectral(chord()).abs()
    phase = torch.polar(torch.ones_like(magnitude), 6.28 * torch.rand_like(magnitude))
    errors = [
        convergence(spectral, griffin_lim(spectral, magnitude, phase, n), magnitude)
        for n in (0, 8, 32)
    ]
    assert errors[2] < errors[1] < errors[0] and errors[2] < 0.25


def test_griffin_lim_is_deterministic_and_keeps_pitch():
    vocoder = build_vocoder(GriffinLimConfig(iterations=16), COMPACT)
    mel = LogMel(COMPACT)(chord())
    sound = vocoder(mel)
    assert torch.equal(sound, vocoder(mel))
    spectrum = torch.fft.rfft(sound[0] * torch.hann_window(sound.shape[1])).abs()
    hz = torch.fft.rfftfreq(sound.shape[1], 1 / 24_000)
    peak = hz[spectrum[(hz > 60) & (hz < 200)].argmax() + int((hz <= 60).sum())]
    assert abs(float(peak) - 110) < 2


def test_vocos_learns():
    torch.manual_seed(0)
    vocoder = build_vocoder(VocosConfig(width=32, hidden=64, depth=2), COMPACT)
    wave = chord(0.8)
    mel = LogMel(COMPACT)(wave)
    optimizer = torch.optim.AdamW(vocoder.parameters(), lr=2e-3)
    losses = []
    for _ in range(30):
        loss = (LogMel(COMPACT)(vocoder(mel)) - mel).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    assert losses[-1] < 0.75 * losses[0]
