"""The files that a system writes for each voice, planned before any work and written as one."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from fastsag.errors import UserError
from fastsag.spool import Array


class Format(StrEnum):
    """Output formats."""

    wav = "wav"
    flac = "flac"
    mp3 = "mp3"
    ogg = "ogg"


class Job:
    """One take of one input and the files it writes.

    sheet, picture, voice: None where the system has no lead sheet, nobody wants a picture, or the
    input is the voice itself.
    """

    def __init__(
        self,
        source: Path,
        folder: Path,
        kind: str,
        *,
        take: int = 0,
        takes: int = 1,
        sheet: bool = False,
        plot: bool = False,
        voice: bool = False,
    ) -> None:
        name = source.stem + (f".take{take + 1}" if takes > 1 else "")
        self.source, self.take, self.kind = source, take, kind
        self.accompaniment = folder / f"{name}.accompaniment.{kind}"
        self.mix = folder / f"{name}.mix.{kind}"
        self.record = folder / f"{name}.json"
        self.sheet = folder / f"{name}.lead-sheet.txt" if sheet else None
        self.picture = folder / f"{name}.png" if plot else None
        self.voice = folder / f"{name}.vocals.{kind}" if voice else None

    @property
    def outputs(self) -> list[Path]:
        audio = [self.accompaniment, self.mix, self.voice]
        files = [*audio, self.record, self.sheet, self.picture]
        return [file for file in files if file is not None]


def plan(jobs: Sequence[Job], overwrite: bool) -> None:
    """Refuse collisions before any work.

    Raises:
        UserError: two jobs would write one file, a result would replace an input, or exists.
    """
    inputs = {job.source.resolve() for job in jobs}
    owner: dict[Path, Path] = {}
    for job in jobs:
        for path in job.outputs:
            if path in owner:
                raise UserError(
                    f"{job.source}: would write {path} like {owner[path]}; "
                    "rename one of them or use two output folders"
                )
            if path.resolve() in inputs:
                raise UserError(f"{path}: is an input; choose another output folder")
            owner[path] = job.source
    existing = [path for path in owner if path.exists()]
    if existing and not overwrite:
        raise UserError(f"{existing[0]}: exists already; add --overwrite or choose another folder")


def make_folder(folder: Path) -> None:
    """Make the folder of the results.

    Raises:
        UserError: it cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be made ({error.strerror}); choose another -o folder"
        ) from None
    if not os.access(folder, os.W_OK):
        raise UserError(f"{folder}: cannot be written to; choose another -o folder")


class Take(Protocol):
    """What a system returns for one voice: see `fastsag.take.Accompaniment`."""

    @property
    def accompaniment(self) -> Array: ...
    @property
    def mix(self) -> Array: ...
    @property
    def sample_rate(self) -> int: ...
    @property
    def record(self) -> dict[str, Any]: ...


def write(job: Job, take: Take, more: Mapping[Path, Callable[[Path], None]] | None = None) -> None:
    """Write all files of a job, or none.

    Args:
        job: says where.
        take: audio and record.
        more: other files of the job, and what writes them.
    """
    from fastsag import audio

    writers: dict[Path, Callable[[Path], None]] = {
        job.accompaniment: lambda path: audio.write(
            path, take.accompaniment, take.sample_rate, job.kind
        ),
        job.mix: lambda path: audio.write(path, take.mix, take.sample_rate, job.kind),
        **(more or {}),
    }
    record = {"input": str(job.source), **take.record}
    record["outputs"] = [path.name for path in job.outputs]
    writers[job.record] = lambda path: audio.write_text(path, json.dumps(record, indent=2) + "\n")
    written: list[Path] = []
    try:
        for path, save in writers.items():
            save(path)
            written.append(path)
    except BaseException:
        for path in written:
            path.unlink(missing_ok=True)
        raise


def summary(job: Job, record: dict[str, Any]) -> None:
    """Say what was made of an input."""
    sheet = record["lead_sheet"]
    heard = ""
    if sheet:
        heard = f" in {sheet['key']}, {sheet['tempo']:.0f} BPM, {sheet['beats_per_bar']}/4"
        heard += f", {sheet['style']}" if sheet["style"] else ""
    total = sum(record["seconds"].values())
    print(f"{job.source.name}: {record['duration_seconds']:.1f} s{heard}; took {total:.1f} s")
    for path in job.outputs:
        print(f"  {path}")


def run(jobs: Sequence[Job], do: Callable[[Job], None]) -> None:
    """Do each job; the failure of one is told and does not stop the others.

    Exits with status 1 if some failed, 2 if all did.
    """
    failures = 0
    for job in jobs:
        try:
            do(job)
        except UserError as error:
            failures += 1
            print(f"fastsag: {error}", file=sys.stderr)
    if failures:
        sys.exit(2 if failures == len(jobs) else 1)


@contextmanager
def bar(name: str) -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar on a terminal; gives what is to be told of (stage, done, total)."""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TimeRemainingColumn(),
        transient=True,
        disable=not sys.stderr.isatty(),
    ) as shown:
        task = shown.add_task(f"{name}: listening", total=None)

        def progress(stage: str, done: int, total: int) -> None:
            shown.update(task, description=f"{name}: {stage}", completed=done, total=total)

        yield progress
