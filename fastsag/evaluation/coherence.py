"""Does an accompaniment fit its song, and does it sound whole? All scores of one accompaniment.

Measures take audio and what is known of the song; none knows which system played. Only `level_db`
depends on level. `docs/evaluation.md` has the definitions with their ranges and weaknesses.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fastsag.chords import key_index
from fastsag.errors import require
from fastsag.evaluation import harmony, rhythm, sound, texture
from fastsag.evaluation.chroma import SAMPLE_RATE, harmonic_chroma
from fastsag.evaluation.texture import Bank
from fastsag.evaluation.truth import keys
from fastsag.levels import loudness

VERSION = 3  # raise when scores of the same audio change


@dataclass(frozen=True)
class Coherence:
    """Scores of one accompaniment; NaN where the truth does not tell what a measure needs.

    More is better but for `tempo`, `leak`, `mel_fd` and `sound_gap`; `level_db` and `tonality_db`
    are right where they are the true band's.
    """

    in_key: float
    consonance: float
    chord: float
    chord_soft: float
    chord_move: float
    key: float
    beat: float
    pulse: float
    onset: float
    tempo: float
    level_db: float
    activity: float
    leak: float
    steadiness: float
    attack: float
    tonality_db: float
    sound_gap: float
    mel_fd: float
    coherence: float

    def row(self) -> dict[str, float | None]:
        """The scores by name, rounded to three digits; None where there is none."""
        return {
            name: round(value, 3) if math.isfinite(value) else None
            for name, value in asdict(self).items()
        }


def coherence(
    accompaniment: np.ndarray,
    voice: np.ndarray,
    sample_rate: int,
    truth: dict[str, Any],
    reference: np.ndarray | None = None,
    bank: Bank | None = None,
) -> Coherence:
    """Score an accompaniment (N,) against its voice (N,) and what is known of the song.

    Args:
        accompaniment, voice: at `sample_rate` Hz, at the levels of the mix.
        truth: annotation or estimate, see `fastsag.evaluation.truth`.
        reference: the song's own band (N,), for note starts and for `sound_gap`; without it, note
            starts are compared with the voice's.
        bank: of rendered bands for `mel_fd`; None is the one that comes with the package.
    """
    count = min(len(voice), len(accompaniment))
    level_db = _loudness(accompaniment[:count], sample_rate) - _loudness(voice, sample_rate)
    band, sung = judged(accompaniment, sample_rate), judged(voice, sample_rate)
    own = sound.scores(band)
    known = None if reference is None else judged(reference, sample_rate)
    parts = {
        **_harmony(band, truth),
        **_rhythm(band, sung if known is None else known, truth),
        "level_db": level_db,
        "activity": texture.activity(band),
        "leak": texture.leak(band, sung),
        **own,
        "sound_gap": float("nan") if known is None else sound.gap(own, sound.scores(known)),
        "mel_fd": texture.mel_fd(band, bank or texture.read_bank()),
    }
    return Coherence(**parts, coherence=combine(parts, truth["key"]))


def judged(samples: np.ndarray, sample_rate: int) -> np.ndarray:
    """(N,) at any rate -> (n,) float32 at 22,050 Hz."""
    librosa = require("librosa", extra="eval")
    return librosa.resample(samples.astype(np.float32), orig_sr=sample_rate, target_sr=SAMPLE_RATE)


def _harmony(band: np.ndarray, truth: dict[str, Any]) -> dict[str, float]:
    chroma, times = harmonic_chroma(band)
    sounding = keys(truth)
    return {
        "in_key": harmony.in_key(chroma, times, sounding),
        "consonance": harmony.consonance(chroma, times, truth["notes"]),
        **harmony.chord_scores(chroma, times, truth["chords"]),
        "key": harmony.key_match(chroma, times, sounding),
    }


def _rhythm(band: np.ndarray, known: np.ndarray, truth: dict[str, Any]) -> dict[str, float]:
    """`known`: whose note starts are compared."""
    strength = rhythm.onset_strength(band)
    tracked = rhythm.track_beats(strength)
    beats = np.asarray(truth["beats"], dtype=np.float64)
    starts = rhythm.onsets(rhythm.onset_strength(known))
    return {
        "beat": rhythm.beat_match(tracked, truth),
        "pulse": rhythm.pulse(strength, beats),
        "onset": rhythm.onset_match(rhythm.onsets(strength), starts),
        "tempo": rhythm.tempo_ratio(tracked, beats),
    }


def _loudness(samples: np.ndarray, sample_rate: int) -> float:
    found = loudness(np.asarray(samples, dtype=np.float32)[None], sample_rate)
    return found if math.isfinite(found) else float("nan")


def combine(parts: dict[str, float], key: str) -> float:
    """Mean of key, consonance, chords and rhythm, discounted for copying and for silence.

    Parts that are not known are left out of the mean.
    """

    def clip(value: float) -> float:
        return float(np.clip(value, 0, 1))  # NaN stays

    flat = len(harmony.SCALES[key_index(key) // 12]) / 12
    four = [
        clip((parts["in_key"] - flat) / (1 - flat)),
        clip(parts["consonance"]),
        clip((parts["chord_soft"] + parts["chord_move"]) / 2),
        clip((parts["pulse"] + clip((parts["beat"] - 0.3) / 0.7)) / 2),
    ]
    known = [part for part in four if math.isfinite(part)]
    copying = clip((0.7 - parts["leak"]) / 0.4)
    return float(np.mean(known) * copying * min(1.0, 2 * parts["activity"]))
