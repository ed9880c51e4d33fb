"""The service: warm checkpoints, one worker, private folders. The page and the API are faces of it.

Nothing that comes from outside is ever used as a path: uploads are stored under names made here,
checkpoints are chosen among those that were loaded at the start.
"""

from __future__ import annotations

import logging
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fastsag import audio
from fastsag.app.jobs import Job, Report, Worker
from fastsag.app.limits import HIGHEST_HZ, LOWEST_HZ, MOST_CHANNELS, Limits
from fastsag.app.problems import Problem
from fastsag.app.results import PICTURE, Result, keep
from fastsag.app.shelf import Shelf
from fastsag.errors import Unwritable, UserError, require
from fastsag.lead_sheet import Hints
from fastsag.mel import band_centres
from fastsag.pipeline import DEFAULT_LEVEL_DB, Accompanist
from fastsag.plots import mel_panels
from fastsag.spool import Files
from fastsag.take import Accompaniment, Settings

log = logging.getLogger(__name__)

PRECISIONS = ("auto", "fp32", "bf16")
# The picture stands on the page's own background: grey on nothing is read on light and on dark.
_GREY = "#808080"
_PICTURE_STYLE = {
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), _GREY),
    **dict.fromkeys(("figure.facecolor", "savefig.facecolor", "axes.facecolor"), "none"),
    "axes.edgecolor": _GREY,
}


@dataclass(frozen=True)
class Order:
    """How to accompany. checkpoint: None is the first; picture: also draw the spectrograms."""

    checkpoint: str | None = None
    precision: str = "auto"
    settings: Settings = field(default_factory=Settings)
    hints: Hints = field(default_factory=Hints)
    level_db: float = DEFAULT_LEVEL_DB
    picture: bool = False


class Service:
    """What both faces use.

    Args:
        checkpoints: names or folders; loaded now.
        device: auto, cpu, cuda or mps.
        limits: what this worker takes on.

    Raises:
        UserError: a checkpoint cannot be loaded, or two have the same name.
    """

    def __init__(
        self,
        checkpoints: Sequence[str] = ("compact",),
        device: str = "auto",
        limits: Limits | None = None,
    ) -> None:
        self.limits = limits = limits or Limits()
        self._device = device
        self._sources = {Path(name).name: name for name in checkpoints}
        if len(self._sources) < len(checkpoints):
            raise UserError("--checkpoint: two have the same name; rename one of the folders")
        self._warm: dict[tuple[str, str], Accompanist] = {}
        self._loading = threading.Lock()
        for name in self._sources:
            self.accompanist(name)
        self._folder = tempfile.TemporaryDirectory(prefix="fastsag-")  # for this user alone
        self.shelf = Shelf(self.folder / "shelf", limits.kept, limits.keep_seconds)
        self.worker = Worker(limits.queue, limits.seconds)

    @property
    def folder(self) -> Path:
        """The private folder; gone when the service is closed."""
        return Path(self._folder.name)

    @property
    def checkpoints(self) -> list[str]:
        """Names to choose from; the first is the default."""
        return list(self._sources)

    def accompanist(self, name: str | None = None, precision: str = "auto") -> Accompanist:
        """A warm checkpoint; another precision than the default is loaded when first asked for.

        Raises:
            Problem: no checkpoint of that name is served.
        """
        name = name or self.checkpoints[0]
        if name not in self._sources:
            known = ", ".join(self._sources)
            raise Problem(
                "invalid-request", f"checkpoint: {name[:80]!r} is not served; choose {known}"
            )
        with self._loading:
            key = (name, precision)
            if key not in self._warm:
                source = self._sources[name]
                loaded = Accompanist.from_pretrained(source, self._device, precision)
                self._warm[key] = self._warm.setdefault((name, loaded.precision), loaded)
            return self._warm[key]

    def workspace(self) -> tempfile.TemporaryDirectory[str]:
        """A private folder for one request."""
        return tempfile.TemporaryDirectory(dir=self.folder)

    def inspect(self, path: Path, name: str) -> None:
        """Refuse at once what the header of a recording already rules out.

        Args:
            path: the recording.
            name: what its owner calls it, for the message.

        Raises:
            Problem: no audio, too long, or of another rate or more channels than are taken.
        """
        try:
            seconds, rate, channels = audio.header(path)
        except UserError as error:
            raise Problem("audio-unusable", _named(error, path, name)) from None
        minutes = self.limits.minutes
        if seconds is not None and seconds > 60 * minutes:
            raise Problem(
                "audio-too-long",
                f"{name}: lasts {seconds / 60:.1f} min; cut it into parts of at most "
                f"{minutes:g} min",
            )
        if not LOWEST_HZ <= rate <= HIGHEST_HZ:
            raise Problem(
                "audio-unusable",
                f"{name}: has {rate} samples a second; convert it to 44100 ({LOWEST_HZ} to "
                f"{HIGHEST_HZ} are taken)",
            )
        if channels > MOST_CHANNELS:
            raise Problem(
                "audio-unusable", f"{name}: has {channels} channels; export it in mono or stereo"
            )

    def submit(self, voice: Path, name: str, folder: Path, order: Order) -> Job[Result]:
        """Queue an accompaniment of `voice`; its files go into `folder`.

        Raises:
            Problem: the recording, the order or the queue does not allow it.
        """
        self.inspect(voice, name)
        accompanist = self.accompanist(order.checkpoint, order.precision)

        def work(report: Report) -> Result:
            return self._play(accompanist, voice, name, folder, order, report)

        return self.worker.submit(work)

    def close(self) -> None:
        """End all jobs and remove every file."""
        self.worker.close()
        self._folder.cleanup()

    def _play(
        self,
        accompanist: Accompanist,
        voice: Path,
        name: str,
        folder: Path,
        order: Order,
        report: Report,
    ) -> Result:
        store = Files(folder)
        try:
            recording = audio.read(voice, longest_seconds=60 * self.limits.minutes, store=store)
        except Unwritable:
            raise  # ours to mend; where we keep files is nobody's business
        except UserError as error:
            raise Problem("audio-unusable", _named(error, voice, name)) from None
        try:
            taken = accompanist.accompany(
                recording,
                lead_sheet=order.hints,
                settings=order.settings,
                level_db=order.level_db,
                progress=report,
                store=store,
            )
        except Unwritable:
            raise
        except UserError as error:
            raise Problem("invalid-request", str(error).removeprefix("--")) from None
        report("writing", 0, 0)
        checkpoint = order.checkpoint or self.checkpoints[0]
        result = keep(taken, folder, {"input": name, **taken.record, "checkpoint": checkpoint})
        if order.picture:
            _draw(accompanist, taken, folder / PICTURE)
        return result


def _named(error: UserError, path: Path, name: str) -> str:
    """The message with the owner's name for the file instead of ours."""
    return str(error).replace(str(path), name)


def _draw(accompanist: Accompanist, taken: Accompaniment, path: Path) -> None:
    """The paper's Figure 3 without its title, on a transparent background."""
    matplotlib = require("matplotlib", extra="plot")
    config, sheet = accompanist.config.mel, taken.lead_sheet
    panels = {"voice": taken.voice_mel, "prior": taken.prior, "accompaniment": taken.mel}
    with matplotlib.rc_context(_PICTURE_STYLE):
        mel_panels(
            path,
            panels,
            hop_seconds=1 / config.frame_rate,
            title="",
            band_hz=band_centres(config),
            beats=None if sheet is None else sheet.beats,
            chords=None if sheet is None else sheet.written_chords(),
        )
