"""Sources of sung syllables: speech programs and a formant model, as WORLD parameters.

A syllable is (spectral envelope, aperiodicity, vowel span) at 5 ms frames; `voice.py` stretches
its vowel over a note. Speech comes from espeak-ng and flite, run as programs.
"""

from __future__ import annotations

import io
import subprocess
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import soundfile
import soxr

from fastsag.errors import UserError, require

RATE = 24_000  # Hz
FRAME_MS = 5.0
BINS = 513  # WORLD's envelope at 24 kHz
RESERVED = ("flite-slt", "flite-kal")  # held-out voices: never in a training corpus
INSTALL = (
    "sudo apt-get install mma libfluidsynth3 fluidr3mono-gm-soundfont "
    "musescore-general-soundfont-small espeak-ng flite"
)
# Voices of espeak-ng by language of `lyrics.WORDS`, and the throats it can give each.
ESPEAK_LANGUAGES = {
    "en": ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp"),
    "it": ("it",),
    "es": ("es", "es-419"),
    "de": ("de",),
    "fr": ("fr-fr",),
    "pt": ("pt", "pt-br"),
    "sv": ("sv",),
    "nl": ("nl",),
    "pl": ("pl",),
    "ja": ("es", "fi"),  # close to romaji's vowels; its own voice spells Latin letters
}
ESPEAK_VARIANTS = (  # noqa: SIM905 - one name a line would fill a page
    "m1 m2 m3 m4 m5 m6 m7 m8 f1 f2 f3 f4 f5 klatt klatt2 klatt3 klatt4 Alex Alicia Andrea Andy"
    " Annie Denis Diogo Gene Henrique Hugo Jacky Lee Marco Mario Michael Mike adam anika antonio"
    " belinda benjamin boris caleb david ed edward grandma grandpa gustave iven john linda marcelo"
    " max michel miguel norbert pablo paul pedro quincy rob robert sandro shelby steph travis"
    " victor zac"
).split()
RECORDED_VOICES = ("flite-rms", "flite-awb")
TRAINING_VOICES = (
    *(
        f"espeak-{name}+{variant}"
        for names in ESPEAK_LANGUAGES.values()
        for name in names
        for variant in ESPEAK_VARIANTS
    ),
    *RECORDED_VOICES,
)
# First three formants (Hz) of sung vowels, an adult's; scaled for other singers.
_VOWELS = {
    "a": (730, 1090, 2440),
    "e": (530, 1840, 2480),
    "i": (300, 2250, 2950),
    "o": (500, 870, 2400),
    "u": (320, 850, 2250),
    "m": (250, 1000, 2200),
}


@dataclass(frozen=True)
class Syllable:
    """WORLD parameters of one syllable, L frames.

    envelope: power spectrum (L, BINS). aperiodicity: (L, BINS), 0 voiced .. 1 noise. voiced: (L,).
    vowel: first and last frame of the vowel.
    """

    envelope: np.ndarray
    aperiodicity: np.ndarray
    voiced: np.ndarray
    vowel: tuple[int, int]


def spoken(voice: str, word: str) -> Syllable:
    """A word by "espeak-<voice>" or "flite-<voice>", analysed by WORLD.

    Raises:
        UserError: the program is not installed.
    """
    pyworld = require("pyworld", extra="songs")
    speech = _speak(voice, word)
    f0, times = pyworld.dio(speech, RATE, f0_floor=60, f0_ceil=500, frame_period=FRAME_MS)
    f0 = pyworld.stonemask(speech, f0, times, RATE)
    envelope = pyworld.cheaptrick(speech, f0, times, RATE, fft_size=2 * (BINS - 1))
    aperiodicity = pyworld.d4c(speech, f0, times, RATE, fft_size=2 * (BINS - 1))
    voiced = _filled(f0 > 0)
    return _trimmed(envelope, aperiodicity, voiced)


def _speak(voice: str, word: str) -> np.ndarray:
    """Samples (N,) float64 at `RATE`."""
    program, _, name = voice.partition("-")
    if program == "espeak":
        command = ["espeak-ng", "-v", name, "-s", "130", "--stdout", word]
    else:
        command = ["flite", "-voice", name, "-t", word, "-o", "/dev/stdout"]
    try:
        output = subprocess.run(command, capture_output=True, check=True).stdout
    except FileNotFoundError:
        raise UserError(f"{command[0]}: not installed; run: {INSTALL}") from None
    except subprocess.CalledProcessError as error:
        raise UserError(f"{' '.join(command)}: failed ({error.stderr.decode()[:200]})") from None
    samples, rate = _read_wave(output)
    return soxr.resample(samples, rate, RATE).astype(np.float64)


def _read_wave(data: bytes) -> tuple[np.ndarray, int]:
    """16-bit mono WAV whose header may lack the length, as programs write to a pipe."""
    rate = int.from_bytes(data[24:28], "little")
    start = data.find(b"data") + 8
    body = data[start : start + (len(data) - start) // 2 * 2]
    samples, _ = soundfile.read(
        io.BytesIO(body), samplerate=rate, channels=1, format="RAW", subtype="PCM_16"
    )
    return samples, rate


def _filled(voiced: np.ndarray) -> np.ndarray:
    """Voicing without gaps of up to 25 ms, which DIO leaves in vowels."""
    filled = voiced.copy()
    edges = np.flatnonzero(voiced)
    for before, after in pairwise(edges):
        if after - before <= 5:
            filled[before:after] = True
    return filled


def _trimmed(envelope: np.ndarray, aperiodicity: np.ndarray, voiced: np.ndarray) -> Syllable:
    """Without silence at the ends; the vowel is the loud part of the longest voiced run."""
    power = envelope.sum(1)
    loud = np.flatnonzero(power > power.max() * 1e-3)
    first, last = (loud[0], loud[-1] + 1) if len(loud) else (0, len(power))
    envelope, aperiodicity = envelope[first:last], aperiodicity[first:last]
    voiced, power = voiced[first:last], power[first:last]
    if not voiced.any():
        voiced = np.ones_like(voiced)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], voiced.astype(int), [0]])))
    runs = edges.reshape(-1, 2)
    start, stop = runs[np.argmax(runs[:, 1] - runs[:, 0])]
    core = start + np.flatnonzero(power[start:stop] > 0.15 * power[start:stop].max())
    vowel = (int(core[0]), int(max(core[-1], core[0] + 1)))
    # One level for all syllables: the vowel's.
    aperiodicity[slice(*vowel)] = _tonal(aperiodicity[slice(*vowel)])
    scale = 1e-4 / max(float(power[vowel[0] : vowel[1]].mean()), 1e-20)
    return Syllable(envelope * scale, aperiodicity, voiced, vowel)


def _tonal(aperiodicity: np.ndarray) -> np.ndarray:
    """Vowel frames that the analysis took for noise get the tone of a clear voice."""
    hz = np.linspace(0, RATE / 2, BINS)
    clear = np.clip(0.02 + 0.5 * (hz / 8_000) ** 2, 0.02, 0.9)
    noisy = aperiodicity[:, hz < 3_000].mean(1) > 0.4
    return np.where(noisy[:, None], clear[None], aperiodicity)


def modelled(word: str, scale: float, breath: float, rng: np.random.Generator) -> Syllable:
    """A consonant and a vowel from formants.

    Args:
        word: decides the vowel.
        scale: formant scale, under 1 for large singers.
        breath: 0..1, how noisy the vowel is.
        rng: of the singer's vowels.
    """
    vowels = [letter for letter in word if letter in _VOWELS]
    formants = scale * np.array(_VOWELS[vowels[0] if vowels else "a"])
    formants = formants * rng.uniform(0.92, 1.08, 3)
    formants = np.concatenate([formants, scale * np.array([3300, 4200, 5500])])
    hz = np.linspace(0, RATE / 2, BINS)
    widths = np.array([70, 90, 130, 200, 250, 350]) * rng.uniform(0.8, 1.5)
    gains = np.array([1.0, 0.7, 0.35, 0.2, 0.12, 0.08]) * rng.uniform(0.6, 1.4, 6)
    peaks = gains / (1 + ((hz[:, None] - formants) / widths) ** 2)
    vowel = (peaks.sum(1) + 0.004) ** 2 / (1 + (hz / 4_000) ** 2)
    consonant_frames = int(rng.integers(0, 14))
    noise = 0.1 * np.exp(-(((hz - rng.uniform(2_500, 7_000)) / 2_500) ** 2)) ** 2 + 1e-6
    frames = consonant_frames + 60
    envelope = np.tile(vowel, (frames, 1))
    envelope[:consonant_frames] = noise * vowel.max() * rng.uniform(0.02, 0.3)
    rise = np.clip(hz / rng.uniform(3_000, 8_000), 0, 1)
    aperiodicity = np.tile(np.clip(0.02 + breath * rise, 0.001, 0.98), (frames, 1))
    aperiodicity[:consonant_frames] = 0.99
    voiced = np.arange(frames) >= consonant_frames
    span = slice(consonant_frames, frames)
    envelope *= 1e-4 / envelope[span].sum(1).mean()
    return Syllable(envelope, aperiodicity, voiced, (consonant_frames, frames - 1))
