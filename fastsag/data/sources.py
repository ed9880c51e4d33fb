"""Which songs lie in a folder: mixes, and the layouts of material that is separated already.

| layout | a song is |
|---|---|
| any | an audio file that belongs to none of those below |
| folders | `<song>/vocals.*` with `accompaniment.*`, `no_vocals.*`, or `drums.* bass.* other.*` |
| pairs | `<song>_vocals.*` with `<song>_no_vocals.*`, `<song>.vocals.*` with `.accompaniment.*` |
| the authors' | as pairs, `<song number>/<clip number>_vocals.*`; the folder is the song |
| MUSDB18-HQ | `train` or `test`, `<song>/{mixture,drums,bass,other,vocals}.wav` |
| MUSDB18 | `train` or `test`, `<song>.stem.mp4` with five streams in this order |
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastsag.errors import UserError

_MUSIC = "wav flac mp3 ogg oga opus m4a m4p m4b aac aif aiff aifc au caf w64 wma ape wv tta ac3"
_VIDEO = "mp4 webm mka mkv mov"
AUDIO = frozenset(f"{_MUSIC} {_VIDEO}".split())  # how the names of songs end
_BAND = ("accompaniment", "no_vocals")
_INSTRUMENTS = ("drums", "bass", "other")
_PAIR = re.compile(r"(?P<song>.+?)[._](?P<role>vocals|no_vocals|accompaniment)", re.IGNORECASE)
_STEM_FILE = ".stem.mp4"
_SUBSETS = ("train", "test")  # of MUSDB18

_ID_LENGTH = 16  # hexadecimal digits; that two of a million songs share them: 3 in 10^8

Part = tuple[str, int]  # file, audio stream in it


@dataclass(frozen=True)
class Source:
    """One song to prepare.

    name: of the file or folder, relative to the folder that was given. mix: to be separated.
    vocals, rest: given stems, whose `rest` add up to the accompaniment. song: names the song where
    several sources are clips of one. subset: "train" or "test" of MUSDB18. problem: why it cannot
    be used.
    """

    name: str
    mix: Part | None = None
    vocals: Part | None = None
    rest: tuple[Part, ...] = ()
    song: str | None = None
    subset: str | None = None
    problem: str | None = None

    @property
    def given(self) -> bool:
        """It is separated already."""
        return self.vocals is not None

    @property
    def parts(self) -> tuple[Part, ...]:
        """What is read: the stems if there are any, else the mix."""
        if self.vocals is not None:
            return (self.vocals, *self.rest)
        return (self.mix,) if self.mix is not None else ()

    @property
    def files(self) -> tuple[str, ...]:
        """The files of its parts, each once."""
        return tuple(dict.fromkeys(path for path, _ in self.parts))

    def record(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_record(values: dict[str, Any]) -> Source:
        """What `record` gave."""

        def part(value: Any) -> Part | None:
            return None if value is None else (value[0], value[1])

        return Source(
            **{key: values[key] for key in ("name", "song", "subset", "problem")},
            mix=part(values["mix"]),
            vocals=part(values["vocals"]),
            rest=tuple((path, stream) for path, stream in values["rest"]),
        )


def find(
    roots: Iterable[Path], skip: Path | None = None, prefer_mixtures: bool = False
) -> list[Source]:
    """The songs in folders (or files) in order of their names.

    Args:
        roots: folders, searched with their subfolders and links, or single audio files.
        skip: a folder that is left out, such as the output.
        prefer_mixtures: take the mixture of MUSDB18's songs instead of their stems.

    Raises:
        UserError: a root is absent, there is no audio, or two songs have one name.
    """
    roots = list(roots)
    found: dict[str, Source] = {}
    for root in roots:
        if not root.exists():
            raise UserError(f"{root}: no such file or folder; check the path")
        base = root if root.is_dir() else root.parent
        prefix = f"{base.resolve().name}/" if len(roots) > 1 else ""
        for source in _walk(root, skip) if root.is_dir() else [_single(root)]:
            relative = Path(source.name).relative_to(base).as_posix()
            if relative == ".":  # the root itself is a song's folder
                relative = base.resolve().name
            name = prefix + relative
            if name in found:
                raise UserError(f"{source.name}: there are two songs named {name}; rename one")
            if prefer_mixtures and source.mix and source.given:
                source = dataclasses.replace(source, vocals=None, rest=())
            label = source.song and prefix + Path(source.song).relative_to(base).as_posix()
            found[name] = dataclasses.replace(source, name=name, song=label)
    if not found:
        raise UserError(f"{', '.join(map(str, roots))}: no audio here; give folders of songs")
    return [found[name] for name in sorted(found)]


def content_id(source: Source) -> str:
    """A name for what a song sounds like: a hash of the bytes that are read."""
    digest = hashlib.sha256(b"stems" if source.given else b"mix")
    for path in source.files:
        with open(path, "rb") as handle:
            digest.update(hashlib.file_digest(handle, "sha256").digest())
    digest.update(repr([stream for _, stream in source.parts]).encode())
    return digest.hexdigest()[:_ID_LENGTH]


def _walk(root: Path, skip: Path | None) -> Iterator[Source]:
    """Songs named by their whole path, in no order."""
    skipped = skip.resolve() if skip else None
    seen = set()
    for place, folders, names in os.walk(root, followlinks=True):
        here = Path(place).resolve()
        if here in seen or here == skipped:  # a link that leads back, or the output
            folders.clear()
            continue
        seen.add(here)
        folders[:] = [name for name in folders if not name.startswith(".")]
        audio = [
            name
            for name in sorted(names)
            if name.rpartition(".")[2].lower() in AUDIO and not name.startswith(".")
        ]
        yield from _folder(Path(place), audio)


def _single(path: Path) -> Source:
    return next(iter(_folder(path.parent, [path.name])))


def _folder(folder: Path, names: list[str]) -> Iterator[Source]:
    """The songs of one folder, from the names of its audio files."""
    roles = {name.rpartition(".")[0].lower(): (str(folder / name), 0) for name in names}
    if "vocals" in roles:
        yield _song_folder(folder, roles)
        return
    pairs: dict[str, dict[str, Part]] = {}
    for name in names:
        path = folder / name
        if name.endswith(_STEM_FILE):
            yield _stem_file(path)
            continue
        matched = _PAIR.fullmatch(name.rpartition(".")[0])
        if matched:
            pairs.setdefault(matched["song"], {})[matched["role"].lower()] = (str(path), 0)
        else:
            yield Source(str(path), mix=(str(path), 0))
    clips = folder.name.isdigit() and all(song.isdigit() for song in pairs)
    for song, parts in pairs.items():
        source = _pair(folder / song, parts)
        yield dataclasses.replace(source, song=str(folder)) if clips else source


def _song_folder(folder: Path, roles: dict[str, Part]) -> Source:
    """A folder with `vocals.*`; what else lies there but the stems is ignored."""
    instruments = [roles[name] for name in _INSTRUMENTS if name in roles]
    if len(instruments) == len(_INSTRUMENTS) and not any(name in roles for name in _BAND):
        subset = folder.parent.name if folder.parent.name in _SUBSETS else None
        is_musdb = "mixture" in roles and subset
        return Source(
            str(folder),
            mix=roles.get("mixture"),
            vocals=roles["vocals"],
            rest=tuple(instruments),
            subset=subset if is_musdb else None,
        )
    return _pair(folder, {name: roles[name] for name in ("vocals", *_BAND) if name in roles})


def _pair(name: Path, parts: dict[str, Part]) -> Source:
    band = [parts[role] for role in _BAND if role in parts]
    if "vocals" in parts and band:
        return Source(str(name), vocals=parts["vocals"], rest=(band[0],))
    missing = "accompaniment" if "vocals" in parts else "vocals"
    problem = f"has no {missing} beside it; add it, or rename the file if it is a whole song"
    return Source(str(name), problem=problem)


def _stem_file(path: Path) -> Source:
    subset = path.parent.name if path.parent.name in _SUBSETS else None
    file = str(path)
    return Source(
        file,
        mix=(file, 0),
        vocals=(file, 4),
        rest=((file, 1), (file, 2), (file, 3)),
        subset=subset,
    )
