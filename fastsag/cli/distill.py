"""`fastsag distill`: a checkpoint learns to play in one to four steps."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from fastsag.cli import overrides as override
from fastsag.cli.options import Devices, DryRun, Overrides, Run
from fastsag.cli.train import DATA_HELP


def distill(
    checkpoint: Annotated[str, typer.Argument(help="The teacher, such as compact, or a folder.")],
    overrides: Overrides = None,
    data: Annotated[list[str] | None, typer.Option(metavar="SOURCE", help=DATA_HELP)] = None,
    out: Run = Path("runs/distilled"),
    cache: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="For features; else beside the shards."),
    ] = None,
    devices: Devices = 0,
    dry_run: DryRun = False,
) -> None:
    """Teach a copy of a checkpoint's denoiser to play in one to four steps, without guidance.

    First the checkpoint plays `distilled.crops` crops of the corpus with its own solver and
    guidance (RUN/solutions, about 3 MB each), then the student learns to take the same way in a few
    jumps. At the end RUN/checkpoint holds both: the sampler `distilled` plays the student.

    Example: fastsag distill compact --data corpus --out runs/distilled
    """
    from fastsag import checkpoint as checkpoints
    from fastsag import config as configuration
    from fastsag.training import distillation as part

    own = configuration.load(checkpoints.resolve(checkpoint) / checkpoints.CONFIG)
    config = part.settings_of(own, override.apply({}, overrides or []))
    if dry_run:
        print(configuration.dump(config), end="")
        return
    from fastsag.cli.train import progress
    from fastsag.training.distill_run import distil_model

    def solved(done: int, total: int) -> None:
        if sys.stderr.isatty() or done % 20 == 0 or done == total:
            end = "\r" if sys.stderr.isatty() and done < total else "\n"
            print(f"teacher: {done}/{total} crops", end=end, file=sys.stderr, flush=True)

    distil_model(
        checkpoint, config, data or ["corpus"], out, cache, progress, solved, devices or "auto"
    )
    folder = part.export(out, config, checkpoint)
    print(
        f"wrote {folder}; try: fastsag accompany VOICE.wav --checkpoint {folder} "
        "--sampler distilled -o out"
    )
