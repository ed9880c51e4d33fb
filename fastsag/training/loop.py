"""The training loop, on Lightning: resumable to the bit, in one process or many.

Item i of a dataset depends on i alone, and so does what is drawn at random for it; step n takes the
same items whatever the number of processes. So a run that was killed and started again ends with
the same weights as one that was not, and one of several processes with the same up to rounding.
"""

from __future__ import annotations

import logging
import pickle
import sys
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import lightning.pytorch as lightning
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn
from torch.utils.data import Dataset

from fastsag import checkpoint
from fastsag.audio import write_text
from fastsag.config import Strict, TrainingConfig, dump
from fastsag.errors import UserError
from fastsag.training.batches import Batches
from fastsag.training.callbacks import (
    EMA,
    AveragedWeights,
    Guard,
    Report,
    Saver,
    StepSeed,
    trained,
)

CHECKPOINT, CONFIG = "last.ckpt", "config.yaml"

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
    *,
    devices: int | str = "auto",
    nodes: int = 1,
    callbacks: Sequence[Callback] = (),
) -> None:
    """Train `module` for `training.steps` steps, or go on where `out` stopped.

    Args:
        module: its `training_step` logs what the progress line shows.
        train: `steps * batch_size` items, taken in order.
        held_out: validated every `validate_every` steps and at the end.
        out: run folder: config.yaml, last.ckpt, TensorBoard logs.
        training: settings.
        config: the whole configuration, kept with the run.
        devices: processes on this machine; "auto" is one for each GPU, or one on a CPU.
        nodes: machines; the same command is run on each of them.
        callbacks: more of them.

    Raises:
        UserError: `out` holds a run of another configuration, a gradient is not finite, or the
            batch cannot be shared by the processes.
    """
    _quiet()
    _claim(out, config)
    torch.manual_seed(training.seed)
    resume = out / CHECKPOINT if (out / CHECKPOINT).exists() else None
    done = int(_read(resume)["global_step"]) if resume else 0
    if done >= training.steps:
        print(f"{out}: already trained for {done} steps")
        return
    manual = not module.automatic_optimization  # such a module steps and clips by itself
    trainer = lightning.Trainer(
        accelerator="auto",
        devices=devices,
        num_nodes=nodes,
        strategy=_strategy(manual, devices, nodes),
        use_distributed_sampler=False,
        max_steps=training.steps,
        precision="bf16-mixed" if training.precision == "bf16" else "32-true",
        accumulate_grad_batches=1 if manual else training.accumulate,
        gradient_clip_val=None if manual else training.clip_norm,
        val_check_interval=training.validate_every * training.accumulate,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        log_every_n_steps=10,
        logger=TensorBoardLogger(str(out), name="", version="logs"),
        callbacks=[
            StepSeed(training.seed),
            *callbacks,
            AveragedWeights(training.ema_decay),
            Guard(out),
            Saver(out / CHECKPOINT, training.save_every),
            Report(training, done),
        ],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    batches = Batches(train, held_out, training, done)
    trainer.fit(module, batches, ckpt_path=str(resume) if resume else None, weights_only=True)
    if training.steps % training.validate_every:
        trainer.validate(module, batches, verbose=False)


def _strategy(manual: bool, devices: int | str, nodes: int) -> str:
    """Lightning's choice; with two optimizers a backward pass does not reach every weight."""
    many = nodes > 1 or (torch.cuda.device_count() if devices == "auto" else int(devices)) > 1
    return "ddp_find_unused_parameters_true" if manual and many else "auto"


def started(module: ModuleT, init: str | Path | None) -> ModuleT:
    """`module` with the weights of `init`, a run (averaged) or a checkpoint; as it is for None.

    Layers that `init` does not have begin anew, which is said.

    Raises:
        UserError: neither, or the weights are of another shape or another part.
    """
    if init is None:
        return module
    weights = initial_weights(init)
    shapes = {name: parameter.shape for name, parameter in trained(module)}
    absent = [name for name in shapes if name not in weights]
    wrong = [name for name in shapes if name in weights and weights[name].shape != shapes[name]]
    if wrong or len(absent) == len(shapes):
        raise UserError(
            f"{init}: its weights do not fit ({', '.join((wrong or absent)[:4])}); "
            "start from a run of the same part and sizes"
        )
    if absent:
        print(f"{init}: has no {', '.join(absent)}; these begin anew", file=sys.stderr, flush=True)
    module.load_state_dict(
        {k: weights[k] for k in weights if k in module.state_dict()}, strict=False
    )
    return module


def initial_weights(source: str | Path) -> dict[str, Tensor]:
    """Weights under the names of a run: of a run folder, or of a checkpoint by name or folder.

    Raises:
        UserError: neither.
    """
    if Path(source).is_dir() and not (Path(source) / checkpoint.MODEL).exists():
        return averaged_weights(Path(source))
    _, model, vocoder = checkpoint.load(source)
    weights = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    weights |= {f"vocoder.{name}": tensor for name, tensor in vocoder.state_dict().items()}
    planner = {} if model.planner is None else model.planner.state_dict()
    return weights | {f"planner.{name}": tensor for name, tensor in planner.items()}


def averaged_weights(run: Path, part: str = "") -> dict[str, Tensor]:
    """The averaged weights of a run, or the last ones where it does not average.

    Args:
        part: of the trained module, such as "model": its weights alone, by their names within it.

    Raises:
        UserError: no checkpoint in the folder.
    """
    state = _read(run / CHECKPOINT)
    weights: dict[str, Tensor] = dict(state["state_dict"])
    weights.update(state.get(EMA) or {})
    return part_of(weights, part) if part else weights


def part_of(weights: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    """The weights of a part, such as "model", by their names within it."""
    prefix = f"{part}."
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in weights.items()
        if name.startswith(prefix)
    }


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
    if not path.exists():
        write_text(path, text)
    elif path.read_text(encoding="utf-8") != text:
        raise UserError(f"{out}: holds a run of another configuration; choose another --out")


def _quiet() -> None:
    """Only what a user can act on."""
    warnings.filterwarnings("ignore", module="lightning")
    warnings.filterwarnings("ignore", module="torch")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
