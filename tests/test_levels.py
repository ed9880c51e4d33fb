"""Loudness, mixing and the published normalisations."""

import json

import numpy as np
import pyloudnorm
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastsag import levels
from tests.test_audio import noise


@pytest.mark.parametrize(("hertz", "kept"), [(5, 0.0), (12, 0.06), (60, 1.0), (1_000, 1.0)])
def test_rumble_is_taken_out_and_bass_stays(hertz, kept):
    time = np.arange(3 * 24_000) / 24_000
    tone = np.sin(2 * np.pi * hertz * time).astype(np.float32)[None]
    parts = list(levels.without_rumble(np.split(tone, [7, 10_000], axis=1), 24_000))
    left = np.concatenate(parts, axis=1)
    assert left.shape == tone.shape and left.dtype == np.float32
    assert np.abs(left[:, 24_000:]).max() == pytest.approx(kept, abs=0.03)


@pytest.mark.parametrize("rate", [24_000, 44_100, 48_000])
@pytest.mark.parametrize(("channels", "seconds"), [(1, 30.0), (2, 7.3), (5, 3.0)])
def test_loudness_is_pyloudnorms(rate, channels, seconds):
    samples = noise(channels, int(seconds * rate)) * np.linspace(0.01, 1, int(seconds * rate))
    expected = pyloudnorm.Meter(rate).integrated_loudness(samples.T.astype(np.float64))
    assert levels.loudness(samples.astype(np.float32), rate) == pytest.approx(expected, abs=0.02)


def test_loudness_of_silence_and_of_short_clips():
    assert levels.loudness(np.zeros((1, 24_000), np.float32), 24_000) == -np.inf
    assert np.isfinite(levels.loudness(noise(1, 3_000), 24_000))


@settings(max_examples=25, deadline=None)
@given(
    channels=st.integers(1, 3),
    voice=st.floats(1e-3, 3.0),
    band=st.floats(0, 3.0),
    level=st.floats(-30, 30),
)
def test_the_mix_never_clips_and_keeps_the_voice(channels, voice, band, level):
    sung, played = noise(channels, 12_000, 1, voice), noise(1, 12_000, 2, band)
    mixed = levels.mix(sung, played, 24_000, level)
    limit = 10 ** (levels.PEAK_DBFS / 20) + 1e-5
    assert np.abs(mixed.samples).max() <= limit
    assert np.abs(mixed.accompaniment).max() <= limit
    common = 10 ** (mixed.common_gain_db / 20)
    np.testing.assert_allclose(mixed.samples - mixed.accompaniment, sung * common, atol=1e-4)
    json.dumps(mixed.figures(), allow_nan=False)


@pytest.mark.parametrize("channels", [1, 2, 3, 5, 6])
def test_level_sets_the_band_against_the_voice(channels):
    voice, band = noise(channels, 96_000, 1, 0.05), noise(1, 96_000, 2, 0.01)
    mixed = levels.mix(voice, band, 24_000, -6.0)
    band_lufs = levels.loudness(np.repeat(mixed.accompaniment, channels, 0), 24_000)
    voice_lufs = levels.loudness(mixed.samples - mixed.accompaniment, 24_000)
    assert band_lufs - voice_lufs == pytest.approx(-6, abs=0.05)
    assert mixed.accompaniment_lufs == pytest.approx(band_lufs, abs=0.05)
    assert mixed.voice_lufs == pytest.approx(voice_lufs, abs=0.05)


def test_a_faint_voice_sets_the_level_of_its_band():
    mixed = levels.mix(noise(1, 96_000, 1, 1e-4), noise(1, 96_000, 2, 0.1), 24_000, -3.0)
    assert mixed.accompaniment_lufs - mixed.voice_lufs == pytest.approx(-3, abs=1e-6)
    assert mixed.voice_lufs < -70


@pytest.mark.parametrize("rate", [1_000, 2_000, 4_000])
def test_loudness_at_low_rates_is_near_the_plain_level(rate):
    assert levels.loudness(noise(1, 3 * rate), rate) == pytest.approx(-20.7, abs=2.0)
