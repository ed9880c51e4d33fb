"""Ratings as the page gives them: read, checked against the key, named by system."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from fastsag.errors import UserError

COLUMNS = (
    "listener_id",
    "session_id",
    "trial_index",
    "clip_id",
    "subset",
    "system",
    "rating",
    "play_count",
    "rt_ms",
    "timestamp",
)


@dataclass(frozen=True)
class Rating:
    """One judgement. listener: from 1. trial: from 1, in the order of hearing. rating: 1 to 5."""

    listener: int
    session: str
    trial: int
    clip: str
    subset: str
    system: str
    rating: int


def read_key(file: Path) -> dict[str, Any]:
    """The key that `fastsag listen make` wrote beside the page.

    Raises:
        UserError: it is not one.
    """
    try:
        key = json.loads(file.read_text(encoding="utf-8"))
        whole = {"clips", "systems", "listeners"} <= set(key)
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{file}: cannot be read ({error}); give the key of the test") from None
    if not whole:
        raise UserError(f"{file}: not the key of a listening test; `fastsag listen make` wrote it")
    return key


def read_ratings(files: Iterable[Path], key: dict[str, Any]) -> list[Rating]:
    """Every rating in the listeners' CSV files, under the true names of clips and systems.

    Raises:
        UserError: naming file and line: a column, number or name that cannot be, a trial that the
            plan does not have, or a clip that its listener rated before.
    """
    ratings: list[Rating] = []
    seen: dict[tuple[int, str], str] = {}
    for file in files:
        for line, row in _rows(file):
            place = f"{file}:{line}"
            rating = _rating(place, row, key)
            before = seen.setdefault((rating.listener, rating.clip), place)
            if before != place:
                raise UserError(
                    f"{place}: listener {rating.listener} rated {row['clip_id']} in {before}; "
                    "keep one session of each listener"
                )
            ratings.append(rating)
    if not ratings:
        raise UserError("no ratings; give the CSV files that the listeners sent")
    return ratings


def _rows(file: Path) -> list[tuple[int, dict[str, str]]]:
    """Line number and row of each trial."""
    rows = []
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream)
            header = next(reader, [])
            if missing := [name for name in COLUMNS if name not in header]:
                raise UserError(f"{file}:1: no column {', '.join(missing)}; send the page's CSV")
            for cells in filter(None, reader):
                if len(cells) != len(header):
                    raise UserError(
                        f"{file}:{reader.line_num}: {len(cells)} cells, not {len(header)}; "
                        "send the page's CSV as it was"
                    )
                rows.append((reader.line_num, dict(zip(header, cells))))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{file}: cannot be read ({error}); send the page's CSV") from None
    return rows


def _rating(place: str, row: dict[str, str], key: dict[str, Any]) -> Rating:
    listener = _whole(place, row, "listener_id", 1, len(key["listeners"]))
    trials = key["listeners"][listener - 1]
    index = _whole(place, row, "trial_index", 1, len(trials))
    for column, known in (("clip_id", key["clips"]), ("system", key["systems"])):
        if row[column] not in known:
            raise UserError(
                f"{place}: {column} {row[column]!r} is not in the key; is it this test?"
            )
    planned = trials[index - 1]
    told = {"clip": row["clip_id"], "subset": row["subset"], "system": row["system"]}
    if any(planned[name] != value for name, value in told.items()):
        raise UserError(
            f"{place}: trial {index} of listener {listener} is {planned['clip']}, "
            f"{planned['subset']}, {planned['system']} in the key; is it this test?"
        )
    _whole(place, row, "play_count", 1)
    _whole(place, row, "rt_ms", 0)
    try:
        datetime.fromisoformat(row["timestamp"])
    except ValueError:
        raise UserError(
            f"{place}: timestamp {row['timestamp']!r} is not a time such as 2024-05-01T09:30:00Z"
        ) from None
    return Rating(
        listener=listener,
        session=row["session_id"],
        trial=index,
        clip=key["clips"][row["clip_id"]]["name"],
        subset=row["subset"],
        system=key["systems"][row["system"]],
        rating=_whole(place, row, "rating", 1, 5),
    )


def _whole(
    place: str, row: dict[str, str], column: str, lowest: int, highest: int | None = None
) -> int:
    text = row[column]
    if text.isascii() and text.isdigit() and len(text) < 16:
        value = int(text)
        if lowest <= value and (highest is None or value <= highest):
            return value
    span = f"from {lowest} to {highest}" if highest is not None else f"of at least {lowest}"
    raise UserError(f"{place}: {column} {text!r} is not a whole number {span}")


def gaps(ratings: Sequence[Rating], key: dict[str, Any]) -> list[str]:
    """A line for each listener whose ratings are not complete."""
    lines = []
    for listener, trials in enumerate(key["listeners"], start=1):
        count = sum(rating.listener == listener for rating in ratings)
        if count < len(trials):
            lines.append(f"listener {listener}: {count} of {len(trials)} clips rated")
    return lines
