"""`fastsag accompany`: voices in, bands out."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from fastsag.cli import outputs
from fastsag.cli.outputs import Format, Job
from fastsag.diffusion.samplers import DISTILLED, SAMPLERS
from fastsag.errors import UserError
from fastsag.lead_sheet import STYLES, Hints


def accompany(
    inputs: Annotated[
        list[Path], typer.Argument(metavar="INPUT...", help="Recordings of one voice.")
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="Folder for the results.")
    ],
    checkpoint: Annotated[
        str, typer.Option(metavar="NAME_OR_PATH", help="A bundled checkpoint or a folder.")
    ] = "compact",
    sampler: Annotated[
        str | None,
        typer.Option(
            help=f"One of {', '.join((*SAMPLERS, DISTILLED))}; the last plays in a few steps, if "
            "the checkpoint has a student (`fastsag distill`). [default: checkpoint's]"
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Each a call of the network, with guidance two. [default: checkpoint's]",
        ),
    ] = None,
    guidance: Annotated[
        float | None,
        typer.Option(min=0, help="How hard the band follows its plan. [default: checkpoint's]"),
    ] = None,
    style: Annotated[
        str | None,
        typer.Option(help=f"One of {', '.join(STYLES)}. [default: what suits the voice, by seed]"),
    ] = None,
    lead_sheet: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE|DIR",
            help="Play from it (`fastsag lead-sheet` writes one). Of a folder, from INPUT's own: "
            "<stem>.lead-sheet.txt, or the KEY.truth.json of `fastsag songs unpack`.",
        ),
    ] = None,
    key: Annotated[str | None, typer.Option(help='Such as "A minor" or F#m.')] = None,
    bpm: Annotated[str | None, typer.Option(help="Beats a minute.")] = None,
    meter: Annotated[str | None, typer.Option(help="3/4 or 4/4.")] = None,
    downbeat: Annotated[
        str | None, typer.Option(metavar="SECONDS", help="Time of the first bar line.")
    ] = None,
    beats: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Beat times in seconds, one a line.")
    ] = None,
    chords: Annotated[
        str | None,
        typer.Option(help='Bars from the downbeat on, again and again: "C | G | Am F | N.C."'),
    ] = None,
    tuning: Annotated[
        str | None, typer.Option(metavar="CENTS", help="Of the singer against A440.")
    ] = None,
    separate: Annotated[
        bool, typer.Option("--separate", help="INPUT is a whole song: take its voice first.")
    ] = False,
    separator: Annotated[
        str, typer.Option(help="For --separate; as that of `fastsag prepare`.")
    ] = "htdemucs",
    ending: Annotated[
        bool,
        typer.Option(
            "--ending", help="Let the band play its last bar to the end, behind the recording's."
        ),
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same band.")] = 0,
    takes: Annotated[
        int, typer.Option(min=1, help="Takes from consecutive seeds, each in files of its own.")
    ] = 1,
    level: Annotated[
        float, typer.Option(metavar="DB", help="Loudness of the band against the voice.")
    ] = -3.0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32 or bf16.")] = "auto",
    compile: Annotated[
        bool, typer.Option("--compile", help="Compile the denoiser first: minutes, once a run.")
    ] = False,
    format: Annotated[Format, typer.Option(help="Format of the audio files.")] = Format.wav,
    plot: Annotated[
        bool, typer.Option("--plot", help="Also draw DIR/<stem>.png: voice, prior, mel.")
    ] = False,
    reference: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A true accompaniment to draw beside (with --plot)."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace results that exist.")
    ] = False,
) -> None:
    """Play a band to each INPUT.

    Writes DIR/<stem>.accompaniment.wav, DIR/<stem>.mix.wav (your recording and the band) and
    DIR/<stem>.json (what was done). Length and sample rate are the input's; with --ending the
    band may be longer. With a model that plays from a lead sheet, DIR/<stem>.lead-sheet.txt is the
    one it played: edit it and play again.
    What you do not say of key, tempo, bars and chords is estimated from the voice. With --separate,
    DIR/<stem>.vocals.wav is the voice that was taken out of a song, and the mix is made with it.

    Exit status: 0 all done, 1 some inputs failed, 2 none done or wrong usage.

    Example: fastsag accompany vocals.wav -o out --style folk --chords "C | G | Am | F"
    """
    if reference is not None and not plot:
        raise UserError("--reference: only drawn with --plot; add --plot")
    said = {
        "key": key,
        "tempo": bpm,
        "meter": meter,
        "downbeat": downbeat,
        "chords": chords,
        "style": style,
        "tuning": tuning,
    }
    known = {source: _hints(said, beats, _sheet(lead_sheet, source)) for source in inputs}
    jobs = [
        Job(
            source,
            output,
            format.value,
            take=take,
            takes=takes,
            sheet=True,
            plot=plot,
            voice=separate,
        )
        for source in inputs
        for take in range(takes)
    ]
    outputs.plan(jobs, overwrite)
    outputs.make_folder(output)
    from fastsag.pipeline import Accompanist
    from fastsag.take import Settings

    voices = _Voices(separator, device) if separate else None
    accompanist = Accompanist.from_pretrained(checkpoint, device, precision, compile)

    def play(job: Job) -> None:
        settings = Settings(sampler, steps, guidance, seed + job.take, ending=ending)
        _run(accompanist, job, settings, known[job.source], level, reference, voices)

    outputs.run(jobs, play)


_OPTIONS = {"tempo": "bpm"}


def _sheet(given: Path | None, source: Path) -> Path | None:
    """The file that --lead-sheet means for `source`."""
    from fastsag import notation

    return notation.sheet_of(source, given) if given is not None and given.is_dir() else given


def _hints(said: dict[str, str | None], beats: Path | None, lead_sheet: Path | None) -> Hints:
    """What the user said: options, before a list of beats, before a lead sheet."""
    from fastsag import notation

    hints = Hints()
    for name, text in said.items():
        if text is None:
            continue
        try:
            hints = notation.field(name, text).over(hints)
        except UserError as error:
            reason = str(error).partition(": ")[2]
            raise UserError(f"--{_OPTIONS.get(name, name)} {reason}") from None
    if beats is not None:
        if hints.bpm is not None:
            raise UserError("--beats: says the tempo already; leave out --bpm")
        hints = hints.over(notation.read_beats(beats))
    return hints if lead_sheet is None else hints.over(notation.read(lead_sheet))


def _run(
    accompanist: Any,
    job: Job,
    settings: Any,
    hints: Hints,
    level: float,
    reference: Path | None,
    voices: _Voices | None,
) -> None:
    """One take: generate, write, say what was written."""
    from fastsag import audio, notation
    from fastsag.spool import Files

    source: Any = voices.of(job.source) if voices else job.source
    truth = _reference_mel(accompanist, reference) if job.picture and reference else None
    with outputs.bar(job.source.name) as progress:
        result = accompanist.accompany(
            source,
            lead_sheet=hints,
            settings=settings,
            level_db=level,
            progress=progress,
            store=Files(job.record.parent),
        )
    more: dict[Path, Callable[[Path], None]] = {}
    if job.picture:
        more[job.picture] = lambda path: _draw(accompanist, path, job.source, result, truth)
    if result.lead_sheet is None:
        job.sheet = None
    elif job.sheet:
        more[job.sheet] = lambda path: notation.write(result.lead_sheet, path)
    if voices and job.voice:
        result.record["separator"] = voices.name
        more[job.voice] = lambda path: audio.write(
            path, source.samples, source.sample_rate, job.kind
        )
    outputs.write(job, result, more)
    outputs.summary(job, result.record)


class _Voices:
    """Takes the voice out of songs; keeps the last one for further takes."""

    def __init__(self, separator: str, device: str) -> None:
        from fastsag.checkpoint import device_of
        from fastsag.data import separation

        self.name = separator
        self._separate = separation.build_separator(separator, device=str(device_of(device)))
        self._last: tuple[Path, Any] | None = None

    def of(self, song: Path) -> Any:
        """The voice of a song as a `Recording`."""
        from fastsag import audio
        from fastsag.data import separation

        if self._last is None or self._last[0] != song:
            print(f"{song.name}: taking the voice out ...", file=sys.stderr, flush=True)
            voice, _ = separation.separate(audio.read(song), self._separate, seed=0)
            self._last = song, audio.Recording(voice, separation.RATE)
        return self._last[1]


def _reference_mel(accompanist: Any, reference: Path) -> Any:
    """Log mel of the true accompaniment."""
    from fastsag import audio

    return accompanist.log_mel(accompanist.prepare(audio.read(reference)))


def _draw(accompanist: Any, path: Path, source: Path, result: Any, truth: Any) -> None:
    """The paper's Figure 3 for this take."""
    from fastsag.mel import band_centres
    from fastsag.plots import mel_panels

    panels = {"voice": result.voice_mel}
    if truth is not None:
        panels["true accompaniment"] = truth
    panels["prior"] = result.prior
    panels["generated accompaniment"] = result.mel
    sheet = result.lead_sheet
    mel_panels(
        path,
        panels,
        hop_seconds=1 / accompanist.config.mel.frame_rate,
        title=source.name,
        band_hz=band_centres(accompanist.config.mel),
        beats=None if sheet is None else sheet.beats,
        chords=None if sheet is None else sheet.written_chords(),
    )
