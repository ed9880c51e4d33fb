"""Which sampler plays, in how many steps: what is asked for, and a checkpoint's defaults."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from fastsag.config import Config
from fastsag.diffusion.samplers import DISTILLED, SAMPLERS
from fastsag.errors import UserError
from fastsag.mel import normalize


@dataclass(frozen=True)
class Way:
    """How a take is sampled. guidance: that a distilled sampler has learned, where it is one."""

    sampler: str
    steps: int
    guidance: float

    @property
    def distilled(self) -> bool:
        """By the student, not by the denoiser itself."""
        return self.sampler == DISTILLED


def guidance_of(config: Config) -> dict[str, Any]:
    """How guidance is held in check: what `FastSAG.denoise` takes beside its strength."""
    sampler, ceiling = config.sampler, config.sampler.guidance_ceiling
    if ceiling is not None:
        ceiling = float(normalize(torch.tensor(ceiling), config.mel))
    return {
        "rescale": sampler.guidance_rescale,
        "ceiling": ceiling,
        "interval": sampler.guidance_interval,
    }


def way_of(
    config: Config,
    sampler: str | None = None,
    steps: int | None = None,
    guidance: float | None = None,
) -> Way:
    """What is asked for, with the defaults of `config` for what is None.

    A student that the checkpoint prefers plays wherever it can do what is asked for: where no
    sampler is named, no guidance, and no more steps than it has learned.

    Raises:
        UserError: an unknown sampler, or one that cannot do this.
    """
    if sampler is not None and sampler not in (*SAMPLERS, DISTILLED):
        known = ", ".join((*SAMPLERS, DISTILLED))
        raise UserError(f"--sampler {sampler}: unknown; choose one of {known}")
    solver, student = config.sampler, config.distilled
    if sampler is None and student is not None and student.preferred:
        able = guidance is None and (steps or 1) <= len(student.schedules)
        sampler = DISTILLED if able else None
    if sampler != DISTILLED:
        strength = solver.guidance if guidance is None else guidance
        return Way(sampler or solver.name, steps or solver.steps, strength)
    if student is None:
        raise UserError(
            f"--sampler {DISTILLED}: {config.name} has no student; choose another sampler, or make "
            "one: fastsag distill"
        )
    most = len(student.schedules)
    if guidance is not None:
        raise UserError(
            f"--guidance: the {DISTILLED} sampler has learned {student.guidance:g} and knows no "
            f"other; leave it out, or choose --sampler {solver.name}"
        )
    if (steps or 1) > most:
        raise UserError(
            f"--steps {steps}: the {DISTILLED} sampler takes 1 to {most}; "
            f"choose --sampler {solver.name} for more"
        )
    return Way(DISTILLED, steps or student.steps, student.guidance)
