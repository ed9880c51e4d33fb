"""Real-time factor of a whole accompaniment, waveform to waveform, batch 1.

Two definitions in one record. The paper's (section 5.3): mean time, reading the file included, over
the duration. Practice: median and 95th percentile from samples in memory to samples in memory,
after warm-ups, stage by stage. Loading the model is apart in both.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fastsag import audio
from fastsag.audio import Recording
from fastsag.benchmarks.timer import machine, peak_memory_mb, timed
from fastsag.errors import UserError
from fastsag.pipeline import Accompanist
from fastsag.take import Settings

FEWEST_RUNS = 20
REST = "rest"  # what no stage of the record covers

Progress = Callable[[str, int, int], None]  # part, runs done, runs in all


def clip(recording: Recording, seconds: float) -> Recording:
    """The first `seconds` of a recording, repeated where it is shorter.

    Raises:
        UserError: shorter than can be accompanied.
    """
    if seconds < audio.SHORTEST_SECONDS:
        raise UserError(f"--seconds {seconds:g}: at least {audio.SHORTEST_SECONDS:g} s are needed")
    count = round(seconds * recording.sample_rate)
    copies = -(-count // recording.samples.shape[1])
    samples = np.tile(recording.samples, (1, copies))[:, :count]
    return Recording(samples, recording.sample_rate)


def rtf(
    accompanist: Accompanist,
    recording: Recording,
    load_seconds: float,
    settings: Settings | None = None,
    runs: int = FEWEST_RUNS,
    warmups: int = 3,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure both definitions; returns the record that tables read.

    Args:
        accompanist: loaded; `load_seconds` is what that took.
        recording: the voice, of the length that is to be measured.
        runs: timed runs of each definition.
        warmups: untimed ones before.
        progress: told of ("practice" or "paper", runs done, runs in all).
    """
    settings = settings or Settings()
    seconds = recording.samples.shape[1] / recording.sample_rate
    stages: list[dict[str, float]] = []
    device = accompanist.device

    def from_memory() -> None:
        stages.append(accompanist.accompany(recording, settings=settings).record["seconds"])

    evaluations = count_evaluations(accompanist, from_memory)
    stages.clear()
    practice = timed(from_memory, runs, warmups, device, _part(progress, "practice"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "voice.wav"
        audio.write(path, recording.samples, recording.sample_rate, "wav")
        paper = timed(
            lambda: accompanist.accompany(path, settings=settings),
            runs,
            0,
            device,
            _part(progress, "paper"),
        )
    way = settings.way(accompanist.config)
    return {
        "kind": "rtf",
        "checkpoint": accompanist.name,
        "audio_seconds": seconds,
        "runs": runs,
        "warmups": warmups,
        "batch": 1,
        "precision": accompanist.precision,
        "sampler": way.sampler,
        "steps": way.steps,
        "network_evaluations": evaluations,
        "load_seconds": load_seconds,
        "practice": {
            "rtf": practice.median / seconds,
            "rtf_p95": practice.p95 / seconds,
            "seconds": practice.figures(),
            "stages": _stages(stages[warmups:], practice.seconds),
        },
        "paper": {"rtf": paper.mean / seconds, "seconds": paper.figures()},
        "peak_memory_mb": peak_memory_mb(device),
        "machine": machine(device),
    }


def count_evaluations(accompanist: Accompanist, run: Callable[[], None]) -> int:
    """How often one run evaluates the network of the denoiser or its student; a pair counts two."""
    calls = 0

    def count(_: Any, inputs: tuple[Any, ...]) -> None:
        nonlocal calls
        calls += len(inputs[0])

    denoisers = (accompanist.model.denoiser, accompanist.student)
    handles = [
        denoiser.network.register_forward_pre_hook(count) for denoiser in denoisers if denoiser
    ]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    return calls


def _stages(
    records: list[dict[str, float]], totals: tuple[float, ...]
) -> dict[str, dict[str, float]]:
    """Median and 95th percentile seconds of each stage."""
    columns = {name: [record[name] for record in records] for name in records[0] if name != "read"}
    covered = np.sum([list(values) for values in columns.values()], axis=0)
    columns[REST] = list(np.array(totals) - covered)
    return {
        name: {
            "median": float(np.median(values)),
            "p95": float(np.percentile(values, 95)),
        }
        for name, values in columns.items()
    }


def _part(progress: Progress | None, name: str) -> Callable[[int, int], None]:
    def tell(done: int, total: int) -> None:
        if progress:
            progress(name, done, total)

    return tell


def report(record: dict[str, Any]) -> str:
    """The record for reading, in Markdown."""
    practice, paper, where = record["practice"], record["paper"], record["machine"]
    lines = [
        f"{record['checkpoint']}: {record['audio_seconds']:g} s of audio, {record['runs']} runs "
        f"after {record['warmups']} warm-ups, batch 1, {record['precision']}, "
        f"{where['threads']} threads, {where['device']}",
        f"{record['network_evaluations']} network evaluations ({record['sampler']}, "
        f"{record['steps']} steps); loaded in {record['load_seconds']:.2f} s; "
        f"at most {record['peak_memory_mb']['process']:.0f} MB"
        + (f", {record['peak_memory_mb']['gpu']:.0f} MB of the GPU's" if "gpu" in where else ""),
        "",
        "| stage | median s | p95 s | RTF |",
        "|---|---|---|---|",
    ]
    for name, values in practice["stages"].items():
        share = values["median"] / record["audio_seconds"]
        lines.append(f"| {name} | {values['median']:.3f} | {values['p95']:.3f} | {share:.4f} |")
    seconds = practice["seconds"]
    lines += [
        f"| all (practice) | {seconds['median']:.3f} | {seconds['p95']:.3f} "
        f"| {practice['rtf']:.4f} |",
        f"| all (the paper's: file read, mean) | {paper['seconds']['mean']:.3f} |  "
        f"| {paper['rtf']:.4f} |",
    ]
    return "\n".join(lines)


@torch.inference_mode()
def load(checkpoint: str, device: str, precision: str) -> tuple[Accompanist, float]:
    """A checkpoint and the seconds that loading it took."""
    timing: list[Accompanist] = []
    seconds = timed(
        lambda: timing.append(Accompanist.from_pretrained(checkpoint, device, precision)), 1, 0
    )
    return timing[0], seconds.mean
