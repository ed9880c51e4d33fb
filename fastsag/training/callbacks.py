"""Around a step: seeds, averaged weights, the guard, checkpoints, the progress line."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback
from safetensors.torch import save_file
from torch import Tensor, nn

from fastsag.config import TrainingConfig
from fastsag.errors import UserError
from fastsag.training.batches import Prefetched

BAD_BATCH = "bad-batch"
EMA = "averaged"  # key of the averaged weights in a checkpoint
_PRINT_SECONDS = 30.0


class StepSeed(Callback):
    """Seeds what modules draw (dropout) by seed, step, part of the step and process."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_index: int) -> None:
        place = trainer.global_rank + trainer.world_size * batch_index
        torch.manual_seed((self.seed + 1) * 1_000_003 + place)


class AveragedWeights(Callback):
    """Exponential moving average of the trained weights; validation uses it.

    A module that has `averaged`, a submodule's name, keeps averages of that one alone.
    """

    def __init__(self, decay: float | None) -> None:
        self.decay = decay
        self._step = -1
        self.average: dict[str, Tensor] = {}
        self._kept: dict[str, Tensor] = {}

    def on_train_start(self, trainer: Any, module: nn.Module) -> None:
        self._step = trainer.global_step
        if self.decay is not None:
            self.average = {
                name: self.average.get(name, value.detach()).to(value.device, copy=True)
                for name, value in trained(module)
            }

    def on_train_batch_end(
        self, trainer: Any, module: nn.Module, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        step = trainer.global_step
        if self.decay is None or step == self._step:  # only a part of a step is done
            return
        self._step = step
        # Early on the average forgets faster, so that it leaves the start behind.
        decay = min(self.decay, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, value in trained(module):
                self.average[name].lerp_(value.detach(), 1 - decay)

    def on_validation_start(self, trainer: Any, module: nn.Module) -> None:
        if self.average:
            self._kept = {name: value.detach().clone() for name, value in trained(module)}
            _assign(module, self.average)

    def on_validation_end(self, trainer: Any, module: nn.Module) -> None:
        if self._kept:
            _assign(module, self._kept)
            self._kept = {}

    def on_save_checkpoint(self, trainer: Any, module: Any, checkpoint: dict[str, Any]) -> None:
        checkpoint[EMA] = self.average

    def on_load_checkpoint(self, trainer: Any, module: Any, checkpoint: dict[str, Any]) -> None:
        self.average = checkpoint[EMA]


def trained(module: nn.Module) -> Iterable[tuple[str, nn.Parameter]]:
    """The parameters that a run trains to keep, by name."""
    kept = f"{module.averaged}." if hasattr(module, "averaged") else ""
    return (
        (name, value)
        for name, value in module.named_parameters()
        if value.requires_grad and name.startswith(kept)
    )


def _assign(module: nn.Module, values: dict[str, Tensor]) -> None:
    with torch.no_grad():
        for name, parameter in trained(module):
            parameter.copy_(values[name])


class Guard(Callback):
    """Stops before the first step whose gradient is not finite and keeps its items.

    A loss that is not finite has such a gradient; the weights are still those before.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.batches: list[dict[str, Tensor]] = []
        self._step = -1

    def on_train_batch_start(
        self, trainer: Any, module: Any, batch: dict[str, Tensor], batch_index: int
    ) -> None:
        if trainer.global_step != self._step:
            self._step, self.batches = trainer.global_step, []
        self.batches.append(batch)

    def on_before_optimizer_step(self, trainer: Any, module: Any, optimizer: Any) -> None:
        gradients = {
            name: value.grad for name, value in module.named_parameters() if value.grad is not None
        }
        norm = torch.nn.utils.get_total_norm(list(gradients.values()))
        module.log("train/gradient", norm)
        if torch.isfinite(norm):
            return
        broken = [name for name, grad in gradients.items() if not torch.isfinite(grad).all()]
        rank = f"-{trainer.global_rank}" if trainer.world_size > 1 else ""
        path = self.out / f"{BAD_BATCH}{rank}.safetensors"
        names = self.batches[0].keys()
        items = {name: torch.cat([batch[name] for batch in self.batches]) for name in names}
        save_file({name: value.cpu().contiguous() for name, value in items.items()}, path)
        raise UserError(
            f"{path}: step {trainer.global_step} has no finite gradient on these items "
            f"({', '.join(broken[:3])}); lower training.learning_rate or set training.clip_norm, "
            "in a new --out"
        )


class Saver(Callback):
    """Writes the checkpoint every so many steps and at the last one.

    To a new file that then replaces the old, so that a kill never leaves half a checkpoint.
    """

    def __init__(self, path: Path, every: int) -> None:
        self.path, self.every = path, every
        self._step = -1

    def on_train_start(self, trainer: Any, module: Any) -> None:
        self._step = trainer.global_step

    def on_train_batch_end(
        self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        step = trainer.global_step
        if step == self._step:
            return
        self._step = step
        if step % self.every == 0 or step == trainer.max_steps:
            temporary = self.path.with_suffix(".tmp")
            trainer.save_checkpoint(temporary)  # in every process: one of them writes
            if trainer.is_global_zero:
                temporary.replace(self.path)


class Report(Callback):
    """One line: step, step time, the share of it that waits for data, losses, time left."""

    def __init__(self, training: TrainingConfig, first: int) -> None:
        self.training, self.first = training, first
        self.began = self.printed = self.paused = 0.0
        self._pause = 0.0

    def on_train_start(self, trainer: Any, module: Any) -> None:
        self.began = self.printed = time.monotonic()

    def on_validation_start(self, trainer: Any, module: Any) -> None:
        self._pause = time.monotonic()

    def on_train_batch_end(
        self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        now, step = time.monotonic(), trainer.global_step
        interval = 1.0 if sys.stderr.isatty() else _PRINT_SECONDS
        if not trainer.is_global_zero or (
            now - self.printed < interval and step < self.training.steps
        ):
            return
        self.printed = now
        spent = now - self.began - self.paused
        seconds = spent / max(1, step - self.first)
        loader = trainer.train_dataloader
        waited = loader.waited / spent if isinstance(loader, Prefetched) else 0.0
        figures = {"seconds": seconds, "data_share": waited}
        if trainer.logger is not None:
            named = {f"speed/{name}": value for name, value in figures.items()}
            trainer.logger.log_metrics(named, step)
        left = (self.training.steps - step) * seconds / 60
        losses = _losses(trainer.callback_metrics, "train/")
        crops = self.training.batch_size / seconds
        line = (
            f"step {step}/{self.training.steps}  {seconds:.2f} s/step  {crops:.1f} crops/s  "
            f"data {waited:.0%}  {losses}  {left:.1f} min left"
        )
        # On a terminal the line is written over itself; "\x1b[K" clears what the last one left.
        begin, end = ("\r\x1b[K", "") if sys.stderr.isatty() else ("", "\n")
        print(begin + line, end=end, file=sys.stderr, flush=True)

    def on_validation_end(self, trainer: Any, module: Any) -> None:
        self.paused += time.monotonic() - self._pause
        if not trainer.is_global_zero:
            return
        losses = _losses(trainer.callback_metrics, "validation/")
        begin = "\r\x1b[K" if sys.stderr.isatty() else ""
        line = f"{begin}step {trainer.global_step}  validation  {losses}"
        print(line, file=sys.stderr, flush=True)


def _losses(metrics: dict[str, Tensor], prefix: str) -> str:
    return "  ".join(
        f"{name.removeprefix(prefix)} {float(value):.4f}"
        for name, value in metrics.items()
        if name.startswith(prefix)
    )
