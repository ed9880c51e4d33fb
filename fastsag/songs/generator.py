"""One song: composed, sung, arranged, played and recorded, with its ground truth.

Song i of a seed depends on (seed, i) and the settings alone, so that any number of workers gives
the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fastsag.data.shards import Record
from fastsag.errors import UserError, require
from fastsag.songs.arrangement import Grooves, arrange, choose_grooves
from fastsag.songs.band import Band, check_player, mixed, play_stems, random_band
from fastsag.songs.composition import Score, compose
from fastsag.songs.conditions import record_voice
from fastsag.songs.settings import RECORDINGS, SongSettings
from fastsag.songs.singer import Singer, random_singer
from fastsag.songs.syllables import INSTALL, RATE, RESERVED
from fastsag.songs.voice import Performance, sing

_SPLITS = (("test", 0.05), ("validation", 0.1))  # cumulative; the rest trains


@dataclass(frozen=True)
class Take:
    """A song with one band, and what its record was made from.

    midi: the band's parts, `pretty_midi.PrettyMIDI` in the seconds of the record.
    """

    record: Record
    score: Score
    singer: Singer
    sung: Performance
    midi: Any


def check_programs() -> None:
    """Everything that songs need is there.

    Raises:
        UserError: names what is missing and the command that installs it.
    """
    missing = [name for name in ("mma", "espeak-ng", "flite") if shutil.which(name) is None]
    if missing:
        raise UserError(f"{', '.join(missing)}: not installed; run: {INSTALL}")
    check_player()
    for module in ("pyworld", "pretty_midi", "fluidsynth"):
        require(module, extra="songs")


def render_song(
    seed: int, index: int, reserved_voice: str | None = None, settings: SongSettings | None = None
) -> Record:
    """Song `index` of `seed` with one band.

    Args:
        reserved_voice: one of `RESERVED`, to judge what was trained on the others.
        settings: None for the defaults.

    Raises:
        ValueError: not a reserved voice.
    """
    if reserved_voice is not None and reserved_voice not in RESERVED:
        raise ValueError(f"{reserved_voice!r} is not one of {RESERVED}")
    return next(takes(seed, index, 1, reserved_voice, settings)).record


def song_records(
    seed: int,
    index: int,
    bands: int,
    reserved: bool = False,
    settings: SongSettings | None = None,
) -> Iterator[Record]:
    """Song `index` of `seed`: one singer, `bands` accompaniments, one record each.

    The same take is recorded anew for each band, under other conditions.
    """
    source = RESERVED[index % len(RESERVED)] if reserved else None
    return (take.record for take in takes(seed, index, bands, source, settings))


def unpacked(
    seed: int, index: int, reserved: bool, settings: SongSettings, recordings: Sequence[str] = ()
) -> Iterator[Record]:
    """Song `index` of `seed` with one band, once, or once for each of `recordings`.

    Args:
        recordings: names in `RECORDINGS`; each is said in the record's key and truth.
    """
    if not recordings:
        yield from song_records(seed, index, 1, reserved, settings)
    for name in dict.fromkeys(recordings):
        recorded = settings.model_copy(update={"conditions": RECORDINGS[name]})
        for record in song_records(seed, index, 1, reserved, recorded):
            meta = {**record.meta, "recording": name}
            yield replace(record, key=f"{record.key}-{name}", meta=meta)


def takes(
    seed: int,
    index: int,
    bands: int,
    source: str | None = None,
    settings: SongSettings | None = None,
) -> Iterator[Take]:
    """The takes of a song; `source` is a reserved voice, or None for one of the others."""
    settings = settings or SongSettings()
    # One generator for each part, so that a change in one leaves the others alone.
    streams = np.random.default_rng((seed, index)).spawn(5)
    family = None
    if settings.families:
        family = settings.families[streams[4].integers(len(settings.families))]
    score = compose(streams[0], family=family, seconds=settings.seconds)
    singer = random_singer(streams[1], score.vocal_range, score.language, source)
    sung = sing(score, singer, streams[2])
    name = f"{seed:04d}-{index:06d}"
    truth = _truth(score, sung)
    for number, stream in enumerate(streams[3].spawn(bands)):
        playing, recording = stream.spawn(2)
        band, grooves, stems, midi = perform(score, playing)
        sound = mixed(stems)
        voice, met = record_voice(sung.voice, sound, settings.conditions, recording)
        meta = {
            **truth,
            "song": name,
            "offset": 0.0,
            "split": "test" if source else split_of(name),
            "source": "songs",
            "seed": seed,
            "sample_rate": RATE,
            "groove": grooves.verse["groove"],
            "grooves": grooves.names,
            "instruments": sorted({part.name or str(part.program) for part in midi.instruments}),
            "font": band.font,
            "band_room": band.room,
            "voice": singer.to_dict(),
            "conditions": met,
        }
        record = Record(f"{name}-{number}", voice, sound, meta, stems)
        yield Take(record, score, singer, sung, midi)


def _truth(score: Score, sung: Performance) -> dict[str, Any]:
    """The score's record; each note also with the times at which this singer sang it."""
    truth = score.record()
    for note, times in zip(truth["notes"], sung.times, strict=True):
        note["sung"] = [round(time, 4) for time in times]
    return truth


def perform(
    score: Score, rng: np.random.Generator
) -> tuple[Band, Grooves, dict[str, np.ndarray], Any]:
    """A band for a score: how it plays, its grooves, its tracks (N,) by name, its MIDI."""
    grooves = choose_grooves(score.family, rng)
    band = random_band(rng)
    midi = arrange(score, grooves, rng)
    return band, grooves, play_stems(midi, band, 0.0, score.duration), midi


def split_of(song: str) -> str:
    """train, validation or test by a hash of the song's name: bands of a song never part."""
    share = int(hashlib.sha256(song.encode()).hexdigest()[:8], 16) / 16**8
    return next((name for name, limit in _SPLITS if share < limit), "train")


def write_files(records: Iterable[Record], folder: Path) -> list[Path]:
    """Records as plain files: KEY.vocals.wav, KEY.accompaniment.wav, KEY.truth.json."""
    import soundfile

    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for record in records:
        rate = record.meta["sample_rate"]
        for part, samples in (
            ("vocals", record.vocals),
            ("accompaniment", record.accompaniment),
        ):
            path = folder / f"{record.key}.{part}.wav"
            soundfile.write(path, samples, rate, subtype="PCM_16")
            written.append(path)
        truth = folder / f"{record.key}.truth.json"
        truth.write_text(json.dumps(record.meta, indent=1), encoding="utf-8")
        written.append(truth)
    return written
