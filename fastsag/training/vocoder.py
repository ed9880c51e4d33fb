"""Training of a vocoder, on the accompaniments of a corpus.

Spectral losses alone, or with discriminators: multi-resolution mel, adversarial and feature
matching losses (Kong et al. 2020); the discriminators step once for every few steps of the vocoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lightning.pytorch as lightning
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from fastsag import audio
from fastsag.conditioning.encoders.melodic import level_gain
from fastsag.config import AdversarialConfig, MelAugmentation, MelConfig, VocoderTraining
from fastsag.data.features import ACCOMPANIMENT_DBFS
from fastsag.data.streams import Stream
from fastsag.errors import UserError
from fastsag.mel import LogMel
from fastsag.training.discriminators import (
    Discriminators,
    adversarial_loss,
    discriminator_loss,
    feature_loss,
)
from fastsag.training.loop import build_optimizer
from fastsag.vocoder.griffin_lim import GriffinLim, griffin_lim
from fastsag.vocoder.vocos import Vocos

RESOLUTIONS = ((512, 128), (1024, 256), (2048, 512), (4096, 1024))  # n_fft, hop
MEL_FFTS = (256, 512, 1024, 2048)  # of the multi-resolution mel loss
_LOUDEST_WEIGHT = 4.0  # of the spectral convergence of the magnitude
_EDGE_FRAMES = 4  # of a crop, where the analysis window leaves the crop
_REFINED = 16  # Griffin-Lim iterations of the validation's second line


class VocoderModule(lightning.LightningModule):
    """Trains a vocoder on crops (B, N) of music, with discriminators if it is configured so."""

    averaged = "vocoder"

    def __init__(self, config: VocoderTraining) -> None:
        super().__init__()
        self.config = config
        self.mel = LogMel(config.mel)
        self.vocoder = Vocos(config.mel, **config.vocoder.model_dump(exclude={"kind"}))
        self.spectral = self.vocoder.spectral
        self.anchor = GriffinLim(config.mel, 32)
        self.bands = nn.ModuleList(LogMel(_bands(n_fft, config.mel)) for n_fft in MEL_FFTS)
        self.discriminators: Discriminators | None = None
        if config.adversarial is not None:
            sizes = config.adversarial
            self.discriminators = Discriminators(sizes.periods, sizes.resolutions, sizes.channels)
            self.automatic_optimization = False  # two optimizers take turns

    def sound(self, wave: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The vocoder's version (B, N) of crops (B, N), and its named spectral losses."""
        mel = self.mel(wave)
        magnitude, phase = self.vocoder.spectrum(augmented(mel, self.config.augmentation))
        sound = self.spectral.inverse(magnitude * phase)
        terms = self._scores(sound, wave, mel)
        terms["mel"] = 2 * terms["mel"]
        # The magnitude has a truth of its own, whatever the phase does to the sound: in logarithms
        # every bin counts alike, in the other norm the loud ones, which Griffin-Lim will keep.
        true = self.spectral(wave).abs()
        terms["magnitude"] = log_distance(magnitude, true)
        terms["loudest"] = _LOUDEST_WEIGHT * convergence(magnitude, true)
        return sound, terms

    def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor | None:
        sound, terms = self.sound(batch["wave"])
        if self.config.adversarial is not None:
            self._adversarial_step(batch["wave"], sound, terms, self.config.adversarial)
            return None
        total = torch.stack(list(terms.values())).sum()
        self._log_terms(terms, total)
        return total

    def _adversarial_step(
        self, wave: Tensor, sound: Tensor, terms: dict[str, Tensor], settings: AdversarialConfig
    ) -> None:
        """The discriminators' turn, every few steps, then the vocoder's."""
        assert self.discriminators is not None
        step = self.trainer.global_step
        optimizer, judges = self.optimizers()  # type: ignore[attr-defined]
        if step % settings.every == 0:
            # The plain optimizer: Lightning counts the vocoder's steps alone.
            loss = discriminator_loss(
                self.discriminators(wave), self.discriminators(sound.detach())
            )
            self._step(judges.optimizer, loss, self.discriminators)
            self.log("train/discriminators", loss.detach(), sync_dist=True)
        terms["mels"] = settings.mel_weight * self.mel_distance(sound, wave)
        self.discriminators.requires_grad_(False)
        if step >= settings.start:
            made = self.discriminators(sound)
            with torch.no_grad():
                real = self.discriminators(wave)
            terms["adversarial"] = settings.weight * adversarial_loss(made)
            terms["features"] = settings.feature_weight * feature_loss(real, made)
        total = torch.stack(list(terms.values())).sum()
        self._step(optimizer, total, self.vocoder)
        self.discriminators.requires_grad_(True)
        for scheduler in self.lr_schedulers():  # type: ignore[union-attr]
            scheduler.step()  # type: ignore[call-arg]
        self._log_terms(terms, total)

    def _step(self, optimizer: Any, loss: Tensor, part: nn.Module) -> None:
        optimizer.zero_grad()
        self.manual_backward(loss)
        if self.config.training.clip_norm is not None:
            nn.utils.clip_grad_norm_(part.parameters(), self.config.training.clip_norm)
        optimizer.step()

    def _log_terms(self, terms: dict[str, Tensor], total: Tensor) -> None:
        logged = {f"train/{name}": value.detach() for name, value in terms.items()}
        self.log_dict(logged | {"train/loss": total.detach()}, sync_dist=True)

    def mel_distance(self, sound: Tensor, wave: Tensor) -> Tensor:
        """Mean absolute difference of the log mels of several resolutions, edges left out."""
        edge = _EDGE_FRAMES * self.config.mel.hop_length
        made, true = sound[:, edge:-edge], wave[:, edge:-edge]
        return torch.stack([(mel(made) - mel(true)).abs().mean() for mel in self.bands]).mean()

    def validation_step(self, batch: dict[str, Tensor], index: int) -> None:
        wave = batch["wave"]
        mel = self.mel(wave)
        magnitude, phase = self.vocoder.spectrum(mel)
        sounds = {
            "vocoder": self.spectral.inverse(magnitude * phase),
            "refined": griffin_lim(self.spectral, magnitude, phase, _REFINED, self.vocoder.stride),
            "griffin_lim": self.anchor(mel),
        }
        for name, sound in sounds.items():
            terms = self._scores(sound, wave, mel) | {"mels": self.mel_distance(sound, wave)}
            self.log_dict(
                {f"validation/{name}_{key}": value for key, value in terms.items()},
                batch_size=len(wave),
                sync_dist=True,
            )
        if index == 0 and self.logger is not None and self.global_rank == 0:
            board = self.logger.experiment  # type: ignore[attr-defined]
            for name, sound in {"truth": wave, **sounds}.items():
                listened = sound[:4].flatten().clamp(-1, 1)
                board.add_audio(name, listened, self.global_step, self.config.mel.sample_rate)

    def _scores(self, sound: Tensor, wave: Tensor, mel: Tensor) -> dict[str, Tensor]:
        """How far `sound` (B, N) is from `wave` (B, N), whose mel is `mel`; edges left out."""
        edge = _EDGE_FRAMES * self.config.mel.hop_length
        terms = spectral_losses(sound[:, edge:-edge], wave[:, edge:-edge])
        frames = slice(_EDGE_FRAMES, -_EDGE_FRAMES)
        terms["mel"] = (self.mel(sound) - mel)[:, :, frames].abs().mean()
        return terms

    def configure_optimizers(self) -> Any:
        training, adversarial = self.config.training, self.config.adversarial
        own = build_optimizer(self.vocoder.parameters(), training)
        if adversarial is None or self.discriminators is None:
            return own
        rate = training.model_copy(update={"learning_rate": adversarial.learning_rate})
        return own, build_optimizer(self.discriminators.parameters(), rate)


def augmented(mel: Tensor, settings: MelAugmentation) -> Tensor:
    """Log mel (B, M, T) with noise, drift over the bands and, in some crops, blur."""
    each = (len(mel), 1, 1)
    noise = settings.noise * torch.rand(each, device=mel.device)
    result = mel + noise * torch.randn_like(mel)
    if settings.blur:
        smooth = torch.nn.functional.avg_pool2d(
            result[:, None], 3, 1, padding=1, count_include_pad=False
        )[:, 0]
        result = torch.where(torch.rand(each, device=mel.device) < settings.blur, smooth, result)
    if settings.tilt:
        slope = torch.linspace(-1, 1, mel.shape[1], device=mel.device)[None, :, None]
        result = result + settings.tilt * (2 * torch.rand(each, device=mel.device) - 1) * slope
    return result


def _bands(n_fft: int, mel: MelConfig) -> MelConfig:
    """A mel spectrogram of another resolution; fewer bands where bins are few."""
    sizes = {"n_fft": n_fft, "win_length": n_fft, "hop_length": n_fft // 4, "n_mels": n_fft // 16}
    return mel.model_copy(update={**sizes, "scale": "slaney"})


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
        convergences.append(convergence(made, true))
    return {
        "log_magnitude": torch.stack(logs).mean(),
        "convergence": torch.stack(convergences).mean(),
    }


def convergence(made: Tensor, true: Tensor) -> Tensor:
    """Spectral convergence of magnitudes (B, F, T): |true - made| / |true|, the mean over B."""
    norms = (true - made).flatten(1).norm(dim=1) / true.flatten(1).norm(dim=1).clamp(min=1e-3)
    return norms.mean()


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


def load_music(streams: Sequence[Stream], rate: int) -> dict[str, list[np.ndarray]]:
    """Accompaniments by split, int16 at `rate` Hz, at the level that models learn to play at.

    Raises:
        UserError: a stream without end.
    """
    music: dict[str, list[np.ndarray]] = {}
    for stream in streams:
        if stream.made is not None:
            raise UserError(f"{stream.name}: has no end; write a corpus: fastsag songs generate")
        for record in (record for shard in stream.shards for record in shard.records()):
            own = record.meta["sample_rate"]
            samples = audio.resample(record.accompaniment[None], own, rate)[0]
            gain = level_gain(samples, rate) * 10 ** ((ACCOMPANIMENT_DBFS + 20) / 20)
            scaled = np.clip(samples * gain, -1, 1) * 32767
            music.setdefault(record.meta["split"], []).append(scaled.astype(np.int16))
    return music
