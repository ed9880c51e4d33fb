"""One take: what is asked for, what comes back, and the record of what was done."""

from __future__ import annotations

import dataclasses
import platform
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from fastsag.audio import Recording
from fastsag.config import Config
from fastsag.diffusion.sampling import Way, way_of
from fastsag.lead_sheet import LeadSheet
from fastsag.levels import Mix
from fastsag.spool import Array
from fastsag.version import __version__
from fastsag.windows import cut


@dataclass(frozen=True)
class Settings:
    """How to generate. None takes the checkpoint's default.

    sampler: name in `SAMPLERS`, or "distilled". steps: sampler steps. guidance: 1 is none. seed: of
    noise and style. style: one of `STYLES`; None: the seed takes one that suits the voice. ending:
    the band may end behind the recording.
    """

    sampler: str | None = None
    steps: int | None = None
    guidance: float | None = None
    seed: int = 0
    style: str | None = None
    ending: bool = False

    def way(self, config: Config) -> Way:
        """Sampler, steps and guidance under a checkpoint's configuration; see `way_of`."""
        return way_of(config, self.sampler, self.steps, self.guidance)


@dataclass(frozen=True)
class Accompaniment:
    """What `Accompanist.accompany` returns; its arrays are those of the store that was asked for.

    accompaniment: (1, N) as it sounds in the mix. mix: (C, N), the original voice and the band.
    sample_rate: the input's, as is N, unless the band ends behind it. record: what was done, ready
    for JSON. voice_mel, prior, mel: (M, T) log units, for pictures.
    """

    accompaniment: Array
    mix: Array
    sample_rate: int
    record: dict[str, Any]
    voice_mel: np.ndarray
    prior: Array
    mel: Array
    lead_sheet: LeadSheet | None


class Stopwatch:
    """Seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage], self._last = now - self._last, now


def describe(
    config: Config,
    recording: Recording,
    sheet: LeadSheet | None,
    settings: Settings,
    seconds: dict[str, float],
    mixed: Mix,
    frames: int,
) -> dict[str, Any]:
    """What was done, ready for the JSON beside the audio.

    Args:
        config: of the system that played.
        recording: its input.
        sheet: what it played from.
        settings: what was asked for.
        seconds: time by stage.
        mixed: the result.
        frames: T, mel frames in all.
    """
    windows = cut(frames, config.window)
    stretch = 2 ** (sheet.tuning / 1200) if sheet else 1.0  # frames are of the voice at A440
    joins = [(part.start + part.known) / config.mel.frame_rate / stretch for part in windows[1:]]
    return {
        **dataclasses.asdict(settings.way(config)),
        "windows": len(windows),
        "joins_seconds": [round(join, 3) for join in joins],
        **common_record(recording, settings.seed, seconds, mixed),
        "lead_sheet": sheet.to_dict() if sheet else None,
    }


def common_record(
    recording: Recording, seed: int, seconds: dict[str, float], mixed: Mix
) -> dict[str, Any]:
    """What every system records of a take: seed, input, time, loudness, versions."""
    duration = recording.samples.shape[1] / recording.sample_rate
    return {
        "seed": seed,
        "duration_seconds": round(duration, 3),
        "sample_rate": recording.sample_rate,
        "channels": len(recording.samples),
        "seconds": {stage: round(value, 3) for stage, value in seconds.items()},
        "real_time_factor": round(sum(seconds.values()) / duration, 4),
        "loudness": mixed.figures(),
        "versions": {
            "fastsag": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
    }
