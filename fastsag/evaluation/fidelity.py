"""What a vocoder or codec loses: copies beside the recordings they were made from.

`fastsag evaluate degrade` makes such copies. Distances are of magnitudes alone: a copy may turn
every phase and be heard as the same. `steadiness`, `attack` and `tonality_db`
(`evaluation/sound.py`) say what kind of damage was done: grain, blur, noise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from fastsag import audio
from fastsag.errors import UserError
from fastsag.evaluation import sound
from fastsag.evaluation.chroma import SAMPLE_RATE
from fastsag.evaluation.sets import audio_files, mono

RESOLUTIONS = ((512, 128), (1024, 256), (2048, 512))  # window and hop, samples
DISTANCES = ("lsd_db", "convergence", "log_magnitude")
SOUND = ("steadiness", "attack", "tonality_db")
MEASURES = (*DISTANCES, *SOUND)
_RANGE_DB = 80.0  # below the loudest of the recording, nothing counts

Progress = Callable[[str, int, int], None]  # folder, done, in all


def distances(made: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """How far `made` (N,) is from `true` (N,), both at 22,050 Hz; 0 is alike, smaller is nearer.

    lsd_db: log-spectral distance, the root of the mean square over frequency, then the mean over
    time (windows of 2,048). convergence: spectral convergence, |true - made| / |true| of
    magnitudes; log_magnitude: mean distance of natural logarithms; both are means over
    `RESOLUTIONS` (Yamamoto et al. 2020).
    """
    convergences, logs, lsd = [], [], 0.0
    for n_fft, hop in RESOLUTIONS:
        one, other = _magnitude(made, n_fft, hop), _magnitude(true, n_fft, hop)
        floor = max(float(other.max()) * 10 ** (-_RANGE_DB / 20), 1e-9)
        convergences.append(float((other - one).norm() / other.norm().clamp(min=floor)))
        gap = one.clamp(min=floor).log() - other.clamp(min=floor).log()
        logs.append(float(gap.abs().mean()))
        if n_fft == 2048:
            lsd = float((gap * 20 / np.log(10)).square().mean(0).sqrt().mean())
    return {
        "lsd_db": lsd,
        "convergence": float(np.mean(convergences)),
        "log_magnitude": float(np.mean(logs)),
    }


def _magnitude(samples: np.ndarray, n_fft: int, hop: int) -> torch.Tensor:
    wave = torch.from_numpy(np.ascontiguousarray(samples, dtype=np.float32))
    return torch.stft(wave, n_fft, hop, window=torch.hann_window(n_fft), return_complex=True).abs()


def compare(
    reference: Path, copies: Sequence[Path], progress: Progress | None = None
) -> dict[str, dict[str, float]]:
    """Folder -> means of `MEASURES` over the recordings of `reference`, which is the first row.

    A copy has the name of its recording, whatever its extension. Channels are mixed down.

    Raises:
        UserError: no such folder, nothing in it, a recording without its copy, or one too short.
    """
    recordings = _by_stem(reference)
    found = [(folder, _by_stem(folder)) for folder in copies]
    for folder, theirs in found:
        absent = sorted(set(recordings) - set(theirs))
        if absent:
            raise UserError(f"{folder}: no copy of {', '.join(absent[:3])} from {reference}")
    rows: dict[str, list[dict[str, float]]] = {str(reference): []}
    rows.update({str(folder): [] for folder in copies})
    for index, (name, path) in enumerate(recordings.items()):
        true = _samples(path)
        rows[str(reference)].append(dict.fromkeys(DISTANCES, 0.0) | _sound(true))
        for folder, theirs in found:
            made = _samples(theirs[name])[: len(true)]
            made = np.pad(made, (0, len(true) - len(made)))
            rows[str(folder)].append(distances(made, true) | _sound(made))
        if progress:
            progress(str(reference), index + 1, len(recordings))
    return {
        folder: {measure: float(np.mean([row[measure] for row in scored])) for measure in MEASURES}
        for folder, scored in rows.items()
    }


def _by_stem(folder: Path) -> dict[str, Path]:
    return {path.stem: path for path in audio_files(folder)}


def _samples(path: Path) -> np.ndarray:
    whole, rate = mono(path)
    samples = audio.resample(whole[None], rate, SAMPLE_RATE)[0]
    if len(samples) < RESOLUTIONS[-1][0]:
        raise UserError(f"{path}: shorter than 0.1 s; leave it out")
    return samples


def _sound(samples: np.ndarray) -> dict[str, float]:
    return {name: getattr(sound, name)(samples) for name in SOUND}


def markdown(rows: dict[str, dict[str, float]]) -> str:
    """The table for reading."""
    lines = [f"| folder | {' | '.join(MEASURES)} |", "|---" * (len(MEASURES) + 1) + "|"]
    for folder, row in rows.items():
        cells = [f"{row[measure]:.{1 if measure.endswith('_db') else 3}f}" for measure in MEASURES]
        lines.append(f"| {Path(folder).name} | {' | '.join(cells)} |")
    return "\n".join(lines)
