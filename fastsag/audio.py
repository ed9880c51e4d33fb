"""Audio in and out: reading, resampling, writing.

Samples are float32 arrays (C, N), full scale 1. Long recordings are handled in pieces, so that they
may be `Spool`s and no step holds copies in double precision.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
import soxr

from fastsag.errors import MissingExtra, Unwritable, UserError, require
from fastsag.spool import Array, Memory, Store, pieces

SHORTEST_SECONDS = 0.5
LONGEST_SECONDS = 3600.0
SILENCE_DBFS = -80.0  # a recording whose peak is lower holds no voice
FORMATS = {
    "wav": ("WAV", "PCM_24"),
    "flac": ("FLAC", "PCM_24"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "ogg": ("OGG", "VORBIS"),
}
SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".m4a")  # of recordings in a folder
_BLOCK = 1 << 18  # samples decoded at once
_ENCRYPTED = ("drms", "enca", "aavd")  # codec tags of protected MP4: FFmpeg would decode noise
# Containers that FFmpeg may open: none that refers to other files or addresses (playlists do).
_CONTAINERS = (
    "mov,matroska,aac,mp3,ogg,flac,wav,aiff,caf,asf,avi,flv,mpegts,mpeg,ac3,eac3,amr,ape,wv"
)
_VORBIS_HIGHEST_HZ = 200_000  # libsndfile crashes above


@dataclass(frozen=True)
class Recording:
    """samples: (C, N) float32, a numpy array or a `Spool`. sample_rate: Hz."""

    samples: Array
    sample_rate: int


class Header(NamedTuple):
    """What a file says of itself. seconds: None where it does not say; sample_rate in Hz."""

    seconds: float | None
    sample_rate: int
    channels: int


def read(
    path: str | Path,
    *,
    stream: int = 0,
    longest_seconds: float = LONGEST_SECONDS,
    silence: bool = False,
    store: Store | None = None,
) -> Recording:
    """Read a recording that can be accompanied.

    Takes what libsndfile reads (wav, flac, mp3, ogg, ...) and, with the extra `media`, what FFmpeg
    reads (m4a, video).

    Args:
        path: the file.
        stream: which audio stream of a file that holds several.
        longest_seconds: longer recordings are refused, before they are decoded where possible.
        silence: take a silent recording too, such as one stem of several.
        store: makes the array of the samples; None: `Memory`.

    Raises:
        UserError: missing, no audio, empty, silent, too short or long, NaN or infinite samples.
    """
    path = Path(path)
    if path.is_dir():
        raise UserError(f"{path}: is a folder; give the recordings in it")
    if not path.exists():
        raise UserError(f"{path}: no such file; check the path")
    decode = _decode_media if stream else _decode
    samples, rate = decode(path, stream, longest_seconds, store or Memory())
    _check(path, samples, rate, longest_seconds, silence)
    return Recording(samples, rate)


def header(path: Path) -> Header:
    """Length, rate and channels of a recording, without decoding it.

    Raises:
        UserError: not audio.
    """
    try:
        with soundfile.SoundFile(path) as file:
            return Header(file.frames / file.samplerate, file.samplerate, file.channels)
    except soundfile.LibsndfileError as error:
        reason = error
    try:
        with _open_media(path) as container:
            stream = container.streams.audio[0]
            if not (stream.rate and stream.channels):  # guessed from the name alone
                raise ValueError("no audio stream")
            ends = [stream.duration and stream.duration * stream.time_base]
            ends.append(container.duration and container.duration / 1e6)
            seconds = next((float(end) for end in ends if end), None)
            return Header(seconds, int(stream.rate), int(stream.channels))
    except MissingExtra:
        raise _no_audio(path, reason) from None


def _no_audio(path: Path, reason: Exception) -> UserError:
    """What is said where FFmpeg is not there to try."""
    remedy = "convert it to WAV or FLAC, or for m4a and video: pip install 'fastsag[media]'"
    said = str(reason).rstrip(".").split(": ")[-1]
    return UserError(f"{path}: not audio that can be read ({said}); {remedy}")


def _decode(path: Path, stream: int, longest_seconds: float, store: Store) -> tuple[Array, int]:
    try:
        with soundfile.SoundFile(path) as file:
            _check_length(path, file.frames, file.samplerate, longest_seconds)
            blocks = file.blocks(_BLOCK, dtype="float32", always_2d=True)
            empty = np.zeros((file.channels, 0), dtype=np.float32)  # of a file that breaks off
            parts = chain([empty], (block.T.copy() for block in blocks))
            return store.keep(parts), int(file.samplerate)
    except soundfile.LibsndfileError as error:
        reason = error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check permissions") from None
    try:
        return _decode_media(path, stream, longest_seconds, store)
    except MissingExtra:
        raise _no_audio(path, reason) from None


def _decode_media(
    path: Path, index: int, longest_seconds: float, store: Store
) -> tuple[Array, int]:
    """Through PyAV (FFmpeg)."""
    av = require("av", extra="media")
    with _open_media(path) as container:
        stream = container.streams.audio[index]
        if stream.codec_context.codec_tag in _ENCRYPTED:
            raise UserError(f"{path}: is encrypted (DRM); use a copy without protection")
        resampler = av.AudioResampler(format="fltp", rate=stream.rate)
        longest = longest_seconds * stream.rate

        def frames() -> Iterator[np.ndarray]:
            count = 0
            for frame in chain(container.decode(stream), [None]):  # None gives what is held back
                for part in resampler.resample(frame):
                    yield part.to_ndarray()
                    count += part.samples
                if count > longest:
                    return

        return store.keep(frames()), int(stream.rate)


@contextlib.contextmanager
def _open_media(path: Path) -> Iterator[Any]:
    """A container of FFmpeg's; what goes wrong inside becomes a `UserError`."""
    av = require("av", extra="media")
    try:
        with av.open(str(path), options={"format_whitelist": _CONTAINERS}) as container:
            yield container
    # A damaged container may name a codec that is not known: its stream then lacks attributes.
    except (av.FFmpegError, AttributeError, IndexError, ValueError, TypeError) as error:
        said = getattr(error, "strerror", None) or str(error)
        if isinstance(error, AttributeError):
            said = "damaged"
        reason = said.splitlines()[0] if said else "no audio stream"
        raise UserError(
            f"{path}: not audio that can be read ({reason}); convert it to WAV or FLAC"
        ) from None


def _check_length(path: Path, count: int, rate: int, longest_seconds: float) -> None:
    if count == 0:
        raise UserError(f"{path}: holds no samples; record it again")
    seconds = count / rate
    if seconds < SHORTEST_SECONDS:
        raise UserError(
            f"{path}: lasts {seconds:.2f} s; at least {SHORTEST_SECONDS} s of singing are needed"
        )
    if seconds > longest_seconds:
        raise UserError(
            f"{path}: lasts {seconds / 60:.1f} min; cut it into parts of at most "
            f"{longest_seconds / 60:g} min"
        )


def _check(path: Path, samples: Array, rate: int, longest_seconds: float, silence: bool) -> None:
    _check_length(path, samples.shape[1], rate, longest_seconds)
    peak = 0.0
    for piece in pieces(samples):
        if not np.isfinite(piece).all():
            raise UserError(f"{path}: has NaN or infinite samples; export it again")
        peak = max(peak, float(np.abs(piece).max()))
    if not silence and peak < 10 ** (SILENCE_DBFS / 20):
        raise UserError(f"{path}: is silent (peak under {SILENCE_DBFS:.0f} dBFS); record it again")


def to_mono(samples: Array) -> np.ndarray:
    """The mean of all channels: (C, N) -> (1, N)."""
    whole = np.asarray(samples)
    return whole if len(whole) == 1 else whole.mean(0, keepdims=True, dtype=np.float32)


def resample(
    samples: np.ndarray, rate: float, new_rate: float, count: int | None = None
) -> np.ndarray:
    """(C, N) at `rate` Hz -> (C, n) at `new_rate` Hz, cut or zero-padded to `count` if given."""
    out = samples
    if rate != new_rate:
        channels = [soxr.resample(channel, rate, new_rate, quality="HQ") for channel in samples]
        out = np.stack(channels) if len(channels) > 1 else channels[0][None]
    if count is None or out.shape[1] == count:
        return out
    if out.shape[1] > count:
        return out[:, :count]
    return np.pad(out, ((0, 0), (0, count - out.shape[1])))


def resampled(parts: Iterable[np.ndarray], rate: float, new_rate: float) -> Iterator[np.ndarray]:
    """`resample` for parts (C, n) that come one after the other."""
    if rate == new_rate:
        yield from parts
        return
    stream, channels = None, 0
    for part in parts:
        channels = len(part)
        stream = stream or soxr.ResampleStream(rate, new_rate, channels, "float32", "HQ")
        yield stream.resample_chunk(_interleaved(part)).reshape(-1, channels).T
    if stream is not None:
        rest = np.zeros((channels, 0), dtype=np.float32)
        yield stream.resample_chunk(_interleaved(rest), last=True).reshape(-1, channels).T


def _interleaved(part: np.ndarray) -> np.ndarray:
    """(C, n) as soxr reads it: (n, C), or (n,)."""
    return np.ascontiguousarray(part.T if len(part) > 1 else part[0])


def fitted(parts: Iterable[np.ndarray], count: int) -> Iterator[np.ndarray]:
    """Parts (C, n) cut or padded with silence to `count` columns in all."""
    rows = 1
    for part in parts:
        rows, part = len(part), part[:, :count]
        count -= part.shape[1]
        yield part
    yield np.zeros((rows, count), dtype=np.float32)


def write(path: Path, samples: Array, rate: int, kind: str) -> None:
    """Write (C, N) as wav, flac (24 bit), mp3 or ogg, atomically.

    Sample counts are exact but for mp3, whose decoders add silence.

    Raises:
        UserError: the folder cannot be written to, or the format cannot hold the recording.
    """
    name, subtype = FORMATS[kind]
    if kind == "ogg" and rate > _VORBIS_HIGHEST_HZ:
        raise UserError(f"{path}: ogg cannot hold {rate} Hz; choose --format wav")

    def save(temporary: Path) -> None:
        try:
            with soundfile.SoundFile(
                temporary, "w", rate, len(samples), format=name, subtype=subtype
            ) as file:
                for piece in pieces(samples):
                    file.write(np.clip(piece, -1, 1).T)
        except (soundfile.LibsndfileError, ValueError):
            raise UserError(
                f"{path}: {kind} cannot hold {len(samples)} channels at {rate} Hz; "
                "choose --format wav"
            ) from None

    _replace(path, save)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically.

    Raises:
        UserError: the folder cannot be written to.
    """
    _replace(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _replace(path: Path, save: Callable[[Path], Any]) -> None:
    """Let `save` write a temporary file beside `path`, then rename it."""
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        os.close(handle)
        temporary = Path(name)
        try:
            save(temporary)
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o666 & ~umask)
            temporary.replace(path)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
    except OSError as error:
        raise Unwritable(path, error) from None
