"""The band: MIDI parts through FluidSynth and free General MIDI soundfonts."""

from __future__ import annotations

from ctypes.util import find_library
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import minimum_filter1d, uniform_filter1d
from scipy.signal import fftconvolve, lfilter

from fastsag.errors import UserError, require
from fastsag.songs.syllables import INSTALL

RATE = 24_000  # Hz
_FONTS = ("FluidR3Mono_GM.sf3", "MuseScore_General_Lite.sf3")
_FOLDERS = (Path("/usr/share/sounds/sf3"), Path("/usr/share/sounds/sf2"))
# General MIDI programs that may replace each other without changing the music.
_FAMILIES = (
    (0, 1, 2, 4, 5),  # pianos
    (24, 25, 26, 27),  # guitars
    (32, 33, 34, 35),  # basses
    (40, 41, 48, 49, 50),  # strings
    (16, 17, 18),  # organs
    (56, 60, 61),  # brass
    (64, 65, 66, 71),  # reeds
)
_LEVEL_DBFS = -18.0
_PEAK = 0.95
_FONT_ID = 1  # of the first font loaded into a synthesizer
_BASS_BELOW = 54  # MIDI; MMA's bass tracks also play riffs on guitars
STEMS = ("bass", "chords", "drums")


@dataclass(frozen=True)
class Band:
    """How the parts are played.

    font: soundfont file. swap: chance that a program becomes another of its family. spread_db:
    spread of the parts' levels. bass_db, drums_db: levels of these tracks against the chords.
    room: reverberation in s. tilt_db: of the treble. seed: of the players' choices.
    """

    font: str
    swap: float
    spread_db: float
    bass_db: float
    drums_db: float
    room: float
    seed: int
    tilt_db: float = 0.0


def random_band(rng: np.random.Generator) -> Band:
    """A band with its own sound."""
    return Band(
        font=_FONTS[rng.integers(len(_FONTS))],
        swap=0.4,
        spread_db=float(rng.uniform(0, 2.5)),
        bass_db=float(rng.uniform(-4, 4)),
        drums_db=float(rng.uniform(-6, 3)),
        room=float(rng.uniform(0.2, 0.8) * (rng.random() < 0.4)),
        seed=int(rng.integers(2**31)),
        tilt_db=float(rng.normal(0, 2)),
    )


def play(midi: Any, band: Band, lead_seconds: float, duration: float) -> np.ndarray:
    """MIDI parts -> samples (N,) float32 at `RATE`.

    Args:
        midi: `pretty_midi.PrettyMIDI`; its time 0 sounds at `lead_seconds`.
        band: the players.
        duration: length in seconds.
    """
    stems = play_stems(midi, band, lead_seconds, duration)
    return mixed(stems)


def mixed(stems: dict[str, np.ndarray]) -> np.ndarray:
    """The sum of tracks (N,), float32."""
    return np.stack(list(stems.values())).sum(0, dtype=np.float32)


def play_stems(
    midi: Any, band: Band, lead_seconds: float, duration: float
) -> dict[str, np.ndarray]:
    """The tracks of `STEMS` that the band has, each (N,) float32; `play` gives their sum."""
    rng = np.random.default_rng(band.seed)
    groups: dict[str, list[tuple[Any, float, int]]] = {}
    for part in midi.instruments:
        gain = 0.0 if part.is_drum else band.spread_db * rng.standard_normal()
        program = part.program if part.is_drum else _swapped(part.program, band.swap, rng)
        groups.setdefault(stem_of(part), []).append((part, gain, program))
    total = round(duration * RATE)
    lead = round(lead_seconds * RATE)
    dry = {
        name: np.concatenate([np.zeros(lead), _perform(parts, band.font, total - lead)])
        for name, parts in sorted(groups.items())
    }
    return _mixdown(dry, band, rng)


def stem_of(part: Any) -> str:
    """The track of `STEMS` that an instrument belongs to."""
    if part.is_drum:
        return "drums"
    low = bool(part.notes) and np.mean([note.pitch for note in part.notes]) < _BASS_BELOW
    bass = 32 <= part.program <= 39 or part.name.startswith(("Bass", "Walk"))
    return "bass" if bass and low else "chords"


def _perform(parts: list[tuple[Any, float, int]], font: str, total: int) -> np.ndarray:
    """Instruments through one synthesizer: `total` samples."""
    synth = _synth(font)
    pieces, clock = [], 0
    for time, action in _events(parts, synth):
        sample = min(round(time * RATE), total)
        if sample > clock:
            pieces.append(_render(synth, sample - clock))
            clock = sample
        action()
    pieces.append(_render(synth, total - clock))
    synth.delete()
    return np.concatenate(pieces)


def _events(parts: list[tuple[Any, float, int]], synth: Any) -> list[Any]:
    """(seconds, action) in time order; releases before attacks at the same time."""
    events = []
    channels = [channel for channel in range(16) if channel != 9]
    for number, (part, gain, program) in enumerate(parts):
        channel = 9 if part.is_drum else channels[number % len(channels)]
        synth.program_select(channel, _FONT_ID, 128 if part.is_drum else 0, program)
        for note in part.notes:
            velocity = int(np.clip(note.velocity * 10 ** (gain / 40), 1, 127))
            events.append((note.start, 1, _strike(synth, channel, note.pitch, velocity)))
            events.append((note.end, 0, _release(synth, channel, note.pitch)))
    events.sort(key=lambda event: event[:2])
    return [(time, action) for time, _, action in events]


def _strike(synth: Any, channel: int, pitch: int, velocity: int) -> Any:
    return lambda: synth.noteon(channel, pitch, velocity)


def _release(synth: Any, channel: int, pitch: int) -> Any:
    return lambda: synth.noteoff(channel, pitch)


def _swapped(program: int, chance: float, rng: np.random.Generator) -> int:
    for family in _FAMILIES:
        if program in family and rng.random() < chance:
            return int(family[rng.integers(len(family))])
    return int(program)


def _render(synth: Any, count: int) -> np.ndarray:
    """`count` samples, both channels averaged."""
    if count <= 0:
        return np.zeros(0)
    stereo = synth.get_samples(count).astype(np.float64) / 32768
    return stereo.reshape(-1, 2).mean(1)


def _mixdown(
    dry: dict[str, np.ndarray], band: Band, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """One room, tone, level and limiter for all tracks."""
    impulse = np.ones(1)
    if band.room > 0:
        length = int(band.room * RATE)
        decay = np.exp(-6.9 * np.arange(length) / length)
        impulse = 0.02 * rng.standard_normal(length) * decay
        impulse[0] = 1
    impulse = _tilted(impulse, band.tilt_db)
    wet = {name: fftconvolve(sound, impulse)[: len(sound)] for name, sound in dry.items()}
    if not wet:
        return {}
    levels_db = {"bass": band.bass_db, "drums": band.drums_db}
    reference = _loudness_db(wet.get("chords", next(iter(wet.values()))))
    for name, level in levels_db.items():
        if name in wet and "chords" in wet:
            gain = 10 ** ((reference + level - _loudness_db(wet[name])) / 20)
            wet[name] = wet[name] * gain
    total = np.sum(list(wet.values()), axis=0)
    gain = 10 ** (_LEVEL_DBFS / 20) / (np.sqrt(np.mean(total**2)) + 1e-9)
    gains = gain * _limiter(total * gain)
    return {name: (sound * gains).astype(np.float32) for name, sound in wet.items()}


def _limiter(total: np.ndarray) -> np.ndarray:
    """Gain (N,) that keeps peaks under `_PEAK`, smooth; one for all tracks, so that they add up."""
    needed = np.minimum(1.0, _PEAK / np.maximum(np.abs(total), 1e-9))
    width = 2 * int(0.01 * RATE) + 1
    return uniform_filter1d(minimum_filter1d(needed, width), width)


def _loudness_db(sound: np.ndarray) -> float:
    """Level of the quarters of a second in which something sounds, in dB."""
    size = RATE // 4
    power = (sound[: len(sound) // size * size].reshape(-1, size) ** 2).mean(1)
    sounding = power[power > 1e-3 * power.max(initial=0)]
    return float(10 * np.log10(sounding.mean() + 1e-12)) if len(sounding) else -120.0


def _tilted(impulse: np.ndarray, tilt_db: float) -> np.ndarray:
    """An impulse response with the treble over 2 kHz raised by `tilt_db`, causal and short."""
    pole = np.exp(-2 * np.pi * 2_000 / RATE)
    low = lfilter([1 - pole], [1, -pole], np.pad(impulse, (0, 64)))
    high = np.pad(impulse, (0, 64)) - low
    return low + 10 ** (tilt_db / 20) * high


@cache
def _keeper(path: str) -> Any:
    """An idle synthesizer that keeps a soundfont in memory, so that new ones start at once."""
    return _new_synth(path)


def _synth(font: str) -> Any:
    """A fresh synthesizer: one that has played before would not repeat itself exactly."""
    path = _font_path(font)
    _keeper(path)
    return _new_synth(path)


def _new_synth(path: str) -> Any:
    fluidsynth = require("fluidsynth", extra="songs")
    synth = fluidsynth.Synth(gain=0.4, samplerate=float(RATE))
    synth.setting("synth.reverb.active", 0)
    synth.setting("synth.chorus.active", 0)
    synth.sfload(path)
    return synth


def check_player() -> None:
    """The FluidSynth library and the soundfonts are there.

    Raises:
        UserError: names what is missing and the command that installs it.
    """
    if find_library("fluidsynth") is None:
        raise UserError(f"libfluidsynth: not installed; run: {INSTALL}")
    for font in _FONTS:
        _font_path(font)


def _font_path(name: str) -> str:
    for folder in _FOLDERS:
        if (folder / name).exists():
            return str(folder / name)
    raise UserError(f"{name}: soundfont not installed; run: {INSTALL}")
