"""`fastsag bench`: how fast, and with how much memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from fastsag.cli.bench_plans import plans
from fastsag.cli.bench_scale import length, start
from fastsag.cli.bench_singsong import singsong
from fastsag.cli.bench_steps import steps as bench_steps
from fastsag.cli.progress import tell

app = typer.Typer(help="Measure speed and memory.", no_args_is_help=True)
app.command()(plans)
app.command()(length)
app.command()(start)
app.command()(singsong)
app.command(name="steps")(bench_steps)


@app.callback()
def root() -> None:
    """Measure speed and memory."""


@app.command()
def rtf(
    voice: Annotated[
        Path | None,
        typer.Argument(metavar="[INPUT]", help="A voice; if left out, the bundled one."),
    ] = None,
    checkpoint: Annotated[
        str, typer.Option(metavar="NAME_OR_PATH", help="A bundled checkpoint or a folder.")
    ] = "compact",
    seconds: Annotated[float, typer.Option(help="Of audio; a shorter voice repeats.")] = 10.0,
    runs: Annotated[int, typer.Option(min=20, help="Timed runs of each definition.")] = 20,
    warmups: Annotated[int, typer.Option(min=0, help="Runs before, that do not count.")] = 3,
    sampler: Annotated[str | None, typer.Option(help="If left out, the checkpoint's.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="If left out, the checkpoint's.")] = None,
    guidance: Annotated[float | None, typer.Option(help="If left out, the checkpoint's.")] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Of the processor; if left out, torch chooses.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32 or bf16.")] = "auto",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="The record as JSON.")
    ] = None,
) -> None:
    """Real-time factor: seconds of computing for each second of music, waveform to waveform.

    Practice: from samples in memory to samples, median and 95th percentile, stage by stage. The
    paper's: the mean with reading the file. Loading the model is apart. `fastsag evaluate table1`
    reads the JSON.

    Example: fastsag bench rtf --seconds 10 --threads 2 -o rtf.json
    """
    import importlib.resources

    import torch

    from fastsag import audio
    from fastsag.benchmarks import rtf as part
    from fastsag.take import Settings

    if threads is not None:
        torch.set_num_threads(threads)
    demo = importlib.resources.files("fastsag") / "assets" / "demo-voice.flac"
    recording = part.clip(audio.read(voice or Path(str(demo))), seconds)
    accompanist, load_seconds = part.load(checkpoint, device, precision)
    record = part.rtf(
        accompanist,
        recording,
        load_seconds,
        Settings(sampler, steps, guidance),
        runs,
        warmups,
        tell,
    )
    print(part.report(record))
    if output is not None:
        audio.write_text(output, json.dumps(record, indent=1) + "\n")
