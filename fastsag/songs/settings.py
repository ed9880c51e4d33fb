"""Settings of a corpus (`songs.yaml`): which songs, how many bands, how voices are recorded.

Every condition of the recording has a `probability` and the ranges that it draws from.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator

from fastsag.config import Strict, parse, read_yaml
from fastsag.songs.families import BY_NAME
from fastsag.songs.form import SECONDS

Span = tuple[float, float]  # uniform between
Chance = Annotated[float, Field(ge=0, le=1)]


class Condition(Strict):
    """Something that happens to a voice, in a share of the recordings."""

    probability: Chance


class Room(Condition):
    """Reflections of a room."""

    probability: Chance = 0.5
    seconds: Span = (0.15, 1.6)  # until 60 dB down
    reverb_db: Span = (-22.0, -5.0)  # of the reflections against the direct sound


class Microphone(Condition):
    """The tone of a microphone and of where it stands."""

    probability: Chance = 0.5
    low_cut_hz: Span = (30.0, 200.0)
    high_cut_hz: Span = (5_000.0, 11_500.0)
    presence_db: Span = (-5.0, 7.0)  # of a bell between 2 and 5 kHz


class Compressor(Condition):
    """Loud and soft brought closer."""

    probability: Chance = 0.25
    ratio: Span = (1.5, 5.0)
    threshold_db: Span = (-36.0, -22.0)


class Bleed(Condition):
    """The band in the singer's microphone or headphones."""

    probability: Chance = 0.2
    level_db: Span = (-40.0, -22.0)  # of the band against the voice


class Noise(Condition):
    """Steady noise of a room or a machine, coloured."""

    probability: Chance = 0.4
    level_db: Span = (-60.0, -28.0)  # against the voice
    slope_db: Span = (-6.0, 0.0)  # an octave


class Hum(Condition):
    """The mains at 50 or 60 Hz with overtones."""

    probability: Chance = 0.08
    level_db: Span = (-60.0, -34.0)


class WhiteNoise(Condition):
    """The white noise of the paper (section 4.1), full scale 1."""

    probability: Chance = 0.25
    std: Span = (0.001, 0.01)


class Clipping(Condition):
    """An input that was set too high."""

    probability: Chance = 0.06
    drive_db: Span = (3.0, 14.0)  # of the peak over full scale


class Phone(Condition):
    """A telephone: 300 to 3,400 Hz, 8 kHz, mu-law of eight bits."""

    probability: Chance = 0.04


class Lossy(Condition):
    """MP3 at a low rate. quality: 0 good .. 1 bad, as libsndfile counts."""

    probability: Chance = 0.12
    quality: Span = (0.3, 0.95)


class Holes(Condition):
    """What a separator cuts away: bins where the band was louder, and the treble of soft places."""

    probability: Chance = 0.15
    depth_db: Span = (8.0, 30.0)
    margin_db: Span = (-6.0, 10.0)  # the voice must be so much louder to be left alone


class MusicalNoise(Condition):
    """What a separator leaves: short scraps of the band's partials."""

    probability: Chance = 0.15
    level_db: Span = (-40.0, -24.0)
    density: Span = (0.01, 0.05)  # share of bins


class Separated(Condition):
    """The voice as Demucs separates it from the mix; skipped where no weights are had.

    Off unless asked for: with it, bytes depend on which weights are there.
    """

    probability: Chance = 0.0
    model: str = "htdemucs"
    voice_db: Span = (-3.0, 6.0)  # of the voice against the band in the mix


class Conditions(Strict):
    """All conditions, in the order in which they are applied. clean: share of untouched voices."""

    clean: Chance = 0.15
    room: Room = Room()
    microphone: Microphone = Microphone()
    compressor: Compressor = Compressor()
    bleed: Bleed = Bleed()
    noise: Noise = Noise()
    hum: Hum = Hum()
    separated: Separated = Separated()
    holes: Holes = Holes()
    musical_noise: MusicalNoise = MusicalNoise()
    clipping: Clipping = Clipping()
    phone: Phone = Phone()
    lossy: Lossy = Lossy()
    white_noise: WhiteNoise = WhiteNoise()


def only(*names: str) -> Conditions:
    """These conditions in every recording, and no other; none is the clean voice."""
    every = {
        name: getattr(Conditions(), name).model_copy(update={"probability": float(name in names)})
        for name in Conditions.model_fields
        if name != "clean"
    }
    return Conditions(clean=0.0 if names else 1.0, **every)


RECORDINGS: dict[str, Conditions] = {
    "clean": only(),
    "room": only("room", "microphone"),
    "noise": only("noise", "hum"),
    "phone": only("phone", "lossy"),
    "separated": only("holes", "musical_noise"),
}
"""Ways to record a voice, to compare how a model bears them. `separated` is what a separator
leaves, without one."""


class SongSettings(Strict):
    """A corpus.

    families: names to draw from evenly; empty for all. seconds: how long songs are, about.
    """

    families: tuple[str, ...] = ()
    seconds: Span = SECONDS
    conditions: Conditions = Conditions()

    @field_validator("families")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in names if name not in BY_NAME]
        if unknown:
            raise ValueError(f"unknown: {', '.join(unknown)}; known: {', '.join(BY_NAME)}")
        return names

    @field_validator("seconds")
    @classmethod
    def _ascending(cls, span: Span) -> Span:
        if not 10 <= span[0] <= span[1]:
            raise ValueError("two numbers of seconds, the first at least 10 and not the larger")
        return span


def load_settings(path: Path | None) -> SongSettings:
    """Settings from YAML, or the defaults.

    Raises:
        UserError: unreadable, or unknown or wrong keys (each is named).
    """
    if path is None:
        return SongSettings()
    return parse(read_yaml(path), str(path), SongSettings)
