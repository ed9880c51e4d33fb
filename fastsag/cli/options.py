"""Options that all commands that train have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Such as training.steps=100."),
]
Run = Annotated[
    Path, typer.Option(metavar="RUN", help="Run folder; the same command again resumes.")
]
Devices = Annotated[
    int, typer.Option(min=0, help="Processes on this machine; 0: one a GPU, or one on a CPU.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print the resolved configuration and stop.")
]
