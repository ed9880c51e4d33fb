"""Audio in and out: reading, resampling, loudness, mixing, writing.

Samples are float32 arrays (C, N), full scale 1. Long recordings are handled in pieces wherever a
step would otherwise hold copies in double precision.
"""

from __future__ import annotations

import contextlib
import math
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from pyloudnorm import Meter
from scipy.signal import lfilter

from fastsag.errors import MissingExtra, UserError, require

SHORTEST_SECONDS = 0.5
LONGEST_SECONDS = 3600.0
SILENCE_DBFS = -80.0  # a recording whose peak is lower holds no voice
PEAK_DBFS = -1.0  # nothing that is written is louder
FORMATS = {
    "wav": ("WAV", "PCM_24"),
    "flac": ("FLAC", "PCM_24"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "ogg": ("OGG", "VORBIS"),
}
_PIECE = 1 << 18  # samples handled at once
_GATE_LUFS = -70.0  # BS.1770: quieter blocks do not count
_VORBIS_HIGHEST_HZ = 200_000  # libsndfile crashes above


@dataclass(frozen=True)
class Recording:
    """samples: (C, N) float32. sample_rate: Hz."""

    samples: np.ndarray
    sample_rate: int


def read(path: str | Path) -> Recording:
    """Read a recording that can be accompanied.

    Takes what libsndfile reads (wav, flac, mp3, ogg, ...) and, with the extra `media`, what FFmpeg
    reads (m4a, video).

    Raises:
        UserError: missing, no audio, empty, silent, too short or long, NaN or infinite samples.
    """
    path = Path(path)
    if path.is_dir():
        raise UserError(f"{path}: is a folder; give the recordings in it")
    if not path.exists():
        raise UserError(f"{path}: no such file; check the path")
    samples, rate = _decode(path)
    _check(path, samples, rate)
    return Recording(samples, rate)


def _decode(path: Path) -> tuple[np.ndarray, int]:
    try:
        with soundfile.SoundFile(path) as file:
            _check_length(path, file.frames, file.samplerate)
            samples = np.empty((file.channels, file.frames), dtype=np.float32)
            filled = 0
            for block in file.blocks(_PIECE, dtype="float32", always_2d=True):
                stop = min(filled + len(block), file.frames)
                samples[:, filled:stop] = block[: stop - filled].T
                filled = stop
            return samples[:, :filled], int(file.samplerate)
    except soundfile.LibsndfileError as error:
        reason = str(error).rstrip(".").split(": ")[-1]
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check permissions") from None
    try:
        return _decode_media(path)
    except MissingExtra:
        remedy = "convert it to WAV or FLAC, or for m4a and video: pip install 'fastsag[media]'"
        raise UserError(f"{path}: not audio that can be read ({reason}); {remedy}") from None


def _decode_media(path: Path) -> tuple[np.ndarray, int]:
    """Through PyAV (FFmpeg)."""
    av = require("av", extra="media")
    try:
        with av.open(str(path)) as container:
            stream = container.streams.audio[0]
            resampler = av.AudioResampler(format="fltp", rate=stream.rate)
            parts, count = [], 0
            for frame in chain(container.decode(stream), [None]):  # None gives what is held back
                for part in resampler.resample(frame):
                    parts.append(part.to_ndarray())
                    count += parts[-1].shape[1]
                if count > LONGEST_SECONDS * stream.rate:
                    break
            samples = np.concatenate(parts, axis=1)
            return samples.astype(np.float32, copy=False), int(stream.rate)
    except (av.FFmpegError, IndexError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else "no audio stream"
        raise UserError(
            f"{path}: not audio that can be read ({reason}); convert it to WAV or FLAC"
        ) from None


def _check_length(path: Path, count: int, rate: int) -> None:
    if count == 0:
        raise UserError(f"{path}: holds no samples; record it again")
    seconds = count / rate
    if seconds < SHORTEST_SECONDS:
        raise UserError(
            f"{path}: lasts {seconds:.2f} s; at least {SHORTEST_SECONDS} s of singing are needed"
        )
    if seconds > LONGEST_SECONDS:
        raise UserError(
            f"{path}: lasts {seconds / 60:.0f} min; cut it into parts of at most "
            f"{LONGEST_SECONDS / 60:.0f} min"
        )


def _check(path: Path, samples: np.ndarray, rate: int) -> None:
    _check_length(path, samples.shape[1], rate)
    peak = 0.0
    for piece in _pieces(samples):
        if not np.isfinite(piece).all():
            raise UserError(f"{path}: has NaN or infinite samples; export it again")
        peak = max(peak, float(np.abs(piece).max()))
    if peak < 10 ** (SILENCE_DBFS / 20):
        raise UserError(f"{path}: is silent (peak under {SILENCE_DBFS:.0f} dBFS); record it again")


def _pieces(samples: np.ndarray) -> Iterator[np.ndarray]:
    """Views (C, up to `_PIECE`) of (C, N)."""
    for start in range(0, samples.shape[1], _PIECE):
        yield samples[:, start : start + _PIECE]


def to_mono(samples: np.ndarray) -> np.ndarray:
    """The mean of all channels: (C, N) -> (1, N)."""
    return samples if len(samples) == 1 else samples.mean(0, keepdims=True, dtype=np.float32)


def resample(samples: np.ndarray, rate: int, new_rate: int, count: int | None = None) -> np.ndarray:
    """(C, N) at `rate` Hz -> (C, n) at `new_rate` Hz, cut or zero-padded to `count` if given."""
    out = samples
    if rate != new_rate:
        channels = [soxr.resample(channel, rate, new_rate, quality="HQ") for channel in samples]
        out = np.stack(channels)
    if count is None or out.shape[1] == count:
        return out
    if out.shape[1] > count:
        return out[:, :count]
    return np.pad(out, ((0, 0), (0, count - out.shape[1])))


def loudness(samples: np.ndarray, rate: int, gate_lufs: float = _GATE_LUFS) -> float:
    """Integrated loudness of (C, N) in LUFS (ITU-R BS.1770-4); -inf for silence.

    The filters and gates are pyloudnorm's, run in pieces. A clip shorter than one 0.4 s block
    counts as one block. `gate_lufs` is the absolute gate.
    """
    total = _channel_weights(len(samples)) @ _block_power(samples, rate)
    level = -0.691 + 10 * np.log10(np.maximum(total, 1e-20))
    gated = total[level > gate_lufs]
    if len(gated) == 0:
        return -math.inf
    relative = -0.691 + 10 * np.log10(gated.mean()) - 10
    gated = total[(level > gate_lufs) & (level > relative)]
    return float(-0.691 + 10 * np.log10(gated.mean()))


def _channel_weights(channels: int) -> np.ndarray:
    """How much each channel counts: left, right, centre, then surround (BS.1770-4, table 4)."""
    if channels == 6:  # 5.1: the fourth channel is the subwoofer, which does not count
        return np.array([1.0, 1.0, 1.0, 0.0, 1.41, 1.41])
    weights = np.ones(channels)
    weights[3:5] = 1.41
    return weights


def _block_power(samples: np.ndarray, rate: int) -> np.ndarray:
    """Mean square of the K-weighted signal (C, blocks): 0.4 s blocks every 0.1 s."""
    # A shelf above half the sample rate would be unstable and has nothing to weight.
    filters = [stage for stage in Meter(rate)._filters.values() if stage.fc < rate / 2]
    states = [np.zeros((len(samples), 2)) for _ in filters]
    step = 0.1 * rate
    count = samples.shape[1]
    blocks = max(1, int(np.round((count / rate - 0.4) / 0.1)) + 1)
    # Cumulative energy at the block edges; blocks are differences of it.
    edges = np.unique([min(int(step * k), count) for k in range(blocks + 4)])
    energy = np.zeros((len(samples), len(edges)))
    total, start = np.zeros(len(samples)), 0
    for piece in _pieces(samples):
        weighted = piece.astype(np.float64)
        for index, stage in enumerate(filters):
            weighted, states[index] = lfilter(stage.b, stage.a, weighted, zi=states[index])
            weighted = stage.passband_gain * weighted
        running = total[:, None] + np.cumsum(np.square(weighted), axis=1)
        inside = (edges > start) & (edges <= start + piece.shape[1])
        energy[:, inside] = running[:, edges[inside] - start - 1]
        total, start = running[:, -1], start + piece.shape[1]
    at = {int(edge): column for column, edge in enumerate(edges)}
    power = [
        energy[:, at[min(int(step * (k + 4)), count)]] - energy[:, at[min(int(step * k), count)]]
        for k in range(blocks)
    ]
    return np.stack(power, axis=1) / (0.4 * rate)


@dataclass(frozen=True)
class Mix:
    """samples: voice and band (C, N). accompaniment: the band as it sounds there (1, N).

    Loudness in LUFS of the parts as they sound in the mix; gains in dB.
    """

    samples: np.ndarray
    accompaniment: np.ndarray
    voice_lufs: float
    accompaniment_lufs: float
    mix_lufs: float
    peak_dbfs: float
    accompaniment_gain_db: float
    common_gain_db: float

    def figures(self) -> dict[str, float | None]:
        """The numbers for JSON; None stands for silence."""
        values = {
            "voice_lufs": self.voice_lufs,
            "accompaniment_lufs": self.accompaniment_lufs,
            "mix_lufs": self.mix_lufs,
            "peak_dbfs": self.peak_dbfs,
            "accompaniment_gain_db": self.accompaniment_gain_db,
            "common_gain_db": self.common_gain_db,
        }
        return {
            name: round(value, 2) if math.isfinite(value) else None
            for name, value in values.items()
        }


def mix(voice: np.ndarray, accompaniment: np.ndarray, rate: int, level_db: float) -> Mix:
    """The voice with a band at `level_db` LU against it; never clips.

    Args:
        voice: (C, N), kept in all its channels up to one gain common to voice and band.
        accompaniment: (1, N), goes to every channel alike.
        rate: Hz.
        level_db: loudness of the band minus that of the voice.
    """
    voice_lufs, band_lufs = loudness(voice, rate), loudness(accompaniment, rate)
    if voice_lufs == -math.inf:  # a faint recording still sets the level of its band
        voice_lufs = loudness(voice, rate, gate_lufs=-150.0)
    # The mono band plays from every channel, which adds up to more than one channel does.
    spread_db = 10 * math.log10(_channel_weights(len(voice)).sum())
    gain_db = 0.0
    if math.isfinite(voice_lufs) and math.isfinite(band_lufs):
        gain_db = voice_lufs + level_db - band_lufs - spread_db
    band = accompaniment * np.float32(10 ** (gain_db / 20))
    del accompaniment  # an hour of audio: free it before the mix is made, if nobody else holds it
    samples = voice + band
    peak = max(_peak(samples), _peak(band))
    common = min(1.0, 10 ** (PEAK_DBFS / 20) / max(peak, 1e-9))
    if common < 1:
        samples *= np.float32(common)
        band *= np.float32(common)
    common_db = 20 * math.log10(common)
    return Mix(
        samples=samples,
        accompaniment=band,
        voice_lufs=voice_lufs + common_db,
        accompaniment_lufs=band_lufs + gain_db + spread_db + common_db,
        mix_lufs=loudness(samples, rate),
        peak_dbfs=20 * math.log10(max(_peak(samples), 1e-9)),
        accompaniment_gain_db=gain_db,
        common_gain_db=common_db,
    )


def _peak(samples: np.ndarray) -> float:
    return max(float(np.abs(piece).max()) for piece in _pieces(samples))


def write(path: Path, samples: np.ndarray, rate: int, kind: str) -> None:
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
                for piece in _pieces(samples):
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
        raise UserError(
            f"{path}: cannot be written ({error.strerror}); choose another folder"
        ) from None
