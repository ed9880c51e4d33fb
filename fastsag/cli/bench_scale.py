"""`fastsag bench length` and `fastsag bench start`: long recordings, cold processes."""

from __future__ import annotations

import importlib.resources
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from fastsag.cli.progress import tell

Voice = Annotated[
    Path | None, typer.Argument(metavar="[INPUT]", help="A voice; if left out, the bundled one.")
]
Checkpoint = Annotated[
    str, typer.Option(metavar="NAME_OR_PATH", help="A bundled checkpoint or a folder.")
]
Output = Annotated[
    Path | None, typer.Option("-o", "--output", metavar="FILE", help="The record as JSON.")
]


def length(
    voice: Voice = None,
    checkpoint: Checkpoint = "compact",
    seconds: Annotated[
        list[float] | None,
        typer.Option(min=0.5, help="A length; may be repeated. [10 s to 20 min]"),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="If left out, the checkpoint's.")] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Of the processor; if left out, torch chooses.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32 or bf16.")] = "auto",
    output: Output = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="PNG", help="Draw both against length.")
    ] = None,
) -> None:
    """Real-time factor and peak memory against the length of the recording.

    Each length runs in a process of its own, so that peaks are its own. A voice that is shorter
    repeats. Time should grow as length, memory by little more than the recording itself.

    Example: fastsag bench length --seconds 10 --seconds 60 --seconds 600 --plot length.png
    """
    from fastsag.benchmarks import length as part
    from fastsag.benchmarks import pictures

    record = part.measure(
        voice or _demo(),
        seconds or part.LENGTHS,
        checkpoint,
        device,
        precision,
        steps,
        threads,
        lambda line: print(line, file=sys.stderr, flush=True),
    )
    print(part.report(record))
    _write(output, record)
    if plot is not None:
        pictures.length(plot, record)


def start(
    voice: Voice = None,
    checkpoint: Checkpoint = "compact",
    seconds: Annotated[float, typer.Option(help="Of audio; a shorter voice repeats.")] = 10.0,
    runs: Annotated[int, typer.Option(min=1, help="Processes of each kind, after one more.")] = 5,
    output: Output = None,
) -> None:
    """Seconds from a cold process to `import fastsag`, and to the first sound.

    Example: fastsag bench start --runs 5 -o start.json
    """
    from fastsag.benchmarks import start as part

    record = part.measure(
        voice or _demo(), seconds, checkpoint, runs, lambda *step: tell("processes", *step)
    )
    print(part.report(record))
    _write(output, record)


def _demo() -> Path:
    return Path(str(importlib.resources.files("fastsag") / "assets" / "demo-voice.flac"))


def _write(output: Path | None, record: dict[str, Any]) -> None:
    from fastsag.audio import write_text

    if output is not None:
        write_text(output, json.dumps(record, indent=1) + "\n")
