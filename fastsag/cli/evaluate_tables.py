"""`fastsag evaluate table1`, `table2`, `table3`, `figure3`: the paper's tables and figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from fastsag.cli.progress import tell
from fastsag.errors import UserError

Config = Annotated[
    Path, typer.Option(metavar="FILE", help="What to judge, such as configs/eval/small.yaml.")
]


def table1(config: Config) -> None:
    """Table 1, zero-shot: FAD by every embedder, and RTF, with the paper's figures beside.

    Anchors, coherence and adherence stand beside too. Embedders whose weights are not on this
    machine are left out, with the command that gets them. What was computed is kept: the same
    command again goes on where it stopped. Writes table1.md, .csv, .json and .png.

    The config, in YAML (all keys: docs/evaluation.md; examples: configs/eval):

    \b
    output: tables                  # folder for the results
    zero_shot: held-out             # KEY.vocals.* and KEY.accompaniment.*
    systems:
      - name: FastSAG
        zero_shot: ours             # KEY*.accompaniment.* of each KEY
        rtf: rtf.json               # from fastsag bench rtf
        degrade: {vocoder: compact} # what the true mixtures pass first
    embedders:
      - offline-v1
      - vggish

    Example: fastsag evaluate table1 --config configs/eval/small.yaml
    """
    _table("table1", config)


def table2(config: Config) -> None:
    """Table 2, in-domain: as Table 1, without RTF.

    Example: fastsag evaluate table2 --config configs/eval/paper.yaml
    """
    _table("table2", config)


def table3(config: Config) -> None:
    """Table 3: mean opinion scores of a listening test, with intervals and paired tests.

    `fastsag listen make` builds the test; the config names its key and the listeners' ratings.
    Writes table3.md, .csv, .json and .png.

    Example: fastsag evaluate table3 --config configs/eval/paper.yaml
    """
    from fastsag.evaluation import config as settings
    from fastsag.evaluation.listening import results

    wanted = settings.load(config)
    if wanted.listening is None:
        raise UserError(f"{config}: names no ratings; add listening: {{key: ..., ratings: [...]}}")
    _make_folder(wanted.output)
    files, text = results.write(wanted.listening.key, wanted.listening.ratings, wanted.output)
    print(text)
    _list(files)


def figure3(config: Config) -> None:
    """Figure 3: spectrograms of voice, true accompaniment, prior and generated accompaniment.

    The config names files, or a checkpoint that makes the last two from the voice. Writes
    figure3.png.

    Example: fastsag evaluate figure3 --config configs/eval/small.yaml
    """
    from fastsag.evaluation import config as settings
    from fastsag.evaluation import figure

    wanted = settings.load(config)
    if wanted.figure3 is None:
        raise UserError(f"{config}: names no files; add figure3: {{voice: ..., ...}}")
    _make_folder(wanted.output)
    made = _generated(wanted.figure3) if wanted.figure3.checkpoint else None
    _list([figure.draw(wanted.figure3, wanted.output / "figure3.png", made)])


def _generated(wanted: Any) -> tuple[Any, Any, Any]:
    """Prior and mel of the voice's beginning, log units, and their spectrogram's settings."""
    from fastsag.evaluation.figure import beginning
    from fastsag.pipeline import Accompanist
    from fastsag.take import Settings

    accompanist = Accompanist.from_pretrained(wanted.checkpoint)
    result = accompanist.accompany(
        beginning(wanted.voice, wanted.seconds), settings=Settings(seed=wanted.seed), progress=tell
    )
    return result.prior, result.mel, accompanist.config.mel


def _table(name: str, path: Path) -> None:
    from fastsag.evaluation import config as settings
    from fastsag.evaluation import tables

    wanted = settings.load(path)
    _make_folder(wanted.output)
    table = tables.make(name, wanted, tell)
    files = tables.write(table, wanted)
    print(tables.markdown(table))
    _list(files)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be made ({error.strerror}); change output") from None


def _list(files: Sequence[Path]) -> None:
    for file in files:
        print(f"  {file}")
