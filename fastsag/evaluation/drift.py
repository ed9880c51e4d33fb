"""Does a long band stay the same band? Tempo, key, level and tone by window, and its seams.

A model that plays a long song window by window can drift in any of them, and can be heard where
windows join. A seam is judged against the rest of the same recording: music changes everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import mannwhitneyu

from fastsag.errors import UserError, require
from fastsag.evaluation import rhythm
from fastsag.evaluation.chroma import HOP, SAMPLE_RATE, harmonic_chroma
from fastsag.evaluation.coherence import judged
from fastsag.evaluation.harmony import estimate_key
from fastsag.evaluation.sets import mono
from fastsag.levels import loudness
from fastsag.plots import save

FIGURES = ("tempo", "loudness_lufs", "centroid_hz")
_UNITS = {"tempo": "beats/min", "loudness_lufs": "LUFS", "centroid_hz": "Hz"}
_BLOCKS_SECONDS = {"flux": 2 * HOP / SAMPLE_RATE, "texture": 0.5}
_NEAR_SECONDS = 0.2  # a join is a cross-fade of a third of a second


@dataclass(frozen=True)
class Drift:
    """A recording by windows.

    windows: {"start", "tempo", "loudness_lufs", "centroid_hz", "key"} each; None where there is
    nothing to measure. seams: for each join {"seconds", "flux", "texture"}, the share of other
    places of the recording that change less. p_values: by the same names, of the hypothesis that
    joins change no more than other places (Mann-Whitney, one-sided).
    """

    seconds: float
    windows: list[dict[str, Any]]
    seams: list[dict[str, float]]
    p_values: dict[str, float]

    def spread(self) -> dict[str, float | None]:
        """Largest distance of a window from the median: share of it, in LU for the loudness."""
        found: dict[str, float | None] = {}
        for name in FIGURES:
            values = np.array([row[name] for row in self.windows if row[name] is not None])
            if len(values) == 0:
                found[name] = None
                continue
            middle = float(np.median(values))
            far = float(np.abs(values - middle).max())
            found[name] = round(far if name == "loudness_lufs" else far / middle, 4)
        return found

    def keys(self) -> list[str]:
        """The keys heard, the one of most windows first."""
        heard = [row["key"] for row in self.windows if row["key"]]
        return sorted(set(heard), key=lambda key: -heard.count(key))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "seconds": round(self.seconds, 3),
            "windows": self.windows,
            "spread": self.spread(),
            "keys": self.keys(),
            "seams": self.seams,
            "p_values": self.p_values,
        }


def drift(path: Path, window: float = 15.0, joins: Sequence[float] = ()) -> Drift:
    """Measure a band's recording.

    Args:
        window: seconds.
        joins: seconds at which a system's windows meet; `joins_seconds` of its record.

    Raises:
        UserError: unreadable, or shorter than two windows.
    """
    samples, rate = mono(path)
    seconds = len(samples) / rate
    if seconds < 2 * window:
        raise UserError(f"{path}: {seconds:.1f} s are not two windows of {window:g} s (--window)")
    band = judged(samples, rate)
    seams, p_values = _seams(band, joins)
    return Drift(seconds, _windows(band, window), seams, p_values)


def _windows(band: np.ndarray, window: float) -> list[dict[str, Any]]:
    librosa = require("librosa", extra="eval")
    chroma, chroma_times = harmonic_chroma(band)
    strength = rhythm.onset_strength(band)
    centroid = librosa.feature.spectral_centroid(y=band, sr=SAMPLE_RATE, hop_length=HOP)[0]
    power = librosa.feature.rms(y=band, hop_length=HOP)[0] ** 2
    times = np.arange(len(power)) * HOP / SAMPLE_RATE
    rows = []
    for start in np.arange(0, len(band) / SAMPLE_RATE - 0.5 * window, window):
        inside = (times >= start) & (times < start + window)
        beats = rhythm.track_beats(strength[: len(times)][inside])  # a tracker holds one tempo
        weight = power[inside].sum()
        heard = chroma[:, (chroma_times >= start) & (chroma_times < start + window)]
        part = band[int(start * SAMPLE_RATE) : int((start + window) * SAMPLE_RATE)]
        level = loudness(part[None].astype(np.float32), SAMPLE_RATE)
        rows.append(
            {
                "start": round(float(start), 3),
                "tempo": _rounded(60 / np.diff(beats).mean() if len(beats) > 2 else math.nan),
                "loudness_lufs": _rounded(level),
                "centroid_hz": _rounded(
                    (centroid[inside] * power[inside]).sum() / weight if weight > 0 else math.nan
                ),
                "key": estimate_key(heard) if heard.any() else None,
            }
        )
    return _one_octave(rows)


def _one_octave(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Tempi doubled or halved to lie nearest their median: a tracker's choice is not a drift."""
    tempi = [row["tempo"] for row in rows if row["tempo"]]
    for row in rows:
        if row["tempo"]:
            octaves = round(math.log2(float(np.median(tempi)) / row["tempo"]))
            row["tempo"] = _rounded(row["tempo"] * 2**octaves)
    return rows


def change(band: np.ndarray, block: float) -> tuple[np.ndarray, np.ndarray]:
    """How much a band (N,) differs after each moment from before it, and the moments' seconds.

    Mean distance in dB over 64 mel bands of the levels in `block` seconds before and after.
    """
    librosa = require("librosa", extra="eval")
    mel = librosa.feature.melspectrogram(y=band, sr=SAMPLE_RATE, hop_length=HOP, n_mels=64)
    level = 10 * np.log10(np.maximum(mel, mel.max(initial=1e-12) * 1e-6))
    size = max(1, round(block * SAMPLE_RATE / HOP))
    total = np.concatenate([np.zeros((64, 1)), np.cumsum(level, axis=1)], axis=1)
    mean = (total[:, size:] - total[:, :-size]) / size
    changed = np.abs(mean[:, size:] - mean[:, :-size]).mean(0)
    return changed, (np.arange(len(changed)) + size) * HOP / SAMPLE_RATE


def _seams(
    band: np.ndarray, joins: Sequence[float]
) -> tuple[list[dict[str, float]], dict[str, float]]:
    """Each join's rank among all stretches of its length, by kind of change."""
    found: list[dict[str, float]] = [{"seconds": round(join, 3)} for join in joins]
    p_values: dict[str, float] = {}
    if not joins:
        return found, p_values
    for kind, block in _BLOCKS_SECONDS.items():
        changed, times = change(band, block)
        places = np.arange(times[0] + _NEAR_SECONDS, times[-1] - _NEAR_SECONDS, _NEAR_SECONDS)
        largest = [_largest(changed, times, place) for place in places]
        away = np.abs(places[:, None] - np.asarray(joins)[None]).min(1) > 2 * _NEAR_SECONDS + block
        others = np.asarray(largest)[away]
        at = [_largest(changed, times, join) for join in joins]
        for row, value in zip(found, at, strict=True):
            row[kind] = round(float((others < value).mean()), 3)
        p_values[kind] = round(float(mannwhitneyu(at, others, alternative="greater").pvalue), 4)
    return found, p_values


def _largest(changed: np.ndarray, times: np.ndarray, place: float) -> float:
    near = np.abs(times - place) <= _NEAR_SECONDS
    return float(changed[near].max(initial=0.0))


def picture(path: Path, drifts: dict[str, Drift]) -> None:
    """Draw tempo, loudness and centroid over time, a line for each recording, joins dotted.

    Raises:
        UserError: matplotlib is missing, or the picture cannot be written.
    """
    figure_module = require("matplotlib.figure", extra="plot")
    agg = require("matplotlib.backends.backend_agg", extra="plot")
    figure = figure_module.Figure(figsize=(11, 7), layout="constrained")
    agg.FigureCanvasAgg(figure)
    axes = figure.subplots(len(FIGURES), 1, sharex=True)
    for name, axis in zip(FIGURES, axes, strict=True):
        for index, (label, found) in enumerate(drifts.items()):
            starts = [row["start"] for row in found.windows]
            values = [math.nan if row[name] is None else row[name] for row in found.windows]
            axis.plot(starts, values, "o-", ms=4, lw=1.2, color=f"C{index}", label=_short(label))
            for seam in found.seams:
                axis.axvline(seam["seconds"], color=f"C{index}", lw=0.5, ls=":")
        axis.set_ylabel(f"{name.split('_')[0]} ({_UNITS[name]})")
        axis.margins(y=0.4)
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", fontsize=8)
    axes[-1].set_xlabel("time (s); dotted: where windows join")
    save(figure, path)


def _short(name: str) -> str:
    """A recording's folder and name: what tells it from others, and fits into a legend."""
    return "/".join(Path(name).parts[-2:])


def table(drifts: dict[str, Drift]) -> str:
    """The largest distances from the median, the keys and the seams as a Markdown table."""
    lines = [
        "| band | seconds | tempo | loudness | centroid | keys | joins | flux rank, p | "
        "texture rank, p |",
        "|---" * 9 + "|",
    ]
    for name, found in drifts.items():
        far = found.spread()
        heard = found.keys()
        keys = f"{heard[0]}{f' and {len(heard) - 1} more' if heard[1:] else ''}" if heard else "-"
        cells = [
            name,
            f"{found.seconds:.0f}",
            _percent(far["tempo"]),
            "-" if far["loudness_lufs"] is None else f"{far['loudness_lufs']:.1f} LU",
            _percent(far["centroid_hz"]),
            keys,
            str(len(found.seams)),
            *(_ranks(found, kind) for kind in _BLOCKS_SECONDS),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _ranks(found: Drift, kind: str) -> str:
    if not found.seams:
        return "-"
    ranks = [seam[kind] for seam in found.seams]
    return f"{np.mean(ranks):.2f} (most {max(ranks):.2f}), {found.p_values[kind]:.2f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def _rounded(value: float) -> float | None:
    return round(float(value), 3) if math.isfinite(value) else None
