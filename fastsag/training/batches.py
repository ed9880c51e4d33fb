"""Which items make a step, in which process, and how they get there in time."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from typing import Any

import lightning.pytorch as lightning
import torch
from torch.utils.data import DataLoader, Dataset, Sampler, Subset

from fastsag.config import TrainingConfig
from fastsag.errors import UserError

_AHEAD = 2  # batches that wait for the step


class StepBatches(Sampler[list[int]]):
    """Step n holds the items from n * size on, in `parts` batches in each of `world` processes.

    Items are dealt out one by one, so that every process has the same share of every stretch.
    Iteration begins at step `first`; the length counts the steps before it too: Lightning compares
    it with the number of batches it has seen, which a resumed run restores.
    """

    def __init__(
        self, first: int, steps: int, size: int, parts: int = 1, rank: int = 0, world: int = 1
    ) -> None:
        if size % (parts * world):
            raise UserError(
                f"training.batch_size {size} cannot be shared by {world} processes in {parts} "
                f"parts; choose a multiple of {parts * world}"
            )
        self.first, self.steps, self.size = first, steps, size
        self.parts, self.rank, self.world = parts, rank, world

    def __len__(self) -> int:
        return self.steps * self.parts

    def __iter__(self) -> Iterator[list[int]]:
        share = self.size // self.parts
        for step in range(self.first, self.steps):
            for part in range(self.parts):
                start = step * self.size + part * share
                yield list(range(start + self.rank, start + share, self.world))


class Prefetched:
    """A loader read by a thread of its own, a few batches ahead.

    waited: seconds that the reader of the batches had to wait for them, in all.
    """

    def __init__(self, loader: DataLoader[Any]) -> None:
        self.loader = loader
        self.waited = 0.0

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        ready: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(_AHEAD)
        stop = threading.Event()

        def put(batch: Any, error: BaseException | None = None) -> bool:
            while not stop.is_set():
                try:
                    ready.put((batch, error), timeout=0.1)
                    return True
                except queue.Full:
                    continue
            return False

        def read() -> None:
            try:
                if all(put(batch) for batch in self.loader):
                    put(None)
            except BaseException as error:  # raised again where the batches are used
                put(None, error)

        threading.Thread(target=read, daemon=True, name="batches").start()
        try:
            while True:
                started = time.perf_counter()
                batch, error = ready.get()
                self.waited += time.perf_counter() - started
                if error is not None:
                    raise error
                if batch is None:
                    return
                yield batch
        finally:
            stop.set()


class Batches(lightning.LightningDataModule):
    """The batches of this process, from the step on where a run goes on."""

    def __init__(
        self, train: Dataset[Any], held_out: Dataset[Any], training: TrainingConfig, first: int
    ) -> None:
        super().__init__()
        self.train, self.held_out, self.training, self.first = train, held_out, training, first

    def train_dataloader(self) -> Prefetched:
        """Batches of `batch_size / accumulate / processes` items."""
        training, trainer = self.training, self.trainer
        assert trainer is not None
        place = (trainer.global_rank, trainer.world_size)
        sampler = StepBatches(
            self.first, training.steps, training.batch_size, training.accumulate, *place
        )
        pinned = torch.cuda.is_available()
        return Prefetched(DataLoader(self.train, batch_sampler=sampler, pin_memory=pinned))

    def val_dataloader(self) -> DataLoader[Any]:
        """Every `world`-th held-out item."""
        trainer, training = self.trainer, self.training
        assert trainer is not None
        total = len(self.held_out)  # type: ignore[arg-type]
        own = range(trainer.global_rank, total, trainer.world_size)
        size = max(1, training.batch_size // training.accumulate // trainer.world_size)
        return DataLoader(Subset(self.held_out, own), size)
