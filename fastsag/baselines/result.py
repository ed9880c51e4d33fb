"""What a baseline returns: the same files and fields as `fastsag accompany`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastsag import audio
from fastsag.audio import Recording
from fastsag.levels import mix
from fastsag.spool import Array
from fastsag.take import Stopwatch, common_record


@dataclass(frozen=True)
class Result:
    """accompaniment: (1, N) as it sounds in the mix. mix: (C, N), the original voice and the band.

    sample_rate: the input's, as is N. record: what was done, ready for JSON.
    """

    accompaniment: Array
    mix: Array
    sample_rate: int
    record: dict[str, Any]


def finish(
    recording: Recording,
    band: np.ndarray,
    rate: int,
    level_db: float,
    seed: int,
    watch: Stopwatch,
    about: dict[str, Any],
) -> Result:
    """Mix a band (N',) at `rate` Hz to the voice, and record it.

    Args:
        recording: the voice; the band is brought to its rate and sample count.
        band: samples at `rate`.
        rate: Hz.
        level_db: loudness of the band against the voice.
        seed: of the choice or sampling.
        watch: laps so far.
        about: fields of this system, `checkpoint` among them.
    """
    count = recording.samples.shape[1]
    fitted = audio.resample(band[None].astype(np.float32), rate, recording.sample_rate, count)
    mixed = mix(recording.samples, fitted, recording.sample_rate, level_db)
    watch.lap("mix")
    record = {**about, **common_record(recording, seed, watch.seconds, mixed), "lead_sheet": None}
    return Result(mixed.accompaniment, mixed.samples, recording.sample_rate, record)
