"""Networks of the paper's size with random weights, stage by stage, in every way of computing."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastsag import authors
from fastsag.benchmarks.hubert import saved
from fastsag.benchmarks.published import (
    PublishedBigVGAN,
    PublishedMert,
    published_euler,
    published_model,
)
from fastsag.conditioning.encoders.mert import MertEncoder
from fastsag.config import Config, MertConfig, VocosConfig
from fastsag.diffusion.samplers import euler
from fastsag.diffusion.schedule import karras_sigmas
from fastsag.errors import require
from fastsag.model import Conditions, FastSAG, build
from fastsag.vocoder import build_vocoder
from fastsag.vocoder.bigvgan import BigVGAN

STAGES = ("semantics", "projection", "prior", "denoiser", "vocoder")
TIMED_EVALUATIONS = 2
VOCOS = VocosConfig(width=512, hidden=1536, depth=8)  # of the size that Vocos was published in

_NOT_SIZES = ("model_type", "architectures")
_GAIN = 0.2  # of the U-Net's attention, which begins at zero and would then have no part in it


@dataclass(frozen=True)
class Size:
    """What is measured: a system in the authors' layout, MERT's sizes, a second vocoder."""

    config: Config
    mert: dict[str, Any]
    vocos: VocosConfig

    @property
    def frames(self) -> int:
        """T, mel frames of the window."""
        return self.config.window.frames


def paper(seconds: float = 10.0) -> Size:
    """The paper's size for a window of about `seconds`, padded in the authors' proportion."""
    config = authors.default_config()
    window = config.window.frames
    frames = min(window, max(8, round(seconds * config.mel.frame_rate)))
    padded = -(-frames * 1024 // (4 * window)) * 4
    values = config.model_dump()
    values["window"] |= {"frames": frames, "overlap": 0}
    values["resampler"]["frames"] = frames
    values["denoiser"]["padded_frames"] = padded
    mert = {
        name: authors.MERT_CONFIG[name] for name in authors.MERT_CONFIG if name not in _NOT_SIZES
    }
    return Size(Config.model_validate(values), mert, VOCOS)


class Bench:
    """The networks of all plans with shared weights, and what each stage is given."""

    def __init__(self, size: Size) -> None:
        transformers = require("transformers", extra="mert")
        torch.manual_seed(0)
        config, self.size = size.config, size
        assert isinstance(config.encoder, MertConfig)
        hubert = transformers.HubertModel(transformers.HubertConfig(**size.mert)).eval()
        self.published_mert = PublishedMert(hubert, config.encoder.layer)
        with saved(hubert) as folder:
            self.mert = MertEncoder(str(folder), config.encoder.layer)
        self.model = build(config).eval()
        for name, weight in self.model.named_parameters():
            if name.endswith(".g"):
                nn.init.constant_(weight, _GAIN)
        self.published = published_model(self.model)
        self.bigvgan = build_vocoder(config.vocoder, config.mel).eval()
        assert isinstance(self.bigvgan, BigVGAN)
        self.published_bigvgan = PublishedBigVGAN(self.bigvgan).eval()
        self.vocos = build_vocoder(size.vocos, config.mel).eval()
        hop = config.encoder.hop_length
        samples = -(-size.frames * config.mel.hop_length // hop) * hop  # 240,000 for the paper's
        self.wave = 0.1 * torch.randn(1, samples)
        self.noise = torch.randn(1, config.mel.n_mels, size.frames)
        with torch.inference_mode():
            self.given = self.semantics("fp32")
            self.projected = self.model.projection(self.given)  # type: ignore[misc]
            self.conditions = self.model.condition(self.given, size.frames)
        self.log_mel = torch.randn(1, config.mel.n_mels, size.frames) - 5

    def stage(self, stage: str, way: str) -> Callable[[], Any]:
        """One run of a stage; of the denoiser, `TIMED_EVALUATIONS` evaluations."""
        return partial(getattr(self, stage), way)

    def semantics(self, way: str) -> Tensor:
        """Voice -> S_v."""
        if way == "published":
            return self.published_mert(self.wave)
        with _precision(way):
            return self.mert(self.wave)

    def projection(self, way: str) -> Tensor:
        with _precision(way):
            return self._model(way).projection(self.given)  # type: ignore[misc]

    def prior(self, way: str) -> Tensor:
        model, pad = self._model(way), self.conditions.prior.shape[-1] - self.size.frames
        mixed = self.projected + self.given
        with _precision(way):
            read = model.resampler(mixed, self.size.frames)  # type: ignore[misc]
            return model.prior(F.pad(read, (0, pad)))

    def denoiser(self, way: str) -> Tensor:
        sigmas = torch.tensor([80.0, 1.0, 0.1, 0.0][-1 - TIMED_EVALUATIONS :])
        return self.sample(way, sigmas, self.conditions)

    def sample(self, way: str, sigmas: Tensor, conditions: Conditions) -> Tensor:
        """A mel (B, M, T), normalised, by Euler's steps over `sigmas`."""
        denoise = self._model(way).denoise(conditions)
        if way == "published":
            return published_euler(denoise, self.noise, sigmas)
        with _precision(way):
            return self.model.generate(denoise, self.noise, sigmas, euler).float()

    def vocoder(self, way: str) -> Tensor:
        network = {"published": self.published_bigvgan, "vocos": self.vocos}.get(way, self.bigvgan)
        with _precision(way):
            return network(self.log_mel)

    def mel(self, way: str) -> tuple[Tensor, float]:
        """Voice -> mel (B, M, T), normalised, by a whole run, and the seconds of its sampling."""
        semantics = self.semantics(way)
        conditions = self._model(way).condition(semantics, self.size.frames)
        edm = self.size.config.edm
        sigmas = karras_sigmas(50, edm.sigma_min, edm.sigma_max, edm.rho, edm.levels)
        start = time.perf_counter()
        mel = self.sample(way, sigmas, conditions)
        return mel, time.perf_counter() - start

    def parameters(self, ways: tuple[str, ...]) -> int:
        """Weights that a plan with these ways, in the order of `STAGES`, keeps in memory."""
        parts: list[nn.Module] = [self.model]
        parts.append(self.published_mert if ways[0] == "published" else self.mert)
        parts.append(self.vocos if ways[-1] == "vocos" else self.bigvgan)
        return sum(p.numel() for part in parts for p in part.parameters())

    def _model(self, way: str) -> FastSAG:
        return self.published if way == "published" else self.model


def _precision(way: str) -> AbstractContextManager[object]:
    return torch.autocast("cpu", torch.bfloat16) if way == "bf16" else nullcontext()
