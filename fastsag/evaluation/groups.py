"""Scores by kind of song, and over the seeds of a system."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fastsag.errors import UserError
from fastsag.evaluation.sets import clips

Rows = Sequence[dict[str, Any]]

COLUMNS = (
    *("in_key", "consonance", "chord_soft", "chord_move", "beat", "pulse"),
    *("mel_fd", "leak", "coherence"),
)
_TEMPI = ((90, "to 90"), (120, "90 to 120"), (150, "120 to 150"))


def _tempo(truth: dict[str, Any]) -> str:
    return next((name for limit, name in _TEMPI if truth["tempo"] < limit), "150 and more")


def _voice(truth: dict[str, Any]) -> str:
    return str(truth["voice"]["source"])


_SAID = ("style", "family", "meter", "mode", "recording", "language", "free_tempo")
_DERIVED: dict[str, Callable[[dict[str, Any]], str]] = {"tempo": _tempo, "voice": _voice}
FIELDS = (*_SAID, *_DERIVED)
"""What songs can be grouped by."""


def group(truth: dict[str, Any], field: str) -> str:
    """The group of a song by its truth; KeyError where that does not tell."""
    return _DERIVED[field](truth) if field in _DERIVED else str(truth[field])


def groups(songs: Path, field: str) -> dict[str, str]:
    """The group of each song of a set, by its key.

    Raises:
        UserError: unknown field, or a song whose truth does not tell.
    """
    if field not in FIELDS:
        raise UserError(f"--by {field}: unknown; choose one of {', '.join(FIELDS)}")
    found = {}
    for clip in clips(songs):
        try:
            if clip.truth is None:
                raise KeyError(field)
            found[clip.key] = group(json.loads(clip.truth.read_text(encoding="utf-8")), field)
        except KeyError as reason:
            raise UserError(
                f"{songs}: the truth of {clip.key} does not tell its {field}; songs by `fastsag "
                "songs unpack` do (their recording only with --recording)"
            ) from reason
    return found


def seeds(systems: Sequence[str]) -> dict[str, list[str]]:
    """Systems that are seeds of one: "compact-0" and "compact-1" -> {"compact": both}.

    A system without a number, or with the only number of its name, stands by itself.
    """
    found: dict[str, list[str]] = {}
    for system in systems:
        found.setdefault(re.sub(r"-\d+$", "", system), []).append(system)
    return {name if len(of) > 1 else of[0]: of for name, of in found.items()}


def table(rows: Rows, by: dict[str, str] | None = None, field: str = "") -> str:
    """Means as a Markdown table, of seeds with the spread of their means.

    Args:
        rows: as `report.compare` gives them.
        by: group of each song; one row of the table for each system and group.
        field: what the groups are.
    """
    head = ["system", *([field, "songs"] if by else []), *COLUMNS]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name, members in seeds(list(dict.fromkeys(row["system"] for row in rows))).items():
        own = [row for row in rows if row["system"] in members]
        parts: list[tuple[list[str], list[dict[str, Any]]]] = [] if by else [([], own)]
        if by:
            for kind in sorted(set(by.values())):
                part = [row for row in own if by[row["song"]] == kind]
                parts.append(([kind, str(len({row["song"] for row in part}))], part))
        for told, part in parts:
            cells = [name, *told, *(cell(part, column) for column in COLUMNS)]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def cell(rows: Rows, column: str) -> str:
    """The mean of a score, and the standard deviation of the seeds' means where there are more."""
    means = []
    for system in dict.fromkeys(row["system"] for row in rows):
        values = [row[column] for row in rows if row["system"] == system]
        known = [value for value in values if value is not None]
        if known:
            means.append(float(np.mean(known)))
    if not means:
        return "-"
    spread = f" ± {np.std(means, ddof=1):.2f}" if len(means) > 1 else ""
    return f"{np.mean(means):.2f}{spread}"
