"""The training loop, on Lightning: resumable to the bit, averaged weights, one progress line.

Item i of a dataset depends on i alone and the noise of step n on (seed, n), so that a run that was
killed and started again ends with the same weights as one that was not.
"""

from __future__ import annotations

import logging
import pickle
import sys
import time
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import lightning.pytorch as lightning
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from fastsag.config import Strict, TrainingConfig, dump
from fastsag.errors import UserError

CHECKPOINT, CONFIG, BAD_BATCH = "last.ckpt", "config.yaml", "bad-batch.safetensors"
_EMA = "averaged"
_PRINT_SECONDS = 30.0

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def build_optimizer(parameters: Iterable[nn.Parameter], training: TrainingConfig) -> dict[str, Any]:
    """What `configure_optimizers` returns: Adam or AdamW with warm-up and decay by step."""
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    optimizer = kinds[training.optimizer](
        parameters, lr=training.learning_rate, weight_decay=training.weight_decay
    )

    def factor(step: int) -> float:
        warm = min(1.0, (step + 1) / max(1, training.warmup_steps))
        if training.schedule == "constant":
            return warm
        progress = min(1.0, step / training.steps)
        return warm * 0.5 * (1 + float(torch.cos(torch.tensor(torch.pi * progress))))

    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def fit(
    module: lightning.LightningModule,
    train: Dataset[Any],
    held_out: Dataset[Any],
    out: Path,
    training: TrainingConfig,
    config: Strict,
) -> None:
    """Train `module` for `training.steps` steps, or go on where `out` stopped.

    Args:
        module: its `training_step` logs what the progress line shows.
        train: `steps * batch_size` items, taken in order.
        held_out: validated every `validate_every` steps and at the end.
        out: run folder: config.yaml, last.ckpt, TensorBoard logs.
        training: settings.
        config: the whole configuration, kept with the run.

    Raises:
        UserError: `out` holds a run of another configuration, or the loss is not finite.
    """
    _quiet()
    _claim(out, config)
    torch.manual_seed(training.seed)
    resume = out / CHECKPOINT if (out / CHECKPOINT).exists() else None
    done = int(_read(resume)["global_step"]) if resume else 0
    if done >= training.steps:
        print(f"{out}: already trained for {done} steps")
        return
    trainer = lightning.Trainer(
        accelerator="auto",
        devices=1,
        max_steps=training.steps,
        precision="bf16-mixed" if training.precision == "bf16" else "32-true",
        gradient_clip_val=training.clip_norm,
        val_check_interval=training.validate_every,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        logger=TensorBoardLogger(str(out), name="", version="logs"),
        callbacks=[
            StepSeed(training.seed),
            AveragedWeights(training.ema_decay),
            Guard(out),
            Saver(out / CHECKPOINT, training.save_every),
            Report(training.steps),
        ],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    batches = StepBatches(done, training.steps, training.batch_size)
    validation = DataLoader(held_out, training.batch_size)
    trainer.fit(
        module,
        DataLoader(train, batch_sampler=batches),
        validation,
        ckpt_path=str(resume) if resume else None,
        weights_only=True,
    )
    if training.steps % training.validate_every:
        trainer.validate(module, validation, verbose=False)


def started(module: ModuleT, init: Path | None) -> ModuleT:
    """`module` with the averaged weights of the run `init`; as it is for None.

    Raises:
        UserError: the run has no checkpoint, or trained something of another shape.
    """
    if init is None:
        return module
    weights = averaged_weights(init)
    trained = {name: parameter.shape for name, parameter in _trained(module)}
    wrong = [
        name for name, shape in trained.items() if getattr(weights.get(name), "shape", 0) != shape
    ]
    if wrong:
        raise UserError(
            f"{init}: its weights do not fit ({', '.join(wrong[:4])}); "
            "start from a run of the same part and sizes"
        )
    module.load_state_dict({name: weights[name] for name in trained}, strict=False)
    return module


def averaged_weights(run: Path) -> dict[str, Tensor]:
    """The averaged weights of a run, or the last ones where it does not average.

    Raises:
        UserError: no checkpoint in the folder.
    """
    state = _read(run / CHECKPOINT)
    weights: dict[str, Tensor] = dict(state["state_dict"])
    weights.update(state.get(_EMA) or {})
    return weights


def _read(path: Path) -> dict[str, Any]:
    """A Lightning checkpoint, loaded without running code from it."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path}: no checkpoint; has the run been started?") from None
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise UserError(
            f"{path}: not a checkpoint of a training run ({str(error).splitlines()[0]}); "
            "delete it to start again"
        ) from None


def _claim(out: Path, config: Strict) -> None:
    """Write config.yaml, or check that the run there has the same one."""
    out.mkdir(parents=True, exist_ok=True)
    path, text = out / CONFIG, dump(config)
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise UserError(f"{out}: holds a run of another configuration; choose another --out")
    path.write_text(text, encoding="utf-8")


def _quiet() -> None:
    """Only what a user can act on."""
    warnings.filterwarnings("ignore", module="lightning")
    warnings.filterwarnings("ignore", module="torch")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


class StepBatches(Sampler[list[int]]):
    """Batch n holds the items from n * size on; iteration begins at batch `first`.

    The length counts the batches before `first` too: Lightning compares it with the number of
    batches it has seen, which a resumed run restores.
    """

    def __init__(self, first: int, steps: int, size: int) -> None:
        self.first, self.steps, self.size = first, steps, size

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.first, self.steps):
            yield list(range(step * self.size, (step + 1) * self.size))


class StepSeed(Callback):
    """Noise of step n from (seed, n)."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_index: int) -> None:
        torch.manual_seed((self.seed + 1) * 1_000_003 + trainer.global_step)


class AveragedWeights(Callback):
    """Exponential moving average of the trained weights; validation uses it."""

    def __init__(self, decay: float | None) -> None:
        self.decay = decay
        self.average: dict[str, Tensor] = {}
        self._kept: dict[str, Tensor] = {}

    def on_train_start(self, trainer: Any, module: nn.Module) -> None:
        if self.decay is not None:
            self.average = {
                name: self.average.get(name, value.detach()).to(value.device, copy=True)
                for name, value in _trained(module)
            }

    def on_train_batch_end(
        self, trainer: Any, module: nn.Module, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        if self.decay is None:
            return
        # Early on the average forgets faster, so that it leaves the start behind.
        step = trainer.global_step
        decay = min(self.decay, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, value in _trained(module):
                self.average[name].lerp_(value.detach(), 1 - decay)

    def on_validation_start(self, trainer: Any, module: nn.Module) -> None:
        if self.average:
            self._kept = {name: value.detach().clone() for name, value in _trained(module)}
            _assign(module, self.average)

    def on_validation_end(self, trainer: Any, module: nn.Module) -> None:
        if self._kept:
            _assign(module, self._kept)
            self._kept = {}

    def on_save_checkpoint(self, trainer: Any, module: Any, checkpoint: dict[str, Any]) -> None:
        checkpoint[_EMA] = self.average

    def on_load_checkpoint(self, trainer: Any, module: Any, checkpoint: dict[str, Any]) -> None:
        self.average = checkpoint[_EMA]


def _trained(module: nn.Module) -> Iterable[tuple[str, nn.Parameter]]:
    return ((name, value) for name, value in module.named_parameters() if value.requires_grad)


def _assign(module: nn.Module, values: dict[str, Tensor]) -> None:
    with torch.no_grad():
        for name, parameter in _trained(module):
            parameter.copy_(values[name])


class Guard(Callback):
    """Stops at the first loss that is not finite and keeps the batch for inspection."""

    def __init__(self, out: Path) -> None:
        self.out = out

    def on_train_batch_end(
        self, trainer: Any, module: Any, outputs: Any, batch: dict[str, Tensor], batch_index: int
    ) -> None:
        loss = outputs["loss"] if isinstance(outputs, dict) else outputs
        if torch.isfinite(loss):
            return
        path = self.out / BAD_BATCH
        save_file({name: value.detach().cpu().contiguous() for name, value in batch.items()}, path)
        raise UserError(
            f"{path}: the loss of step {trainer.global_step} is {float(loss)} on this batch; "
            "lower training.learning_rate or set training.clip_norm, in a new --out"
        )


class Saver(Callback):
    """Writes the checkpoint every so many steps and at the last one.

    To a new file that then replaces the old, so that a kill never leaves half a checkpoint.
    """

    def __init__(self, path: Path, every: int) -> None:
        self.path, self.every = path, every

    def on_train_batch_end(
        self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        if trainer.global_step % self.every == 0 or trainer.global_step == trainer.max_steps:
            temporary = self.path.with_suffix(".tmp")
            trainer.save_checkpoint(temporary)
            temporary.replace(self.path)


class Report(Callback):
    """One line: step, steps a second, losses, time left."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.started = self.printed = 0.0
        self.first = 0

    def on_train_start(self, trainer: Any, module: Any) -> None:
        self.started = self.printed = time.monotonic()
        self.first = trainer.global_step

    def on_train_batch_end(
        self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        now, step = time.monotonic(), trainer.global_step
        interval = 1.0 if sys.stderr.isatty() else _PRINT_SECONDS
        if now - self.printed < interval and step < self.steps:
            return
        self.printed = now
        rate = (step - self.first) / max(1e-9, now - self.started)
        left = (self.steps - step) / max(rate, 1e-9)
        losses = _losses(trainer.callback_metrics, "train/")
        line = f"step {step}/{self.steps}  {rate:.2f}/s  {losses}  {left / 60:.1f} min left"
        # On a terminal the line is written over itself; "\x1b[K" clears what the last one left.
        begin, end = ("\r\x1b[K", "") if sys.stderr.isatty() else ("", "\n")
        print(begin + line, end=end, file=sys.stderr, flush=True)

    def on_validation_end(self, trainer: Any, module: Any) -> None:
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
