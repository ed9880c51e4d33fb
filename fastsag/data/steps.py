"""The work on one song: separate, clip, features. Each step writes whole files and skips what is
there, so that any worker may do it, twice or after a kill, and the bytes come out the same.
"""

from __future__ import annotations

import functools
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastsag import audio
from fastsag.audio import Recording
from fastsag.data import clips, separation
from fastsag.data.separation import RATE
from fastsag.data.settings import FeatureSettings, SeparationSettings
from fastsag.data.shards import (
    decode_audio,
    encode_array,
    encode_audio,
    read_parts,
    write_parts,
)
from fastsag.data.sources import Part, Source
from fastsag.data.store import DiskFull, save
from fastsag.data.workspace import Workspace, read_record, song_id, stem_files, write_record
from fastsag.errors import UserError

STEPS = ("separate", "clip", "features")
_FULL_SCALE = 1 - 2.0**-15  # of 16 bit
_SLACK_SECONDS = 0.1  # by which encoders may change the length of stems


class Unready(UserError):
    """An earlier step has not been done for this song."""


@dataclass(frozen=True)
class Outcome:
    """What became of one song in one run.

    status: done, kept (was done before), waiting (for an earlier step), failed, or stop (nothing
    can go on). seconds: of work, by step. audio_seconds: of the song, where it was worked on.
    """

    name: str
    status: str
    reason: str = ""
    seconds: dict[str, float] | None = None
    audio_seconds: float = 0.0


def process(workspace: Workspace, steps: tuple[str, ...], discard: bool, source: Source) -> Outcome:
    """Do `steps` of one song, as far as they are not done.

    Args:
        workspace: where.
        steps: of `STEPS`, in their order.
        discard: delete the song's stems once its clips are there.
        source: the song.
    """
    work = _Song(workspace, source)
    try:
        _one_thread()
        work.run(steps, discard)
    except Unready as error:
        return Outcome(source.name, "waiting", str(error))
    except (DiskFull, _Stop) as error:
        return Outcome(source.name, "stop", str(error))
    except OSError as error:
        if not str(error.filename or "").startswith(str(workspace.folder)):
            return fail(workspace, source, work.step, _reason(error, source))
        reason = f"cannot be written ({error.strerror}); mend it and run the same command again"
        return Outcome(source.name, "stop", f"{error.filename}: {reason}")
    except Exception as error:  # of whatever kind: one song must not end the run
        return fail(workspace, source, work.step, _reason(error, source))
    workspace.failure(source).unlink(missing_ok=True)
    return Outcome(
        source.name, "done" if work.seconds else "kept", "", work.seconds, work.audio_seconds
    )


def fail(workspace: Workspace, source: Source, step: str, reason: str) -> Outcome:
    """Note why a song was left out."""
    row = {"path": source.name, "used": False, "step": step, "reason": reason}
    try:
        save(workspace.failure(source), json.dumps(row).encode())
    except DiskFull as error:
        return Outcome(source.name, "stop", str(error))
    return Outcome(source.name, "failed", reason)


class _Stop(Exception):
    """What would end every other song alike."""


class _Song:
    """One song on its way through the steps. step: the one at work. seconds: spent, by step."""

    def __init__(self, workspace: Workspace, source: Source) -> None:
        self.workspace, self.source, self.settings = workspace, source, workspace.settings
        self.step = STEPS[0]
        self.seconds: dict[str, float] = {}
        self.audio_seconds = 0.0

    def run(self, steps: tuple[str, ...], discard: bool) -> None:
        song = song_id(self.workspace, self.source)
        stems = self.workspace.stems(self.source, song)
        clipped = self.workspace.clips(self.source, song)
        clips_done = read_record(clipped, [clipped.with_suffix(".tar")])
        needed = "separate" in steps and not ("clip" in steps and clips_done)
        if needed and not read_record(stems, stem_files(stems)):
            self._timed("separate", lambda: self._separate(stems, song))
        if "clip" in steps and not clips_done:
            record = read_record(stems, stem_files(stems))
            if not record:
                raise Unready("separate")
            self._timed("clip", lambda: self._clip(stems, record, clipped, song))
        if "clip" in steps and discard:
            for path in (stems, *stem_files(stems)):
                path.unlink(missing_ok=True)
        features = self.workspace.features(self.source, song)
        if "features" in steps and not features.exists():
            if not read_record(clipped, [clipped.with_suffix(".tar")]):
                raise Unready("clip")
            self._timed("features", lambda: self._features(clipped.with_suffix(".tar"), features))

    def _timed(self, step: str, work: Callable[[], float]) -> None:
        self.step = step
        started = time.perf_counter()
        self.audio_seconds = work()
        self.seconds[step] = time.perf_counter() - started

    def _separate(self, out: Path, song: str) -> float:
        """Stems as mono FLAC of 24 bit, turned down together if one of them would clip."""
        notes: list[str] = []
        if self.source.given:
            voice, band = self._given(notes)
        else:
            voice, band = self._separated(song, notes)
        for name, part in (("vocals", voice), ("accompaniment", band)):
            if np.abs(part).max() < 10 ** (audio.SILENCE_DBFS / 20):
                raise UserError(f"its {name} are silent")
        gain = min(1.0, _FULL_SCALE / float(max(np.abs(voice).max(), np.abs(band).max())))
        for path, part in zip(stem_files(out), (voice, band), strict=True):
            save(path, encode_audio(part * np.float32(gain), RATE, bits=24))
        seconds = len(voice) / RATE
        write_record(out, stem_files(out), seconds=seconds, gain=gain, notes=notes)
        return seconds

    def _separated(self, song: str, notes: list[str]) -> tuple[np.ndarray, np.ndarray]:
        assert self.source.mix is not None and self.settings.separation is not None
        recording = self._read(self.source.mix, notes)
        seed = int(song, 16) + self.settings.separation.seed
        voice, band = separation.separate(recording, _separator(self.settings.separation), seed)
        return voice.mean(0, dtype=np.float32), band.mean(0, dtype=np.float32)

    def _given(self, notes: list[str]) -> tuple[np.ndarray, np.ndarray]:
        mono = []
        for part in self.source.parts:
            recording = self._read(part, notes, silence=True)
            samples = audio.to_mono(recording.samples)
            mono.append(audio.resample(samples, recording.sample_rate, RATE)[0])
        shortest, longest = min(map(len, mono)), max(map(len, mono))
        if longest - shortest > _SLACK_SECONDS * RATE:
            raise UserError(
                f"its stems differ in length ({shortest / RATE:.2f} and {longest / RATE:.2f} s); "
                "export them again from one project"
            )
        voice, *rest = (part[:shortest] for part in mono)
        return voice, np.stack(rest).sum(0, dtype=np.float32)

    def _read(self, part: Part, notes: list[str], silence: bool = False) -> Recording:
        path, stream = part
        longest = 60 * self.settings.longest_minutes
        recording = audio.read(path, stream=stream, longest_seconds=longest, silence=silence)
        if recording.sample_rate < self.settings.lowest_rate:
            raise UserError(
                f"has {recording.sample_rate:,} Hz and nothing above "
                f"{recording.sample_rate / 2:,.0f} Hz; use a better copy, or lower --lowest-rate"
            )
        channels = len(recording.samples)
        if channels != 2 and not self.source.given:
            kind = "mono" if channels == 1 else f"{channels} channels"
            note = f"{kind}: separated as their mean on both sides"
            notes.extend([] if note in notes else [note])
        return recording

    def _clip(self, stems: Path, record: dict[str, Any], out: Path, song: str) -> float:
        """Pairs that pass the gate, as records; levels are those before `gain`."""
        voice, band = (decode_audio(path.read_bytes()) for path in stem_files(stems))
        gain, rows = np.float32(record["gain"]), []
        spans = clips.cut(len(voice), RATE, self.settings.clip_seconds)
        if not spans:
            raise UserError(
                f"lasts {len(voice) / RATE:.1f} s, less than one clip of "
                f"{self.settings.clip_seconds:g} s"
            )

        def kept() -> Iterator[tuple[str, dict[str, bytes]]]:
            for index, span in enumerate(spans):
                pair = voice[span], band[span]
                levels = [clips.levels(part / gain, RATE) for part in pair]
                passed = clips.gates(*levels)
                figures = [number for part in levels for number in (part.peak_rms_db, part.rms_db)]
                rows.append([*(round(x, 2) for x in figures), passed["paper"], passed["authors"]])
                if passed[self.settings.gate]:
                    yield _record(song, index, span.start / RATE, pair, float(gain), rows[-1])

        tar = out.with_suffix(".tar")
        count = write_parts(tar, kept())
        seconds, notes = record["seconds"], record["notes"]
        write_record(out, [tar], seconds=seconds, notes=notes, kept=count, windows=rows)
        return seconds

    def _features(self, clips_tar: Path, out: Path) -> float:
        assert self.settings.features is not None
        extractor = _extractor(self.settings.features)
        seconds = 0.0

        def computed() -> Iterator[tuple[str, dict[str, bytes]]]:
            nonlocal seconds
            with clips_tar.open("rb") as handle:
                for key, parts in read_parts(handle, str(clips_tar)):
                    meta = json.loads(parts["json"])
                    pair = (
                        decode_audio(parts[f"{name}.flac"]) for name in ("vocals", "accompaniment")
                    )
                    arrays = extractor.arrays(*pair, meta)
                    seconds += meta["duration"]
                    yield key, {f"{name}.npy": encode_array(arrays[name]) for name in arrays}

        write_parts(out, computed())
        return seconds


def _record(
    song: str,
    index: int,
    offset: float,
    pair: tuple[np.ndarray, np.ndarray],
    gain: float,
    row: list[Any],
) -> tuple[str, dict[str, bytes]]:
    """One clip as it lies in a shard, but for its song and split."""
    key = f"{song}-{index:04d}"
    *levels, paper, authors = row
    meta = {
        "clip": key,
        "offset": round(offset, 6),
        "duration": len(pair[0]) / RATE,
        "sample_rate": RATE,
        "gain_db": round(20 * math.log10(gain), 4),
        "levels": {
            name: {"peak_rms_db": peak, "rms_db": rms}
            for name, (peak, rms) in (("vocals", levels[:2]), ("accompaniment", levels[2:]))
        },
        "gates": {"paper": paper, "authors": authors},
    }
    return key, {
        "vocals.flac": encode_audio(pair[0], RATE),
        "accompaniment.flac": encode_audio(pair[1], RATE),
        "json": json.dumps(meta, sort_keys=True).encode(),
    }


def _reason(error: Exception, source: Source) -> str:
    if isinstance(error, MemoryError):
        return "not enough memory; use fewer workers"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read ({error.strerror})"
    text = str(error)
    for file in source.files:
        text = text.removeprefix(f"{file}: ")
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"


def _one_thread() -> None:
    """Sums of several threads may differ in the last bit from those of one."""
    import torch

    if torch.get_num_threads() != 1:
        torch.set_num_threads(1)


@functools.lru_cache(maxsize=1)
def _separator(settings: SeparationSettings) -> separation.Separate:
    """Loaded once in each worker, and never other weights than those that the run began with."""
    try:
        if separation.fingerprint(settings.separator) != settings.weights:
            raise _Stop(f"{settings.separator}: other weights on this machine than where it began")
        return separation.build_separator(
            settings.separator, settings.shifts, settings.overlap, settings.device
        )
    except UserError as error:
        raise _Stop(str(error)) from None


@functools.lru_cache(maxsize=1)
def _extractor(settings: FeatureSettings) -> Any:
    from fastsag.data.features import FeatureExtractor

    try:
        return FeatureExtractor(settings.mel, settings.encoder, settings.noise)
    except UserError as error:
        raise _Stop(str(error)) from None
