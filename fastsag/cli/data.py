"""`fastsag data`: look into shards."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from fastsag.errors import require

app = typer.Typer(help="Look into folders of shards.", no_args_is_help=True)


@app.callback()
def root() -> None:
    """Look into folders of shards."""


@app.command()
def inspect(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder of shards.")],
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="PNG. [default: DIR/inspect.png]")
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare every shard with the manifest's checksums.")
    ] = False,
) -> None:
    """Print and draw what a folder holds: durations, levels, keep rates, examples.

    Takes shards of `fastsag prepare` and of `fastsag songs generate`; levels and keep rates are
    in the manifest that `prepare` writes. Exit status 1 if --verify finds a fault.

    Example: fastsag data inspect shards --verify
    """
    from fastsag.data import statistics
    from fastsag.data.manifest import read_manifest

    if verify:
        _verify(folder)
    splits = statistics.by_split(folder)
    manifest = read_manifest(folder)
    for name, facts in splits.items():
        lengths = f"{min(facts.seconds):.1f} to {max(facts.seconds):.1f} s"
        print(
            f"{name}: {len(facts.seconds):,} clips of {len(facts.songs):,} songs, "
            f"{facts.hours:.2f} h, {lengths}"
        )
    if manifest:
        _print_manifest(manifest)
    picture = plot or folder / "inspect.png"
    _draw(picture, folder.resolve().name, splits, manifest, statistics.examples(folder))
    print(f"wrote {picture}")


def _print_manifest(manifest: dict[str, Any]) -> None:
    songs, gates = manifest["songs"], manifest["gates"]
    total = songs["with_clips"] + songs["without_clips"]
    print(
        f"songs: {total:,}, {songs['hours']:.2f} h; {songs['without_clips']:,} have no clip that "
        f"passed, {songs['left_out']:,} more were left out (failures.jsonl)"
    )
    used = manifest["settings"]["gate"]
    for gate in ("paper", "authors"):
        share = gates[gate] / max(1, gates["clips"])
        mark = ", the one used" if gate == used else ""
        print(f"gate {gate}: {gates[gate]:,} of {gates['clips']:,} clips pass ({share:.1%}){mark}")
    size = sum(shard["bytes"] for shard in manifest["shards"])
    print(f"shards: {len(manifest['shards'])}, {size / 1e9:.3f} GB")


def _verify(folder: Path) -> None:
    from fastsag.data.statistics import verify

    def progress(done: int, total: int) -> None:
        if sys.stderr.isatty():
            end = "\n" if done == total else ""
            print(f"\r\x1b[K{done}/{total} shards compared", end=end, file=sys.stderr)

    faults = verify(folder, progress)
    print("\n".join(faults) or "every shard is as it was written")
    if faults:
        raise typer.Exit(1)


def _draw(
    path: Path,
    title: str,
    splits: dict[str, Any],
    manifest: dict[str, Any] | None,
    examples: list[Any],
) -> None:
    """Durations and keep rates, levels, then a pair of spectrograms for each example."""
    from fastsag.plots import save

    figures = require("matplotlib.figure", extra="plot")
    agg = require("matplotlib.backends.backend_agg", extra="plot")
    rows = 1 + len(examples)
    figure = figures.Figure(figsize=(14, 3.0 * rows), layout="constrained")
    agg.FigureCanvasAgg(figure)
    figure.suptitle(title)
    grid = figure.add_gridspec(rows, 12)
    top = [figure.add_subplot(grid[0, 3 * k : 3 * k + 3]) for k in range(4)]
    _draw_hours(top[0], splits)
    if manifest:
        _draw_lengths(top[1], manifest["songs"]["minutes"])
        _draw_gates(top[2], manifest)
        _draw_levels(top[3], manifest["levels"])
    else:
        _draw_durations(top[1], splits)
        top[2].set_axis_off()
        top[3].set_axis_off()
    for row, record in enumerate(examples, 1):
        for column, name in enumerate(("vocals", "accompaniment")):
            axis = figure.add_subplot(grid[row, 6 * column : 6 * column + 6])
            song = record.meta.get("name", record.meta["song"])
            _draw_spectrogram(axis, getattr(record, name), record.meta["sample_rate"])
            axis.set_title(f"{name}: {song} at {record.meta['offset']:.0f} s", fontsize=9)
    save(figure, path)


def _draw_hours(axis: Any, splits: dict[str, Any]) -> None:
    names = list(splits)
    bars = axis.bar(names, [splits[name].hours for name in names], color="0.6")
    facts = [splits[name] for name in names]
    labels = [f"{len(one.seconds):,} clips\n{len(one.songs):,} songs" for one in facts]
    axis.bar_label(bars, labels, fontsize=8)
    axis.margins(y=0.25)
    axis.set_ylabel("hours")


def _draw_durations(axis: Any, splits: dict[str, Any]) -> None:
    axis.hist([second for facts in splits.values() for second in facts.seconds], 30, color="0.6")
    axis.set_xlabel("seconds a record")
    axis.set_ylabel("records")


def _draw_lengths(axis: Any, minutes: list[int]) -> None:
    axis.stairs(minutes, range(len(minutes) + 1), fill=True, color="0.6")
    axis.set_title("lengths of the songs", fontsize=9)
    axis.set_xlabel("minutes")
    axis.set_ylabel("songs")


def _draw_gates(axis: Any, manifest: dict[str, Any]) -> None:
    gates = manifest["gates"]
    names = ["clips", "paper", "authors"]
    bars = axis.bar(["all", "paper", "authors"], [gates[name] for name in names], color="0.6")
    shares = [f"{gates[name] / max(1, gates['clips']):.0%}" for name in names]
    axis.bar_label(bars, shares, fontsize=8)
    axis.set_title(f"clips that pass (used: {manifest['settings']['gate']})", fontsize=9)
    axis.margins(y=0.15)


def _draw_levels(axis: Any, levels: dict[str, Any]) -> None:
    from fastsag.data.clips import AUTHORS_DBFS, THRESHOLD_DB

    edges = levels["edges_db"]
    for name, counts in levels.items():
        if name != "edges_db":
            style = {"linestyle": "-" if "peak" in name else ":"}
            colour = "C0" if name.startswith("vocals") else "C1"
            axis.stairs(counts, edges, label=name.replace("_", " "), color=colour, **style)
    axis.axvline(THRESHOLD_DB, color="0.3", linewidth=0.8)
    axis.axvline(AUTHORS_DBFS, color="0.3", linewidth=0.8, linestyle=":")
    axis.set_title(f"{THRESHOLD_DB:.0f} dBFS and, dotted, {AUTHORS_DBFS:.1f} dBFS", fontsize=9)
    axis.set_xlabel("level of a clip (dBFS)")
    axis.set_ylabel("clips")
    axis.legend(fontsize=7)


def _draw_spectrogram(axis: Any, samples: Any, rate: int) -> None:
    """Log spectrogram of a record, at most the first half minute."""
    import numpy as np
    from scipy.signal import stft

    hz, seconds, values = stft(samples[: 30 * rate], rate, nperseg=2048, noverlap=1536)
    level = 20 * np.log10(np.abs(values) + 1e-6)
    shown = hz <= 12_000
    axis.pcolormesh(
        seconds, hz[shown], level[shown], vmin=level.max() - 80, cmap="magma", rasterized=True
    )
    axis.set_yscale("symlog", linthresh=1_000)
    axis.set_ylabel("Hz")
    axis.set_xlabel("s")
