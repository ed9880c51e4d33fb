"""`fastsag checkpoint`: runs become checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fastsag import config as configuration

app = typer.Typer(help="List and export checkpoints.", no_args_is_help=True)


@app.command("list")
def list_checkpoints() -> None:
    """Print the checkpoints inside the package."""
    from fastsag.checkpoint import available

    for name in available():
        print(name)


@app.command()
def export(
    config: Annotated[Path, typer.Argument(help="The configuration that was trained.")],
    model: Annotated[Path, typer.Option(metavar="RUN", help="Run of `fastsag train`.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR")],
    planner: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Run of `fastsag train --part planner`.")
    ] = None,
    vocoder: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Run of `fastsag train-vocoder`.")
    ] = None,
) -> None:
    """Join the averaged weights of runs into one checkpoint folder."""
    from fastsag import checkpoint
    from fastsag.training.loop import averaged_weights

    resolved = configuration.load(config)
    weights = _part(averaged_weights(model), "model.")
    if planner is not None:
        weights = {k: v for k, v in weights.items() if not k.startswith("planner.")}
        parts = _part(averaged_weights(planner), "planner.")
        weights |= {f"planner.{name}": tensor for name, tensor in parts.items()}
    sound = _part(averaged_weights(vocoder), "vocoder.") if vocoder else {}
    checkpoint.export(output, resolved, weights, sound)
    print(f"wrote {output}")


def _part(state: dict, prefix: str) -> dict:
    """The tensors under a prefix, without it."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in state.items()
        if name.startswith(prefix)
    }
