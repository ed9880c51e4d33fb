"""`fastsag lead-sheet`: what the band hears in a voice, to read, edit and play."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from fastsag.errors import UserError

KINDS = (".txt", ".json", ".mid")


def lead_sheet(
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="A recording of one voice.")],
    output: Annotated[
        list[Path],
        typer.Option("-o", "--output", metavar="FILE", help="Named .txt, .json or .mid; repeat."),
    ],
    checkpoint: Annotated[
        str, typer.Option(metavar="NAME_OR_PATH", help="A bundled checkpoint or a folder.")
    ] = "compact",
    plot: Annotated[
        bool, typer.Option("--plot", help="Also draw the voice with beats and chords, as .png.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that exist.")
    ] = False,
) -> None:
    """Write the key, tempo, bars and chords that fit a voice, as far as it tells them.

    The text form is for people: edit it, then play it with
    `fastsag accompany INPUT -o out --lead-sheet FILE`.

    Example: fastsag lead-sheet vocals.wav -o song.txt -o song.mid
    """
    picture = output[0].with_suffix(".png") if plot else None
    for path in output:
        if path.suffix not in KINDS:
            raise UserError(f"{path}: unknown kind; name it {', '.join(KINDS)}")
    files = [*output, *([picture] if picture else [])]
    for path in files:
        if path.exists() and not overwrite:
            raise UserError(f"{path}: exists already; add --overwrite or choose another name")
        if not path.parent.is_dir():
            raise UserError(f"{path.parent}: no such folder; make it first")
    from fastsag import audio, notation
    from fastsag.pipeline import Accompanist

    recording = audio.read(source)
    accompanist = Accompanist.from_pretrained(checkpoint, device)
    _, sheet, _ = accompanist.listen(recording)
    if sheet is None:
        raise UserError(f"{checkpoint}: this checkpoint has no planner; use compact")
    for path in output:
        notation.write(sheet, path)
    if picture:
        _draw(accompanist, recording, sheet, source, picture)
    print(notation.text_of(sheet), end="")
    sure = ", ".join(f"{name} {value:.2f}" for name, value in sheet.confidence.items())
    print(f"\nconfidence (0 to 1): {sure}")
    for path in files:
        print(f"  {path}")


def _draw(accompanist: Any, recording: Any, sheet: Any, source: Path, picture: Path) -> None:
    """The voice's spectrogram with the beats below and the chords above."""
    from fastsag.mel import band_centres
    from fastsag.plots import mel_panels

    config = accompanist.config.mel
    mel_panels(
        picture,
        {"voice": accompanist.log_mel(accompanist.prepare(recording))},
        hop_seconds=1 / config.frame_rate,
        title=f"{source.name}: {sheet.key}, {sheet.tempo:.1f} BPM",
        band_hz=band_centres(config),
        beats=sheet.beats,
        chords=sheet.written_chords(),
    )
