"""Steps against quality: the same voices played in several ways, each timed beside the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastsag import audio
from fastsag.audio import Recording
from fastsag.benchmarks.rtf import count_evaluations
from fastsag.benchmarks.timer import timed
from fastsag.config import Config
from fastsag.diffusion.samplers import DISTILLED
from fastsag.errors import UserError, require
from fastsag.pipeline import Accompanist
from fastsag.plots import save
from fastsag.take import Settings

SCORES = ("coherence", "in_key", "chord_soft", "beat", "mel_fd")
FAD = "fad"
COLUMNS = (*SCORES, FAD)

Progress = Callable[[str, int, int], None]  # what, done, in all

_SHOWN = (("coherence", "coherence"), ("mel_fd", "mel_fd, smaller is better"), (FAD, "offline FAD"))


@dataclass(frozen=True)
class Trial:
    """One way to play. name: SAMPLER:STEPS or SAMPLER:STEPS:GUIDANCE."""

    name: str
    settings: Settings

    @classmethod
    def parse(cls, text: str) -> Trial:
        """Read a name.

        Raises:
            UserError: not of that form.
        """
        try:
            sampler, steps, *guidance = text.split(":")
            if len(guidance) > 1:
                raise ValueError(text)
            strength = float(guidance[0]) if guidance else None
            return cls(text, Settings(sampler, int(steps), strength))
        except ValueError:
            raise UserError(
                f"--way {text}: write SAMPLER:STEPS or SAMPLER:STEPS:GUIDANCE, such as euler:12"
            ) from None


def usual(config: Config) -> list[Trial]:
    """A curve of the checkpoint's solver, one of another, and of its student all there is."""
    solver, student = config.sampler.name, config.distilled
    names = [f"{solver}:{steps}" for steps in (4, 6, 8, 12, 24)]
    names += [f"dpmpp_2m:{steps}" for steps in (4, 6, 8, 12) if solver != "dpmpp_2m"]
    names += [f"{DISTILLED}:{n}" for n in range(1, len(student.schedules) + 1)] if student else []
    return [Trial.parse(name) for name in names]


def play(
    accompanist: Accompanist,
    voices: Sequence[Path],
    trial: Trial,
    seed: int,
    folder: Path,
    progress: Progress,
) -> None:
    """Write the accompaniment of every voice to `folder`; those already there are kept."""
    settings = Settings(trial.settings.sampler, trial.settings.steps, trial.settings.guidance, seed)
    folder.mkdir(parents=True, exist_ok=True)
    for done, voice in enumerate(voices):
        progress(folder.name, done, len(voices))
        path = folder / f"{voice.stem}.accompaniment.wav"
        if not path.exists():
            made = accompanist.accompany(voice, settings=settings)
            audio.write(path, made.accompaniment, made.sample_rate, "wav")
    progress(folder.name, len(voices), len(voices))


def speeds(
    accompanist: Accompanist,
    recording: Recording,
    trials: Sequence[Trial],
    runs: int,
    progress: Progress,
) -> dict[str, dict[str, float]]:
    """Network evaluations and real-time factors of every trial on one recording.

    All of them run once in each round, so that what else the machine does meets them alike; the
    figures are medians over `runs` rounds, after one that does not count.
    """
    seconds = recording.samples.shape[1] / recording.sample_rate
    whole: dict[str, list[float]] = {trial.name: [] for trial in trials}
    stages: dict[str, list[dict[str, float]]] = {trial.name: [] for trial in trials}
    calls: dict[str, int] = {}
    for turn in range(runs + 1):
        progress("rounds", turn, runs + 1)
        for trial in trials:

            def once(trial: Trial = trial) -> None:
                made = accompanist.accompany(recording, settings=trial.settings)
                stages[trial.name].append(made.record["seconds"])

            if turn == 0:
                calls[trial.name] = count_evaluations(accompanist, once)
            else:
                whole[trial.name].append(timed(once, 1, 0, accompanist.device).median)
    progress("rounds", runs + 1, runs + 1)
    return {
        trial.name: {
            "network_evaluations": calls[trial.name],
            "rtf": float(np.median(whole[trial.name])) / seconds,
            **{
                f"{stage}_rtf": float(np.median([row[stage] for row in stages[trial.name][1:]]))
                / seconds
                for stage in ("denoise", "vocode")
            },
        }
        for trial in trials
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown, one line for each way, scores as mean over the seeds (least to largest)."""
    speed = ("network_evaluations", "rtf", "denoise_rtf")
    titles = ["way", "network calls in 10 s", "RTF", "denoiser's", *COLUMNS]
    lines = ["| " + " | ".join(titles) + " |", "|---" * len(titles) + "|"]
    for row in rows:
        cells = [row["way"], *(f"{row[name]:.3g}" for name in speed)]
        cells += [_spread(row["scores"][name]) for name in COLUMNS]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _spread(values: Sequence[float]) -> str:
    digits = 3 if np.mean(values) < 10 else 1
    mean = f"{np.mean(values):.{digits}f}"
    if len(values) < 2:
        return mean
    return f"{mean} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def picture(path: Path, rows: Sequence[dict[str, Any]], title: str) -> None:
    """Draw scores over the real-time factor: a line for each sampler, a dot for each way.

    Bars span the seeds.

    Raises:
        UserError: matplotlib is missing, or the picture cannot be written.
    """
    figure_module = require("matplotlib.figure", extra="plot")
    agg = require("matplotlib.backends.backend_agg", extra="plot")
    figure = figure_module.Figure(figsize=(13, 4.2), layout="constrained")
    agg.FigureCanvasAgg(figure)
    for axis, (name, label) in zip(figure.subplots(1, len(_SHOWN)), _SHOWN, strict=True):
        for sampler in dict.fromkeys(row["sampler"] for row in rows):
            own = sorted(
                (row for row in rows if row["sampler"] == sampler), key=lambda row: row["rtf"]
            )
            means = np.array([np.mean(row["scores"][name]) for row in own])
            reach = np.array([[f(row["scores"][name]) for row in own] for f in (min, max)])
            around = np.abs(reach - means)
            axis.errorbar(
                [row["rtf"] for row in own], means, around, fmt="o-", capsize=2, label=sampler
            )
            for row, mean in zip(own, means, strict=True):
                axis.annotate(
                    str(row["steps"]),
                    (row["rtf"], mean),
                    xytext=(4, 4),
                    textcoords="offset points",
                    fontsize=8,
                )
        axis.set_xscale("log")
        axis.set_xlabel("real-time factor")
        axis.set_title(label, fontsize=10)
        axis.grid(alpha=0.3)
    figure.axes[0].legend(fontsize=8)
    figure.suptitle(title, fontsize=11)
    save(figure, path)
