"""From nothing to the first sound: cold processes, timed from outside."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from fastsag import audio
from fastsag.benchmarks.rtf import clip
from fastsag.benchmarks.timer import machine, timed
from fastsag.errors import UserError

IMPORT_SECONDS, SOUND_SECONDS = 1.5, 5.0  # what a user should not have to wait longer than

Progress = Callable[[int, int], None]


def measure(
    voice: Path,
    seconds: float = 10.0,
    checkpoint: str = "compact",
    runs: int = 5,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Seconds of new processes; returns the record.

    python: an interpreter that does nothing. import: `import fastsag`. first_sound: the whole
    command `fastsag accompany` for a voice of `seconds`, files written. Each with the files it
    reads in the system's cache.

    Raises:
        UserError: a process failed; its last line says why.
    """
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "voice.wav"
        recording = clip(audio.read(voice), seconds)
        audio.write(source, recording.samples, recording.sample_rate, "wav")
        accompany = ["accompany", str(source), "-o", f"{folder}/out", "--overwrite"]
        commands = {
            "python": ["-c", "pass"],
            "import": ["-c", "import fastsag"],
            "first_sound": ["-m", "fastsag.cli.main", *accompany, "--checkpoint", checkpoint],
        }
        figures = {}
        for index, (name, words) in enumerate(commands.items()):
            command = [sys.executable, *words]

            def told(done: int, total: int, before: int = index * (runs + 1)) -> None:
                if progress:
                    progress(before + done, len(commands) * (runs + 1))

            figures[name] = timed(partial(_run, command), runs, 1, progress=told)
    return {
        "kind": "start",
        "checkpoint": checkpoint,
        "audio_seconds": seconds,
        "runs": runs,
        "seconds": {name: timing.figures() for name, timing in figures.items()},
        "machine": machine("cpu"),
    }


def report(record: dict[str, Any]) -> str:
    """The record for reading, in Markdown."""
    taken = record["seconds"]
    rows = (
        ("python alone", taken["python"], ""),
        ("import fastsag", taken["import"], f"{IMPORT_SECONDS:g}"),
        (
            f"first sound of {record['audio_seconds']:g} s of voice, {record['checkpoint']}",
            taken["first_sound"],
            f"{SOUND_SECONDS:g}",
        ),
    )
    lines = ["| cold process | median s | p95 s | at most |", "|---|---|---|---|"]
    lines += [f"| {name} | {t['median']:.2f} | {t['p95']:.2f} | {most} |" for name, t, most in rows]
    return "\n".join(lines)


def _run(command: list[str]) -> None:
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        lines = run.stderr.strip().splitlines() or [f"status {run.returncode}"]
        raise UserError(f"{' '.join(command[1:3])}: the process failed ({lines[-1]})")
