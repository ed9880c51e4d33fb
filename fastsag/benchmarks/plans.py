"""Ways to compute one window with networks of the paper's size, side by side in one process.

    authors     as the published code computes (`published.py`): fp32, 51 evaluations, BigVGAN
    exact       the same numbers: this package in fp32, 50 evaluations (the 51st changes nothing)
    bf16        the same 50 evaluations and BigVGAN in bfloat16
    fast        16 evaluations of DPM-Solver++(2M) in bfloat16, BigVGAN in bfloat16
    fast-vocos  the same with a Vocos-style vocoder
    few-vocos   4 evaluations, as of a distilled model

Weights are random: speed does not depend on them. Every stage of every plan runs once a round, in
turn. The U-Net is timed over some evaluations and multiplied; a whole run of the first two plans
says how far that is off, and how far apart their mels are.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from fastsag.benchmarks.counters import Ceilings, Work, ceilings, peak_growth_mb, work
from fastsag.benchmarks.networks import STAGES, TIMED_EVALUATIONS, Bench, Size
from fastsag.benchmarks.timer import machine
from fastsag.config import MelConfig
from fastsag.mel import denormalize

TOLERANCE = 5e-5  # of the exact plan's mel, normalised units


Progress = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """ways: how each stage computes, in the order of `STAGES`; evaluations: of the denoiser."""

    name: str
    ways: tuple[str, ...]
    evaluations: int

    @property
    def precision(self) -> str:
        return "bf16" if "bf16" in self.ways else "fp32"


_BF16 = ("bf16",) * 4
PLANS = {
    plan.name: plan
    for plan in (
        Plan("authors", ("published",) * 5, 51),
        Plan("exact", ("fp32",) * 5, 50),
        Plan("bf16", (*_BF16, "bf16"), 50),
        Plan("fast", (*_BF16, "bf16"), 16),
        Plan("fast-vocos", (*_BF16, "vocos"), 16),
        Plan("few-vocos", (*_BF16, "vocos"), 4),
    )
}


@torch.inference_mode()
def compare(
    size: Size,
    names: list[str],
    rounds: int = 3,
    progress: Progress = lambda line: None,
) -> dict[str, Any]:
    """Measure plans in turn; returns the record.

    Args:
        names: of `PLANS`; the authors' plan is always measured.
        rounds: timed, after one that warms up.
        progress: told what is done, a line each.

    Raises:
        MissingExtra: transformers is not installed.
    """
    plans = [PLANS[name] for name in dict.fromkeys(["authors", *names])]
    progress("building the networks")
    bench = Bench(size)
    progress("measuring the machine")
    best = ceilings()
    keys = list(dict.fromkeys(key for plan in plans for key in zip(STAGES, plan.ways, strict=True)))
    counted, growth = {}, {}
    for stage, way in keys:
        progress(f"counting {stage}, {way}")
        run = bench.stage(stage, way)
        counted[stage, way] = work(run)  # warms up, too
        growth[stage, way] = peak_growth_mb(run)
    seconds: dict[tuple[str, str], list[float]] = {key: [] for key in keys}
    for number in range(rounds):
        progress(f"round {number + 1} of {rounds}")
        for key in keys:
            start = time.perf_counter()
            bench.stage(*key)()
            seconds[key].append(time.perf_counter() - start)
    median = {key: float(np.median(values)) for key, values in seconds.items()}
    whole = None
    if "exact" in names:
        progress("whole runs of the authors' and the exact plan")
        whole = _whole(bench, median)
    audio_seconds = size.frames / size.config.mel.frame_rate
    record: dict[str, Any] = {
        "kind": "plans",
        "audio_seconds": audio_seconds,
        "rounds": rounds,
        "timed_evaluations": TIMED_EVALUATIONS,
        "ceilings": best.figures(),
        "plans": [
            _plan(plan, bench, median, counted, growth, best, audio_seconds) for plan in plans
        ],
        "whole": whole,
        "machine": machine("cpu"),
    }
    for plan in record["plans"]:
        _relate(plan, record["plans"][0])
    return record


def _plan(
    plan: Plan,
    bench: Bench,
    seconds: dict[tuple[str, str], float],
    counted: dict[tuple[str, str], Work],
    growth: dict[tuple[str, str], float | None],
    best: Ceilings,
    audio_seconds: float,
) -> dict[str, Any]:
    stages: dict[str, dict[str, Any]] = {}
    for stage, way in zip(STAGES, plan.ways, strict=True):
        calls = plan.evaluations / TIMED_EVALUATIONS if stage == "denoiser" else 1
        taken = seconds[stage, way]
        precision = "bf16" if way == "bf16" else "fp32"
        flops_rate = counted[stage, way].flops / taken
        stages[stage] = {
            "way": way,
            "seconds": taken * calls,
            "flops": counted[stage, way].flops * calls,
            "bytes": counted[stage, way].bytes * calls,
            "flops_per_second": flops_rate,
            "bytes_per_second": counted[stage, way].bytes / taken,
            "share_of_compute": flops_rate / best.compute(precision),
            "roofline_seconds": counted[stage, way].flops * calls / best.compute(precision),
            "growth_mb": growth[stage, way],
        }
    total = sum(stage["seconds"] for stage in stages.values())
    weights = bench.parameters(plan.ways) * 4 / 1e6
    grown = [stage["growth_mb"] for stage in stages.values() if stage["growth_mb"] is not None]
    return {
        "name": plan.name,
        "precision": plan.precision,
        "evaluations": plan.evaluations,
        "vocoder": "vocos" if plan.ways[-1] == "vocos" else "bigvgan",
        "seconds": total,
        "rtf": total / audio_seconds,
        "roofline_seconds": sum(stage["roofline_seconds"] for stage in stages.values()),
        "weights_mb": weights,
        "peak_mb": weights + max(grown) if grown else None,
        "stages": stages,
    }


def _relate(plan: dict[str, Any], authors_: dict[str, Any]) -> None:
    """Add how many times faster than the authors' plan."""
    plan["times_faster"] = authors_["seconds"] / plan["seconds"]
    for name, stage in plan["stages"].items():
        stage["times_faster"] = authors_["stages"][name]["seconds"] / stage["seconds"]


def _whole(bench: Bench, seconds: dict[tuple[str, str], float]) -> dict[str, Any]:
    """Whole runs of the two fp32 plans: the distance of their mels, and the multiplied time's."""
    mels, over = {}, {}
    for name, way in (("authors", "published"), ("exact", "fp32")):
        mels[name], taken = bench.mel(way)
        multiplied = seconds["denoiser", way] * PLANS[name].evaluations / TIMED_EVALUATIONS
        over[name] = {"seconds": taken, "over_multiplied": taken / multiplied}
    distance = float((mels["authors"] - mels["exact"]).abs().max())
    settings: MelConfig = bench.size.config.mel
    log_units = [denormalize(mel, settings) for mel in mels.values()]
    return {
        "sampling": over,
        "mel_difference": distance,
        "log_mel_difference": float((log_units[0] - log_units[1]).abs().max()),
        "mel_spread": float(mels["authors"].std()),
        "tolerance": TOLERANCE,
        "exact": distance <= TOLERANCE,
    }


def report(record: dict[str, Any]) -> str:
    """The record for reading, in Markdown."""
    where, best = record["machine"], record["ceilings"]
    lines = [
        f"{record['audio_seconds']:.1f} s of audio, batch 1, random weights; {where['threads']} "
        f"threads, {where['processor']}; medians of {record['rounds']} rounds in turn. The "
        f"machine's best: fp32 {best['conv_flops']['fp32'] / 1e9:.0f} GFLOP/s (convolution), "
        f"{best['gemm_flops']['fp32'] / 1e9:.0f} (matrices), bf16 "
        f"{best['conv_flops']['bf16'] / 1e9:.0f} and {best['gemm_flops']['bf16'] / 1e9:.0f}; "
        f"memory {best['memory_bytes'] / 1e9:.0f} GB/s.",
        "",
        "| plan | precision | evaluations | vocoder | s | RTF | times the authors' | "
        "compute roofline s | peak MB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for plan in record["plans"]:
        peak = "-" if plan["peak_mb"] is None else f"{plan['peak_mb']:.0f}"
        lines.append(
            f"| {plan['name']} | {plan['precision']} | {plan['evaluations']} | {plan['vocoder']} "
            f"| {plan['seconds']:.2f} | {plan['rtf']:.3f} | {plan['times_faster']:.2f} "
            f"| {plan['roofline_seconds']:.2f} | {peak} |"
        )
    lines += [
        "",
        "| plan | stage | s | times the authors' | GFLOP | GFLOP/s | of the ceiling | "
        "GB/s of operations | growth MB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for plan in record["plans"]:
        for name, stage in plan["stages"].items():
            grown = "-" if stage["growth_mb"] is None else f"{stage['growth_mb']:.0f}"
            lines.append(
                f"| {plan['name']} | {name} | {stage['seconds']:.2f} | {stage['times_faster']:.2f} "
                f"| {stage['flops'] / 1e9:.0f} | {stage['flops_per_second'] / 1e9:.0f} "
                f"| {stage['share_of_compute']:.0%} | {stage['bytes_per_second'] / 1e9:.0f} "
                f"| {grown} |"
            )
    lines += ["", f"The denoiser was timed over {record['timed_evaluations']} evaluations."]
    if record["whole"]:
        lines[-1] += " " + _said(record["whole"])
    return "\n".join(lines)


def _said(whole: dict[str, Any]) -> str:
    runs = "; ".join(
        f"{name} took {run['seconds']:.1f} s, {run['over_multiplied']:.2f} of that"
        for name, run in whole["sampling"].items()
    )
    verdict = "within" if whole["exact"] else "NOT within"
    return (
        f"Whole runs: {runs}. Their mels differ by at most {whole['mel_difference']:.1e} "
        f"(normalised, spread {whole['mel_spread']:.2f}), {verdict} {whole['tolerance']:g}; "
        f"{whole['log_mel_difference']:.1e} in log units."
    )
