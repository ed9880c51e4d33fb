"""`fastsag checkpoint`: runs and published weights become checkpoints."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from fastsag import config as configuration
from fastsag import hub
from fastsag.errors import UserError

app = typer.Typer(
    help="List and export checkpoints; import and download published weights.",
    no_args_is_help=True,
)


@app.command("list")
def list_checkpoints() -> None:
    """Print the checkpoints inside the package."""
    from fastsag.checkpoint import available

    for name in available():
        print(name)


@app.command()
def export(
    config: Annotated[Path, typer.Argument(help="The configuration that was trained.")],
    model: Annotated[
        Path,
        typer.Option(metavar="RUN", help="Run of `fastsag train`, or a checkpoint to begin with."),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR")],
    planner: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Run of `fastsag train --part planner`.")
    ] = None,
    vocoder: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Run of `fastsag train-vocoder`, or a checkpoint to take it from. [default: that "
            "of --model, if it is a checkpoint]",
        ),
    ] = None,
) -> None:
    """Join the averaged weights of runs into one checkpoint folder.

    A checkpoint that is given as --model keeps what no other option replaces, its student too.

    Examples:

    fastsag checkpoint export runs/model/config.yaml --model runs/model --vocoder compact -o mine

    fastsag checkpoint export mine/config.yaml --model mine --planner runs/planner -o better
    """
    from fastsag import checkpoint
    from fastsag.training.loop import averaged_weights, initial_weights, part_of

    resolved = configuration.load(config)
    start = initial_weights(model)
    weights = part_of(start, "model")
    if planner is not None:
        weights = {k: v for k, v in weights.items() if not k.startswith("planner.")}
        parts = averaged_weights(planner, "planner")
        weights |= {f"planner.{name}": tensor for name, tensor in parts.items()}
    sound = part_of(start if vocoder is None else initial_weights(vocoder), "vocoder")
    student = None if resolved.distilled is None else _student(model)
    checkpoint.export(output, resolved, weights, sound, student=student)
    print(f"wrote {output}")


@app.command("import-authors")
def import_authors(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="The authors' fastsag.pt.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR")],
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a checkpoint that is already there.")
    ] = False,
    core_only: Annotated[
        bool,
        typer.Option("--core-only", help="Leave out BigVGAN and MERT; the hub's are used instead."),
    ] = False,
) -> None:
    """Turn the weights that the paper's authors released into a checkpoint folder.

    Every tensor is checked by name and shape; values stay in single precision. BigVGAN and MERT
    are taken from the file if it holds them.

    Example: fastsag checkpoint import-authors fastsag.pt -o fastsag-authors
    """
    from fastsag import authors

    def progress(line: str) -> None:
        print(f"{line} ...", file=sys.stderr, flush=True)

    parts = authors.import_authors(
        source, output, overwrite=overwrite, core_only=core_only, progress=progress
    )
    print(f"wrote {output}")
    for name, there in (("bigvgan", parts.vocoder), ("mert", parts.mert)):
        if not there and not hub.present(hub.entry(name)):
            print(f"it needs {name} too; run: fastsag checkpoint download {name}")


@app.command()
def download(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Without it, what there is.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Fetch published weights into the Hugging Face cache, after showing licence and size.

    Example: fastsag checkpoint download mert
    """
    if name is None:
        _print_table()
        return
    offer = hub.offer(name)
    card = f" (its card says today: {offer.licence})" if offer.licence else ""
    print(f"{offer.entry.repo}: {offer.entry.purpose}")
    print(f"licence: {offer.entry.licence}{card}")
    for file in offer.files:
        print(f"  {file.path}  {_size(file.size)}  {file.checksum}")
    print(f"{_size(offer.size)} in all, to {hub.cache()}")
    if not yes:
        _confirm(name)
    for path in hub.download(offer):
        print(f"verified {path}")


def _print_table() -> None:
    rows = [("name", "MB, about", "here", "licence", "for")]
    for entry in hub.ENTRIES:
        here = "yes" if hub.present(entry) else "no"
        rows.append((entry.name, f"{entry.megabytes:,}", here, entry.licence, entry.purpose))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(map(str.ljust, row, widths)).rstrip())


def _confirm(name: str) -> None:
    try:
        agreed = typer.confirm("Download?")
    except typer.Abort:  # nobody there to answer
        agreed = False
    if not agreed:
        raise UserError(f"{name}: not downloaded; agree, or add --yes")


def _size(size: int) -> str:
    return f"{size / 1e6:,.1f} MB" if size >= 1e5 else f"{size:,} bytes"


def _student(source: Path) -> Path | None:
    """The file of a checkpoint's student; None where it has none, and for a run."""
    from fastsag import checkpoint

    path = (source if source.is_dir() else checkpoint.resolve(source)) / checkpoint.STUDENT
    return path if path.exists() else None
