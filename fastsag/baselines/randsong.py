"""RandSong: somebody else's band. The paper's anchor for harmony and coherence.

A pool lists accompaniments of prepared shards and where their bytes lie. For a voice one of them is
drawn, never of the same song, and brought to the voice's length.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import soundfile

from fastsag import audio
from fastsag.audio import Recording
from fastsag.baselines.result import Result, finish
from fastsag.data.shards import shard_paths
from fastsag.errors import UserError
from fastsag.take import Stopwatch

POOL_SIZE = 20_000  # paper section 5.2
_SUFFIX = ".accompaniment.flac"
_FADE_SECONDS = 0.05  # where a band that is too short begins again


@dataclass(frozen=True)
class Candidate:
    """An accompaniment inside a shard: its bytes are `offset`..`offset + size`.

    shard: name of the file. key: of the record. song: shared by all records of one song.
    """

    shard: str
    key: str
    song: str
    offset: int
    size: int


@dataclass(frozen=True)
class Pool:
    """Candidates and the folder of their shards."""

    folder: Path
    candidates: tuple[Candidate, ...]

    @classmethod
    def load(cls, path: Path) -> Pool:
        """Read what `save` wrote.

        Raises:
            UserError: absent, or not a pool.
        """
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
            folder = Path(json.loads(lines[0])["shards"])
            candidates = tuple(Candidate(**json.loads(line)) for line in lines[1:])
        except OSError as error:
            raise UserError(
                f"{path}: cannot be read ({error.strerror}); make it: fastsag randsong pool"
            ) from None
        except (ValueError, KeyError, TypeError, IndexError):
            raise UserError(f"{path}: not a pool; make it again: fastsag randsong pool") from None
        return cls(folder if folder.is_absolute() else path.parent / folder, candidates)

    def save(self, path: Path) -> None:
        """Write as JSON lines; the folder of the shards is kept relative to the file's."""
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = os.path.relpath(self.folder.resolve(), path.parent.resolve())
        lines = [{"shards": folder}, *(asdict(candidate) for candidate in self.candidates)]
        audio.write_text(path, "".join(json.dumps(line) + "\n" for line in lines))

    def read(self, candidate: Candidate) -> Recording:
        """The accompaniment (1, N).

        Raises:
            UserError: the shard is gone or has changed since the pool was made.
        """
        path = self.folder / candidate.shard
        try:
            with path.open("rb") as handle:
                handle.seek(candidate.offset)
                data = handle.read(candidate.size)
            samples, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
        except (OSError, soundfile.LibsndfileError):
            raise UserError(
                f"{path}: no longer holds {candidate.key}; make the pool again: "
                "fastsag randsong pool"
            ) from None
        return Recording(audio.to_mono(samples.T), int(rate))


def build_pool(
    folder: Path,
    count: int = POOL_SIZE,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Pool:
    """Up to `count` accompaniments of the shards in `folder`, drawn at random.

    Raises:
        UserError: no shards, or one that cannot be read.
    """
    found: list[Candidate] = []
    paths = shard_paths(folder)
    for done, path in enumerate(paths, 1):
        found.extend(_candidates(path))
        if progress:
            progress(done, len(paths))
    order = np.random.default_rng(seed).permutation(len(found))[:count]
    return Pool(folder, tuple(found[index] for index in sorted(order)))


def _candidates(path: Path) -> list[Candidate]:
    try:
        with tarfile.open(path, "r:") as tar:
            members = {member.name: member for member in tar if member.isfile()}
            found = []
            for name, member in members.items():
                if not name.endswith(_SUFFIX):
                    continue
                key = name.removesuffix(_SUFFIX)
                handle = tar.extractfile(members[f"{key}.json"])
                meta = json.load(handle) if handle else {}
                found.append(
                    Candidate(path.name, key, str(meta["song"]), member.offset_data, member.size)
                )
            return found
    except (tarfile.TarError, KeyError, ValueError) as error:
        raise UserError(f"{path}: not a shard ({error}); delete it and make it again") from None


def song_of(voice: Path) -> str | None:
    """The song of a voice, from `<stem>.truth.json` beside it; None where there is none."""
    stem = voice.name.partition(".")[0]
    path = voice.with_name(f"{stem}.truth.json")
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["song"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def choose(pool: Pool, name: str, song: str | None, seed: int) -> Candidate:
    """A candidate of another song; depends on the voice's name and the seed alone.

    Args:
        pool: to choose from.
        name: file name of the voice. What stands before its first dot names its record, and so do
            candidates with that key.
        song: of the voice, if it is known.
        seed: other seeds, other bands.

    Raises:
        UserError: the pool has no other song.
    """
    key = name.partition(".")[0]
    own = {song, key} | {one.song for one in pool.candidates if one.key == key}
    others = [one for one in pool.candidates if one.song not in own and one.key != key]
    if not others:
        raise UserError(f"{name}: the pool has no other song; make a larger one")
    return others[np.random.default_rng((seed, zlib.crc32(key.encode()))).integers(len(others))]


def to_length(band: np.ndarray, count: int, fade: int) -> np.ndarray:
    """Samples (N,) cut to `count`, or begun again with a cross-fade until they last."""
    fade = min(fade, len(band) // 2)
    ramp = (np.arange(fade, dtype=np.float32) + 0.5) / max(1, fade)
    out = band
    while len(out) < count:
        blend = out[len(out) - fade :] * (1 - ramp) + band[:fade] * ramp
        out = np.concatenate([out[: len(out) - fade], blend, band[fade:]])
    return out[:count]


class RandSong:
    """A pool, ready to accompany.

    Args:
        pool: the candidates.
        name: for the record.
    """

    def __init__(self, pool: Pool, name: str = "unnamed") -> None:
        self.pool, self.name = pool, name

    def accompany(self, voice: Path, *, seed: int = 0, level_db: float = -3.0) -> Result:
        """Put a drawn band under a voice.

        Args:
            voice: a file; its name and the truth beside it keep its own song away.
            seed: of the choice.
            level_db: loudness of the band against the voice (LU, BS.1770).

        Raises:
            UserError: the input cannot be used, or the pool has no other song.
        """
        watch = Stopwatch()
        recording = audio.read(voice)
        watch.lap("read")
        candidate = choose(self.pool, voice.name, song_of(voice), seed)
        band = self.pool.read(candidate)
        rate = band.sample_rate
        count = -(-recording.samples.shape[1] * rate // recording.sample_rate)
        samples = to_length(band.samples[0], count, int(_FADE_SECONDS * rate))
        watch.lap("choose")
        chosen = {"key": candidate.key, "song": candidate.song}
        about = {
            "checkpoint": self.name,
            "device": "cpu",
            "precision": "fp32",
            "system": "RandSong",
            "chosen": chosen,
        }
        return finish(recording, samples, rate, level_db, seed, watch, about)
