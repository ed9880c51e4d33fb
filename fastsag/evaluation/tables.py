"""The paper's Tables 1 and 2 for any systems: FAD of mixtures, coherence, adherence, RTF.

Everything slow is kept by content (mixtures, embeddings, scores), so that the same command again
goes on where it stopped and a further system costs its own share alone.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastsag import audio
from fastsag.errors import UserError
from fastsag.evaluation import apa, degrade, fad, paper, report
from fastsag.evaluation.config import EvalConfig, SystemConfig
from fastsag.evaluation.embedders import Embedder, build
from fastsag.evaluation.fad import default_cache
from fastsag.evaluation.mixes import mixtures
from fastsag.evaluation.sets import clips
from fastsag.version import __version__

ANCHORS = (report.TRUE, report.RANDOM, report.NOISE, report.SILENCE, report.VOICE)
SETS = {"table1": "zero_shot", "table2": "in_domain"}
PAPER = {"table1": paper.TABLE1, "table2": paper.TABLE2}
TITLES = {
    "table1": "Table 1: zero-shot",
    "table2": "Table 2: in-domain",
}

Progress = Callable[[str, int, int], None]  # what is done, steps done, steps in all


@dataclass
class Table:
    """columns: metrics in order. rows: {"system", "anchor", "ours": {...}, "paper": {...}}.

    notes: what is missing and how to get it, among others.
    """

    name: str
    songs: int
    columns: list[str]
    rows: list[dict[str, Any]]
    notes: list[str] = field(default_factory=list)


def make(wanted: str, config: EvalConfig, progress: Progress | None = None) -> Table:
    """Compute "table1" or "table2".

    Raises:
        UserError: the set or a system's files are missing.
    """
    part = SETS[wanted]
    songs: Path | None = getattr(config, part)
    if songs is None:
        raise UserError(f"{wanted}: eval.yaml names no set; add {part}: FOLDER")
    systems = [system for system in config.systems if getattr(system, part) is not None]
    tell = progress or (lambda what, done, total: None)
    embedders, notes = _embedders(config.embedders)
    names = [*(ANCHORS if config.anchors else ()), *(system.name for system in systems)]
    ours: dict[str, dict[str, float]] = {name: {} for name in names}
    distances = _fad(wanted, config, songs, systems, embedders, tell)
    for name, values in distances.items():
        ours[name] |= values
    folders = [(system.name, getattr(system, part)) for system in systems]
    if config.coherence:
        for name, values in _coherence(config, songs, folders, tell).items():
            ours[name] |= values
    if config.adherence:
        for name, value in _adherence(config, songs, folders, tell, notes).items():
            ours[name] |= value
    columns = [*config.embedders, *(["coherence", "mel_fd"] if config.coherence else [])]
    columns += [f"apa ({config.adherence})"] if config.adherence else []
    if wanted == "table1":
        columns.append(paper.RTF)
        for system in systems:
            ours[system.name] |= _rtf(system)
    rows = _rows(ours, systems, PAPER[wanted])
    notes.append(_mixing(config))
    return Table(wanted, len(clips(songs)), columns, rows, notes)


def _embedders(names: Sequence[str]) -> tuple[list[Embedder], list[str]]:
    """Those whose weights are here, and a line for each other with the command that gets them."""
    found, notes = [], []
    for name in names:
        try:
            found.append(build(name))
        except UserError as error:
            if "unknown embedder" in str(error):
                raise
            notes.append(f"{name}: not computed. {error}")
    return found, notes


def _fad(
    wanted: str,
    config: EvalConfig,
    songs: Path,
    systems: Sequence[SystemConfig],
    embedders: Sequence[Embedder],
    tell: Progress,
) -> dict[str, dict[str, float]]:
    """FAD of every anchor and system by embedder."""
    part = SETS[wanted]
    known = clips(songs)
    if not all(clip.band for clip in known):
        raise UserError(f"{songs}: FAD needs KEY.accompaniment.* of every clip, the true bands")
    anchors = ANCHORS if config.anchors else ()
    folders = [(system.name, getattr(system, part)) for system in systems]
    jobs: dict[str, list[report.Job]] = {}
    for job in report.plan(known, folders, tuple(dict.fromkeys((report.TRUE, *anchors)))):
        jobs.setdefault(job.system, []).append(job)
    trips = _round_trips(systems)
    found: dict[str, dict[str, float]] = {}
    for name in [*anchors, *(system.name for system in systems)]:
        trip = trips.get(name)
        through = trip.name if trip else "as they are"
        root = config.output / "mixes" / part
        true = mixtures(
            jobs[report.TRUE],
            root / _folder_name(f"reference, {through}"),
            trip=trip,
            reference=True,
            progress=_named(tell, f"true mixtures, {through}"),
        )
        mixed = mixtures(
            jobs[name],
            root / _folder_name(name),
            trip=trip,
            reference=name == report.TRUE,
            matched=config.level == "matched",
            progress=_named(tell, f"{name}: mixtures"),
        )
        found[name] = {
            embedder.name: fad.fad(
                true,
                mixed,
                embedder,
                cache=config.cache,
                progress=_heard(tell, f"{name}: {embedder.name}"),
            )["fad"]
            for embedder in embedders
        }
    return found


def _round_trips(systems: Sequence[SystemConfig]) -> dict[str, degrade.RoundTrip]:
    """What references pass, by system; built once each."""
    built = {wish: degrade.build(wish) for wish in {s.degrade for s in systems} if wish}
    return {system.name: built[system.degrade] for system in systems if system.degrade}


def _named(tell: Progress, what: str) -> Callable[[int, int], None]:
    return lambda done, total: tell(what, done, total)


def _heard(tell: Progress, what: str) -> fad.Progress:
    return lambda _, done, total: tell(what, done, total)


def _folder_name(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in " ,.+-_" else "_" for letter in name)


def _coherence(
    config: EvalConfig, songs: Path, folders: Sequence[tuple[str, Path]], tell: Progress
) -> dict[str, dict[str, float]]:
    rows = report.compare(
        songs,
        folders,
        anchors=ANCHORS if config.anchors else (),
        cache=config.cache or default_cache(),
        workers=config.workers,
        progress=lambda system, _, done, total: tell(f"{system}: coherence", done, total),
    )
    audio.write_text(config.output / "coherence.json", json.dumps(rows, indent=1) + "\n")
    columns = {name: report.means(rows, name) for name in ("coherence", "mel_fd")}
    return {
        system: {name: values[system] for name, values in columns.items()}
        for system in columns["coherence"]
    }


def _adherence(
    config: EvalConfig,
    songs: Path,
    folders: Sequence[tuple[str, Path]],
    tell: Progress,
    notes: list[str],
) -> dict[str, dict[str, float]]:
    (found, missing) = _embedders([config.adherence or ""])
    notes += missing
    if not found:
        return {}
    records = apa.of_systems(
        songs,
        folders,
        found[0],
        anchors=ANCHORS if config.anchors else (),
        cache=config.cache,
        seed=config.seed,
        progress=lambda system, done, total: tell(f"{system}: adherence", done, total),
    )
    return {row["system"]: {f"apa ({config.adherence})": row["apa"]} for row in records}


def _rtf(system: SystemConfig) -> dict[str, float]:
    """By the paper's definition, from `fastsag bench rtf`'s JSON."""
    if system.rtf is None:
        return {}
    try:
        record = json.loads(system.rtf.read_text(encoding="utf-8"))
        return {paper.RTF: float(record["paper"]["rtf"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{system.rtf}: no record of `fastsag bench rtf` ({error}); run it with -o"
        ) from None


def _rows(
    ours: dict[str, dict[str, float]],
    systems: Sequence[SystemConfig],
    published: dict[str, dict[str, float]],
) -> list[dict[str, Any]]:
    """Anchors, systems, and then those of the paper that are none of ours."""
    by_name = {system.name: system for system in systems}
    rows = []
    for name, values in ours.items():
        system = by_name.get(name)
        beside = paper.row(published, system.paper_name) if system else {}
        rows.append({"system": name, "anchor": system is None, "ours": values, "paper": beside})
    taken = {paper.plain(system.paper_name) for system in systems}
    rows += [
        {"system": name, "anchor": False, "ours": {}, "paper": values}
        for name, values in published.items()
        if paper.plain(name) not in taken
    ]
    return rows


def _mixing(config: EvalConfig) -> str:
    level = "as loud as the true ones" if config.level == "matched" else "at their files' levels"
    return f"FAD is of mixtures, voice and band, the bands {level}; smaller is nearer"


def markdown(table: Table) -> str:
    """The table with the paper's figures in columns beside ours."""
    beside = {column for row in table.rows for column in row["paper"]}
    head = ["system"]
    for column in table.columns:
        head += [column, "paper"] if column in beside else [column]
    lines = [f"{TITLES[table.name]}, {table.songs} clips", ""]
    lines += [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row in table.rows:
        cells = [row["system"]]
        for column in table.columns:
            cells.append(_cell(row["ours"].get(column)))
            if column in beside:
                cells.append(_cell(row["paper"].get(column)))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", *(f"- {note}" for note in table.notes)]) + "\n"


def _cell(value: float | None) -> str:
    return "-" if value is None or not math.isfinite(value) else f"{value:.4f}"


def as_csv(table: Table) -> str:
    """One line for each system and metric: system, anchor, metric, ours, paper."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["system", "anchor", "metric", "ours", "paper"])
    for row in table.rows:
        for column in table.columns:
            pair = (row["ours"].get(column), row["paper"].get(column))
            if pair != (None, None):
                cells = ("" if value is None else repr(value) for value in pair)
                writer.writerow([row["system"], int(row["anchor"]), column, *cells])
    return text.getvalue()


def write(table: Table, config: EvalConfig) -> list[Path]:
    """OUTPUT/tableN.md, .csv, .json and .png."""
    from fastsag.evaluation.charts import bars

    base = config.output / table.name
    record = {
        "version": __version__,
        "table": table.name,
        "songs": table.songs,
        "columns": table.columns,
        "rows": table.rows,
        "notes": table.notes,
        "config": config.model_dump(mode="json"),
    }
    files = [base.with_suffix(end) for end in (".md", ".csv", ".json", ".png")]
    audio.write_text(files[0], markdown(table))
    audio.write_text(files[1], as_csv(table))
    audio.write_text(files[2], json.dumps(record, indent=1) + "\n")
    bars(files[3], table)
    return files
