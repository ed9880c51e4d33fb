"""Who sings: the source of the voice, the vocal tract, and the habits of real singers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fastsag.songs.syllables import ESPEAK_LANGUAGES, ESPEAK_VARIANTS, RECORDED_VOICES


@dataclass(frozen=True)
class Singer:
    """How somebody sings.

    source: "formant", or a speech voice such as "espeak-en-us+f2". formant_scale: size of the
    vocal tract, 1 as recorded. tilt_db: dB an octave added above 500 Hz. ring_db: of the cluster
    of formants near 3 kHz that trained singers have. breath: 0..1, noise in the vowels. vibrato:
    depth in semitones, rate in Hz, delay in s. glide: seconds between notes. scoop: chance to
    start under the note. detune: semitones. drift: slow wander in semitones. off_key: chance that
    a note misses. late: seconds, mean and spread from note to note. phrase_late: spread of whole
    phrases in s. inhale_db: level of breaths against the voice, None for none. double: "none",
    "unison", "octave below" or "octave above". double_db: level of the second voice.
    """

    source: str
    formant_scale: float
    tilt_db: float
    ring_db: float
    breath: float
    vibrato: tuple[float, float, float]
    glide: float
    scoop: float
    detune: float
    drift: float
    off_key: float
    late: tuple[float, float]
    phrase_late: float
    inhale_db: float | None
    double: str
    double_db: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


_FORMANT, _RECORDED, _AMATEUR, _TRAINED = 0.25, 0.15, 0.18, 0.15  # shares of singers
_DOUBLES = ("none", "unison", "octave below", "octave above")
_DOUBLE_ODDS = (0.84, 0.08, 0.05, 0.03)


def random_singer(
    rng: np.random.Generator,
    vocal_range: tuple[int, int],
    language: str = "en",
    source: str | None = None,
) -> Singer:
    """A singer for a range; low ranges get larger vocal tracts. `source` None draws one."""
    source = source or _random_source(language, rng)
    height = (float(np.mean(vocal_range)) - 60) / 12  # octaves from middle C
    amateur, trained = rng.random() < _AMATEUR, rng.random() < _TRAINED
    deep = 0.45 if not trained else 0.7
    double = str(rng.choice(_DOUBLES, p=_DOUBLE_ODDS))
    return Singer(
        source=source,
        formant_scale=float(np.clip(1 + 0.1 * height + rng.normal(0, 0.06), 0.78, 1.32)),
        tilt_db=float(rng.normal(0, 1.8)),
        ring_db=float(rng.uniform(4, 11) if trained else rng.uniform(0, 3)),
        breath=float(rng.beta(1.2, 5)),
        vibrato=(
            float(rng.uniform(0, deep) * (trained or rng.random() < 0.7)),
            float(rng.uniform(4.6, 6.8)),
            float(rng.uniform(0.1, 0.5)),
        ),
        glide=float(rng.uniform(0.02, 0.11)),
        scoop=float(rng.uniform(0, 0.3)),
        detune=float(rng.normal(0, 0.1)),
        drift=float(rng.uniform(0, 0.2 if amateur else 0.12)),
        off_key=float(rng.uniform(0.02, 0.12) if amateur else 0.0),
        late=(float(rng.normal(0.005, 0.012)), float(rng.uniform(0.003, 0.02))),
        phrase_late=float(rng.uniform(0.02, 0.06) if rng.random() < 0.35 else 0.0),
        inhale_db=float(rng.uniform(-36, -20)) if rng.random() < 0.55 else None,
        double=double,
        double_db=float(rng.uniform(-12, -3)),
    )


def _random_source(language: str, rng: np.random.Generator) -> str:
    draw = rng.random()
    if draw < _FORMANT:
        return "formant"
    if language == "en" and draw < _FORMANT + _RECORDED:
        return RECORDED_VOICES[rng.integers(len(RECORDED_VOICES))]
    names = ESPEAK_LANGUAGES[language]
    variant = ESPEAK_VARIANTS[rng.integers(len(ESPEAK_VARIANTS))]
    return f"espeak-{names[rng.integers(len(names))]}+{variant}"
