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
from fastsag.vocoder import build_vocoder
from fastsag.vocoder.griffin_lim import GriffinLim

RESOLUTIONS = ((512, 128), (1024, 256), (2048, 512), (4096, 1024))  # n_fft, hop
_MEL_NOISE = 0.1  # log units: forgives the small errors of a generated mel
_EDGE_FRAMES = 4  # of a crop, where the analysis window leaves the crop


class VocoderModule(lightning.LightningModule):
    """Trains a vocoder on crops (B, N) of music."""

    def __init__(self, config: VocoderTraining) -> None:
        super().__init__()
        self.config = config
        self.mel = LogMel(config.mel)
        self.vocoder = build_vocoder(config.vocoder, config.mel)
        self.anchor = GriffinLim(config.mel, 32)

    def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:
        wave = batch["wave"]
        mel = self.mel(wave)
        noise = _MEL_NOISE * torch.rand(len(mel), 1, 1, device=mel.device)
        sound = self.vocoder(mel + noise * torch.randn_like(mel))
        terms = spectral_losses(*self._inner(sound, wave))
        terms["mel"] = 2 * (self.mel(sound) - mel).abs().mean()
        total = torch.stack(list(terms.values())).sum()
        self.log_dict({f"train/{name}": value.detach() for name, value in terms.items()})
        self.log("train/loss", total.detach())
        return total

    def validation_step(self, batch: dict[str, Tensor], index: int) -> None:
        wave = batch["wave"]
        mel = self.mel(wave)
        for name, vocoder in (("vocoder", self.vocoder), ("griffin_lim", self.anchor)):
            terms = spectral_losses(*self._inner(vocoder(mel), wave))
            self.log_dict(
                {f"validation/{name}_{key}": value for key, value in terms.items()},
                batch_size=len(wave),
            )

    def _inner(self, sound: Tensor, wave: Tensor) -> tuple[Tensor, Tensor]:
        edge = _EDGE_FRAMES * self.config.mel.hop_length
        return sound[:, edge:-edge], wave[:, edge:-edge]

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
        logs.append((made.clamp(min=1e-3).log() - true.clamp(min=1e-3).log()).abs().mean())
        norms = (true - made).flatten(1).norm(dim=1) / true.flatten(1).norm(dim=1).clamp(min=1e-3)
        convergences.append(norms.mean())
    return {
        "log_magnitude": torch.stack(logs).mean(),
        "convergence": torch.stack(convergences).mean(),
    }


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
