"""mel_fd is the Fréchet distance of its definition; leak finds copies; activity counts sound."""

import json

import numpy as np
import pytest

pytest.importorskip("librosa")

from fastsag.errors import UserError
from fastsag.evaluation import texture
from fastsag.evaluation.chroma import SAMPLE_RATE as RATE
from fastsag.evaluation.frechet import Statistics, frechet_distance
from tests.evaluation.test_sound import music


def test_mel_fd_is_the_distance_of_diagonal_gaussians():
    bank = texture.make_bank([music(1), music(2), music(3)])
    band = music(4)
    values = (texture.patches(band) - bank.mean) / bank.deviation
    size = values.shape[1]
    assert values.shape == (12, 96)
    count = 1000  # so that scatter / (count - 1) is the variance

    def gaussian(mean, deviation):
        return Statistics(count, mean, np.diag(np.square(deviation)) * (count - 1))

    expected = frechet_distance(
        gaussian(values.mean(0), values.std(0)), gaussian(np.zeros(size), np.ones(size))
    )
    assert texture.mel_fd(band, bank) == pytest.approx(expected / size, rel=1e-6)


def test_mel_fd_knows_its_own_kind_at_any_level():
    bank = texture.make_bank(music(seed) for seed in range(6))
    time = np.arange(6 * RATE) / RATE
    own = texture.mel_fd(music(9), bank)
    drone = texture.mel_fd(np.sin(2 * np.pi * 110 * time), bank)
    noise = texture.mel_fd(np.random.default_rng(0).standard_normal(6 * RATE), bank)
    assert own < 0.5 < min(drone, noise, texture.mel_fd(np.zeros(6 * RATE), bank))
    assert texture.mel_fd(0.01 * music(9), bank) == pytest.approx(own, abs=0.02)
    with pytest.raises(ValueError, match="at least 0.5 s"):
        texture.patches(np.ones(RATE // 3))


def test_banks_are_kept_and_checked(tmp_path):
    bank = texture.make_bank([music(1)])
    path = tmp_path / "bank.json"
    texture.write_bank(bank, path, "one band")
    again = texture.read_bank(path)
    np.testing.assert_allclose(again.mean, bank.mean, atol=1e-4)
    assert json.loads(path.read_text())["note"] == "one band"
    assert texture.read_bank().mean.shape == (96,)
    with pytest.raises(UserError, match="no bands"):
        texture.make_bank([])
    for name, text in (("a", "{}"), ("b", '{"mean": [1], "deviation": [1]}')):
        (tmp_path / name).write_text(text)
        with pytest.raises(UserError, match=name):
            texture.read_bank(tmp_path / name)


def test_leak_finds_a_late_copy_and_nothing_else():
    voice = music(5)
    late = np.concatenate([np.zeros(RATE // 10), voice])[: len(voice)]
    assert texture.leak(late, voice) > 0.8
    assert texture.leak(music(6), voice) < 0.4
    assert texture.leak(np.zeros(len(voice)), voice) == 0


def test_activity_is_the_share_that_sounds():
    half = np.concatenate([music(0), np.zeros(6 * RATE)])
    assert texture.activity(half) == pytest.approx(0.5, abs=0.02)
    assert texture.activity(np.zeros(RATE)) == 0
