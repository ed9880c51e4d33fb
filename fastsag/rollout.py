"""A mel of any length from a model that sees one window at a time.

Two ways, by configuration: `continued` gives each window the end of the one before as context and
makes one after the other; `joint` denoises overlapping windows together, step by step, for a model
that was trained without context (after MultiDiffusion, Bar-Tal et al. 2023).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fastsag.config import Config, PerceiverConfig
from fastsag.diffusion.precond import EDMDenoiser
from fastsag.diffusion.samplers import SAMPLERS, Denoise, Sampler, few_step
from fastsag.diffusion.sampling import Way, guidance_of
from fastsag.diffusion.schedule import karras_sigmas
from fastsag.lead_sheet import LeadSheet
from fastsag.mel import silence
from fastsag.model import Conditions, FastSAG
from fastsag.spool import Array, Memory, Store
from fastsag.windows import Window, cut, edge, join

Tick = Callable[[int, int], None]  # denoiser steps done, steps in all

_FADE_FRAMES = 32


@dataclass(frozen=True)
class Rollout:
    """What is generated with: the model, its configuration and one take's settings.

    way, seed: as in `Settings`, resolved. bf16: compute in half precision. frames_of: mel frames ->
    semantic frames of that time. lost: how many fewer the encoder gives for one window. student:
    plays where the way is distilled. batch: windows that are denoised at once where they do not
    wait for each other; more than one for a GPU. store: makes the arrays of windows that do.
    """

    model: FastSAG
    config: Config
    way: Way
    seed: int
    device: torch.device
    bf16: bool
    frames_of: Callable[[int], int]
    lost: int
    student: EDMDenoiser | None = None
    batch: int = 1
    store: Store = field(default_factory=Memory)

    def __call__(
        self,
        semantics: Tensor,
        sheet: LeadSheet | None,
        total: int,
        tick: Tick,
        vocal_mel: Tensor | None = None,
    ) -> tuple[Array, Array]:
        """Semantics (S, D) and plan -> prior and mel (M, total), normalised units.

        `vocal_mel` (M, T): the voice's, normalised, for models that read it.
        """
        way = _joint if self.config.window.overlap else _continued
        return way(self, semantics, vocal_mel, sheet, total, tick)

    def sigmas(self) -> Tensor:
        """The noise levels of this take."""
        edm, student, steps = self.config.edm, self.config.distilled, self.way.steps
        # On the CPU: a sampler reads them, and a GPU would have to be waited for.
        if self.way.distilled and student is not None:
            return torch.tensor([*student.schedules[steps - 1], 0.0])
        return karras_sigmas(steps, edm.sigma_min, edm.sigma_max, edm.rho, edm.levels)

    def sampler(self) -> Sampler:
        """Takes what `denoise` gives."""
        return few_step if self.way.distilled else SAMPLERS[self.way.sampler]

    def denoise(self, conditions: Conditions) -> Denoise:
        """The student or the guided denoiser under `conditions`."""
        guidance = guidance_of(self.config)
        if self.way.distilled:
            assert self.student is not None
            return self.model.jump(self.student, conditions, guidance["ceiling"])
        return self.model.denoise(conditions, self.way.guidance, **guidance)

    def noise(self, frames: int, rng: torch.Generator) -> Tensor:
        """Standard normal (1, M, frames), the same on every device."""
        return torch.randn(1, self.config.mel.n_mels, frames, generator=rng).to(self.device)

    def precision(self) -> AbstractContextManager[object]:
        """Half precision where it was asked for."""
        return torch.autocast(self.device.type, torch.bfloat16) if self.bf16 else nullcontext()

    def voice(self, vocal_mel: Tensor | None, start: int, frames: int, size: int) -> Tensor | None:
        """The voice's mel (1, M, size) at frames start..start + frames, silence beyond."""
        if vocal_mel is None:
            return None
        part = vocal_mel[:, start : start + frames]
        rest = (0, size - part.shape[1])
        return F.pad(part, rest, value=silence(self.config.mel)).unsqueeze(0).to(self.device)

    def plan(self, sheet: LeadSheet | None, start: int, frames: int, size: int) -> Tensor | None:
        """Plan (1, P, size) at mel frames start..start + frames, zero beyond."""
        if sheet is None:
            return None
        times = (np.arange(start, start + frames) + 0.5) / self.config.mel.frame_rate
        features = torch.from_numpy(sheet.features(times))
        return F.pad(features, (0, size - frames)).unsqueeze(0).float().to(self.device)


def _continued(
    take: Rollout,
    semantics: Tensor,
    vocal_mel: Tensor | None,
    sheet: LeadSheet | None,
    total: int,
    tick: Tick,
) -> tuple[Array, Array]:
    """One window after the other."""
    config, model = take.config, take.model
    windows = cut(total, config.window)
    mel, prior = (take.store.zeros(config.mel.n_mels, total) for _ in range(2))
    rng = torch.Generator().manual_seed(take.seed)
    expected = take.way.steps * len(windows)
    for index, window in enumerate(windows):
        frames = window.stop - window.start
        seen = frames + edge(config.window)
        fixed = isinstance(config.resampler, PerceiverConfig)
        size = config.window.frames if fixed else seen
        first = take.frames_of(window.start)
        part = semantics[first : first + take.frames_of(seen)]
        if size > frames:
            part = F.pad(part, (0, 0, 0, take.frames_of(size) - len(part)))
        context = None
        if model.context and window.known:
            known = torch.from_numpy(mel[:, window.start : window.start + window.known])
            marked = torch.cat([known, torch.ones(1, window.known)])
            context = F.pad(marked, (0, size - window.known)).unsqueeze(0).to(take.device)
        done = index * take.way.steps
        with take.precision():
            plan = take.plan(sheet, window.start, seen, size)
            heard = take.voice(vocal_mel, window.start, seen, size)
            conditions = model.condition(_batch(part, take.device), size, plan, context, heard)
            out = model.generate(
                take.denoise(conditions),
                take.noise(size, rng),
                take.sigmas(),
                take.sampler(),
                lambda step, *_, done=done: tick(done + step + 1, expected),
            )
        for whole, part in ((prior, conditions.prior), (mel, out)):
            join(whole, part[0, :, :frames].float().cpu().numpy(), window, _FADE_FRAMES)
    return prior, mel


def _joint(
    take: Rollout,
    semantics: Tensor,
    vocal_mel: Tensor | None,
    sheet: LeadSheet | None,
    total: int,
    tick: Tick,
) -> tuple[Array, Array]:
    """All windows together: where they overlap, every denoiser call is their weighted mean."""
    config, model = take.config, take.model
    size = config.window.frames
    windows = cut(total, config.window)
    length = windows[-1].stop
    rng = torch.Generator().manual_seed(take.seed)
    parts: list[tuple[list[Window], Denoise]] = []
    priors: list[Tensor] = []
    for first in range(0, len(windows), take.batch):
        group = windows[first : first + take.batch]
        with take.precision():
            conditions = _conditions(take, group, semantics, vocal_mel, sheet)
        priors += conditions.prior[..., :size].float().split(1)
        parts.append((group, take.denoise(conditions)))
    merge = _Merge(windows, config.window.overlap, take.device)
    calls, expected = 0, len(windows) * take.way.steps * (2 if take.way.sampler == "heun" else 1)

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        nonlocal calls
        pieces: list[Tensor] = []
        for group, part in parts:
            cut_out = torch.cat([x[..., window.start : window.stop] for window in group])
            with take.precision():
                pieces += part(cut_out, sigma.expand(len(group))).float().split(1)
            calls += len(group)
            tick(min(calls, expected), expected)
        return merge(pieces)

    noise, sigmas = take.noise(length, rng), take.sigmas()
    out = model.generate(denoise, noise, sigmas, take.sampler())
    tick(expected, expected)
    prior, mel = (part[0, :, :total].cpu().numpy() for part in (merge(priors), out))
    return prior, mel


def _conditions(
    take: Rollout,
    windows: list[Window],
    semantics: Tensor,
    vocal_mel: Tensor | None,
    sheet: LeadSheet | None,
) -> Conditions:
    """What the denoiser is told in windows of one size, a batch of them."""
    size = take.config.window.frames
    count = take.frames_of(size) - take.lost
    sung, plans, voices = [], [], []
    for window in windows:
        first = take.frames_of(window.start)
        part = semantics[first : first + count]
        sung.append(_batch(F.pad(part, (0, 0, 0, count - len(part))), take.device))
        plans.append(take.plan(sheet, window.start, size, size))
        voices.append(take.voice(vocal_mel, window.start, size, size))
    plan, heard = (_together(parts) for parts in (plans, voices))
    return take.model.condition(torch.cat(sung), size, plan, vocal_mel=heard)


def _together(parts: list[Tensor | None]) -> Tensor | None:
    """(1, ...) each -> (B, ...); None where there are none."""
    there = [part for part in parts if part is not None]
    return torch.cat(there) if there else None


class _Merge:
    """Windows (1, M, size) -> their weighted mean (1, M, T); weights fade over the overlaps."""

    def __init__(self, windows: list[Window], overlap: int, device: torch.device) -> None:
        self.windows = windows
        size = windows[0].stop - windows[0].start
        edge = torch.linspace(0, 1, overlap + 2)[1:-1]
        ramp = torch.ones(size)
        ramp[:overlap] = edge
        ramp[-overlap:] = torch.minimum(ramp[-overlap:], edge.flip(0))
        self.weights = []
        total = torch.zeros(windows[-1].stop)
        for index, window in enumerate(windows):
            weight = ramp.clone()
            if index == 0:
                weight[:overlap] = 1
            if index == len(windows) - 1:
                weight[-overlap:] = 1
            total[window.start : window.stop] += weight
            self.weights.append(weight)
        self.weights = [
            (weight / total[window.start : window.stop]).to(device)
            for weight, window in zip(self.weights, windows, strict=True)
        ]

    def __call__(self, pieces: list[Tensor]) -> Tensor:
        merged = pieces[0].new_zeros(*pieces[0].shape[:-1], self.windows[-1].stop)
        for piece, weight, window in zip(pieces, self.weights, self.windows, strict=True):
            merged[..., window.start : window.stop] += weight * piece
        return merged


def _batch(part: Tensor, device: torch.device) -> Tensor:
    return part.unsqueeze(0).float().to(device)
