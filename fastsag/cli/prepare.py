"""`fastsag prepare`: songs in, training shards out."""

from __future__ import annotations

import os
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from fastsag import config as configuration
from fastsag.config import Config
from fastsag.errors import UserError, require


class Step(StrEnum):
    """Steps that run alone."""

    separate = "separate"
    clip = "clip"
    features = "features"
    shard = "shard"


class Gate(StrEnum):
    """Readings of "peak RMS amplitude over -25 dB"."""

    paper = "paper"
    authors = "authors"
    none = "none"


class Kind(StrEnum):
    """Engines."""

    local = "local"
    ray = "ray"


class Preset(StrEnum):
    """Evaluation sets of the paper."""

    musdb18_test = "musdb18-test"


class Device(StrEnum):
    """Where songs are separated."""

    cpu = "cpu"
    cuda = "cuda"


def prepare(
    inputs: Annotated[
        list[Path], typer.Argument(metavar="SRC...", help="Folders of songs, or audio files.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="For the shards.")],
    only: Annotated[
        Step | None, typer.Option(help="One step alone. [default: all of them]")
    ] = None,
    features: Annotated[
        Path | None,
        typer.Option(metavar="CONFIG", help="Store its mels and semantics, such as compact.yaml."),
    ] = None,
    gate: Annotated[
        Gate,
        typer.Option(help="paper: loudest 50 ms over -25 dBFS. authors: all 10 s over -21.7 dBFS."),
    ] = Gate.paper,
    clip_seconds: Annotated[
        float, typer.Option(min=0.5, help="Length of a clip; training crops must fit in.")
    ] = 10.0,
    preset: Annotated[
        Preset | None, typer.Option(help="The paper's zero-shot set from MUSDB18's test songs.")
    ] = None,
    mixtures: Annotated[
        bool, typer.Option("--mixtures", help="Separate MUSDB18's mixtures, not take its stems.")
    ] = False,
    separator: Annotated[
        str,
        typer.Option(help="htdemucs, htdemucs_ft, a folder of Demucs weights, MODULE:FUNCTION."),
    ] = "htdemucs",
    shifts: Annotated[int, typer.Option(min=0, help="Demucs' random shifts, averaged.")] = 1,
    overlap: Annotated[float, typer.Option(min=0, max=0.99, help="Of Demucs' segments.")] = 0.25,
    seed: Annotated[int, typer.Option(min=0, help="Of the shifts.")] = 0,
    device: Annotated[Device, typer.Option(help="For separation.")] = Device.cpu,
    lowest_rate: Annotated[
        int, typer.Option(metavar="HZ", min=1, help="Refuse recordings of a lower sample rate.")
    ] = 16_000,
    longest: Annotated[
        float, typer.Option(metavar="MINUTES", min=0.1, max=60, help="Refuse longer recordings.")
    ] = 20.0,
    evaluation_clips: Annotated[
        int, typer.Option(min=0, help="In-domain evaluation set; at most a tenth of all.")
    ] = 2_000,
    shard_clips: Annotated[int, typer.Option(min=1, help="About as many in a shard.")] = 1_000,
    engine: Annotated[Kind, typer.Option(help="Processes here, or a Ray cluster.")] = Kind.local,
    workers: Annotated[
        int | None, typer.Option(min=1, help="At once. [default: a core each, or all of a cluster]")
    ] = None,
    address: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Of the Ray cluster, or auto.")
    ] = None,
    gpus: Annotated[
        float, typer.Option(min=0, help="Of a cluster, that each worker holds, such as 0.25.")
    ] = 0.0,
    discard_stems: Annotated[
        bool, typer.Option("--discard-stems", help="Keep no stems once a song's clips are there.")
    ] = False,
) -> None:
    """Separate songs, cut them into pairs of clips, keep the clear ones, write training shards.

    Steps: separate, clip, features (with --features), shard.

    SRC may hold whole songs, and songs that are separated already: SONG/vocals.wav beside
    accompaniment.wav, no_vocals.wav, or drums, bass and other; NAME_vocals.wav beside
    NAME_no_vocals.wav; MUSDB18 and MUSDB18-HQ.

    DIR gets train-*.tar, validation-*.tar, test-*.tar, manifest.json, and failures.jsonl, which
    says what was left out and why. DIR/work is kept for later runs; delete it when done.

    The same command again goes on where a killed one stopped, with the same bytes in the end.

    Exit status: 0 done, 1 done but some songs were left out, 2 stopped.

    Example: fastsag prepare music -o shards --workers 8; fastsag data inspect shards
    """
    from fastsag.data import sources
    from fastsag.data.prepare import ALL_STEPS, Engine
    from fastsag.data.prepare import prepare as run
    from fastsag.data.settings import PrepareSettings

    if engine is Kind.local and (address or gpus):
        raise UserError("--address, --gpus: belong to a cluster; add --engine ray")
    if only is Step.features and features is None:
        raise UserError("--only features: which? add --features CONFIG")
    found = sources.find(inputs, skip=output, prefer_mixtures=mixtures)
    steps = tuple(
        step
        for step in ALL_STEPS
        if (only is None or step == only.value) and (step != "features" or features)
    )
    needed = not all(source.given or source.problem for source in found)
    settings = PrepareSettings(
        separation=_separation(separator, shifts, overlap, seed, device.value) if needed else None,
        lowest_rate=lowest_rate,
        longest_minutes=longest,
        clip_seconds=clip_seconds,
        gate=gate.value,
        features=_features(features) if features else None,
        preset=preset.value if preset else None,
        evaluation_clips=evaluation_clips,
        shard_clips=shard_clips,
    )
    if workers is None and engine is Kind.local:
        workers = os.cpu_count() or 1
    where = Engine(engine.value, workers, address, gpus)
    report = run(found, output, settings, steps, where, discard_stems, _progress())
    _summary(report, output, settings)
    raise typer.Exit(1 if any(not row["used"] for row in report.rows) else 0)


def _separation(name: str, shifts: int, overlap: float, seed: int, device: Any) -> Any:
    """The settings of a separator that is there; checked before any song is read."""
    from fastsag.data.separation import fingerprint
    from fastsag.data.settings import SeparationSettings

    weights = fingerprint(name)
    if ":" not in name:
        require("demucs.api", extra="separate")
    return SeparationSettings(
        separator=name, weights=weights, shifts=shifts, overlap=overlap, seed=seed, device=device
    )


def _features(path: Path) -> Any:
    from fastsag.data.settings import FeatureSettings

    config = configuration.parse(configuration.read_yaml(path), str(path), Config)
    return FeatureSettings(mel=config.mel, encoder=config.encoder, noise=config.training.noise)


def _progress() -> Any:
    """Prints a line now and then: how far, how fast, how long still."""
    started, shown = time.monotonic(), 0.0

    def progress(stage: str, done: int, total: int, report: Any) -> None:
        nonlocal shown
        now, terminal = time.monotonic(), sys.stderr.isatty()
        if done < total and now - shown < (0.2 if terminal else 30):
            return
        shown = now
        unit = "shards" if stage == "shard" else "songs"
        failed = report.outcomes["failed"]
        left = (now - started) / done * (total - done) / 60
        line = f"{stage}: {done}/{total} {unit}, {failed} failed, {left:.0f} min left"
        begin, end = ("\r\x1b[K", "" if done < total else "\n") if terminal else ("", "\n")
        print(begin + line, end=end, file=sys.stderr, flush=True)

    return progress


def _summary(report: Any, output: Path, settings: Any) -> None:
    from fastsag.data.manifest import PAPER_ZERO_SHOT_CLIPS

    for step, seconds in report.seconds.items():
        audio = report.audio_seconds[step]
        print(f"{step}: {audio / 3600:.3f} h of audio at {audio / seconds:.1f}x real time a worker")
    gates = report.gates
    if gates["clips"]:
        print(f"gate: of {gates['clips']:,} clips of {settings.clip_seconds:g} s")
        for name in ("paper", "authors"):
            share = gates[name] / gates["clips"]
            beside = f", the paper reports {PAPER_ZERO_SHOT_CLIPS}" if settings.preset else ""
            kept = " (kept)" if settings.gate == name else ""
            print(f"  {name}: {gates[name]:,} pass ({share:.1%}){beside}{kept}")
    used = sum(row["used"] for row in report.rows)
    if report.rows:
        lost = len(report.rows) - used
        print(f"{output / 'failures.jsonl'}: {lost} songs left out, {used} used with a note")
    if report.manifest:
        for split, facts in report.manifest["splits"].items():
            if split != "surplus_clips" and facts["clips"]:
                print(
                    "{0}: {clips:,} clips of {songs:,} songs, {hours:.2f} h".format(split, **facts)
                )
        size = sum(shard["bytes"] for shard in report.manifest["shards"]) / 1e6
        print(f"{output}: {len(report.manifest['shards'])} shards, {size:,.1f} MB")
        if settings.preset:
            print(f"{output / 'zero-shot.jsonl'}: the zero-shot clips")
