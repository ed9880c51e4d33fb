"""Does an accompaniment fit its song? Key, consonance, chords, beat and pulse against the truth.

Every measure takes audio and the song's ground truth; none knows which system played. Scores do
not depend on level. `docs/evaluation.md` has the definitions with their ranges and weaknesses.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fastsag.chords import NO_CHORD, chord_index, chord_tones, key_index
from fastsag.errors import require

SAMPLE_RATE = 22_050  # Hz
_HOP = 512
_SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10, 11))  # major; both minors united
_CONSONANT = (0, 3, 4, 5, 7, 8, 9)
_DISSONANT = (1, 6, 11)


@dataclass(frozen=True)
class Coherence:
    """Scores of one accompaniment; 1 is best but for `leak`."""

    in_key: float
    consonance: float
    chord: float
    chord_soft: float
    chord_move: float
    beat: float
    pulse: float
    activity: float
    leak: float
    coherence: float

    def row(self) -> dict[str, float]:
        """The scores by name, rounded to three digits."""
        return {name: round(value, 3) for name, value in asdict(self).items()}


def coherence(
    accompaniment: np.ndarray, voice: np.ndarray, sample_rate: int, truth: dict[str, Any]
) -> Coherence:
    """Score an accompaniment (N,) against its voice (N,) and the song's training record.

    `truth` needs key, beats, downbeats, chords and notes.
    """
    librosa = require("librosa", extra="eval")
    band, sung = (
        librosa.resample(part.astype(np.float32), orig_sr=sample_rate, target_sr=SAMPLE_RATE)
        for part in (accompaniment, voice)
    )
    span = (truth["downbeats"][0], truth["chords"][-1]["end"])
    chroma, times = harmonic_chroma(band)
    inside = (times >= span[0]) & (times < span[1])
    parts = {
        "in_key": in_key(chroma[:, inside], truth["key"]),
        "consonance": consonance(chroma, times, truth["notes"]),
        **chord_scores(chroma, times, truth["chords"]),
        **rhythm_scores(band, truth),
        "activity": activity(band),
        "leak": leak(band, sung),
    }
    return Coherence(**parts, coherence=_combine(parts, key_index(truth["key"])))


def harmonic_chroma(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Chroma energy (12, L) of the harmonic part from C2 to B5 at A440, and frame times (L,)."""
    librosa = require("librosa", extra="eval")
    harmonic = librosa.effects.harmonic(samples, margin=2.0)
    low = librosa.note_to_hz("C2")
    # Three bins a semitone, the middle one read: with one, half the energy is the neighbours'.
    cqt = librosa.cqt(
        harmonic,
        sr=SAMPLE_RATE,
        hop_length=_HOP,
        fmin=low,
        n_bins=4 * 36,
        bins_per_octave=36,
        tuning=0.0,
    )
    energy = np.abs(cqt[::3]).astype(np.float64) ** 2
    chroma = energy.reshape(4, 12, -1).sum(0)
    return chroma, np.arange(chroma.shape[1]) * _HOP / SAMPLE_RATE


def in_key(chroma: np.ndarray, key: str) -> float:
    """Share of chroma energy on the scale (minor: natural and harmonic united)."""
    index = key_index(key)
    scale = [(index + step) % 12 for step in _SCALES[index // 12]]
    return float(chroma[scale].sum() / max(chroma.sum(), 1e-12))


def consonance(chroma: np.ndarray, times: np.ndarray, notes: list[dict[str, Any]]) -> float:
    """Energy at consonant minus dissonant intervals above each sung note.

    Rescaled so that a flat chroma gives 0 and full consonance 1; weighted by note length.
    """
    flat = (len(_CONSONANT) - len(_DISSONANT)) / 12
    values, weights = [], []
    for note in notes:
        inside = (times >= note["start"]) & (times < note["end"])
        energy = np.roll(chroma[:, inside].sum(1), -round(note["pitch"]) % 12)
        total = energy.sum()
        if total <= 1e-12:
            values.append(0.0)
        else:
            share = (energy[list(_CONSONANT)].sum() - energy[list(_DISSONANT)].sum()) / total
            values.append((share - flat) / (1 - flat))
        weights.append(note["end"] - note["start"])
    return float(np.average(values, weights=weights)) if values else 0.0


def chord_scores(
    chroma: np.ndarray, times: np.ndarray, chords: list[dict[str, Any]]
) -> dict[str, float]:
    """Top-3 recognition, mean correlation, and correlation of what changes with the chords."""
    templates = np.zeros((24, 12))
    for index in range(24):
        templates[index, list(chord_tones(index))] = 1
    played, true, hits = [], [], []
    for chord in chords:
        inside = (times >= chord["start"]) & (times < chord["end"])
        if chord["label"] == NO_CHORD or not inside.any():
            continue
        magnitude = np.sqrt(chroma[:, inside]).mean(1)
        index = chord_index(chord["label"])
        scores = np.array([correlation(magnitude, template) for template in templates])
        hits.append(bool((scores > scores[index]).sum() < 3 and scores[index] > 0))
        norm = np.linalg.norm(magnitude)
        played.append(magnitude / norm if norm > 1e-9 else magnitude)
        true.append(templates[index])
    if not played:
        return {"chord": 0.0, "chord_soft": 0.0, "chord_move": 0.0}
    soft = [correlation(a, b) for a, b in zip(played, true, strict=True)]
    moving, target = (np.array(part) - np.mean(part, axis=0) for part in (played, true))
    return {
        "chord": float(np.mean(hits)),
        "chord_soft": float(np.mean(soft)),
        "chord_move": correlation(moving.ravel(), target.ravel()),
    }


def rhythm_scores(samples: np.ndarray, truth: dict[str, Any]) -> dict[str, float]:
    """Beat F-measure at the best metrical level, and how much stronger onsets are on the beat."""
    librosa = require("librosa", extra="eval")
    mir_eval = require("mir_eval.beat", extra="eval")
    beats = np.asarray(truth["beats"])
    strength = librosa.onset.onset_strength(y=samples, sr=SAMPLE_RATE, hop_length=_HOP)
    _, tracked = librosa.beat.beat_track(
        onset_envelope=strength, sr=SAMPLE_RATE, hop_length=_HOP, units="time"
    )
    bar = truth["beats_per_bar"]
    doubled = np.sort(np.concatenate([beats, (beats[:-1] + beats[1:]) / 2]))
    levels = [(beats, 0.07), (doubled, 0.035)]
    levels += [(beats[::3], 0.07)] if bar == 3 else [(beats[::2], 0.07), (beats[1::2], 0.07)]
    scores = [mir_eval.f_measure(grid, tracked, window) for grid, window in levels]
    times = np.arange(len(strength)) * _HOP / SAMPLE_RATE
    inside = (times >= beats[0] - 0.05) & (times <= beats[-1] + 0.05)
    near = np.abs(times[:, None] - beats[None]).min(1) <= 0.05
    on, off = strength[inside & near].mean(), strength[inside & ~near].mean()
    pulse = 1 - off / on if on > 1e-9 else 0.0
    return {"beat": float(max(scores)), "pulse": float(np.clip(pulse, 0, 1))}


def activity(samples: np.ndarray) -> float:
    """Share of 50 ms frames above -50 dB of the file's own peak."""
    frame = int(0.05 * SAMPLE_RATE)
    framed = np.abs(samples[: len(samples) // frame * frame].reshape(-1, frame)).max(1)
    peak = framed.max(initial=0)
    return float((framed > peak * 10 ** (-50 / 20)).mean()) if peak > 0 else 0.0


def leak(band: np.ndarray, voice: np.ndarray) -> float:
    """Largest correlation of log-mels where the voice sounds, over lags within 0.25 s."""
    librosa = require("librosa", extra="eval")
    length = min(len(band), len(voice))
    logs = []
    for part in (band, voice):
        mel = librosa.feature.melspectrogram(
            y=part[:length], sr=SAMPLE_RATE, hop_length=_HOP, n_mels=128
        )
        logs.append(librosa.power_to_db(mel, top_db=80))
    sounding = logs[1].max(0) > logs[1].max() - 35
    widest = int(0.25 * SAMPLE_RATE / _HOP)
    best = -1.0
    for lag in range(-widest, widest + 1):
        shifted = np.roll(logs[0], lag, axis=1)[:, sounding]
        best = max(best, correlation(_centred(shifted), _centred(logs[1][:, sounding])))
    return best


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson correlation of flattened arrays; 0 where one is constant."""
    a, b = a.ravel() - a.mean(), b.ravel() - b.mean()
    norm = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b / norm) if norm > 1e-9 else 0.0


def _centred(values: np.ndarray) -> np.ndarray:
    """Without each band's and each frame's mean."""
    values = values - values.mean(1, keepdims=True)
    return (values - values.mean(0, keepdims=True)).ravel()


def _combine(parts: dict[str, float], key: int) -> float:
    """Mean of key, consonance, chords and rhythm, discounted for copying and for silence."""
    flat = len(_SCALES[key // 12]) / 12
    clip = lambda value: float(np.clip(value, 0, 1))  # noqa: E731
    score = np.mean(
        [
            clip((parts["in_key"] - flat) / (1 - flat)),
            clip(parts["consonance"]),
            clip((parts["chord_soft"] + parts["chord_move"]) / 2),
            clip((parts["pulse"] + clip((parts["beat"] - 0.3) / 0.7)) / 2),
        ]
    )
    copying = clip((0.7 - parts["leak"]) / 0.4)
    return float(score * copying * min(1.0, 2 * parts["activity"]))
