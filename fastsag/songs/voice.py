"""A singer: a score and syllables in, a recording of a voice out.

WORLD resynthesis: the vowel of each syllable is stretched over its note and given the score's
pitch, with the liberties that real singers take.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.signal import fftconvolve

from fastsag.errors import require
from fastsag.songs.composition import Score
from fastsag.songs.melody import Note
from fastsag.songs.syllables import (
    BINS,
    FRAME_MS,
    RATE,
    TRAINING_VOICES,
    Syllable,
    modelled,
    spoken,
)

_FRAMES_PER_SECOND = 1000 / FRAME_MS


@dataclass(frozen=True)
class Singer:
    """How somebody sings.

    source: "formant", or a speech voice such as "espeak-en-us+f2". formant_scale: size of the
    vocal tract, 1 as recorded. tilt_db: dB an octave added above 500 Hz. breath: 0..1. vibrato:
    depth in semitones and rate in Hz, delay in s. glide: seconds between notes. scoop: chance to
    start under the note. detune: semitones. drift: slow wander in semitones. late: seconds, mean
    and spread. room: reverberation time in s, 0 is dry. noise_db: background level.
    """

    source: str
    formant_scale: float
    tilt_db: float
    breath: float
    vibrato: tuple[float, float, float]
    glide: float
    scoop: float
    detune: float
    drift: float
    late: tuple[float, float]
    room: float
    noise_db: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def random_singer(
    rng: np.random.Generator, vocal_range: tuple[int, int], source: str | None = None
) -> Singer:
    """A singer for a range; low ranges get larger vocal tracts. `source` None draws one."""
    if source is None:
        formant = rng.random() < 0.35
        voice = TRAINING_VOICES[rng.integers(len(TRAINING_VOICES))]
        if rng.random() < 0.12:
            voice = TRAINING_VOICES[-1 - rng.integers(2)]  # the recorded voices count more
        source = "formant" if formant else voice
    height = (np.mean(vocal_range) - 60) / 12  # octaves from middle C
    return Singer(
        source=source,
        formant_scale=float(np.clip(1 + 0.1 * height + rng.normal(0, 0.05), 0.8, 1.3)),
        tilt_db=float(rng.normal(0, 1.5)),
        breath=float(rng.beta(1.2, 5)),
        vibrato=(
            float(rng.uniform(0, 0.45) * (rng.random() < 0.75)),
            float(rng.uniform(4.6, 6.6)),
            float(rng.uniform(0.15, 0.5)),
        ),
        glide=float(rng.uniform(0.02, 0.09)),
        scoop=float(rng.uniform(0, 0.3)),
        detune=float(rng.normal(0, 0.12)),
        drift=float(rng.uniform(0, 0.15)),
        late=(float(rng.normal(0.005, 0.012)), float(rng.uniform(0.003, 0.02))),
        room=float(rng.uniform(0.15, 0.9) * (rng.random() < 0.45)),
        noise_db=float(rng.uniform(-75, -42)),
    )


def sing(score: Score, singer: Singer, rng: np.random.Generator) -> np.ndarray:
    """The voice (N,) float32 at `RATE`, as long as the score, peak under 0.95."""
    pyworld = require("pyworld", extra="songs")
    frames = int(np.ceil(score.duration * _FRAMES_PER_SECOND)) + 1
    f0 = np.zeros(frames)
    envelope = np.full((frames, BINS), 1e-14)
    aperiodicity = np.ones((frames, BINS))
    bank = {word: _syllable(word, singer, rng) for word in sorted({n.lyric for n in score.notes})}
    previous: Note | None = None
    for note in score.notes:
        start, stop = _performed(score, note, singer, rng)
        _lay(f0, envelope, aperiodicity, bank[note.lyric], start, stop, rng.uniform(-3, 1.5))
        f0[start:stop] *= _pitch_hz(note, previous, stop - start, singer, rng)
        previous = note
    f0 *= _drift(frames, singer, rng)
    envelope = _timbre(envelope, singer)
    if singer.breath > 0 and singer.source != "formant":
        rise = np.clip(np.linspace(0, RATE / 2, BINS) / 6_000, 0, 1)
        aperiodicity = np.clip(aperiodicity + singer.breath * rise, 0.001, 1)
    voice = pyworld.synthesize(f0, envelope, aperiodicity, RATE, FRAME_MS)
    voice = voice[: round(score.duration * RATE)]
    voice = np.pad(voice, (0, round(score.duration * RATE) - len(voice)))
    return _record(voice, singer, rng)


def _syllable(word: str, singer: Singer, rng: np.random.Generator) -> Syllable:
    if singer.source == "formant":
        return modelled(word, singer.formant_scale, singer.breath, rng)
    return spoken(singer.source, word)


def _performed(
    score: Score, note: Note, singer: Singer, rng: np.random.Generator
) -> tuple[int, int]:
    """First and last frame of a note as this singer times it."""
    shift = singer.late[0] + singer.late[1] * rng.standard_normal()
    start = max(0.05, score.seconds(note.start) + shift)
    end = max(start + 0.1, score.seconds(note.end) + 0.5 * shift)
    last = score.duration - 0.05
    return int(start * _FRAMES_PER_SECOND), int(min(end, last) * _FRAMES_PER_SECOND)


def _lay(
    f0: np.ndarray,
    envelope: np.ndarray,
    aperiodicity: np.ndarray,
    syllable: Syllable,
    start: int,
    stop: int,
    gain_db: float,
) -> None:
    """Write a syllable: consonant before `start`, vowel over start..stop, its end after.

    Sets f0 to 1 where the syllable is voiced.
    """
    first, last = syllable.vowel
    onset = min(first, 24, start)
    coda = min(len(syllable.voiced) - 1 - last, 16, max(0, (stop - start) // 4))
    body = stop - start - coda
    edge = min(8, (last - first) // 2)  # attack and release keep their pace
    inner = np.linspace(first + edge, last - edge, max(2, body - 2 * edge))
    vowel = np.concatenate(
        [np.arange(first, first + edge), inner, np.arange(last - edge + 1, last + 1)]
    )[:body]
    source = np.concatenate([np.arange(first - onset, first), vowel, last + 1 + np.arange(coda)])
    index = np.clip(np.rint(source).astype(int), 0, len(syllable.voiced) - 1)
    target = slice(start - onset, start - onset + len(index))
    fade = np.ones(len(index))
    length = min(12, len(index) // 3)
    fade[-length:] = np.linspace(1, 0.02, length) ** 2
    gain = 10 ** (gain_db / 10) * fade[:, None]
    envelope[target] = syllable.envelope[index] * gain + 1e-14
    aperiodicity[target] = syllable.aperiodicity[index]
    f0[target] = 0
    voiced = syllable.voiced[index]
    voiced[onset : onset + body] = True
    f0[start : start - onset + len(index)] = voiced[onset:]


def _pitch_hz(
    note: Note,
    previous: Note | None,
    frames: int,
    singer: Singer,
    rng: np.random.Generator,
) -> np.ndarray:
    """Pitch in Hz over a note: glide or scoop into it, vibrato after a while."""
    since = np.arange(frames) / _FRAMES_PER_SECOND
    offset = np.zeros(frames)
    glide = np.exp(-since / (singer.glide / 2))
    if rng.random() < singer.scoop:
        offset -= rng.uniform(0.5, 2) * glide
    elif previous is not None and note.start - previous.end < 0.5:
        offset += np.clip(previous.pitch - note.pitch, -5, 5) * 0.5 * glide
    depth, rate, delay = singer.vibrato
    swell = np.clip((since - delay) / 0.3, 0, 1)
    offset += depth * swell * np.sin(2 * np.pi * rate * since + rng.uniform(0, 2 * np.pi))
    offset += singer.detune + rng.normal(0, 0.06)
    return 440 * 2 ** ((note.pitch + offset - 69) / 12)


def _drift(frames: int, singer: Singer, rng: np.random.Generator) -> np.ndarray:
    """Slow wander of pitch as a factor (frames,)."""
    knots = rng.standard_normal(max(2, int(frames / _FRAMES_PER_SECOND / 2)))
    wander = np.interp(np.linspace(0, len(knots) - 1, frames), np.arange(len(knots)), knots)
    return 2 ** (singer.drift * wander / 12)


def _timbre(envelope: np.ndarray, singer: Singer) -> np.ndarray:
    """Formants moved by `formant_scale` (speech sources) and the spectrum tilted."""
    bins = np.arange(BINS)
    if singer.source != "formant":
        source = np.clip(bins / singer.formant_scale, 0, BINS - 1)
        low = source.astype(int)
        high = np.minimum(low + 1, BINS - 1)
        share = source - low
        envelope = envelope[:, low] * (1 - share) + envelope[:, high] * share
    octaves = np.log2(np.maximum(bins * RATE / 2 / (BINS - 1), 500) / 500)
    return np.ascontiguousarray(envelope * 10 ** (singer.tilt_db * octaves / 10))


def _record(voice: np.ndarray, singer: Singer, rng: np.random.Generator) -> np.ndarray:
    """The voice in its room, with background noise; sounding parts near -20 dBFS."""
    if singer.room > 0:
        length = int(1.2 * singer.room * RATE)
        decay = np.exp(-6.9 * np.arange(length) / (singer.room * RATE))
        impulse = 0.06 * rng.standard_normal(length) * decay * rng.uniform(0.3, 1)
        impulse[0] = 1
        voice = fftconvolve(voice, impulse)[: len(voice)]
    loud = np.abs(voice) > 0.05 * np.abs(voice).max()
    voice = voice * (0.1 / np.sqrt(np.mean(voice[loud] ** 2)))
    voice = voice + 10 ** (singer.noise_db / 20) * rng.standard_normal(len(voice))
    return (voice * min(1.0, 0.95 / np.abs(voice).max())).astype(np.float32)
