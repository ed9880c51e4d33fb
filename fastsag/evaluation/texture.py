"""Texture of a band: near to rendered music, sounding at all, and no copy of the voice."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch

from fastsag.config import MelConfig
from fastsag.errors import UserError, require
from fastsag.evaluation.chroma import HOP, SAMPLE_RATE, correlation
from fastsag.mel import LogMel

PATCH_BANDS = 32
PATCH_SECONDS = 0.5
_MEL = MelConfig(sample_rate=SAMPLE_RATE, n_mels=PATCH_BANDS, f_max=SAMPLE_RATE / 2)
_LEVEL = 0.1  # RMS of the sounding parts to which a file is brought first
_SOUNDING = 0.01  # of the loudest 50 ms


@dataclass(frozen=True)
class Bank:
    """Mean and standard deviation of the patch features (96,) over many rendered bands."""

    mean: np.ndarray
    deviation: np.ndarray


def patches(samples: np.ndarray) -> np.ndarray:
    """Samples (N,) at 22,050 Hz -> (patches, 96): of each 0.5 s, by 32 bands of the log mel, mean,
    standard deviation and mean absolute change from frame to frame. Level is taken out first.

    Raises:
        ValueError: less than 0.5 s.
    """
    frames = round(PATCH_SECONDS * _MEL.frame_rate)
    level = np.sqrt(np.mean(np.square(_sounding(samples), dtype=np.float64)))
    wave = torch.from_numpy((samples * (_LEVEL / max(float(level), 1e-9))).astype(np.float32))
    with torch.no_grad():
        mel = LogMel(_MEL)(wave[None])[0].numpy().astype(np.float64)
    count = mel.shape[1] // frames
    if count == 0:
        raise ValueError(f"{len(samples)} samples: at least {PATCH_SECONDS} s are needed")
    cut = mel[:, : count * frames].reshape(PATCH_BANDS, count, frames)
    parts = [cut.mean(-1), cut.std(-1), np.abs(np.diff(cut)).mean(-1)]
    return np.concatenate(parts).T


def _sounding(samples: np.ndarray) -> np.ndarray:
    """Those 50 ms that are not rests."""
    frame = round(0.05 * SAMPLE_RATE)
    framed = samples[: len(samples) // frame * frame].reshape(-1, frame)
    power = np.square(framed, dtype=np.float64).mean(1)
    return framed[power > _SOUNDING**2 * power.max(initial=0)] if power.any() else framed


def mel_fd(samples: np.ndarray, bank: Bank) -> float:
    """Fréchet distance of diagonal Gaussians between a band's patches and the bank's.

    Features are standardised by the bank, whose Gaussian is therefore the standard one; divided by
    the number of features. 0 is a band whose every feature is spread as the bank's.
    """
    values = (patches(samples) - bank.mean) / bank.deviation
    mean, deviation = values.mean(0), values.std(0)
    return float(np.mean(np.square(mean) + np.square(deviation - 1)))


def make_bank(bands: Iterable[np.ndarray]) -> Bank:
    """The bank of bands (N,) at 22,050 Hz.

    Raises:
        UserError: there is none.
    """
    everything = [patches(band) for band in bands]
    if not everything:
        raise UserError("no bands: a bank needs at least one")
    values = np.concatenate(everything)
    return Bank(values.mean(0), np.maximum(values.std(0), 1e-3))


def write_bank(bank: Bank, path: Path, note: str) -> None:
    """Write a bank as JSON; `note` says what it was made of."""
    from fastsag.audio import write_text

    rows = {"note": note, "mean": bank.mean.round(4).tolist()}
    rows["deviation"] = bank.deviation.round(4).tolist()
    write_text(path, json.dumps(rows) + "\n")


@cache
def read_bank(path: Path | None = None) -> Bank:
    """A bank from its file; None is the one that comes with the package (see `note` in it).

    Raises:
        UserError: it cannot be read or is none.
    """
    source = path or files(__package__).joinpath("bank.json")
    try:
        rows = json.loads(source.read_text(encoding="utf-8"))
        bank = Bank(np.array(rows["mean"]), np.array(rows["deviation"]))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"{source}: not a bank of bands ({error}); make one: fastsag evaluate bank"
        ) from None
    if bank.mean.shape != (3 * PATCH_BANDS,) or bank.deviation.shape != bank.mean.shape:
        raise UserError(f"{source}: {bank.mean.shape} features, not {3 * PATCH_BANDS}")
    return bank


def activity(samples: np.ndarray) -> float:
    """Share of 50 ms frames above -50 dB of the file's own peak."""
    frame = int(0.05 * SAMPLE_RATE)
    framed = np.abs(samples[: len(samples) // frame * frame].reshape(-1, frame)).max(1)
    peak = framed.max(initial=0)
    return float((framed > peak * 10 ** (-50 / 20)).mean()) if peak > 0 else 0.0


def leak(band: np.ndarray, voice: np.ndarray) -> float:
    """Largest correlation of log-mels where the voice sounds, over lags within 0.25 s."""
    librosa = require("librosa", extra="eval")
    length = min(len(band), len(voice))
    logs = []
    for part in (band, voice):
        mel = librosa.feature.melspectrogram(
            y=part[:length], sr=SAMPLE_RATE, hop_length=HOP, n_mels=128
        )
        logs.append(librosa.power_to_db(mel, top_db=80))
    sounding = logs[1].max(0) > logs[1].max() - 35
    sung = _centred(logs[1][:, sounding])
    widest = int(0.25 * SAMPLE_RATE / HOP)
    shifts = range(-widest, widest + 1)
    return max(
        correlation(_centred(np.roll(logs[0], lag, axis=1)[:, sounding]), sung) for lag in shifts
    )


def _centred(values: np.ndarray) -> np.ndarray:
    """Without each band's and each frame's mean."""
    values = values - values.mean(1, keepdims=True)
    return (values - values.mean(0, keepdims=True)).ravel()
