"""Vocoders: framing, lengths, and that phases are found."""

import numpy as np
import pytest
import torch

from fastsag.config import (
    GriffinLimConfig,
    MelConfig,
    TrainingConfig,
    VocoderTraining,
    VocosConfig,
)
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
    assert (spectral.inverse(spectral(wave)) - wave).abs().max() < 1e-5


@pytest.mark.parametrize("config", [PAPER, COMPACT])
@pytest.mark.parametrize("kind", [GriffinLimConfig(iterations=2), VocosConfig(width=16, depth=1)])
@pytest.mark.parametrize("frames", [5, 17, 94])
def test_every_frame_is_one_hop(config, kind, frames):
    vocoder = build_vocoder(kind, config)
    assert vocoder(torch.zeros(2, 100, frames) - 8).shape == (2, frames * 256)


@pytest.mark.parametrize("config", [PAPER, COMPACT])
def test_magnitude_has_the_bands_of_the_mel(config):
    mel = LogMel(config)(chord() + 0.01 * torch.randn(1, 93 * 256))
    spectral = Spectral(config)
    magnitude = spectral.magnitude(mel)
    assert ((spectral.filters @ magnitude).log() - mel).abs().mean() < 0.05
    lumpy = magnitude * torch.randn_like(magnitude).exp()
    assert ((spectral.filters @ spectral.fit(lumpy, mel, 3)).log() - mel).abs().mean() < 0.15


@pytest.mark.parametrize("config", [PAPER, COMPACT])
def test_fitting_by_blocks_is_fitting_by_the_whole_matrix(config):
    """Against the textbook's form (Shepp and Vardi 1982), bin by bin and band by band."""
    torch.manual_seed(0)
    spectral = Spectral(config)
    mel = LogMel(config)(torch.randn(2, 256 * 20))
    start = torch.rand(2, config.n_fft // 2 + 1, 20) + 0.1
    plain = start
    for _ in range(4):
        ratio = mel.exp() / (spectral.filters @ plain).clamp(min=config.log_floor)
        plain = plain * (spectral.shares.T @ ratio)
    fitted = spectral.fit(start, mel, 4)
    torch.testing.assert_close(fitted, plain.clamp(min=config.log_floor), rtol=1e-4, atol=1e-6)


def test_griffin_lim_is_the_published_iteration():
    """Fast Griffin-Lim in complex numbers (Perraudin et al. 2013), overlap-add by fold."""
    torch.manual_seed(0)
    spectral = Spectral(PAPER)
    magnitude = spectral(chord(0.3)).abs()
    phase = torch.polar(torch.ones_like(magnitude), 6.28 * torch.rand_like(magnitude))

    def inverse(spectrum):
        frames = torch.fft.irfft(spectrum, 1024, dim=1) * spectral.window[:, None]
        square = spectral.window.square()[None, :, None].expand_as(frames)
        length = (spectrum.shape[-1] - 1) * 256 + 1024
        summed, envelope = (
            torch.nn.functional.fold(part, (1, length), (1, 1024), stride=(1, 256)).flatten(1)
            for part in (frames, square)
        )
        return (summed / envelope.clamp(min=1e-8))[:, 384:-384]

    current, previous = phase, torch.zeros_like(phase)
    for _ in range(3):
        consistent = spectral(inverse(magnitude * current))
        ahead = consistent + 0.99 * (consistent - previous)
        current, previous = ahead / ahead.abs().clamp(min=1e-9), consistent
    expected = inverse(magnitude * current)
    found = griffin_lim(spectral, magnitude, phase, 3)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


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


@pytest.mark.parametrize("frames", [16, 17, 93])
def test_every_other_frame_is_transformed_and_undone(frames):
    spectral = Spectral(COMPACT)
    wave = chord()[:, : 256 * frames] + 0.01 * torch.randn(1, 256 * frames)
    half = spectral(wave, 2)
    torch.testing.assert_close(half, spectral(wave)[..., ::2], rtol=1e-4, atol=1e-4)
    back = spectral.inverse(half, 2, frames)
    assert back.shape == wave.shape and (back - wave).abs().max() < 1e-4


def test_rounds_of_every_other_frame_find_the_phase_of_all():
    spectral = Spectral(COMPACT)
    magnitude = spectral(chord()).abs()
    phase = torch.polar(torch.ones_like(magnitude), 6.28 * torch.rand_like(magnitude))

    def error(iterations: int, stride: int) -> float:
        made = griffin_lim(spectral, magnitude, phase, iterations, stride)
        return convergence(spectral, made, magnitude)

    assert error(32, 2) < error(8, 2) < 0.8 * error(0, 2)
    assert error(32, 2) < error(8, 1)


@pytest.mark.parametrize("config", [PAPER, COMPACT])
def test_integrated_phase_keeps_steady_tones(config):
    spectral = Spectral(config)
    magnitude = spectral(chord()).abs()[:, :, 4:-4]
    random = torch.polar(torch.ones_like(magnitude), 6.28 * torch.rand_like(magnitude))
    errors = [
        convergence(spectral, spectral.inverse(magnitude * phase), magnitude)
        for phase in (random, spectral.integrated_phase(magnitude))
    ]
    assert errors[1] < 0.65 * errors[0]


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
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.75 * losses[0]


def test_training_lowers_the_loss(tmp_path):
    pytest.importorskip("lightning")
    from fastsag.training.loop import averaged_weights, fit
    from fastsag.training.vocoder import VocoderModule, WaveCrops

    training = TrainingConfig(
        steps=40, batch_size=2, crop_frames=32, learning_rate=1e-3, clip_norm=1.0, ema_decay=0.9
    )
    small = VocosConfig(width=32, hidden=64, depth=2)
    config = VocoderTraining(name="small", mel=COMPACT, vocoder=small, training=training)
    music = [((chord(4.0)[0] + 0.02 * torch.randn(372 * 256)).numpy() * 32767).astype(np.int16)]
    held_out = WaveCrops(music, 32 * 256, 4, 1)
    torch.manual_seed(0)
    module = VocoderModule(config)
    before = loss(module, held_out)
    fit(module, WaveCrops(music, 32 * 256, 80, 0), held_out, tmp_path, training, config)
    module.load_state_dict(averaged_weights(tmp_path))
    assert loss(module, held_out) < 0.95 * before


@torch.no_grad()
def loss(module, crops) -> float:
    torch.manual_seed(0)
    wave = torch.stack([crops[index]["wave"] for index in range(len(crops))])
    return float(sum(module.sound(wave)[1].values()))
