"""The project's one timer: warm-ups, repeated runs, median and 95th percentile."""

from __future__ import annotations

import os
import platform
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from fastsag.version import __version__


@dataclass(frozen=True)
class Timing:
    """Seconds of each timed run, in order."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return float(np.median(self.seconds))

    @property
    def mean(self) -> float:
        return float(np.mean(self.seconds))

    @property
    def p95(self) -> float:
        """95th percentile, linear between runs."""
        return float(np.percentile(self.seconds, 95))

    def figures(self) -> dict[str, float]:
        """For JSON, in seconds."""
        return {"median": self.median, "p95": self.p95, "mean": self.mean}


def timed(
    run: Callable[[], Any],
    runs: int,
    warmups: int,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> Timing:
    """Time `run` by itself, after `warmups` runs that do not count.

    Args:
        device: what it works on; a GPU's queue is emptied before and after each run.
        progress: told of (runs done, runs in all), warm-ups included.
    """
    seconds = []
    for index in range(warmups + runs):
        synchronise(device)
        start = time.perf_counter()
        run()
        synchronise(device)
        if index >= warmups:
            seconds.append(time.perf_counter() - start)
        if progress:
            progress(index + 1, warmups + runs)
    return Timing(tuple(seconds))


def synchronise(device: torch.device | str) -> None:
    """Wait for what a GPU has still to do."""
    kind = torch.device(device).type
    if kind == "cuda":
        torch.cuda.synchronize(device)
    elif kind == "mps":
        torch.mps.synchronize()


def peak_memory_mb(device: torch.device | str = "cpu") -> dict[str, float]:
    """The most that this process has held so far, in MB: main memory, and a GPU's."""
    unit = 1 if sys.platform == "darwin" else 1024  # bytes, or kilobytes
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
    found = {"process": round(held, 1)}
    if torch.device(device).type == "cuda":
        found["gpu"] = round(torch.cuda.max_memory_allocated(device) / 1e6, 1)
    return found


def machine(device: torch.device | str = "cpu") -> dict[str, Any]:
    """What the figures belong to."""
    found = {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "threads": torch.get_num_threads(),
        "device": str(device),
        "fastsag": __version__,
    }
    if torch.device(device).type == "cuda":
        found["gpu"] = torch.cuda.get_device_name(device)
    return found


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as handle:
            names = (line.partition(":")[2].strip() for line in handle if "model name" in line)
            return next(names, platform.processor() or "unknown")
    except OSError:
        return platform.processor() or "unknown"
