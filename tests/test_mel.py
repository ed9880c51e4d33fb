"""The spectrogram contract."""

import numpy as np
import pytest
import torch

from fastsag.config import MelConfig
from fastsag.mel import LogMel, band_centres, denormalize, filterbank, normalize

COMPACT = MelConfig(n_fft=2048, win_length=2048, scale="low_linear")


def test_normalisation_maps_its_range_to_one_and_inverts():
    config = MelConfig()
    values = torch.tensor([-12.0, -5.0, 2.0, 4.0])
    normalized = normalize(values, config)
    torch.testing.assert_close(normalized, torch.tensor([-1.0, 0.0, 1.0, 2 / 7 + 1]))
    torch.testing.assert_close(denormalize(normalized, config), values)


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
