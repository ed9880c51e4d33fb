"""`fastsag bench singsong`: the paper's comparison of speed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from fastsag import config as configuration


def singsong(
    config: Annotated[
        Path, typer.Argument(help="Of SingSong, such as configs/singsong/large.yaml.")
    ],
    positions: Annotated[int, typer.Option(min=2, help="Positions timed in each stage.")] = 4,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Figures as JSON.")
    ] = None,
) -> None:
    """Real-time factors of FastSAG (paper size) and SingSong, with and without its cache.

    Random weights, one clip of 10 s, this machine's CPU. FastSAG runs whole; SingSong's tokens are
    timed at some positions and integrated. Takes some minutes.

    Example: fastsag bench singsong configs/singsong/large.yaml -o speed.json
    """
    from fastsag.audio import write_text
    from fastsag.baselines.singsong.config import SingSongConfig
    from fastsag.benchmarks.singsong import compare, report

    values = configuration.read_yaml(config)
    resolved = configuration.parse(values, str(config), SingSongConfig)
    record = compare(resolved, positions, lambda line: print(line, file=sys.stderr, flush=True))
    print(report(record))
    if output is not None:
        write_text(output, json.dumps(record, indent=1) + "\n")
