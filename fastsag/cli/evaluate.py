"""`fastsag evaluate`: judge folders of audio."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from fastsag.cli.evaluate_tables import figure3, table1, table2, table3
from fastsag.cli.progress import tell
from fastsag.errors import UserError

app = typer.Typer(
    help="Judge accompaniments: do they fit, how do they sound, are they like real music?",
    no_args_is_help=True,
)

Songs = Annotated[
    Path, typer.Argument(metavar="SONGS", help="Folder of KEY.vocals.* and KEY.accompaniment.*")
]
Systems = Annotated[
    list[Path] | None,
    typer.Argument(metavar="[SYSTEM]...", help="Folders with an accompaniment of each song."),
]
Embedders = Annotated[
    list[str] | None,
    typer.Option(help="offline-v1, vggish, mert, mert-4, mert-7, mert-11, clap, clap-larger."),
]
Cache = Annotated[Path | None, typer.Option(metavar="DIR", help="Where what was computed is kept.")]
Output = Annotated[
    Path | None, typer.Option("-o", "--output", metavar="FILE", help="Scores as JSON.")
]
Workers = Annotated[int, typer.Option(min=1, help="Processes.")]
_CORES = os.cpu_count() or 1


class Truth(StrEnum):
    """What is known of the songs."""

    annotation = "annotation"
    band = "band"
    mix = "mix"
    voice = "voice"


@app.callback()
def root() -> None:
    """Judge accompaniments: do they fit, how do they sound, are they like real music?"""


@app.command()
def coherence(
    songs: Songs,
    systems: Systems = None,
    truth: Annotated[
        Truth | None,
        typer.Option(
            help="KEY.truth.json, or estimated from the true band, its mix with the voice, or the "
            "voice; if left out, the first that all songs have."
        ),
    ] = None,
    bank: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Of rendered bands, for mel_fd.")
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(help="Also a table by style, meter, tempo, recording, voice, family, mode."),
    ] = None,
    workers: Workers = _CORES,
    cache: Cache = None,
    output: Output = None,
) -> None:
    """Does each SYSTEM's band fit the singing, and does it sound whole?

    Key, consonance, chords, beat and pulse; steadiness of partials, attacks, noise; beside anchors:
    the songs' own bands, another song's (RandSong), a tonic drone, noise, silence, the voice.
    docs/evaluation.md tells what each measure can and cannot see. Folders ours-0, ours-1, ... are
    taken as seeds of one system in the tables of --by, which tell the spread of their means.

    Example:
    fastsag songs unpack -o held-out --seed 900 --count 10;
    fastsag accompany held-out/*.vocals.wav -o ours;
    fastsag evaluate coherence held-out ours
    """
    from fastsag.evaluation import groups, report

    fields = {field: groups.groups(songs, field) for field in by or ()}
    rows = report.compare(
        songs,
        _named(systems or []),
        truth=truth.value if truth else None,
        bank=bank,
        cache=cache,
        workers=workers,
        progress=lambda system, song, done, total: tell(f"{system}, {song}", done, total),
    )
    print(report.table(rows))
    if len(groups.seeds(played := [row["system"] for row in rows])) < len(set(played)):
        print("\n" + groups.table(rows))
    for field, of_song in fields.items():
        print("\n" + groups.table(rows, of_song, field))
    _save(output, [{**row, **{f: of[row["song"]] for f, of in fields.items()}} for row in rows])


@app.command()
def fad(
    reference: Annotated[Path, typer.Argument(metavar="REFERENCE", help="Folder of real music.")],
    systems: Annotated[
        list[Path], typer.Argument(metavar="SYSTEM...", help="Folders to compare with it.")
    ],
    embedder: Embedders = None,
    infinity: Annotated[
        bool, typer.Option("--infinity", help="Also extrapolate to infinitely many frames.")
    ] = False,
    per_song: Annotated[
        bool, typer.Option("--per-song", help="Also each file's distance, in the JSON.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the extrapolation.")] = 0,
    cache: Cache = None,
    output: Output = None,
) -> None:
    """Fréchet audio distance of each SYSTEM from REFERENCE; smaller is nearer.

    The paper compares mixtures of voice and band. Figures of different embedders are not
    comparable. offline-v1, the default, needs no download; the others say what they need. To
    degrade the reference first, see `fastsag evaluate degrade`.

    Example: fastsag evaluate fad true-mixes our-mixes --embedder mert --embedder vggish
    """
    from fastsag.evaluation import fad as part
    from fastsag.evaluation.embedders import build

    records = [
        part.fad(
            reference,
            system,
            space,
            cache=cache,
            infinity=infinity,
            per_song=per_song,
            seed=seed,
            progress=tell,
        )
        for space in map(build, embedder or ["offline-v1"])
        for system in systems
    ]
    print(part.table(records))
    _save(output, records)


@app.command()
def apa(
    songs: Songs,
    systems: Systems = None,
    embedder: Embedders = None,
    seed: Annotated[int, typer.Option(help="Of the deal of bands to other voices.")] = 0,
    cache: Cache = None,
    output: Output = None,
) -> None:
    """Accompaniment prompt adherence: 1 like the true bands, 0 like bands dealt at random.

    Grachten and Nistal 2025, with any embedder; the published figures are with `clap`. Anchors
    stand beside the systems.

    Example: fastsag evaluate apa held-out ours --embedder clap -o apa.json
    """
    from fastsag.evaluation import apa as part
    from fastsag.evaluation.embedders import build

    records = [
        record
        for space in map(build, embedder or ["offline-v1"])
        for record in part.of_systems(
            songs, _named(systems or []), space, cache=cache, seed=seed, progress=tell
        )
    ]
    print(part.table(records))
    _save(output, records)


@app.command()
def drift(
    bands: Annotated[list[Path], typer.Argument(metavar="BAND...", help="Recordings of bands.")],
    window: Annotated[float, typer.Option(min=5, help="Seconds.")] = 15.0,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE", help="PNG of tempo, loudness and tone [plot].")
    ] = None,
    output: Output = None,
) -> None:
    """Does a long band stay the same band? Tempo, key, loudness and tone by window, and its seams.

    Distances are the largest of a window from the median. Where the JSON of `fastsag accompany`
    lies beside a band, the joins of its windows are ranked among all other places of the recording:
    0.5 is a join like any other place, and p says whether joins change more (under 0.05: yes).

    Example: fastsag evaluate drift long/song.accompaniment.wav ours/song.accompaniment.wav
    """
    from fastsag.evaluation import drift as part

    found = {}
    for index, band in enumerate(bands):
        tell("bands", index, len(bands))
        found[str(band)] = part.drift(band, window, _joins(band))
    tell("bands", len(bands), len(bands))
    print(part.table(found))
    if picture is not None:
        part.picture(picture, found)
    _save(output, {name: one.to_dict() for name, one in found.items()})


@app.command()
def degrade(
    source: Annotated[Path, typer.Argument(metavar="FOLDER", help="Of audio.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="For the copies.")],
    vocoder: Annotated[
        str | None, typer.Option(metavar="NAME_OR_PATH", help="Of this checkpoint.")
    ] = None,
    griffin_lim: Annotated[
        int | None,
        typer.Option(min=1, metavar="ROUNDS", help="Of Griffin-Lim, in place of the vocoder."),
    ] = None,
    codec: Annotated[str | None, typer.Option(help="encodec.")] = None,
    bandwidth: Annotated[float, typer.Option(help="Of the codec, kbit/s.")] = 6.0,
) -> None:
    """Pass a folder's audio through a system's vocoder or codec: the paper's degraded reference.

    A system is then not charged for the sample rate and vocoder that it speaks through. Files
    already in DIR are kept.

    Example: fastsag evaluate degrade true-mixes -o degraded --vocoder compact
    """
    from fastsag.evaluation import degrade as part

    if (vocoder is None) == (codec is None):
        raise UserError("degrade: give either --vocoder or --codec")
    if codec not in (None, "encodec"):
        raise UserError(f"--codec {codec}: unknown; choose encodec")
    if griffin_lim is not None and vocoder is None:
        raise UserError("--griffin-lim: needs --vocoder, whose spectrogram it inverts")
    if vocoder is None:
        trip = part.encodec(bandwidth)
    elif griffin_lim is None:
        trip = part.vocoder(vocoder)
    else:
        trip = part.griffin_lim(vocoder, griffin_lim)
    count = part.folder(source, output, trip, lambda done, total: tell(trip.name, done, total))
    print(f"{output}: {count} files through {trip.name}, {trip.sample_rate} Hz")


@app.command()
def fidelity(
    reference: Annotated[Path, typer.Argument(metavar="FOLDER", help="Of the recordings.")],
    copies: Annotated[list[Path], typer.Argument(metavar="COPY...", help="Folders of copies.")],
    output: Output = None,
) -> None:
    """What does a vocoder or codec lose? Spectral distances of copies, and damage that is heard.

    `lsd_db`, `convergence` and `log_magnitude` are 0 for a copy like its recording; compare
    steadiness, attack and tonality with the recordings' own (the first row).

    Example: fastsag evaluate degrade bands -o ours --vocoder compact;
    fastsag evaluate fidelity bands ours
    """
    from fastsag.audio import write_text
    from fastsag.evaluation import fidelity as part

    rows = part.compare(reference, copies, tell)
    print(part.markdown(rows))
    if output is not None:
        write_text(output, json.dumps(rows, indent=2) + "\n")


@app.command()
def unpack(
    shards: Annotated[Path, typer.Argument(metavar="SHARDS", help="Folder of *.tar.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="For the clips.")],
    split: Annotated[str | None, typer.Option(help="train, validation or test.")] = None,
    count: Annotated[
        int | None, typer.Option(min=1, help="So many clips, drawn at random; all if left out.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the draw.")] = 0,
) -> None:
    """Write records of shards as an evaluation set: KEY.vocals.flac and KEY.accompaniment.flac.

    Where a record tells key, beats and chords, KEY.truth.json too; clips.csv says what was cut from
    where. The paper's sets are the 348 clips of MUSDB18's test songs and 2,000 clips in-domain.

    Example: fastsag evaluate unpack prepared -o in-domain --split test --count 2000
    """
    from fastsag.evaluation import sets

    found = sets.unpack(
        shards, output, split, count, seed, lambda done, total: tell("clips", done, total)
    )
    print(f"{output}: {found} clips")


@app.command()
def bank(
    corpus: Annotated[
        Path, typer.Argument(metavar="CORPUS", help="Shards, or KEY.accompaniment.*")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE")],
    hours: Annotated[float | None, typer.Option(help="At most so much of it.")] = None,
) -> None:
    """Measure the textures of many bands, against which `mel_fd` compares.

    The package's own bank is of rendered songs; make one of recordings to judge recordings.

    Example: fastsag evaluate bank prepared -o bank.json;
    fastsag evaluate coherence clips ours --bank bank.json
    """
    from fastsag.evaluation import sets, texture
    from fastsag.evaluation.coherence import judged

    count, seconds = 0, 0.0

    def heard() -> Any:
        nonlocal count, seconds
        for samples, rate in sets.bands(corpus, None if hours is None else hours * 3600):
            count, seconds = count + 1, seconds + len(samples) / rate
            tell(f"{corpus}: bands", count, count + 1)
            yield judged(samples, rate)

    made = texture.make_bank(heard())
    note = f"{count} accompaniments, {seconds / 3600:.1f} h of {corpus.name}"
    texture.write_bank(made, output, note)
    print(f"{output}: {note}")


for _command in (table1, table2, table3, figure3):
    app.command()(_command)


def _named(folders: Sequence[Path]) -> list[tuple[str, Path]]:
    """Folders by their names.

    Raises:
        UserError: two of one name.
    """
    names = [folder.resolve().name for folder in folders]
    for folder, name in zip(folders, names):
        if names.count(name) > 1:
            raise UserError(f"{folder}: two systems are called {name}; rename a folder")
    return list(zip(names, folders))


def _joins(band: Path) -> list[float]:
    """Where a system's windows join, as its record beside the band says; empty where none does."""
    record = band.with_name(band.name.split(".accompaniment.")[0] + ".json")
    try:
        return list(json.loads(record.read_text(encoding="utf-8")).get("joins_seconds", ()))
    except FileNotFoundError:
        return []
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise UserError(f"{record}: cannot be read ({error}); make the band again") from None


def _save(output: Path | None, records: Any) -> None:
    from fastsag.audio import write_text

    if output is not None:
        write_text(output, json.dumps(records, indent=1) + "\n")
