"""`fastsag bench plans`: ways to compute, side by side."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from fastsag.errors import UserError


def plans(
    plan: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Only this one, beside the authors'; may be repeated. [all]"
        ),
    ] = None,
    seconds: Annotated[
        float, typer.Option(min=0.2, max=10.0, help="Of audio: one window, at most 10.")
    ] = 10.0,
    rounds: Annotated[int, typer.Option(min=1, help="Timed, after a warm-up.")] = 3,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Of the processor; if left out, torch chooses.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="The record as JSON.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="PNG", help="Draw the roofline and the plans.")
    ] = None,
) -> None:
    """Speed of the paper's networks under several plans, against the authors' way of computing.

    Plans: authors (fp32, 51 evaluations, as published), exact (the same numbers), bf16 (50
    evaluations), fast (16), fast-vocos (16, another vocoder), few-vocos (4). Random weights, this
    machine's CPU, every stage of every plan in turn. Whole runs of the first two check the result.
    About 5 minutes on two cores.

    Example: fastsag bench plans --threads 2 -o plans.json --plot plans.png
    """
    import torch

    from fastsag.audio import write_text
    from fastsag.benchmarks import pictures
    from fastsag.benchmarks import plans as part
    from fastsag.benchmarks.networks import paper

    names = plan or list(part.PLANS)
    for name in names:
        if name not in part.PLANS:
            raise UserError(f"--plan {name}: unknown; choose from {', '.join(part.PLANS)}")
    if threads is not None:
        torch.set_num_threads(threads)
    record = part.compare(
        paper(seconds),
        names,
        rounds,
        lambda line: print(line, file=sys.stderr, flush=True),
    )
    print(part.report(record))
    if output is not None:
        write_text(output, json.dumps(record, indent=1) + "\n")
    if plot is not None:
        pictures.roofline(plot, record)
