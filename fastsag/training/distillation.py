"""Distillation: a student that plays in one to four steps what the guided solver plays in many.

The teacher solves crops once (`solutions.py`). The student learns to jump along its path: from the
state at one noise level straight to the state at a later one, as a flow map does (Boffi et al.
2024; Kim et al. 2024, CTM). The levels of a few steps are fixed, so only their jumps are learned.
A jump is one call of the network: guidance, which costs the teacher a second one, is in what it
learns from.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import numpy as np
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor
from torch.utils.data import Dataset

from fastsag import checkpoint
from fastsag import config as configuration
from fastsag.config import Config, DistilledConfig
from fastsag.diffusion.precond import c_out
from fastsag.diffusion.samplers import few_step
from fastsag.errors import UserError
from fastsag.mel import band_weights
from fastsag.model import build_student
from fastsag.training.loop import averaged_weights, build_optimizer
from fastsag.training.solutions import levels_of, read_solution, states_of, towards

SETTINGS: dict[str, Any] = {
    "steps": 3_000,
    "batch_size": 4,
    "accumulate": 1,
    "learning_rate": 3e-4,
    "warmup_steps": 100,
    "schedule": "cosine",
    "optimizer": "adamw",
    "weight_decay": 0.01,
    "clip_norm": 1.0,
    "clip_parts": [],
    "ema_decay": 0.995,
    "precision": "bf16",
    "validate_every": 500,
    "save_every": 100,
}
CHECKPOINT, SOLUTIONS, HELD_OUT = "checkpoint", "solutions", "held-out"
HELD_OUT_CROPS = 16
_HUBER = 0.03  # in units of what the network must give; smaller errors count as their squares
# Where 1, 2, 3 and 4 steps stop on the teacher's way, as shares of its steps: late enough that the
# first jump crosses the noise in which there is nothing to see, and each bends about as much.
_STOPS = ((0.0,), (0.0, 6 / 12), (0.0, 5 / 12, 7 / 12), (0.0, 5 / 12, 6 / 12, 8 / 12))


def settings_of(config: Config, changes: dict[str, Any]) -> Config:
    """The configuration of a run: a teacher's, with `SETTINGS` and a section `distilled`.

    `changes` are put over it, section by section.

    Raises:
        UserError: the teacher cannot be distilled, or a change is wrong.
    """
    if config.denoiser.kind != "dit" or config.window.overlap:
        raise UserError(
            f"{config.name}: only transformers (denoiser.kind dit) that play one window after the "
            "other are distilled"
        )
    values = config.model_dump(mode="json")
    values["training"] = {**values["training"], **SETTINGS}
    values["distilled"] = None
    own = {name: section for name, section in changes.items() if name != "distilled"}
    teacher = configuration.parse(configuration.merged(values, own), config.name, Config)
    sigmas = levels_of(teacher)
    places = [[round(stop * (len(sigmas) - 1)) for stop in stops] for stops in _STOPS]
    if len(set(places[-1])) < len(places[-1]):
        raise UserError(
            f"{config.name}: its solver takes {teacher.sampler.steps} steps, too few to stop "
            "between; add sampler.steps=12"
        )
    values = teacher.model_dump(mode="json")
    values["distilled"] = {
        "steps": len(_STOPS),
        "schedules": [[float(sigmas[place]) for place in row] for row in places],
        "guidance": teacher.sampler.guidance,
        **changes.get("distilled", {}),
    }
    return configuration.parse(values, config.name, Config)


def jumps_of(distilled: DistilledConfig, sigmas: Tensor) -> list[tuple[int, int]]:
    """The jumps that all schedules need, each once, as places in the solver's levels (n + 1,).

    Raises:
        UserError: a schedule has a level that the solver does not pass.
    """
    found: dict[tuple[int, int], None] = {}
    for levels in distilled.schedules:
        places = [_place(level, sigmas) for level in levels]
        found |= dict.fromkeys(zip(places, [*places[1:], len(sigmas) - 1], strict=True))
    return list(found)


def _place(level: float, sigmas: Tensor) -> int:
    place = int((sigmas - level).abs().argmin())
    if abs(float(sigmas[place]) - level) > 1e-4 * level:
        known = ", ".join(f"{float(sigma):g}" for sigma in sigmas[:-1])
        raise UserError(f"distilled.schedules: {level:g} is no level of the solver ({known})")
    return place


class Jumps(Dataset[dict[str, Tensor]]):
    """Jumps along solutions, `length` of them; item i depends on (seed, i) alone.

    Item: channels (C, T); x (M, T), the state at level sigma (); estimate (M, T), what the student
    must answer to get to the state at level following (). All float32.
    """

    def __init__(self, folder: Path, count: int, config: Config, length: int, seed: int) -> None:
        assert config.distilled is not None
        self.folder, self.count, self.length, self.seed = folder, count, length, seed
        self.sigmas = levels_of(config)
        self.jumps = jumps_of(config.distilled, self.sigmas)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        if not 0 <= index < self.length:
            raise IndexError(index)
        turn, place = divmod(index, self.count)  # every solution once a turn
        order = np.random.default_rng((self.seed, turn)).permutation(self.count)
        start, end = self.jumps[
            np.random.default_rng((self.seed, turn, place)).integers(len(self.jumps))
        ]
        solution = read_solution(self.folder, int(order[place]))
        states = list(states_of(solution, self.sigmas))
        sigma, following = self.sigmas[start], self.sigmas[end]
        return {
            "channels": solution["channels"].float(),
            "x": states[start],
            "estimate": towards(states[start], states[end], following / sigma),
            "sigma": sigma,
            "following": following,
        }


class HeldOut(Dataset[dict[str, Tensor]]):
    """Whole solutions: channels (C, T), noise (M, T), and mel (M, T), what the teacher made."""

    def __init__(self, folder: Path, count: int, config: Config) -> None:
        self.folder, self.count, self.sigmas = folder, count, levels_of(config)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        if not 0 <= index < self.count:
            raise IndexError(index)
        solution = read_solution(self.folder, index)
        *_, mel = states_of(solution, self.sigmas)
        noise, channels = (solution[name].float() for name in ("noise", "channels"))
        return {"channels": channels, "noise": noise, "mel": mel}


class Distillation(lightning.LightningModule):
    """Trains the student on jumps; validation plays whole solutions in 1, 2, ... steps."""

    bands: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        assert config.distilled is not None
        self.config, self.distilled = config, config.distilled
        self.student = build_student(config)
        bands = band_weights(config.mel, config.loss.bass)
        self.register_buffer("bands", bands, persistent=False)

    def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:
        estimate = self.student(
            batch["x"], batch["sigma"], batch["channels"], None, batch["following"]
        )
        loss = self.jump_loss(estimate, batch["estimate"], batch["sigma"])
        self.log("train/jump", loss.detach(), sync_dist=True)
        return loss

    def jump_loss(self, estimate: Tensor, target: Tensor, sigma: Tensor) -> Tensor:
        """Pseudo-Huber of the network's error: that of the estimate (B, M, T) over c_out."""
        scale = c_out(sigma, self.config.edm.sigma_data, self.student.epsilon)[:, None, None]
        error = (estimate - target) / scale
        error = (error.square() + _HUBER**2).sqrt().sub(_HUBER)
        return (self.bands[:, None] * error).mean()

    def play(self, channels: Tensor, noise: Tensor, steps: int) -> Tensor:
        """Channels (B, C, T) and standard normal noise (B, M, T) -> mel (B, M, T)."""
        levels = noise.new_tensor([*self.distilled.schedules[steps - 1], 0.0])

        def jump(x: Tensor, sigma: Tensor, following: Tensor) -> Tensor:
            return self.student(x, sigma, channels, None, following)

        return few_step(jump, noise * levels[0], levels)

    def validation_step(self, batch: dict[str, Tensor], index: int) -> None:
        """Logs the distance (RMS) between what student and teacher make of the same noise."""
        for steps in range(1, len(self.distilled.schedules) + 1):
            played = self.play(batch["channels"], batch["noise"], steps)
            distance = (played - batch["mel"]).square().mean((1, 2)).sqrt().mean()
            name = f"validation/{steps}-step"
            self.log(name, distance, batch_size=len(batch["mel"]), sync_dist=True)

    def configure_optimizers(self) -> Any:
        return build_optimizer(self.parameters(), self.config.training)


def started(config: Config, teacher: dict[str, Tensor]) -> Distillation:
    """A student with the weights of the teacher's denoiser: at first it answers as that does."""
    module = Distillation(config)
    known = module.student.state_dict()
    module.student.load_state_dict(known | teacher)
    return module


def export(run: Path, config: Config, source: str | Path) -> Path:
    """The checkpoint of a run: all of its teacher's, with the student beside it.

    Of several processes the first one writes it.
    """
    folder = run / CHECKPOINT
    if getattr(rank_zero_only, "rank", 0):
        return folder
    own, model, vocoder = checkpoint.load(source)
    student = averaged_weights(run, "student")
    made = own.model_copy(update={"distilled": config.distilled})
    checkpoint.export(folder, made, model.state_dict(), vocoder.state_dict(), student=student)
    return folder
