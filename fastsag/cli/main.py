"""Entry point of the `fastsag` command."""

from __future__ import annotations

import sys

import typer

from fastsag.cli.accompany import accompany
from fastsag.cli.allocator import keep_freed_memory
from fastsag.cli.app import app as serve_app
from fastsag.cli.bench import app as bench_app
from fastsag.cli.checkpoint import app as checkpoint_app
from fastsag.cli.data import app as data_app
from fastsag.cli.distill import distill
from fastsag.cli.evaluate import app as evaluate_app
from fastsag.cli.finetune import finetune
from fastsag.cli.lead_sheet import lead_sheet
from fastsag.cli.listen import app as listen_app
from fastsag.cli.prepare import prepare
from fastsag.cli.randsong import app as randsong_app
from fastsag.cli.singsong import app as singsong_app
from fastsag.cli.songs import app as songs_app
from fastsag.cli.train import train
from fastsag.cli.train_vocoder import train_vocoder
from fastsag.errors import UserError
from fastsag.version import __version__

app = typer.Typer(
    name="fastsag",
    help="A voice goes in, a band comes out: singing accompaniment generation.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(accompany)
app.command(name="lead-sheet")(lead_sheet)
app.command(name="app")(serve_app)
app.add_typer(songs_app, name="songs")
app.command()(prepare)
app.add_typer(data_app, name="data")
app.command()(train)
app.command(name="train-vocoder")(train_vocoder)
app.command()(finetune)
app.command()(distill)
app.add_typer(evaluate_app, name="evaluate")
app.add_typer(listen_app, name="listen")
app.add_typer(bench_app, name="bench")
app.add_typer(singsong_app, name="singsong")
app.add_typer(randsong_app, name="randsong")
app.add_typer(checkpoint_app, name="checkpoint")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and exit."
    ),
) -> None:
    """A voice goes in, a band comes out: singing accompaniment generation."""


def main() -> None:
    """Run the command; a `UserError` becomes one line and exit status 2."""
    keep_freed_memory()
    try:
        app()
    except UserError as error:
        print(f"fastsag: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("fastsag: interrupted; no partial output was written", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
