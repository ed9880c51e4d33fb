"""Vocoder training: its losses, its discriminators, and that both resume."""

from pathlib import Path

import numpy as np
import pytest
import torch

from fastsag import config as configuration
from fastsag.config import AdversarialConfig, MelAugmentation, VocoderTraining
from fastsag.errors import UserError
from fastsag.training.discriminators import (
    Discriminators,
    adversarial_loss,
    discriminator_loss,
    feature_loss,
)
from fastsag.training.loop import _read, averaged_weights, fit
from fastsag.training.vocoder import VocoderModule, WaveCrops, augmented

CONFIGS = Path(__file__).parents[2] / "configs"
TINY = {
    "vocoder": {"width": 16, "hidden": 32, "depth": 1},
    "training": {
        "steps": 6, "batch_size": 2, "crop_frames": 24, "warmup_steps": 2, "validate_every": 6,
        "save_every": 2,
    },
    "adversarial": {"periods": [2, 3], "resolutions": [512], "channels": 4},
}  # fmt: skip


def tiny(**changes) -> VocoderTraining:
    values = configuration.read_yaml(CONFIGS / "vocoder" / "vocos-gan.yaml")
    values = configuration.merged(configuration.merged(values, TINY), changes)
    return configuration.parse(values, "tiny", VocoderTraining)


def music(seed: int, seconds: float = 2.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    time = np.arange(int(24_000 * seconds)) / 24_000
    tones = sum(np.sin(2 * np.pi * hz * time) for hz in rng.uniform(80, 2000, 5))
    return (3000 * tones).astype(np.int16)


def train(config: VocoderTraining, out: Path) -> VocoderModule:
    training = config.training
    size = training.crop_frames * config.mel.hop_length
    items = training.steps * training.batch_size
    crops = WaveCrops([music(i) for i in range(3)], size, items, 0)
    torch.manual_seed(0)
    module = VocoderModule(config)
    fit(module, crops, WaveCrops([music(9)], size, 2, 1), out, training, config)
    return module


class Killed(Exception):
    pass


@pytest.mark.slow
def test_adversarial_training_resumes_to_the_bit(tmp_path, monkeypatch):
    config = tiny()
    start = {k: v.clone() for k, v in VocoderModule(config).state_dict().items()}
    module = train(config, tmp_path / "whole")
    assert module.trainer.global_step == config.training.steps  # not the discriminators' too
    step = VocoderModule.training_step

    def dies(self, batch, index):
        if self.trainer.global_step == 5:
            raise Killed
        return step(self, batch, index)

    monkeypatch.setattr(VocoderModule, "training_step", dies)
    with pytest.raises(Killed):
        train(config, tmp_path / "killed")
    monkeypatch.setattr(VocoderModule, "training_step", step)
    train(config, tmp_path / "killed")
    one, other = (
        _read(tmp_path / name / "last.ckpt")["state_dict"] for name in ("whole", "killed")
    )
    assert all(torch.equal(one[name], other[name]) for name in one)
    moved = {name.split(".")[0] for name in one if not torch.equal(one[name], start[name])}
    assert {"vocoder", "discriminators"} <= moved
    averages = _read(tmp_path / "whole" / "last.ckpt")["averaged"]
    assert averages and all(name.startswith("vocoder.") for name in averages)
    assert all(
        torch.isfinite(value).all() for value in averaged_weights(tmp_path / "whole").values()
    )


def test_discriminators_learn_to_tell_music_from_noise():
    torch.manual_seed(0)
    judges = Discriminators((2, 3), (512, 1024), 8)
    optimizer = torch.optim.Adam(judges.parameters(), 2e-3)
    waves = torch.from_numpy(np.stack([music(i, 0.3) for i in range(4)])).float() / 32768
    losses = []
    for _ in range(40):
        noise = waves.std() * torch.randn_like(waves)
        loss = discriminator_loss(judges(waves), judges(noise))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    with torch.no_grad():
        real, noise = judges(waves), judges(waves.std() * torch.randn_like(waves))
        assert adversarial_loss(real) < adversarial_loss(noise)
        assert feature_loss(real, real) == 0 < feature_loss(real, noise)


def test_the_vocoder_hears_the_discriminators():
    torch.manual_seed(0)
    wave = torch.randn(2, 6_000, requires_grad=True)
    judges = Discriminators((2, 3, 5), (512,), 4)
    verdicts = judges(wave)
    assert len(verdicts) == 4 and all(len(verdict.features) == 4 for verdict in verdicts)
    adversarial_loss(verdicts).backward()
    assert wave.grad is not None and (wave.grad.abs() > 0).float().mean() > 0.9


def test_augmentation_does_what_it_says():
    mel = torch.randn(200, 40, 30, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    none = MelAugmentation(noise=0.0)
    assert torch.equal(augmented(mel, none), mel)
    noisy = augmented(mel, MelAugmentation(noise=0.2)) - mel
    assert noisy.std() == pytest.approx(0.2 / 3**0.5, rel=0.1)
    blurred = augmented(mel, MelAugmentation(noise=0.0, blur=0.5))
    softer = (blurred.flatten(1).std(1) < 0.6 * mel.flatten(1).std(1)).float().mean()
    assert softer == pytest.approx(0.5, abs=0.12)
    drift = augmented(mel, MelAugmentation(noise=0.0, tilt=0.3)) - mel
    assert drift.abs().max() == pytest.approx(0.3, abs=0.01)
    torch.testing.assert_close(drift[:, 0], -drift[:, -1])


def test_accumulation_is_refused_with_discriminators():
    with pytest.raises(UserError, match="accumulate: must be 1"):
        tiny(training={"accumulate": 2})
    assert tiny(adversarial=None).adversarial is None
    assert AdversarialConfig().every == 2
