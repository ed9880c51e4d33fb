"""The spectrogram contract."""

import numpy as np
import pytest
import torch

from fastsag.config import MelConfig
from fastsag.mel import LogMel, band_centres, denormalize, filterbank, normalize

COMPACT = MelConfig(n_fft=2048, win_length=2048, scale="low_linear")


def test_paper_mel_matches_the_published_implementation(golden):
    mel = LogMel(MelConfig())(torch.from_numpy(golden["mel_wav"])).numpy()
    # In magnitude: below about -7 in log units the last bit of the window's cosines decides, and
    # that differs between processors (float64 is as far from the stored values as float32 is).
    np.testing.assert_allclose(np.exp(mel), np.exp(golden["mel_out"]), rtol=1e-4, atol=1e-6)
    loud = golden["mel_out"] > -6
    np.testing.assert_allclose(mel[loud], golden["mel_out"][loud], atol=1e-4)


def test_normalisation_matches_and_inverts(golden):
    config = MelConfig()
    values = torch.from_numpy(golden["norm_in"])
    normalized = normalize(values, config)
    np.testing.assert_allclose(normalized.numpy(), golden["norm_out"], atol=1e-6)
    np.testing.assert_allclose(denormalize(normalized, config).numpy(), values.numpy(), atol=1e-5)


def test_without_normalisation_both_are_the_identity():
    config = MelConfig(normalize=False)
    values = torch.randn(3, 4)
    assert normalize(values, config) is values and denormalize(values, config) is values


@pytest.mark.parametrize("samples", [240_000, 24_000, 23_777, 1_024])
def test_frames_are_samples_over_hop(samples):
    assert LogMel(MelConfig())(torch.randn(1, samples)).shape == (1, 100, samples // 256)


def test_too_few_samples_name_the_minimum():
    with pytest.raises(ValueError, match="385"):
        LogMel(MelConfig())(torch.randn(1, 300))


def test_low_linear_keeps_single_bins_below_500_hz():
    filters = filterbank(COMPACT)
    centres = band_centres(COMPACT)
    low = filters[centres < 490]
    assert filters.shape == (100, 1025)
    assert len(low) >= 40 and ((low > 0).sum(1) == 1).all()
    np.testing.assert_allclose(filters.sum(1), 1)
    assert (np.diff(centres) > 0).all() and centres[-1] < 12_000


def test_low_linear_tells_neighbouring_bass_notes_apart():
    """E2 and F2, a semitone apart: the compact bands separate them, the paper's mel cannot."""

    def distance(config: MelConfig) -> float:
        time = torch.arange(24_000) / 24_000
        mels = [LogMel(config)(torch.sin(2 * np.pi * hz * time)[None]) for hz in (82.41, 87.31)]
        bands = [mel[0, :, 20:-20].mean(-1).exp() for mel in mels]
        return float(1 - torch.cosine_similarity(*bands, dim=0))

    assert distance(COMPACT) > 3 * distance(MelConfig())
