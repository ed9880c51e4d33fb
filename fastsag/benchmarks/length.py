"""Cost against length: real-time factor and peak memory, every length in a process of its own.

    python -m fastsag.benchmarks.length '{"checkpoint": "compact", "seconds": 10, ...}'

is one such process; it prints its row as JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from fastsag import audio
from fastsag.audio import Recording
from fastsag.benchmarks.rtf import clip
from fastsag.benchmarks.timer import machine, peak_memory_mb
from fastsag.errors import UserError
from fastsag.pipeline import Accompanist
from fastsag.spool import Files
from fastsag.take import Settings

LENGTHS = (10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_200.0)  # seconds
_WARM_UP_SECONDS = 2.0

Progress = Callable[[str], None]


def measure(
    voice: Path,
    lengths: Sequence[float] = LENGTHS,
    checkpoint: str = "compact",
    device: str = "auto",
    precision: str = "auto",
    steps: int | None = None,
    threads: int | None = None,
    progress: Progress = lambda line: None,
) -> dict[str, Any]:
    """Accompany a voice cut or repeated to each length, file to files; returns the record.

    Args:
        lengths: seconds, rising.
        progress: told of each length, a line each.

    Raises:
        UserError: a process failed; its last line says why.
    """
    rows = []
    sung = audio.read(voice)
    for seconds in sorted(lengths):
        with tempfile.TemporaryDirectory() as folder:
            part = clip(sung, seconds)
            audio.write(Path(folder) / "voice.wav", part.samples, part.sample_rate, "wav")
            asked = {
                "folder": folder,
                "seconds": seconds,
                "checkpoint": checkpoint,
                "device": device,
                "precision": precision,
                "steps": steps,
                "threads": threads,
            }
            command = [sys.executable, "-m", "fastsag.benchmarks.length", json.dumps(asked)]
            run = subprocess.run(command, capture_output=True, text=True, check=False)
        if run.returncode:
            lines = run.stderr.strip().splitlines() or [f"status {run.returncode}"]
            raise UserError(f"{seconds:g} s: the process failed ({lines[-1]})")
        rows.append(json.loads(run.stdout.splitlines()[-1]))
        row = rows[-1]
        progress(f"{seconds:g} s: RTF {row['rtf']:.4f}, {row['peak_mb']:.0f} MB")
    return {
        "kind": "length",
        "checkpoint": checkpoint,
        "rows": rows,
        **growth(rows),
        "machine": rows[-1].pop("machine"),
    }


def growth(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """How cost grows from the shortest to the longest row.

    exponent: of time against length by least squares in logarithms, 1 is linear. slopes: seconds
    that a further second of audio costs, from each row to the next. mb_per_minute: of peak memory.
    """
    seconds = np.array([row["audio_seconds"] for row in rows])
    taken = np.array([row["seconds"] for row in rows])
    first, last = rows[0], rows[-1]
    if len(rows) < 2:
        return {"exponent": 1.0, "slopes": [], "mb_per_minute": 0.0}
    minutes = (seconds[-1] - seconds[0]) / 60
    return {
        "exponent": float(np.polyfit(np.log(seconds), np.log(taken), 1)[0]),
        "slopes": (np.diff(taken) / np.diff(seconds)).tolist(),
        "mb_per_minute": (last["peak_mb"] - first["peak_mb"]) / minutes,
    }


def report(record: dict[str, Any]) -> str:
    """The record for reading, in Markdown."""
    lines = [
        f"{record['checkpoint']}, {record['machine']['threads']} threads, "
        f"{record['machine']['processor']}; each length in a process of its own, after a warm-up",
        "",
        "| audio s | s | RTF | peak MB | of it before the first sound |",
        "|---|---|---|---|---|",
    ]
    for row in record["rows"]:
        lines.append(
            f"| {row['audio_seconds']:g} | {row['seconds']:.2f} | {row['rtf']:.4f} "
            f"| {row['peak_mb']:.0f} | {row['loaded_mb']:.0f} |"
        )
    lines += [
        "",
        f"Time grows as length to the {record['exponent']:.3f}; from one length to the next, a "
        f"further second costs {', '.join(f'{slope:.3f}' for slope in record['slopes'])} s. Memory "
        f"grows by {record['mb_per_minute']:.1f} MB a minute of audio.",
    ]
    return "\n".join(lines)


def _row(asked: dict[str, Any]) -> dict[str, Any]:
    """One length, in this process."""
    if asked["threads"] is not None:
        torch.set_num_threads(asked["threads"])
    accompanist = Accompanist.from_pretrained(
        asked["checkpoint"], asked["device"], asked["precision"]
    )
    folder, settings = Path(asked["folder"]), Settings(steps=asked["steps"])
    accompanist.accompany(_beginning(folder / "voice.wav"), settings=settings)
    loaded = peak_memory_mb(accompanist.device)["process"]
    start = time.perf_counter()
    result = accompanist.accompany(folder / "voice.wav", settings=settings, store=Files(folder))
    played = time.perf_counter()
    for name, samples in (("band", result.accompaniment), ("mix", result.mix)):
        audio.write(folder / f"{name}.wav", samples, result.sample_rate, "wav")
    end = time.perf_counter()
    taken = end - start
    return {
        "audio_seconds": asked["seconds"],
        "seconds": taken,
        "rtf": taken / asked["seconds"],
        "stages": {**result.record["seconds"], "write": end - played},
        "loaded_mb": loaded,
        "peak_mb": peak_memory_mb(accompanist.device)["process"],
        "machine": machine(accompanist.device),
    }


def _beginning(path: Path) -> Recording:
    """What warms up."""
    with soundfile.SoundFile(path) as file:
        block = file.read(int(_WARM_UP_SECONDS * file.samplerate), "float32", always_2d=True)
        return Recording(block.T, file.samplerate)


if __name__ == "__main__":
    try:
        print(json.dumps(_row(json.loads(sys.argv[1]))))
    except UserError as error:
        sys.exit(str(error))
