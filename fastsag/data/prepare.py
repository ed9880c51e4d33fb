"""A folder of songs -> training shards: sources, the steps of every song, shards, manifest.

The output depends on the songs and the settings alone. Any number of workers on one machine or on
many, in any order and with any interruptions, gives the same bytes.
"""

from __future__ import annotations

import functools
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fastsag.data import engines, manifest
from fastsag.data import plan as planning
from fastsag.data.engines import Row
from fastsag.data.settings import PrepareSettings
from fastsag.data.sources import Source
from fastsag.data.steps import STEPS, Outcome, fail, process
from fastsag.data.store import DiskFull, alone, remove_partial, save
from fastsag.data.workspace import Workspace, read_record, write_record
from fastsag.errors import UserError

SHARD = "shard"
ALL_STEPS = (*STEPS, SHARD)
_TRIES = 2  # of a song whose worker dies
_DEADLY = "its worker died twice (out of memory?); try fewer workers"
_MUSDB_TEST = "is a MUSDB18 test song, kept for evaluation; see --preset musdb18-test"


@dataclass(frozen=True)
class Engine:
    """Who works. kind: local or ray. workers: None for as many as there are cores."""

    kind: str = "local"
    workers: int | None = 1
    address: str | None = None
    gpus: float = 0

    def run(self, work: Callable[[Row], Row], rows: Iterable[Row]) -> Iterator[Row]:
        """Results of `work` as they come."""
        if self.kind == "ray":
            return engines.ray(work, rows, self.workers, self.address, self.gpus)
        return engines.local(work, rows, self.workers or 1)


@dataclass
class Report:
    """What a run did. seconds: of work, by step. audio_seconds: of the songs worked on, by step."""

    outcomes: Counter[str] = field(default_factory=Counter)
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    audio_seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    rows: list[dict[str, Any]] = field(default_factory=list)
    gates: dict[str, Any] = field(default_factory=dict)
    manifest: dict[str, Any] | None = None


Progress = Callable[[str, int, int, Report], None]  # stage, done, in all, so far


def prepare(
    sources: list[Source],
    out: Path,
    settings: PrepareSettings,
    steps: tuple[str, ...] = ALL_STEPS,
    engine: Engine | None = None,
    discard: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Prepare `sources` in `out`, as far as they are not.

    Args:
        sources: as `sources.find` gives them.
        out: folder of the shards; what is kept between runs lies in its folder `work`.
        settings: what the output depends on.
        steps: of `ALL_STEPS`.
        engine: who works; by default this process alone.
        discard: delete a song's stems once its clips are there.
        progress: told of every song and shard.

    Raises:
        UserError: nothing can go on, such as a full disk or absent weights.
    """
    engine = engine or Engine()
    workspace = Workspace(out, settings)
    report = Report()
    with alone(out):
        remove_partial(out)
        try:
            usable, set_aside = _choose(sources, settings)
            _work_on_songs(workspace, usable, steps, engine, discard, report, progress)
            clipped, rows, waiting = planning.collect(workspace, usable)
            report.rows = sorted([*rows, *set_aside], key=lambda row: (row["path"], row["reason"]))
            report.gates = manifest.gate_report(clipped)
            manifest.save_rows(out / manifest.FAILURES, report.rows)
            if SHARD in steps:
                if waiting:
                    raise UserError(
                        f"{out}: {waiting} songs wait for an earlier step; run the command "
                        "without --only"
                    )
                _shard(workspace, clipped, engine, report, progress)
        finally:
            remove_partial(out)
    return report


def _choose(
    sources: list[Source], settings: PrepareSettings
) -> tuple[list[Source], list[dict[str, Any]]]:
    """The songs that are prepared, and rows about those that are kept from training."""
    if settings.preset == "musdb18-test":
        chosen = [source for source in sources if source.subset == "test"]
        if not chosen:
            raise UserError(
                "--preset musdb18-test: no MUSDB18 test songs here; give the folder that has "
                "test/<song>/mixture.wav or test/<song>.stem.mp4"
            )
        return chosen, []
    usable = [source for source in sources if source.subset != "test"]
    rows = [
        planning.left_out(source, STEPS[0], _MUSDB_TEST)
        for source in sources
        if source.subset == "test"
    ]
    return usable, rows


def _work_on_songs(
    workspace: Workspace,
    sources: list[Source],
    steps: tuple[str, ...],
    engine: Engine,
    discard: bool,
    report: Report,
    progress: Progress | None,
) -> None:
    """Every step of every song but the shards."""
    chosen = tuple(step for step in STEPS if step in steps)
    if not chosen:
        return
    # Ray hands out what killed a worker for ever; only the tries of this run count.
    run = uuid.uuid4().hex if engine.kind == "ray" else None
    work = functools.partial(_song, workspace, chosen, discard, run)
    results = engine.run(work, (source.record() for source in sources))
    for done, row in enumerate(results, 1):
        if engines.LOST in row:
            source = Source.from_record({k: v for k, v in row.items() if k != engines.LOST})
            outcome = fail(workspace, source, chosen[0], _DEADLY)
        else:
            outcome = Outcome(**row)
        if outcome.status == "stop":
            raise UserError(outcome.reason)
        report.outcomes[outcome.status] += 1
        for step, seconds in (outcome.seconds or {}).items():
            report.seconds[step] += seconds
            report.audio_seconds[step] += outcome.audio_seconds
        if progress:
            progress(", ".join(chosen), done, len(sources), report)


def _song(
    workspace: Workspace, steps: tuple[str, ...], discard: bool, run: str | None, row: Row
) -> Row:
    source = Source.from_record(row)
    if run is None:
        return asdict(process(workspace, steps, discard, source))
    path = workspace.tries(source)
    before = read_record(path) or {}
    count = before["count"] if before.get("run") == run else 0
    if count == _TRIES:
        outcome = fail(workspace, source, steps[0], _DEADLY)
    else:
        try:
            write_record(path, run=run, count=count + 1)
        except DiskFull as error:
            return asdict(Outcome(source.name, "stop", str(error)))
        outcome = process(workspace, steps, discard, source)
    path.unlink(missing_ok=True)
    return asdict(outcome)


def _shard(
    workspace: Workspace,
    clipped: list[planning.Clipped],
    engine: Engine,
    report: Report,
    progress: Progress | None,
) -> None:
    """Shards, manifest and evaluation list; shards of an earlier manifest that are none now go."""
    out, settings = workspace.folder, workspace.settings
    if not any(one.count for one in clipped):
        raise UserError(
            f"{out}: not one clip passed the gate; see {manifest.FAILURES}, or try --gate none"
        )
    rows = planning.plan(
        workspace, clipped, settings.features.digest if settings.features else None
    )
    written = []
    work = functools.partial(_write, workspace)
    for done, row in enumerate(engine.run(work, rows), 1):
        if engines.LOST in row or "stop" in row:
            raise UserError(row.get("stop") or f"{out / row['name']}: its worker died; run again")
        written.append(row)
        if progress:
            progress(SHARD, done, len(rows), report)
    written.sort(key=lambda row: row["name"])
    before = manifest.read_manifest(out) or {"shards": []}
    for name in {row["name"] for row in before["shards"]} - {row["name"] for row in written}:
        (out / name).unlink(missing_ok=True)
    evaluation = manifest.ZERO_SHOT if settings.preset else manifest.EVALUATION
    manifest.save_rows(out / evaluation, manifest.evaluation_rows(clipped, settings))
    report.manifest = manifest.describe(workspace, clipped, report.rows, written)
    save(out / manifest.MANIFEST, manifest.render(report.manifest).encode())


def _write(workspace: Workspace, row: Row) -> Row:
    try:
        return planning.write_shard(workspace, row)
    except DiskFull as error:
        return {"stop": str(error)}
