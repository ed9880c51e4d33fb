"""`fastsag bench steps`: how many steps a checkpoint needs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from fastsag.cli.progress import tell


def steps(
    songs: Annotated[
        Path,
        typer.Argument(metavar="SONGS", help="Folder of KEY.vocals.* and KEY.accompaniment.*"),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="For all that is made.")
    ],
    checkpoint: Annotated[
        str, typer.Option(metavar="NAME_OR_PATH", help="A bundled checkpoint or a folder.")
    ] = "compact",
    way: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SAMPLER:STEPS[:GUIDANCE]",
            help="Again for more; if left out, curves of two solvers and the student's steps.",
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Takes of each way.")] = 1,
    seconds: Annotated[float, typer.Option(help="Of the clip that is timed.")] = 10.0,
    runs: Annotated[int, typer.Option(min=1, help="Timed rounds.")] = 5,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Of the processor; if left out, torch chooses.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32 or bf16.")] = "auto",
) -> None:
    """Steps and samplers against quality and speed: the curve that chooses a default.

    Plays every song in every way (DIR/played, kept for the next call), scores it as `fastsag
    evaluate coherence` and `evaluate fad` (offline-v1, mixtures at the true band's loudness) do,
    and times the ways in turn on one clip. Writes DIR/steps.json, steps.md and steps.png. Leave the
    machine alone while it counts rounds.

    Example: fastsag songs unpack -o held-out --seed 900 --count 8; fastsag bench steps held-out
    -o curve --way euler:12 --way distilled:4 --seeds 3
    """
    import torch

    from fastsag import audio
    from fastsag.benchmarks import rtf
    from fastsag.benchmarks import steps as part
    from fastsag.evaluation.sets import clips
    from fastsag.pipeline import Accompanist

    if threads is not None:
        torch.set_num_threads(threads)
    accompanist = Accompanist.from_pretrained(checkpoint, device, precision)
    trials = [part.Trial.parse(text) for text in way or ()] or part.usual(accompanist.config)
    for trial in trials:
        trial.settings.way(accompanist.config)  # what cannot be done is said before any work
    voices = [clip.voice for clip in clips(songs)]
    clip = rtf.clip(audio.read(voices[0]), seconds)
    speeds = part.speeds(accompanist, clip, trials, runs, tell)
    played = {
        trial.name: [
            output / "played" / f"{trial.name.replace(':', '-')}-seed{seed}"
            for seed in range(seeds)
        ]
        for trial in trials
    }
    for trial in trials:
        for seed, folder in enumerate(played[trial.name]):
            part.play(accompanist, voices, trial, seed, folder, tell)
    scores = _scores(songs, [folder for folders in played.values() for folder in folders], output)
    rows = [
        {
            "way": trial.name,
            **{
                name: getattr(trial.settings.way(accompanist.config), name)
                for name in ("sampler", "steps", "guidance")
            },
            **speeds[trial.name],
            "scores": {
                name: [scores[folder.name][name] for folder in played[trial.name]]
                for name in part.COLUMNS
            },
        }
        for trial in trials
    ]
    record = {
        "kind": "steps",
        "checkpoint": accompanist.name,
        "precision": accompanist.precision,
        "songs": len(voices),
        "seeds": seeds,
        "audio_seconds": seconds,
        "runs": runs,
        "machine": rtf.machine(accompanist.device),
        "true band": scores[_TRUE],
        "ways": rows,
    }
    _write(record, output)


_TRUE = "true band"


def _scores(songs: Path, folders: list[Path], output: Path) -> dict[str, dict[str, float]]:
    """Means over the songs, by system: those in `folders` and the true band."""
    from fastsag.benchmarks.steps import FAD, SCORES
    from fastsag.evaluation import fad, report
    from fastsag.evaluation.embedders import build
    from fastsag.evaluation.mixes import mixtures
    from fastsag.evaluation.sets import clips

    systems = [(folder.name, folder) for folder in folders]
    rows = report.compare(
        songs,
        systems,
        anchors=(report.TRUE,),
        progress=lambda system, song, done, total: tell(f"{system}, {song}", done, total),
    )
    means = {name: report.means(rows, name) for name in SCORES}
    found = {
        system: {name: means[name][system] for name in SCORES}
        for system in (_TRUE, *(name for name, _ in systems))
    }
    jobs: dict[str, list[Any]] = {}
    for job in report.plan(clips(songs), systems, (report.TRUE,)):
        jobs.setdefault(job.system, []).append(job)
    space = build("offline-v1")
    truth = mixtures(jobs.pop(report.TRUE), output / "mixes" / "truth", reference=True)
    for system, own in jobs.items():
        mixed = mixtures(own, output / "mixes" / system, matched=True)
        found[system][FAD] = fad.fad(truth, mixed, space, progress=tell)["fad"]
    return found


def _write(record: dict[str, Any], output: Path) -> None:
    from fastsag import audio
    from fastsag.benchmarks.steps import SCORES, picture, table

    truth = ", ".join(f"{name} {record[_TRUE][name]:.3f}" for name in SCORES)
    where, seconds = record["machine"], record["audio_seconds"]
    note = (
        f"{record['checkpoint']}, {record['precision']}: {record['songs']} songs, "
        f"{record['seeds']} seeds (mean, least to largest); timed on {seconds:g} s, "
        f"median of {record['runs']} rounds, {where['threads']} threads, {where['device']}. "
        f"True band: {truth}."
    )
    text = f"{table(record['ways'])}\n\n{note}\n"
    print(text)
    audio.write_text(output / "steps.json", json.dumps(record, indent=1) + "\n")
    audio.write_text(output / "steps.md", text)
    picture(output / "steps.png", record["ways"], f"{record['checkpoint']}, numbers are steps")
    print(f"wrote {output}/steps.json, steps.md, steps.png")
