"""The melodic encoder hears the note, not the singer."""

import numpy as np
import pytest
import torch

from fastsag.conditioning.encoders.melodic import (
    CHROMA,
    ENERGY,
    ONSET,
    SIZE,
    VOICING,
    MelodicEncoder,
    last_note,
    level_gain,
)

RATE = 24_000


def sung(midi: float, seconds: float = 0.6, formants=((600, 1.0), (1100, 0.6))) -> np.ndarray:
    """A vowel: harmonics of a note under formants."""
    hz = 440 * 2 ** ((midi - 69) / 12)
    time = np.arange(int(seconds * RATE)) / RATE
    tone = np.zeros_like(time)
    for number in range(1, int(10_000 / hz)):
        gain = sum(a * np.exp(-(((number * hz - f) / 200) ** 2)) for f, a in formants)
        tone += (gain + 0.02 / number) * np.sin(2 * np.pi * number * hz * time + number)
    return tone * level_gain(tone, RATE)


def encode(samples: np.ndarray) -> np.ndarray:
    return MelodicEncoder()(torch.from_numpy(samples).float()[None])[0].numpy()


@pytest.mark.parametrize("midi", [45, 48, 52, 57, 60, 64, 69, 72, 77, 81])
def test_strongest_chroma_bin_is_the_note(midi):
    features = encode(sung(midi))
    middle = features[len(features) // 2]
    assert middle[CHROMA].argmax() == 3 * (midi % 12)
    assert middle[VOICING] > 0.9


def test_shape_and_range():
    features = encode(np.random.default_rng(0).standard_normal(RATE) * 0.1)
    assert features.shape == (RATE // 512, SIZE)
    assert features.min() >= 0 and features.max() <= 1


def test_timbre_changes_little():
    dark, bright = (
        encode(sung(60, formants=formants))
        for formants in (((350, 1.0), (800, 0.3)), ((750, 1.0), (1300, 0.9), (3000, 0.6)))
    )
    middle = len(dark) // 2
    other = encode(sung(62))[middle]
    assert np.abs(dark[middle, CHROMA] - bright[middle, CHROMA]).sum() < 1.5
    assert np.abs(dark[middle, CHROMA] - other[CHROMA]).sum() > 1.5


def test_noise_and_silence_are_unvoiced():
    noise = 0.1 * np.random.default_rng(0).standard_normal(RATE)
    assert np.median(encode(noise)[:, VOICING]) < 0.1
    assert encode(np.zeros(RATE))[:, [ENERGY, ONSET, VOICING]].max() < 0.01


def test_a_note_after_silence_is_an_onset_at_its_time():
    samples = np.concatenate([np.zeros(RATE // 2), sung(60)])
    onset = encode(samples)[:, ONSET]
    assert abs(onset.argmax() * 512 / RATE - 0.5) < 0.05
    assert onset.max() > 0.5


def test_level_gain_makes_level_irrelevant():
    samples = sung(60)
    loud, soft = (encode(s * level_gain(s, RATE)) for s in (samples, 0.01 * samples))
    np.testing.assert_allclose(loud, soft, atol=1e-3)


def test_the_last_note_is_where_singing_ends():
    quiet = 1e-3 * np.random.default_rng(0).standard_normal(3 * RATE)
    breath = quiet[: RATE // 20]
    voice = np.concatenate([sung(60), quiet[:RATE], sung(62), sung(64), breath, sung(64), quiet])
    features = torch.from_numpy(encode(voice))
    rate = RATE / MelodicEncoder().hop_length
    assert last_note(features, rate) == pytest.approx((2.2, 3.45), abs=0.1)  # breath is no rest
    assert last_note(torch.from_numpy(encode(quiet)), rate) is None
