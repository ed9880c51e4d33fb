"""Sound measures move with what they are named after, more the worse it is, and at no level."""

import numpy as np
import pytest

pytest.importorskip("librosa")

from fastsag.config import MelConfig
from fastsag.evaluation import sound
from fastsag.evaluation.chroma import SAMPLE_RATE as RATE
from fastsag.mel import LogMel
from fastsag.vocoder.griffin_lim import GriffinLim

SECONDS = 6


def music(seed: int = 0) -> np.ndarray:
    """Plucked chords of six partials every quarter second, each note with a click."""
    rng = np.random.default_rng(seed)
    out = np.zeros((SECONDS + 2) * RATE)
    time = np.arange(RATE) / RATE
    for start in np.arange(0, SECONDS, 0.25):
        for step in rng.choice(24, 3, replace=False):
            hz = 110 * 2 ** (step / 12)
            note = sum(np.sin(2 * np.pi * k * hz * time) / k for k in range(1, 7))
            at = int(start * RATE)
            out[at : at + RATE] += note * np.exp(-5 * time)
        out[at : at + 100] += rng.standard_normal(100)
    return 0.1 * out[: SECONDS * RATE]


def scrambled(samples: np.ndarray, amount: float) -> np.ndarray:
    """Random phases, a share of a turn."""
    import librosa

    spectrum = librosa.stft(samples)
    turn = np.random.default_rng(1).uniform(-np.pi, np.pi, spectrum.shape)
    return librosa.istft(spectrum * np.exp(1j * amount * turn), length=len(samples))


def through_mel(samples: np.ndarray, iterations: int) -> np.ndarray:
    """Griffin-Lim of the paper's 100 mel bands, whose phases and fine pitches are guesses."""
    import torch

    mel = MelConfig(sample_rate=RATE, f_max=RATE / 2)
    wave = torch.from_numpy(samples.astype(np.float32))[None]
    with torch.no_grad():
        return GriffinLim(mel, iterations)(LogMel(mel)(wave))[0].numpy()


def jittered(samples: np.ndarray, spread_db: float) -> np.ndarray:
    """A random gain every 23 ms."""
    gain = np.random.default_rng(2).normal(0, spread_db, len(samples) // 512 + 2)
    smooth = np.interp(np.arange(len(samples)) / 512, np.arange(len(gain)), gain)
    return samples * 10 ** (smooth / 20)


def smeared(samples: np.ndarray, milliseconds: float) -> np.ndarray:
    """Short-time power blurred in time, band by band; the phases stay."""
    import librosa
    from scipy.ndimage import convolve1d

    spectrum = librosa.stft(samples, n_fft=512, hop_length=128)
    power = np.abs(spectrum) ** 2
    window = np.hanning(int(milliseconds * RATE / 128_000) + 2)
    blurred = convolve1d(power, window / window.sum(), axis=1, mode="constant")
    gain = np.sqrt(blurred / np.maximum(power, 1e-10)).clip(max=30)
    return librosa.istft(spectrum * gain, hop_length=128, length=len(samples))


def noisy(samples: np.ndarray, level_db: float) -> np.ndarray:
    """White noise so much under the music."""
    noise = np.random.default_rng(3).standard_normal(len(samples))
    return samples + noise * np.sqrt(np.mean(samples**2)) * 10 ** (level_db / 20)


@pytest.mark.parametrize(
    ("measure", "spoil", "amounts"),
    [
        (sound.steadiness, scrambled, (0.05, 0.1, 0.2)),
        (sound.steadiness, jittered, (1, 3, 6)),
        (sound.attack, scrambled, (0.25, 0.5, 1.0)),
        (sound.attack, smeared, (25, 50, 100)),
        (sound.tonality_db, scrambled, (0.25, 0.5, 1.0)),
        (sound.tonality_db, noisy, (-30, -20, -10)),
    ],
)
def test_the_worse_the_damage_the_lower_the_measure(measure, spoil, amounts):
    whole = music()
    values = [measure(whole), *(measure(spoil(whole, amount)) for amount in amounts)]
    assert values == sorted(values, reverse=True) and len(set(values)) == len(values)


@pytest.mark.parametrize("measure", [sound.steadiness, sound.attack, sound.tonality_db])
def test_griffin_lim_of_a_mel_is_heard(measure):
    whole = music()
    assert measure(through_mel(whole, 4)) < measure(whole)


def test_ends_of_the_scales():
    time = np.arange(5 * RATE) / RATE
    tone = np.sin(2 * np.pi * 440 * time)
    noise = np.random.default_rng(0).standard_normal(20 * RATE)
    clicks = np.zeros(5 * RATE)
    clicks[:: RATE // 2] = 1.0
    assert sound.steadiness(tone) > 0.98
    assert sound.steadiness(noise) == pytest.approx(0, abs=0.02)  # what NOISE_WOBBLE_DB is
    assert sound.attack(clicks) > 0.9
    assert sound.attack(noise) < 0.42
    assert sound.tonality_db(tone) > 25
    assert sound.tonality_db(noise) == sound.LEAST_TONALITY_DB


def test_level_does_not_matter_and_silence_is_the_worst():
    whole = music()
    loud, faint = sound.scores(whole), sound.scores(0.01 * whole)
    assert faint == pytest.approx(loud, abs=1e-3)
    worst = {"steadiness": 0.0, "attack": 0.0, "tonality_db": sound.LEAST_TONALITY_DB}
    assert sound.scores(np.zeros(RATE)) == worst
    assert sound.scores(np.zeros(10)) == worst
    assert sound.gap(loud, loud) == 0 < sound.gap(loud, sound.scores(scrambled(whole, 1.0)))
