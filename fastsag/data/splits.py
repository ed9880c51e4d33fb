"""Which songs train, validate and test, and which shard holds them: by hashes of the songs.

A song keeps its place when songs are added or others fail, but for those at the edge of a split.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

_LARGEST_TEST, _LARGEST_VALIDATION = 0.1, 0.05  # of a small corpus' clips


class Place(NamedTuple):
    """Split of a song, and how many of its first clips are in it; the others are left out."""

    split: str
    clips: int


def assign(counts: Mapping[str, int], test_clips: int, validation_clips: int) -> dict[str, Place]:
    """Every song to one split.

    Args:
        counts: clips of each song.
        test_clips: size of the in-domain evaluation set, met exactly: of its last song only as
            many clips are taken as are missing. At most a tenth of all clips.
        validation_clips: at least as many, in whole songs, as long as that is at most a twentieth.
    """
    songs = sorted((song for song in counts if counts[song]), key=lambda song: order("split", song))
    total = sum(counts.values())
    places: dict[str, Place] = {}
    missing = min(test_clips, int(_LARGEST_TEST * total))
    while missing > 0 and songs:
        song = songs.pop(0)
        taken = min(missing, counts[song])
        places[song] = Place("test", taken)
        missing -= taken
    missing = min(validation_clips, -int(-_LARGEST_VALIDATION * total // 1))
    while missing > 0 and len(songs) > 1:
        song = songs.pop()
        places[song] = Place("validation", counts[song])
        missing -= counts[song]
    return places | {song: Place("train", counts[song]) for song in songs}


def shard_bits(clips: int, shard_clips: int) -> int:
    """How many bits of the hash name a shard, so that shards hold about `shard_clips`."""
    return max(0, (-(-clips // shard_clips) - 1).bit_length())


def shard_index(song: str, bits: int) -> int:
    """The shard of a song: the first `bits` bits of its hash."""
    return int(order("shard", song), 16) >> (256 - bits)


def order(purpose: str, song: str) -> str:
    """A hash (64 hexadecimal digits) to sort songs by; independent for each purpose."""
    return hashlib.sha256(f"{purpose} {song}".encode()).hexdigest()
