"""Training of a vocoder with spectral losses, on the accompaniments of a corpus."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from fastsag.conditioning.encoders.melodic import level_gain
from fastsag.config import VocoderTraining
from fastsag.data.features import ACCOMPANIMENT_DBFS
from fastsag.data.shards import read_shard, shard_paths
from fastsag.mel import LogMel
from fastsag.training.loop import build_optimizer
from fastsag.vocoder.griffin_lim import GriffinLim, griffin_lim
from fastsag.vocoder.vocos import Vocos

RESOLUTIONS = ((512, 128), (1024, 256), (2048, 512), (4096, 1024))  # n_fft, hop
_MEL_NOISE = 0.1  # log units: forgives the small errors of a generated mel
_EDGE_FRAMES = 4  # of a crop, where the analysis window leaves the crop
_REFINED = 8  # Griffin-Lim iterations of the validation's second line


class VocoderModule(lightning.LightningModule):
    """Trains a vocoder on crops (B, N) of music."""

    def __init__(self, config: VocoderTraining) -> None:
        super().__init__()
        self.config = config
        self.mel = LogMel(config.mel)
        self.vocoder = Vocos(config.mel, **config.vocoder.model_dump(exclude={"kind"}))
        self.spectral = self.vocoder.spectral
        self.anchor = GriffinLim(config.mel, 32)

    def terms(self, wave: Tensor) -> dict[str, Tensor]:
        """The named losses of crops (B, N)."""
        mel = self.mel(wave)
        noise = _MEL_NOISE * torch.rand(len(mel), 1, 1, device=mel.device)
        magnitude, phase = self.vocoder.spectrum(mel + noise * torch.randn_like(mel))
        sound = self.spectral.inverse(magnitude * phase)
        terms = self._scores(sound, wave, mel)
        terms["mel"] = 2 * terms["mel"]
        # The magnitude has a truth of its own, whatever the phase does to the sound.
        terms["magnitude"] = log_distance(magnitude, self.spectral(wave).abs())
        return terms

    def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:
        terms = self.terms(batch["wave"])
        total = torch.stack(list(terms.values())).sum()
        self.log_dict({f"train/{name}": value.detach() for name, value in terms.items()})
        self.log("train/loss", total.detach())
        return total

    def validation_step(self, batch: dict[str, Tensor], index: int) -> None:
        wave = batch["wave"]
        mel = self.mel(wave)
        magnitude, phase = self.vocoder.spectrum(mel)
        sounds = {
            "vocoder": self.spectral.inverse(magnitude * phase),
            f"vocoder_{_REFINED}": griffin_lim(self.spectral, magnitude, phase, _REFINED),
            "griffin_lim": self.anchor(mel),
        }
        for name, sound in sounds.items():
            terms = self._scores(sound, wave, mel)
            self.log_dict(
                {f"validation/{name}_{key}": value for key, value in terms.items()},
                batch_size=len(wave),
            )

    def _scores(self, sound: Tensor, wave: Tensor, mel: Tensor) -> dict[str, Tensor]:
        """How far `sound` (B, N) is from `wave` (B, N), whose mel is `mel`; edges left out."""
        edge = _EDGE_FRAMES * self.config.mel.hop_length
        terms = spectral_losses(sound[:, edge:-edge], wave[:, edge:-edge])
        frames = slice(_EDGE_FRAMES, -_EDGE_FRAMES)
        terms["mel"] = (self.mel(sound) - mel)[:, :, frames].abs().mean()
        return terms

    def configure_optimizers(self) -> Any:
        return build_optimizer(self.vocoder.parameters(), self.config.training)


def spectral_losses(sound: Tensor, wave: Tensor) -> dict[str, Tensor]:
    """Log-magnitude L1 and spectral convergence, means over `RESOLUTIONS`; (B, N) each."""
    logs, convergences = [], []
    for n_fft, hop in RESOLUTIONS:
        window = torch.hann_window(n_fft, device=wave.device)
        made, true = (
            torch.stft(part.float(), n_fft, hop, window=window, return_complex=True).abs()
            for part in (sound, wave)
        )
        logs.append(log_distance(made, true))
        norms = (true - made).flatten(1).norm(dim=1) / true.flatten(1).norm(dim=1).clamp(min=1e-3)
        convergences.append(norms.mean())
    return {
        "log_magnitude": torch.stack(logs).mean(),
        "convergence": torch.stack(convergences).mean(),
    }


def log_distance(made: Tensor, true: Tensor) -> Tensor:
    """Mean distance of magnitudes in log units; what is under 1e-3 counts as silence."""
    return (made.clamp(min=1e-3).log() - true.clamp(min=1e-3).log()).abs().mean()


class WaveCrops(Dataset[dict[str, Tensor]]):
    """Random crops (N,) of music held in memory as 16 bit; crop i depends on (seed, i) alone."""

    def __init__(self, music: Sequence[np.ndarray], size: int, length: int, seed: int) -> None:
        self.music = [part for part in music if len(part) > size]
        if not self.music:
            raise ValueError(f"none of {len(music)} recordings is longer than {size} samples")
        self.size, self.length, self.seed = size, length, seed

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        if not 0 <= index < self.length:
            raise IndexError(index)
        rng = np.random.default_rng((self.seed, index))
        music = self.music[rng.integers(len(self.music))]
        start = rng.integers(len(music) - self.size)
        gain = 10 ** (rng.uniform(-9, 3) / 20) / 32768
        crop = music[start : start + self.size].astype(np.float32) * np.float32(gain)
        return {"wave": torch.from_numpy(crop)}


def load_music(folder: Path) -> dict[str, list[np.ndarray]]:
    """Accompaniments of a corpus by split, int16, at the level that models learn to play at."""
    music: dict[str, list[np.ndarray]] = {}
    for path in shard_paths(folder):
        for record in read_shard(path):
            rate = record.meta["sample_rate"]
            gain = level_gain(record.accompaniment, rate) * 10 ** ((ACCOMPANIMENT_DBFS + 20) / 20)
            scaled = np.clip(record.accompaniment * gain, -1, 1) * 32767
            music.setdefault(record.meta["split"], []).append(scaled.astype(np.int16))
    return music
