"""Who hears which clip by which system: a seeded, balanced plan.

The paper: 15 listeners, 20 of 100 clips each, in-domain to zero-shot as 2 to 1.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from math import lcm
from pathlib import Path

import numpy as np

from fastsag.errors import UserError

IN_DOMAIN, ZERO_SHOT = "in-domain", "zero-shot"
SUBSETS = (IN_DOMAIN, ZERO_SHOT)
ALL = "all"  # the subset of every clip where none are named
_IN_DOMAIN_SHARE = 2 / 3


@dataclass(frozen=True)
class Trial:
    """One clip, as made by one system, heard by one listener."""

    clip: str
    subset: str
    system: str


def read_subsets(file: Path) -> dict[str, str]:
    """Subset by clip from a CSV file with the columns clip and subset.

    Raises:
        UserError: naming file and line.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            rows = list(enumerate(csv.reader(stream), start=1))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: cannot be read ({error}); give a CSV file") from None
    if not rows or rows[0][1] != ["clip", "subset"]:
        raise UserError(f"{file}:1: the first line must be clip,subset")
    found: dict[str, str] = {}
    for line, row in rows[1:]:
        if not row:
            continue
        if len(row) != 2 or row[1] not in SUBSETS:
            raise UserError(f"{file}:{line}: write CLIP,{IN_DOMAIN} or CLIP,{ZERO_SHOT}")
        if row[0] in found:
            raise UserError(f"{file}:{line}: {row[0]} a second time; delete one line")
        found[row[0]] = row[1]
    return found


def choose(clips: dict[str, str], count: int, seed: int) -> dict[str, str]:
    """`count` random clips; where both subsets are there, in-domain to zero-shot as 2 to 1.

    Args:
        clips: subset by clip.

    Raises:
        UserError: there are too few.
    """
    rng = np.random.default_rng([seed, 0])
    present = sorted(set(clips.values()))
    wanted = dict.fromkeys(present, count)
    if present == sorted(SUBSETS):
        inside = round(count * _IN_DOMAIN_SHARE)
        wanted = {IN_DOMAIN: inside, ZERO_SHOT: count - inside}
    chosen: dict[str, str] = {}
    for subset, number in wanted.items():
        pool = sorted(clip for clip, own in clips.items() if own == subset)
        if len(pool) < number:
            raise UserError(
                f"{len(pool)} clips are {subset} and common to all systems, {number} are needed; "
                "add clips or lower --clips"
            )
        for index in rng.permutation(len(pool))[:number]:
            chosen[pool[index]] = subset
    return chosen


def plan(
    clips: dict[str, str], systems: Sequence[str], listeners: int, trials: int, seed: int
) -> list[list[Trial]]:
    """The trials of each listener, in the order of hearing.

    Each subset is dealt round and round: its clips in a random order, its systems in turn, one step
    further each time that clips and systems would meet again. Therefore
    - no listener hears a clip twice;
    - over the whole test, the numbers of ratings of any two pairs of clip and system differ by at
      most one, and so do those of any two clips;
    - every listener's subsets are in proportion to the clips', to within one trial;
    - within a subset, the numbers of clips that a listener hears of any two systems differ by at
      most two, and by at most one unless the deal takes that further step among them.

    Args:
        clips: subset by clip, at most two subsets.
        systems: their names.
        trials: clips that one listener hears.

    Raises:
        UserError: more trials than clips, or fewer than two systems.
    """
    if len(systems) < 2:
        raise UserError("one system cannot be compared; give two or more SYSTEM=FOLDER")
    if trials > len(clips):
        raise UserError(f"--trials {trials}: there are {len(clips)} clips; nobody hears one twice")
    rng = np.random.default_rng([seed, 1])
    names = [systems[index] for index in rng.permutation(len(systems))]
    pools = [
        [own[index] for index in rng.permutation(len(own))]
        for own in (
            sorted(clip for clip, subset in clips.items() if subset == wanted)
            for wanted in sorted(set(clips.values()))
        )
    ]
    # Rounded running totals: the first subset has its share of trials at any point.
    first = [round(index * trials * len(pools[0]) / len(clips)) for index in range(listeners + 1)]
    edges = [first, [index * trials - count for index, count in enumerate(first)]]
    assigned = []
    for listener in rng.permutation(listeners):
        heard = [
            Trial(pool[slot % len(pool)], clips[pool[0]], names[_turn(slot, pool, names, mirrored)])
            for mirrored, (pool, edge) in enumerate(zip(pools, edges))
            for slot in range(edge[listener], edge[listener + 1])
        ]
        assigned.append([heard[index] for index in rng.permutation(len(heard))])
    return assigned


def _turn(slot: int, pool: list[str], names: list[str], mirrored: int) -> int:
    """Whose turn it is in a slot.

    The second subset runs through the systems backwards, so that a listener's surplus in the one
    fills the gap in the other.
    """
    step = slot + slot // lcm(len(pool), len(names))
    return (-1 - step if mirrored else step) % len(names)
