"""What a job leaves behind: a folder whose files are known by fixed names.

Audio is kept as 24-bit FLAC and converted when somebody asks for another format.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import soundfile

from fastsag import audio, notation
from fastsag.app.problems import Problem
from fastsag.errors import UserError
from fastsag.lead_sheet import Hints, LeadSheet
from fastsag.spool import Files, pieces
from fastsag.take import Accompaniment

PARTS = ("mix", "accompaniment", "voice")
KINDS = {"wav": "audio/wav", "flac": "audio/flac", "mp3": "audio/mpeg"}
SHEET, MIDI, RECORD, PICTURE = "lead-sheet.txt", "lead-sheet.mid", "record.json", "mel.png"
NAMES = {
    **{f"{part}.{kind}": mime for part in PARTS for kind, mime in KINDS.items()},
    SHEET: "text/plain; charset=utf-8",
    MIDI: "audio/midi",
    RECORD: "application/json",
    PICTURE: "image/png",
}
"""All files that a result may hold, and their media types."""

LONGEST_SHEET = 50_000  # characters
_MP3_HZ = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)


@dataclass(frozen=True)
class Result:
    """One accompaniment on disk. record: what was done; sheet: None without a planner."""

    folder: Path
    record: dict[str, Any]
    sheet: LeadSheet | None

    @property
    def sheet_text(self) -> str:
        """The lead sheet's text form for editing: without comment and list of beats.

        Empty without a sheet.
        """
        if self.sheet is None:
            return ""
        text = notation.text_of(self.sheet).partition("\nbeats:")[0]
        lines = [line for line in text.splitlines() if not line.startswith("#")]
        return "\n".join(lines).strip() + "\n"

    def hints(self, text: str) -> Hints:
        """What an edited `sheet_text` says; the beats stay unless it gives a tempo or beats.

        Raises:
            Problem: a line that cannot be read.
        """
        if len(text) > LONGEST_SHEET:
            raise Problem("invalid-request", f"lead sheet: over {LONGEST_SHEET} characters")
        try:
            hints = notation.parse(text)
        except UserError as error:
            raise Problem("invalid-request", str(error)) from None
        if self.sheet is None:
            return hints
        return hints.over(Hints(beats=tuple(float(beat) for beat in self.sheet.beats)))

    def file(self, name: str) -> Path:
        """The file of a name in `NAMES`, converted from FLAC where needed.

        Raises:
            Problem: there is no such file.
        """
        path = self.folder / name
        if name not in NAMES:
            raise Problem("not-found", f"a result holds {', '.join(NAMES)}")
        stem, _, kind = name.partition(".")
        if stem in PARTS and not path.exists():
            _convert(self.folder / f"{stem}.flac", path, kind)
        if not path.exists():
            raise Problem("not-found", f"this result has no {name}")
        return path

    def bundle(self, kind: str) -> Path:
        """A zip of mix, accompaniment, lead sheet and record; audio as `kind`."""
        names = [f"mix.{kind}", f"accompaniment.{kind}", RECORD]
        names += [SHEET, MIDI] if self.sheet else []
        path = self.folder / "all.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            for name in names:
                archive.write(self.file(name), name)
        return path


def keep(taken: Accompaniment, folder: Path, record: dict[str, Any]) -> Result:
    """Write an accompaniment into `folder`."""
    rate = taken.sample_rate
    audio.write(folder / "mix.flac", taken.mix, rate, "flac")
    audio.write(folder / "accompaniment.flac", taken.accompaniment, rate, "flac")
    # The voice as it sounds in the mix, so that the two parts add up to it.
    parts = zip(pieces(taken.mix), pieces(taken.accompaniment), strict=True)
    voice = Files(folder).keep(mix - band for mix, band in parts)
    audio.write(folder / "voice.flac", voice, rate, "flac")
    audio.write_text(folder / RECORD, json.dumps(record, indent=2) + "\n")
    if taken.lead_sheet is not None:
        notation.write(taken.lead_sheet, folder / SHEET)
        notation.write(taken.lead_sheet, folder / MIDI)
    return Result(folder, record, taken.lead_sheet)


def _convert(source: Path, path: Path, kind: str) -> None:
    if not source.exists():
        raise Problem("not-found", "this result is no longer here")
    samples, rate = soundfile.read(source, dtype="float32", always_2d=True)
    samples = samples.T
    if kind == "mp3":
        allowed = next((hz for hz in _MP3_HZ if hz >= rate), _MP3_HZ[-1])
        samples, rate = audio.resample(samples, rate, allowed), allowed
    audio.write(path, samples, rate, kind)
