"""How much faster than SingSong: the paper's comparison of real-time factors, in one run.

Networks have random weights: speed does not depend on what they know. FastSAG runs whole. A token
of a language model costs the more the later it comes; a stage is timed at some positions, through
the sampler that generation uses, and its cost is their integral. `check` says how far such an
integral is from a whole run, at a size where that takes seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastsag import authors
from fastsag.audio import Recording
from fastsag.baselines.singsong.config import (
    STAGES,
    MelCodecConfig,
    SingSongConfig,
    TransformerConfig,
)
from fastsag.baselines.singsong.system import Stage
from fastsag.baselines.singsong.tokens import Tokenizer, build_codec
from fastsag.baselines.singsong.transformer import StageModel
from fastsag.benchmarks import hubert
from fastsag.benchmarks.timer import machine, timed
from fastsag.codec import EncodecCodec, sound
from fastsag.config import Config, MertConfig
from fastsag.errors import require
from fastsag.model import build
from fastsag.pipeline import Accompanist
from fastsag.take import Settings
from fastsag.vocoder import build_vocoder

PAPER_RTF = {"FastSAG": 0.3247, "SingSong s+c": 10.4936, "SingSong s+c+f": 47.7660}  # Table 1
CLIP_SAMPLES = 937 * 256  # at 24 kHz: one window of FastSAG, 9.995 s
CHECK_SIZE = TransformerConfig(width=192, depth=4, heads=4, head_size=48, hidden=512)

_RATE = 24_000  # Hz
_STEPS = 8  # tokens timed at a position
_PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}

Progress = Callable[[str], None]


@dataclass(frozen=True)
class StageCost:
    """Seconds of a stage: the prompt, all tokens with a cache, and all tokens without one.

    positions: tokens done where it was timed; step, whole: seconds of one token there.
    """

    tokens: int
    prompt: float
    cached: float
    uncached: float
    positions: tuple[int, ...]
    step: tuple[float, ...]
    whole: tuple[float, ...]


def integrate(positions: Sequence[float], seconds: Sequence[float], count: int) -> float:
    """Cost of tokens 0..count - 1 from the cost of some: straight lines between, flat outside."""
    return float(np.interp(np.arange(count), positions, seconds).sum())


@torch.inference_mode()
def stage_cost(
    model: StageModel, given: Tensor, frames: int, positions: int, top_k: float = 0.1
) -> StageCost:
    """Time a stage at `positions` places spread over its tokens.

    Args:
        model: at the precision that is to be timed.
        given: codes (B, L, Q) that it reads; B sequences are sampled at once.
        frames: that it writes.
        positions: at least two.
        top_k: share of the outputs sampled from.
    """
    block = model.layout.wanted
    more = -(-_STEPS // block.codebooks) + 1
    places = np.linspace(0, max(1, frames - more), positions).astype(int)
    known = torch.randint(0, block.size, (len(given), frames, block.codebooks))
    step, whole = [], []
    for place in [places[0], *places]:  # the first twice: it warms up
        stamps = [time.perf_counter()]

        def tick(_: int, stamps: list[float] = stamps) -> None:
            stamps.append(time.perf_counter())

        part = known[:, :place] if place else None
        model.generate(given, int(place) + more, known=part, top_k=top_k, tick=tick)
        gaps = np.diff(stamps)
        whole.append(float(gaps[0]))
        step.append(float(np.median(gaps[1:])))
    step, whole = step[1:], whole[1:]
    at = [int(place) * block.codebooks for place in places]
    tokens = frames * block.codebooks
    # A median over some tokens belongs to the middle one of them.
    middles = [place + (more * block.codebooks - 2) / 2 for place in at]
    cached = whole[0] + integrate(middles, step, tokens)
    uncached = integrate(at, whole, tokens)
    return StageCost(tokens, whole[0], cached, uncached, tuple(at), tuple(step), tuple(whole))


@torch.inference_mode()
def check(layout_of: Stage, positions: int) -> dict[str, float]:
    """A whole run over its integral, with and without cache: a small model, a third of a window."""
    frames = (layout_of.given_frames // 3, layout_of.wanted_frames // 3)
    layout = layout_of.model.layout
    model = StageModel(CHECK_SIZE, layout, layout.positions(*frames)).eval()
    given = torch.randint(0, layout.given.size, (1, frames[0], layout.given.codebooks))
    cost = stage_cost(model, given, frames[1], positions)
    ratios = {}
    for name, expected in (("cached", cost.cached), ("uncached", cost.uncached)):
        run = partial(model.generate, given, frames[1], cache=name == "cached")
        ratios[name] = timed(run, 1, 0).mean / expected
    return ratios


def compare(
    config: SingSongConfig, positions: int = 4, progress: Progress = lambda line: None
) -> dict[str, Any]:
    """Real-time factors of FastSAG at the paper's size and of SingSong with two and three stages.

    Every system runs at the precision that is faster for it on this machine.

    Args:
        config: of SingSong.
        positions: timed in each stage.
        progress: told what is measured.

    Raises:
        MissingExtra: transformers is not installed.
    """
    rng = np.random.default_rng(0)
    voice = 0.1 * rng.standard_normal(CLIP_SAMPLES).astype(np.float32)
    recording = Recording(voice[None], _RATE)
    seconds = CLIP_SAMPLES / _RATE
    transformers = require("transformers", extra="singsong")
    # MERT-v1-95M's layout is Hubert's base.
    random = transformers.HubertModel(transformers.HubertConfig())
    with hubert.saved(random) as mert, torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        progress("FastSAG at the paper's size")
        fastsag = _fastsag(recording, mert)
        progress(f"FastSAG: {fastsag['seconds']:.1f} s ({fastsag['precision']})")
        if isinstance(config.encoder, MertConfig):
            encoder = config.encoder.model_copy(update={"model": str(mert)})
            config = config.model_copy(update={"encoder": encoder})
        singsong = _singsong(config, recording, positions, progress)
    rows = [{"system": "FastSAG", "cache": None, "seconds": fastsag["seconds"]}]
    for cache in (True, False):
        for name, stages in (("SingSong s+c", STAGES[:2]), ("SingSong s+c+f", STAGES)):
            kind = "cached" if cache else "uncached"
            total = sum(singsong["stages"][stage][kind] for stage in stages)
            total += singsong["listen"] + singsong["decode"]
            rows.append({"system": name, "cache": cache, "seconds": total})
    for row in rows:
        row["rtf"] = row["seconds"] / seconds
        row["ratio"] = row["seconds"] / fastsag["seconds"]
        row["paper_rtf"] = PAPER_RTF[str(row["system"])]
        row["paper_ratio"] = row["paper_rtf"] / PAPER_RTF["FastSAG"]
    return {
        "kind": "singsong",
        "config": config.name,
        "audio_seconds": seconds,
        "positions": positions,
        "rows": rows,
        "fastsag": fastsag,
        "singsong": singsong,
        "machine": machine("cpu"),
    }


def _fastsag(recording: Recording, mert: Path) -> dict[str, Any]:
    """One whole accompaniment by the paper's model."""
    values = authors.default_config().model_dump()
    values["encoder"]["model"] = str(mert)
    config = Config.model_validate(values)
    model, vocoder = build(config), build_vocoder(config.vocoder, config.mel)
    semantics = torch.randn(749, config.encoder.size)
    trials = {}
    for precision in _PRECISIONS:
        one = Accompanist(config, model, vocoder, precision=precision)
        trial = partial(one.mel, semantics, None, Settings(steps=1), frames=937)
        trials[precision] = timed(trial, 1, 1).mean
    best = min(trials, key=lambda precision: trials[precision])
    system = Accompanist(config, model, vocoder, precision=best)
    record = system.accompany(recording).record
    return {
        "precision": best,
        "seconds": sum(record["seconds"].values()),
        "stages": record["seconds"],
        "trials": trials,
    }


def _singsong(
    config: SingSongConfig, recording: Recording, positions: int, progress: Progress
) -> dict[str, Any]:
    """Seconds of every step of SingSong."""
    tokenizer = _random_tokenizer(config)
    samples = tokenizer.prepare(recording, 10.0)
    codec = tokenizer.codec
    count = -(-len(samples) // codec.hop_length)
    codes = torch.randint(0, codec.codebook_size, (count, codec.codebooks))
    found: dict[str, Any] = {
        "listen": timed(lambda: tokenizer.voice(samples), 1, 1).median,
        "decode": timed(lambda: sound(codec, codes), 1, 1).median,
        "stages": {},
    }
    given = tokenizer.voice(samples)[:, None]
    for name in STAGES:
        stage = Stage.build(config, name, tokenizer)
        stage.model.eval()
        if name == "semantic":
            found["check"] = check(stage, positions)
            progress(
                "a small model's whole run over its integral: {cached:.2f} with cache, "
                "{uncached:.2f} without".format(**found["check"])
            )
            found["precision"], found["trials"] = _faster(stage, given)
            found["parameters"] = stage.model.core_parameters
        stage.model.to(_PRECISIONS[found["precision"]])
        block = stage.model.layout.given
        batch = len(stage.windows(count)) if stage.settings.overlap == 0 else 1
        read = torch.randint(0, block.size, (batch, stage.given_frames, block.codebooks))
        cost = stage_cost(stage.model, read, stage.wanted_frames, positions, config.top_k)
        found["stages"][name] = {**vars(cost), "batch": batch}
        progress(
            f"{name}: {cost.tokens} tokens x {batch}, {cost.cached:.1f} s with cache, "
            f"{cost.uncached:.0f} s without"
        )
    return found


def _faster(stage: Stage, given: Tensor) -> tuple[str, dict[str, float]]:
    """The precision whose tokens take less time, and the seconds of a token in each."""
    frames = stage.given_frames
    part = given[None, :frames]
    trials = {}
    for precision, kind in _PRECISIONS.items():
        stage.model.to(kind)
        trials[precision] = stage_cost(stage.model, part, 16, 2).step[-1]
    return min(trials, key=lambda precision: trials[precision]), trials


def _random_tokenizer(config: SingSongConfig) -> Tokenizer:
    if isinstance(config.codec, MelCodecConfig):
        codec = build_codec(config)
    else:
        transformers = require("transformers", extra="singsong")
        model = transformers.EncodecModel(transformers.EncodecConfig())
        codec = EncodecCodec(model, config.codec.bandwidth)
    return Tokenizer(config, codec, torch.randn(config.clusters, config.encoder.size))


def report(record: dict[str, Any]) -> str:
    """The record for reading, in Markdown."""
    singsong, where = record["singsong"], record["machine"]
    lines = [
        f"{record['audio_seconds']:.1f} s of audio, {where['threads']} threads, "
        f"{where['processor']}; FastSAG at the paper's size in {record['fastsag']['precision']}, "
        f"{record['config']} ({singsong['parameters'] / 1e6:.0f} M parameters a stage) in "
        f"{singsong['precision']}; random weights",
        "",
        "| system | seconds | RTF | times FastSAG's | paper's RTF | paper's ratio |",
        "|---|---|---|---|---|---|",
    ]
    names = {None: "", True: ", cache", False: ", no cache (integrated)"}
    for row in record["rows"]:
        lines.append(
            f"| {row['system']}{names[row['cache']]} | {row['seconds']:.1f} | {row['rtf']:.2f} "
            f"| {row['ratio']:.2f} | {row['paper_rtf']:.4f} | {row['paper_ratio']:.1f} |"
        )
    check_ = singsong["check"]
    lines += [
        "",
        f"SingSong's tokens were timed at {record['positions']} positions a stage and integrated; "
        f"a small model's whole run took {check_['cached']:.2f} of its integral with cache, "
        f"{check_['uncached']:.2f} without.",
    ]
    return "\n".join(lines)
