"""Ratings in, mean opinion scores out, beside the paper's Table 3."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from fastsag import audio
from fastsag.errors import require
from fastsag.evaluation.listening.ratings import Rating, gaps, read_key, read_ratings
from fastsag.evaluation.paper import TABLE3 as PAPER
from fastsag.evaluation.paper import plain as _plain
from fastsag.plots import save

RESAMPLES = 10_000
_PERCENTILES = (2.5, 97.5)
_EXACT = 50  # as many differences as are tested without an approximation


@dataclass(frozen=True)
class Score:
    """Mean opinion score of a system, with its 95 % interval. paper: Table 3, where it is there."""

    system: str
    mos: float
    low: float
    high: float
    ratings: int
    listeners: int
    paper: float | None


@dataclass(frozen=True)
class Pair:
    """Two systems compared by the means of those listeners who rated both.

    difference: first less second. p: Wilcoxon's signed-rank test, two-sided. p_holm: corrected.
    """

    first: str
    second: str
    difference: float
    listeners: int
    p: float
    p_holm: float


def mos(ratings: Sequence[Rating], resamples: int = RESAMPLES, seed: int = 0) -> list[Score]:
    """Scores of all systems, the best first.

    The interval is the percentile bootstrap over listeners: a listener's ratings depend on each
    other, so that listeners are drawn, with all that they rated.
    """
    systems, listeners, total, count = _sums(ratings)
    drawn = np.random.default_rng(seed).multinomial(
        len(listeners), np.full(len(listeners), 1 / len(listeners)), size=resamples
    )
    numbers = drawn @ count
    with np.errstate(invalid="ignore"):
        means = drawn @ total / np.where(numbers > 0, numbers, np.nan)
    low, high = np.nanpercentile(means, _PERCENTILES, axis=0)
    scores = [
        Score(
            system=system,
            mos=float(total[:, i].sum() / count[:, i].sum()),
            low=float(low[i]),
            high=float(high[i]),
            ratings=int(count[:, i].sum()),
            listeners=int((count[:, i] > 0).sum()),
            paper=paper_score(system),
        )
        for i, system in enumerate(systems)
    ]
    return sorted(scores, key=lambda score: -score.mos)


def _sums(ratings: Sequence[Rating]) -> tuple[list[str], list[int], np.ndarray, np.ndarray]:
    """Systems, listeners, and sum and number of ratings (listeners, systems)."""
    systems = sorted({rating.system for rating in ratings})
    listeners = sorted({rating.listener for rating in ratings})
    total, count = np.zeros((2, len(listeners), len(systems)))
    for rating in ratings:
        cell = listeners.index(rating.listener), systems.index(rating.system)
        total[cell] += rating.rating
        count[cell] += 1
    return systems, listeners, total, count


def paper_score(system: str) -> float | None:
    """The paper's score of a system of that name, whatever its capitals and signs."""
    plain = {_plain(name): score for name, score in PAPER.items()}
    return plain.get(_plain(system))


def pairs(ratings: Sequence[Rating]) -> list[Pair]:
    """Every two systems, tested on listeners' means; p corrected by Holm over all pairs."""
    systems, _, total, count = _sums(ratings)
    means = total / np.where(count > 0, count, np.nan)
    tested = []
    for i, j in combinations(range(len(systems)), 2):
        # Rounded, because 7/3 - 4/3 and 4/3 - 1/3 must tie.
        differences = np.round(means[:, i] - means[:, j], 9)
        differences = differences[np.isfinite(differences)]
        mean = float(differences.mean()) if len(differences) else float("nan")
        p = signed_rank(differences)
        tested.append((systems[i], systems[j], mean, len(differences), p))
    corrected = holm([p for *_, p in tested])
    return [Pair(*row, p_holm=p) for row, p in zip(tested, corrected, strict=True)]


def signed_rank(differences: np.ndarray) -> float:
    """Two-sided p of Wilcoxon's signed-rank test; zeros are dropped, ties share their ranks.

    Exact up to `_EXACT` listeners, ties or not: the approximation that libraries fall back on for
    ties is ten times off in the tail for 15 listeners. Its normal limit above.
    """
    from scipy.stats import rankdata, wilcoxon

    differences = differences[differences != 0]
    if len(differences) == 0:
        return 1.0
    if len(differences) > _EXACT:
        return float(wilcoxon(differences, method="asymptotic").pvalue)
    doubled = np.rint(2 * rankdata(np.abs(differences))).astype(int)  # whole, ties too
    ways = np.ones(1)  # signings by the doubled sum of positive ranks
    for rank in doubled:
        ways = np.pad(ways, (0, rank)) + np.pad(ways, (rank, 0))
    positive = int(doubled[differences > 0].sum())
    tail = min(ways[: positive + 1].sum(), ways[positive:].sum()) / ways.sum()
    return float(min(1.0, 2 * tail))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p values (Holm 1979), in the order given."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def summary(ratings: Sequence[Rating], resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Any]:
    """Everything, for JSON: counts, scores in all and by subset, pairs."""
    subsets = sorted({rating.subset for rating in ratings})
    by_subset = {
        subset: mos([rating for rating in ratings if rating.subset == subset], resamples, seed)
        for subset in subsets
    }
    return {
        "ratings": len(ratings),
        "listeners": len({rating.listener for rating in ratings}),
        "resamples": resamples,
        "seed": seed,
        "systems": [asdict(score) for score in mos(ratings, resamples, seed)],
        "subsets": {
            name: [asdict(score) for score in scores]
            for name, scores in by_subset.items()
            if len(by_subset) > 1
        },
        "pairs": [_finite(asdict(pair)) for pair in pairs(ratings)],
    }


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    return {name: None if value != value else value for name, value in row.items()}


def table(found: dict[str, Any]) -> str:
    """`summary` as Markdown: scores beside the paper's, by subset, and pairs."""
    parts = [_scores(found["systems"], paper=True)]
    for name, rows in found["subsets"].items():
        parts.append(f"{name}:\n\n{_scores(rows, paper=False)}")
    lines = ["| pair | difference | listeners | p | p (Holm) |", "|---" * 5 + "|"]
    for pair in found["pairs"]:
        difference = "-" if pair["difference"] is None else f"{pair['difference']:+.2f}"
        lines.append(
            f"| {pair['first']} - {pair['second']} | {difference} | {pair['listeners']} "
            f"| {pair['p']:.4f} | {pair['p_holm']:.4f} |"
        )
    return "\n\n".join([*parts, "\n".join(lines)])


def _scores(rows: list[dict[str, Any]], paper: bool) -> str:
    head = ["system", "MOS", "95 %", "ratings", "listeners", *(["paper"] if paper else [])]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row in rows:
        cells = [
            row["system"],
            f"{row['mos']:.2f}",
            f"{row['low']:.2f} to {row['high']:.2f}",
            str(row["ratings"]),
            str(row["listeners"]),
        ]
        if paper:
            cells.append("-" if row["paper"] is None else f"{row['paper']:.2f}")
        lines.append(f"| {' | '.join(cells)} |")
    if paper:
        heard = {_plain(row["system"]) for row in rows}
        for name, score in PAPER.items():
            if _plain(name) not in heard:
                lines.append(f"| {name} | - | - | - | - | {score:.2f} |")
    return "\n".join(lines)


def plot(path: Path, found: dict[str, Any]) -> None:
    """Draw scores with their intervals, the paper's as open circles.

    Raises:
        UserError: matplotlib is missing, or the picture cannot be written.
    """
    figure_module = require("matplotlib.figure", extra="plot")
    agg = require("matplotlib.backends.backend_agg", extra="plot")
    rows = found["systems"][::-1]
    figure = figure_module.Figure(figsize=(7, 0.5 * len(rows) + 1.4), layout="constrained")
    agg.FigureCanvasAgg(figure)
    axis = figure.subplots()
    centre = np.array([row["mos"] for row in rows])
    ends = np.array([[row["low"], row["high"]] for row in rows]).T
    # A mean outside its own percentile interval would give a negative reach.
    reach = np.maximum([centre - ends[0], ends[1] - centre], 0)
    places = np.arange(len(rows))
    axis.errorbar(centre, places, xerr=reach, fmt="o", capsize=4, label="this test, 95 %")
    published = [(row["paper"], i) for i, row in enumerate(rows) if row["paper"] is not None]
    if published:
        axis.plot(*zip(*published), "o", mfc="none", mec="gray", label="paper, Table 3")
    axis.set_yticks(places, [row["system"] for row in rows])
    axis.set_xlim(0.9, 5.1)
    axis.set_ylim(-0.6, len(rows) - 0.4)
    axis.set_xlabel("mean opinion score")
    axis.grid(axis="x", alpha=0.3)
    axis.legend(loc="lower right", fontsize="small")
    figure.suptitle(f"{found['ratings']} ratings by {found['listeners']} listeners")
    save(figure, path)


def write(key: Path, ratings: Sequence[Path], output: Path) -> tuple[list[Path], str]:
    """Table 3 of a test's ratings in a folder: table3.md, .csv, .json and .png.

    Returns:
        The files, and the table for reading.

    Raises:
        UserError: key or ratings cannot be read or do not fit each other.
    """
    known = read_key(key)
    given = read_ratings(ratings, known)
    found = summary(given)
    lines = gaps(given, known)
    text = "\n\n".join(["Table 3: mean opinion scores", table(found), *lines]) + "\n"
    files = [output / f"table3.{end}" for end in ("md", "csv", "json", "png")]
    audio.write_text(files[0], text)
    audio.write_text(files[1], _csv(found["systems"]))
    audio.write_text(files[2], json.dumps(found, indent=1) + "\n")
    plot(files[3], found)
    return files, text


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
