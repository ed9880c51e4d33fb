"""What the teacher's solver makes of crops, step by step: the examples a student is distilled from.

A solution is one safetensors file: `channels` (C, T), what the denoiser is told; `noise` (M, T),
standard normal; and `estimates` (n, M, T): step i of the solver moves x in a straight line towards
estimate i, until the next noise level. From these come the states of all n + 1 levels, so that
any jump between two of them can be learned, again and again, without another call of the teacher.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from fastsag.checkpoint import save_weights
from fastsag.config import Config
from fastsag.diffusion.samplers import SAMPLERS
from fastsag.diffusion.sampling import guidance_of
from fastsag.diffusion.schedule import karras_sigmas
from fastsag.training.accompaniment import AccompanimentTraining, Draws

Progress = Callable[[int, int], None]  # crops solved, crops in all


def levels_of(config: Config) -> Tensor:
    """The noise levels of the teacher's solver, falling to 0: (n + 1,)."""
    edm = config.edm
    return karras_sigmas(config.sampler.steps, edm.sigma_min, edm.sigma_max, edm.rho, edm.levels)


def write_solutions(
    teacher: AccompanimentTraining,
    crops: Dataset[dict[str, Tensor]],
    count: int,
    folder: Path,
    progress: Progress,
) -> None:
    """Solve crops 0..count - 1 that have no file in `folder` yet.

    The solver, its steps and its guidance are those of the teacher's configuration.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        path = _path(folder, index)
        if not path.exists():
            batch = default_collate([crops[index]])
            save_weights(solve(teacher, batch), path)
        progress(index + 1, count)


@torch.inference_mode()
def solve(teacher: AccompanimentTraining, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """The solution of a batch of one crop."""
    config, model = teacher.config, teacher.model
    mel, sampler = batch["mel"], config.sampler
    draws = Draws(config.training.seed, batch["item"], mel.device)
    sigmas = levels_of(config)
    states: list[Tensor] = []
    half = torch.autocast(mel.device.type, torch.bfloat16, config.training.precision == "bf16")
    with half:
        conditions = teacher.conditions(batch, draws)
        # As it is stored, so that the states of the file are those that the teacher saw.
        noise = draws.normal(mel.shape[1:]).half().float()
        last = model.generate(
            model.denoise(conditions, sampler.guidance, **guidance_of(config)),
            noise,
            sigmas,
            SAMPLERS[sampler.name],
            lambda step, sigma, x, x0: states.append(x),
        )
    # A solver may leave out the last step, which is to level 0 and changes nothing then.
    states += [last] * (len(sigmas) - len(states))
    estimates = [
        towards(x, following, float(ratio))
        for (x, following), ratio in zip(pairwise(states), sigmas[1:] / sigmas[:-1], strict=True)
    ]
    return {
        "channels": conditions.channels[0],
        "noise": noise[0],
        "estimates": torch.cat(estimates),
    }


def towards(x: Tensor, following: Tensor, ratio: float | Tensor) -> Tensor:
    """The point that a straight line from x leads to, if it is at `following` with `ratio` left."""
    return (following - ratio * x) / (1 - ratio)


def states_of(solution: dict[str, Tensor], sigmas: Tensor) -> Iterator[Tensor]:
    """The states (M, T) of all levels, from pure noise to the mel."""
    x = solution["noise"].float() * sigmas[0]
    yield x
    for estimate, ratio in zip(solution["estimates"], sigmas[1:] / sigmas[:-1], strict=True):
        x = estimate.float() + ratio * (x - estimate.float())
        yield x


def read_solution(folder: Path, index: int) -> dict[str, Tensor]:
    """The tensors of one file."""
    return load_file(_path(folder, index))


def count_solutions(folder: Path, wanted: int) -> int:
    """How many of the first `wanted` crops have a file."""
    return sum(_path(folder, index).exists() for index in range(wanted))


def _path(folder: Path, index: int) -> Path:
    return folder / f"{index:06d}.safetensors"
