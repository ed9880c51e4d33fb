"""Recording conditions of the voice: each a function (voice, band, settings, dice) -> voice.

All keep time to the sample: what the singer did stays where the truth says it is.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import soundfile
import soxr
from scipy.fft import next_fast_len
from scipy.signal import butter, fftconvolve, istft, sosfilt, sosfiltfilt, stft

from fastsag.errors import UserError
from fastsag.songs import settings as kinds
from fastsag.songs.syllables import RATE

_PEAK = 0.95
_LEVEL = 0.1  # RMS of the sounding parts, full scale 1
_FRAME = 1024  # samples, of the short-time spectra


class Dice:
    """A generator that remembers what it drew: the parameters of a condition.

    rng: for what is too small to be named. drawn: values by name.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.drawn: dict[str, float] = {}

    def between(self, name: str, span: tuple[float, float]) -> float:
        """A uniform draw, written down."""
        value = float(self.rng.uniform(*span))
        self.drawn[name] = round(value, 4)
        return value


def record_voice(
    voice: np.ndarray, band: np.ndarray, wanted: kinds.Conditions, rng: np.random.Generator
) -> tuple[np.ndarray, dict[str, dict[str, float]]]:
    """A dry voice (N,) as it was recorded, and its conditions' parameters by name, in order.

    `band` (N,) is what plays along. Each condition has its own generator, so that a change of one
    probability leaves the others' dice alone.
    """
    streams = rng.spawn(len(CONDITIONS) + 1)
    voice, band = voice.astype(np.float64), band.astype(np.float64)
    met: dict[str, dict[str, float]] = {}
    if streams[-1].random() < wanted.clean:
        return _levelled(voice), met
    for (name, change), stream in zip(CONDITIONS.items(), streams, strict=False):
        condition, dice = getattr(wanted, name), Dice(stream)
        if stream.random() >= condition.probability:
            continue
        changed = change(voice, band, condition, dice)
        if changed is not None:
            voice = _levelled(changed).astype(np.float64)
            met[name] = dice.drawn
    return _levelled(voice), met


def room(voice: np.ndarray, band: np.ndarray, wanted: kinds.Room, dice: Dice) -> np.ndarray:
    """The direct sound, a few early reflections, a tail whose treble dies first."""
    seconds = dice.between("seconds", wanted.seconds)
    length = int(1.1 * seconds * RATE)
    at = np.arange(length) / RATE
    tail = dice.rng.standard_normal(length) * np.exp(-6.9 * at / seconds)
    dull = sosfilt(butter(1, 2_500, fs=RATE, output="sos"), tail)
    tail = dull + (tail - dull) * np.exp(-6.9 * at / (0.6 * seconds))
    tail[: int(dice.rng.uniform(0.002, 0.02) * RATE)] = 0
    for _ in range(dice.rng.integers(2, 7)):
        tail[int(dice.rng.uniform(0.002, 0.04) * RATE)] += dice.rng.choice(
            [-1, 1]
        ) * dice.rng.uniform(1, 4)
    tail *= 10 ** (dice.between("reverb_db", wanted.reverb_db) / 20) / np.sqrt(np.sum(tail**2))
    return voice + fftconvolve(voice, tail)[: len(voice)]


def microphone(
    voice: np.ndarray, band: np.ndarray, wanted: kinds.Microphone, dice: Dice
) -> np.ndarray:
    """Cuts at both ends and a bell of presence, without delay."""
    low, high = (
        dice.between("low_cut_hz", wanted.low_cut_hz),
        dice.between("high_cut_hz", wanted.high_cut_hz),
    )
    cut = sosfiltfilt(butter(1, (low, high), "band", fs=RATE, output="sos"), voice)
    centre = dice.rng.uniform(2_000, 5_000)
    bell = butter(1, (centre / 1.4, centre * 1.4), "band", fs=RATE, output="sos")
    gain = 10 ** (dice.between("presence_db", wanted.presence_db) / 20) - 1
    return cut + gain * sosfiltfilt(bell, cut)


def compressor(
    voice: np.ndarray, band: np.ndarray, wanted: kinds.Compressor, dice: Dice
) -> np.ndarray:
    """Gain that falls with the level of the last tens of milliseconds."""
    follower = butter(1, dice.rng.uniform(4, 20), fs=RATE, output="sos")
    level_db = 10 * np.log10(np.maximum(sosfiltfilt(follower, voice**2), 1e-10))
    over = np.maximum(level_db - dice.between("threshold_db", wanted.threshold_db), 0)
    return voice * 10 ** (-over * (1 - 1 / dice.between("ratio", wanted.ratio)) / 20)


def bleed(voice: np.ndarray, band: np.ndarray, wanted: kinds.Bleed, dice: Dice) -> np.ndarray:
    """The band, dulled, from a few metres away."""
    heard = sosfilt(butter(2, dice.rng.uniform(800, 6_000), fs=RATE, output="sos"), band)
    delay = int(dice.rng.uniform(0, 0.015) * RATE)
    heard = np.concatenate([np.zeros(delay), heard])[: len(voice)]
    return voice + _scaled(heard, dice.between("level_db", wanted.level_db))


def noise(voice: np.ndarray, band: np.ndarray, wanted: kinds.Noise, dice: Dice) -> np.ndarray:
    """Steady coloured noise."""
    count = next_fast_len(len(voice), real=True)
    octaves = np.log2(np.maximum(np.fft.rfftfreq(count, 1 / RATE), 60) / 60)
    colour = 10 ** (dice.between("slope_db", wanted.slope_db) * octaves / 20)
    coloured = np.fft.irfft(np.fft.rfft(dice.rng.standard_normal(count)) * colour)[: len(voice)]
    return voice + _scaled(coloured, dice.between("level_db", wanted.level_db))


def hum(voice: np.ndarray, band: np.ndarray, wanted: kinds.Hum, dice: Dice) -> np.ndarray:
    """The mains and its overtones."""
    mains, time = dice.rng.choice([50.0, 60.0]), np.arange(len(voice)) / RATE
    partials = [
        dice.rng.uniform(0.1, 1)
        / number
        * np.sin(2 * np.pi * (mains * number * time + dice.rng.random()))
        for number in (1, 2, 3, 5, 7)
    ]
    return voice + _scaled(np.sum(partials, axis=0), dice.between("level_db", wanted.level_db))


def separated(
    voice: np.ndarray, band: np.ndarray, wanted: kinds.Separated, dice: Dice
) -> np.ndarray | None:
    """The voice that Demucs finds in the mix; None where its weights are absent."""
    separate = _separator(wanted.model)
    if separate is None:
        return None
    mix = voice + _scaled(band, -dice.between("voice_db", wanted.voice_db))
    there = soxr.resample(mix / max(1.0, np.abs(mix).max()), RATE, 44_100).astype(np.float32)
    found, _ = separate(np.stack([there, there]), int(dice.rng.integers(2**31)))
    back = soxr.resample(found.mean(0).astype(np.float64), 44_100, RATE)[: len(voice)]
    return np.pad(back, (0, len(voice) - len(back)))


@cache
def _separator(model: str) -> Any:
    """A function (mix (2, N) at 44.1 kHz, seed) -> (voice, rest), or None with a message."""
    from fastsag.data import separation

    try:
        return separation.build_separator(model)
    except UserError as reason:
        print(f"songs: no separated voices: {reason}", flush=True)
        return None


def holes(voice: np.ndarray, band: np.ndarray, wanted: kinds.Holes, dice: Dice) -> np.ndarray:
    """Bins where the band masks the voice are cut down."""
    sung, played = _spectrum(voice), _spectrum(_scaled(band, 0.0))
    margin = 10 ** (dice.between("margin_db", wanted.margin_db) / 20)
    masked = np.abs(sung) < margin * np.abs(played)
    floor = 10 ** (-dice.between("depth_db", wanted.depth_db) / 20)
    return _samples(np.where(masked, floor * sung, sung), len(voice))


def musical_noise(
    voice: np.ndarray, band: np.ndarray, wanted: kinds.MusicalNoise, dice: Dice
) -> np.ndarray:
    """Scraps of the band's spectrum a few frames long."""
    played = _spectrum(band)
    seeds = dice.rng.random(played.shape) < dice.between("density", wanted.density) / 4
    scraps = seeds.copy()
    for shift in range(1, 5):
        scraps[:, shift:] |= seeds[:, :-shift]
    left = _samples(np.where(scraps, played, 0), len(voice))
    return voice + _scaled(left, dice.between("level_db", wanted.level_db))


def clipping(voice: np.ndarray, band: np.ndarray, wanted: kinds.Clipping, dice: Dice) -> np.ndarray:
    """Hard or soft limits at full scale."""
    driven = voice * 10 ** (dice.between("drive_db", wanted.drive_db) / 20) / np.abs(voice).max()
    return np.clip(driven, -1, 1) if dice.rng.random() < 0.5 else np.tanh(driven)


def phone(voice: np.ndarray, band: np.ndarray, wanted: kinds.Phone, dice: Dice) -> np.ndarray:
    """The band of a telephone in eight bits of mu-law."""
    narrow = sosfiltfilt(butter(4, (300, 3_400), "band", fs=RATE, output="sos"), voice)
    low = soxr.resample(narrow, RATE, 8_000)
    peak = max(float(np.abs(low).max()), 1e-9)
    pressed = np.sign(low) * np.log1p(255 * np.abs(low) / peak) / np.log(256)
    stepped = np.round(pressed * 127) / 127
    opened = np.sign(stepped) * peak * (256 ** np.abs(stepped) - 1) / 255
    return _fitted(soxr.resample(opened, 8_000, RATE), len(voice))


def lossy(voice: np.ndarray, band: np.ndarray, wanted: kinds.Lossy, dice: Dice) -> np.ndarray:
    """There and back through MP3; the codec's delay is taken out."""
    buffer = io.BytesIO()
    scaled = voice * (0.8 / max(float(np.abs(voice).max()), 1e-9))
    soundfile.write(
        buffer, scaled, RATE, format="MP3", subtype="MPEG_LAYER_III",
        compression_level=dice.between("quality", wanted.quality),
    )  # fmt: skip
    buffer.seek(0)
    decoded = soundfile.read(buffer, dtype="float64")[0]
    return _fitted(_undelayed(decoded, voice), len(voice))


def white_noise(
    voice: np.ndarray, band: np.ndarray, wanted: kinds.WhiteNoise, dice: Dice
) -> np.ndarray:
    """The noise that FastSAG's training adds."""
    return voice + dice.between("std", wanted.std) * dice.rng.standard_normal(len(voice))


Change = Callable[[np.ndarray, np.ndarray, Any, Dice], np.ndarray | None]
CONDITIONS: dict[str, Change] = {
    "room": room,
    "microphone": microphone,
    "compressor": compressor,
    "bleed": bleed,
    "noise": noise,
    "hum": hum,
    "separated": separated,
    "holes": holes,
    "musical_noise": musical_noise,
    "clipping": clipping,
    "phone": phone,
    "lossy": lossy,
    "white_noise": white_noise,
}


def _levelled(voice: np.ndarray) -> np.ndarray:
    """Sounding parts at `_LEVEL`, peak under `_PEAK`; float32."""
    loud = np.abs(voice) > 0.05 * np.abs(voice).max()
    voice = voice * (_LEVEL / (np.sqrt(np.mean(voice[loud] ** 2)) + 1e-12))
    return (voice * min(1.0, _PEAK / np.abs(voice).max())).astype(np.float32)


def _scaled(sound: np.ndarray, level_db: float) -> np.ndarray:
    """A sound at `level_db` against the voice's level."""
    return sound * (_LEVEL * 10 ** (level_db / 20) / (np.sqrt(np.mean(sound**2)) + 1e-12))


def _spectrum(sound: np.ndarray) -> np.ndarray:
    return stft(sound, RATE, nperseg=_FRAME, noverlap=3 * _FRAME // 4)[2]


def _samples(spectrum: np.ndarray, count: int) -> np.ndarray:
    return _fitted(istft(spectrum, RATE, nperseg=_FRAME, noverlap=3 * _FRAME // 4)[1], count)


def _fitted(sound: np.ndarray, count: int) -> np.ndarray:
    """Cut or padded with silence to `count` samples."""
    return np.pad(sound[:count], (0, max(0, count - len(sound))))


def _undelayed(coded: np.ndarray, original: np.ndarray, most: int = 4_000) -> np.ndarray:
    """`coded` moved to where it correlates best with the original, by up to `most` samples."""
    correlation = fftconvolve(coded, original[::-1])
    middle = len(original) - 1
    window = correlation[middle - most : middle + most + 1]
    delay = int(np.argmax(window)) - most
    return coded[delay:] if delay >= 0 else np.concatenate([np.zeros(-delay), coded])
