"""A singer: a score and syllables in, a dry recording of a voice out.

WORLD resynthesis: the vowel of each syllable is stretched over its note and given the score's
pitch, with the liberties that real singers take.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.signal import butter, sosfilt

from fastsag.errors import require
from fastsag.songs.composition import Score
from fastsag.songs.lyrics import MELISMA
from fastsag.songs.melody import Note
from fastsag.songs.singer import Singer
from fastsag.songs.syllables import BINS, FRAME_MS, RATE, Syllable, modelled, spoken

_FRAMES_PER_SECOND = 1000 / FRAME_MS
_REST_SECONDS = 0.3  # that parts two phrases
_LEVEL = 0.1  # RMS of the sounding parts


@dataclass(frozen=True)
class Performance:
    """What was sung: the dry voice (N,) float32 at `RATE`, and (start, end) of each note in s."""

    voice: np.ndarray
    times: list[tuple[float, float]]


@dataclass
class _Track:
    """WORLD parameters of a voice, L frames: f0 (L,), envelope and aperiodicity (L, BINS)."""

    f0: np.ndarray
    envelope: np.ndarray
    aperiodicity: np.ndarray


def sing(score: Score, singer: Singer, rng: np.random.Generator) -> Performance:
    """Sing a score; the voice is as long as the score, its peak under 0.95."""
    words = sorted({note.lyric for note in score.notes} - {MELISMA})
    bank = {word: _syllable(word, singer, rng) for word in words}
    times = _performed(score, singer, rng)
    voice = _rendered(score, times, bank, singer, rng, octave=0)
    if singer.double != "none":
        voice = voice + _doubled(score, times, bank, singer, rng)
    loud = np.abs(voice) > 0.05 * np.abs(voice).max()
    voice = voice * (_LEVEL / np.sqrt(np.mean(voice[loud] ** 2)))
    if singer.inhale_db is not None:
        voice = voice + _breaths(times, len(voice), singer.inhale_db, rng)
    voice = voice * min(1.0, 0.95 / np.abs(voice).max())
    return Performance(voice.astype(np.float32), times)


def _syllable(word: str, singer: Singer, rng: np.random.Generator) -> Syllable:
    if singer.source == "formant":
        return modelled(word, singer.formant_scale, singer.breath, rng)
    return spoken(singer.source, word)


def _performed(score: Score, singer: Singer, rng: np.random.Generator) -> list[tuple[float, float]]:
    """Start and end of each note in s as this singer times it: whole phrases and single notes."""
    times: list[tuple[float, float]] = []
    phrase, latest = 0.0, score.duration - 0.05
    written = [(score.seconds(note.start), score.seconds(note.end)) for note in score.notes]
    for place, (start, end) in enumerate(written):
        rest = start - written[place - 1][1] if place else np.inf
        if rest > _REST_SECONDS:
            phrase = singer.phrase_late * rng.standard_normal()
        shift = singer.late[0] + singer.late[1] * rng.standard_normal() + phrase
        shift = float(np.clip(shift, -0.12, 0.12))
        begin = max(0.05, start + shift)
        if score.notes[place].lyric == MELISMA and times:
            begin = max(begin, times[-1][0] + 0.08)
            times[-1] = (times[-1][0], begin)
        stop = min(max(begin + 0.1, end + 0.5 * shift), latest)
        if times and times[-1][1] > begin:
            times[-1] = (times[-1][0], max(times[-1][0] + 0.05, begin))
        times.append((begin, stop))
    return times


def _rendered(
    score: Score,
    times: Sequence[tuple[float, float]],
    bank: dict[str, Syllable],
    singer: Singer,
    rng: np.random.Generator,
    octave: int,
) -> np.ndarray:
    """One voice (N,), every note moved by `octave`."""
    pyworld = require("pyworld", extra="songs")
    frames = int(np.ceil(score.duration * _FRAMES_PER_SECOND)) + 1
    track = _Track(np.zeros(frames), np.full((frames, BINS), 1e-14), np.ones((frames, BINS)))
    loudness = _loudness(score)
    spans = [tuple(int(time * _FRAMES_PER_SECOND) for time in pair) for pair in times]
    previous: Note | None = None
    for group in _groups(score.notes):
        start, stop = spans[group[0]][0], spans[group[-1]][1]
        gain_db = loudness[group[0]] + rng.uniform(-3, 1.5)
        # A consonant takes its time from the note before, but not the greater part of it.
        most = int(0.3 * (start - spans[group[0] - 1][0])) if group[0] else start
        syllable = bank[score.notes[group[0]].lyric]
        shape_db = rng.uniform(-1, 4, 2)  # how much softer a note begins and ends
        voiced = _lay(track, syllable, start, stop, gain_db, shape_db, most)
        pitch = np.zeros(stop - voiced.start)
        for place in group:
            first = spans[place][0] - voiced.start
            last = spans[place][1] - voiced.start
            note = replace(score.notes[place], pitch=score.notes[place].pitch + 12 * octave)
            pitch[first:last] = _pitch_hz(note, previous, last - first, singer, rng)
            previous = note
        pitch[: start - voiced.start] = pitch[start - voiced.start]
        track.f0[voiced.start : stop] *= pitch
    track.f0 *= _drift(frames, singer, rng)
    envelope = _timbre(track.envelope, singer)
    aperiodicity = track.aperiodicity
    if singer.breath > 0 and singer.source != "formant":
        rise = np.clip(np.linspace(0, RATE / 2, BINS) / 6_000, 0, 1)
        aperiodicity = np.clip(aperiodicity + singer.breath * rise, 0.001, 1)
    voice = pyworld.synthesize(track.f0, envelope, aperiodicity, RATE, FRAME_MS)
    count = round(score.duration * RATE)
    return np.pad(voice[:count], (0, max(0, count - len(voice))))


def _groups(notes: Sequence[Note]) -> list[list[int]]:
    """Indices of notes that share a syllable."""
    groups: list[list[int]] = []
    for place, note in enumerate(notes):
        if note.lyric == MELISMA and groups:
            groups[-1].append(place)
        else:
            groups.append([place])
    return groups


def _loudness(score: Score) -> list[float]:
    """dB of each note by its section: choruses are sung out."""
    starts = [*score.section_starts(), len(score.beat_times)]
    sections = np.searchsorted(starts, [note.start + 0.3 for note in score.notes], side="right") - 1
    return [0.6 * score.sections[place].level_db for place in sections]


def _lay(
    track: _Track,
    syllable: Syllable,
    start: int,
    stop: int,
    gain_db: float,
    shape_db: np.ndarray,
    most: int,
) -> range:
    """Write a syllable: up to `most` frames of consonant before `start`, vowel over start..stop.

    Sets f0 to 1 where the syllable is voiced; returns the frames written.
    """
    first, last = syllable.vowel
    onset = min(first, 24, start, max(most, 0))
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
    along = np.linspace(-1, 1, len(index))
    softer_db = along**2 * np.where(along < 0, *shape_db)
    gain = (10 ** ((gain_db - softer_db) / 10) * fade)[:, None]
    track.envelope[target] = syllable.envelope[index] * gain + 1e-14
    track.aperiodicity[target] = syllable.aperiodicity[index]
    voiced = syllable.voiced[index].astype(float)
    voiced[onset : onset + body] = 1
    track.f0[target] = voiced
    return range(target.start, target.stop)


def _pitch_hz(
    note: Note, previous: Note | None, frames: int, singer: Singer, rng: np.random.Generator
) -> np.ndarray:
    """Pitch in Hz over a note: glide or scoop into it, vibrato after a while."""
    since = np.arange(frames) / _FRAMES_PER_SECOND
    offset = np.zeros(frames)
    length = frames / _FRAMES_PER_SECOND
    glide = np.exp(-since / min(singer.glide / 2, 0.12 * length))  # short notes are hit at once
    if note.lyric != MELISMA and rng.random() < singer.scoop:
        offset -= rng.uniform(0.5, 2) * glide
    elif previous is not None and note.start - previous.end < 0.5:
        offset += np.clip(previous.pitch - note.pitch, -5, 5) * 0.5 * glide
    depth, rate, delay = singer.vibrato
    swell = np.clip((since - delay) / 0.3, 0, 1)
    offset += depth * swell * np.sin(2 * np.pi * rate * since + rng.uniform(0, 2 * np.pi))
    offset += singer.detune + rng.normal(0, 0.06)
    if rng.random() < singer.off_key:
        offset += rng.choice([-1, 1]) * rng.uniform(0.3, 0.9)
    return 440 * 2 ** ((note.pitch + offset - 69) / 12)


def _doubled(
    score: Score,
    times: Sequence[tuple[float, float]],
    bank: dict[str, Syllable],
    singer: Singer,
    rng: np.random.Generator,
) -> np.ndarray:
    """A second take, a little off in time and pitch, or an octave away."""
    octave = {"unison": 0, "octave below": -1, "octave above": 1}[singer.double]
    second = replace(singer, detune=singer.detune + float(rng.normal(0, 0.06)))
    lag = rng.uniform(0.005, 0.03)
    later = [(start + lag, min(end + lag, score.duration - 0.05)) for start, end in times]
    voice = _rendered(score, later, bank, second, rng, octave)
    return 10 ** (singer.double_db / 20) * voice


def _drift(frames: int, singer: Singer, rng: np.random.Generator) -> np.ndarray:
    """Slow wander of pitch as a factor (frames,)."""
    knots = rng.standard_normal(max(2, int(frames / _FRAMES_PER_SECOND / 2)))
    wander = np.interp(np.linspace(0, len(knots) - 1, frames), np.arange(len(knots)), knots)
    return 2 ** (singer.drift * wander / 12)


def _timbre(envelope: np.ndarray, singer: Singer) -> np.ndarray:
    """Formants moved by `formant_scale` (speech sources), a ring near 3 kHz, a tilt."""
    bins = np.arange(BINS)
    if singer.source != "formant":
        source = np.clip(bins / singer.formant_scale, 0, BINS - 1)
        low = source.astype(int)
        high = np.minimum(low + 1, BINS - 1)
        share = source - low
        envelope = envelope[:, low] * (1 - share) + envelope[:, high] * share
    hz = bins * RATE / 2 / (BINS - 1)
    octaves = np.log2(np.maximum(hz, 500) / 500)
    ring = singer.ring_db * np.exp(-(((hz - 2_900 * singer.formant_scale) / 500) ** 2))
    return np.ascontiguousarray(envelope * 10 ** ((singer.tilt_db * octaves + ring) / 10))


def _breaths(
    times: Sequence[tuple[float, float]], count: int, level_db: float, rng: np.random.Generator
) -> np.ndarray:
    """Inhaling before phrases (N,)."""
    sound = np.zeros(count)
    filters = butter(2, (rng.uniform(400, 900), rng.uniform(3_500, 7_000)), "band", fs=RATE,
                     output="sos")  # fmt: skip
    ends = [0.0, *(end for _, end in times[:-1])]
    for (start, _), before in zip(times, ends, strict=True):
        rest = start - before
        if rest < _REST_SECONDS or rng.random() < 0.25:
            continue
        length = int(min(0.8 * rest, rng.uniform(0.15, 0.4)) * RATE)
        first = int((start - 0.04) * RATE) - length
        if first < 0:
            continue
        noise = sosfilt(filters, rng.standard_normal(length))
        noise *= np.sin(np.pi * np.linspace(0, 1, length) ** 1.5) ** 2
        level = _LEVEL * 10 ** ((level_db + rng.uniform(-4, 4)) / 20)
        sound[first : first + length] += level * noise / (np.sqrt(np.mean(noise**2)) + 1e-9)
    return sound
