"""Separation: Demucs through files of the published layout, and separators of one's own."""

import random
from pathlib import Path

import numpy as np
import pytest

from fastsag import hub
from fastsag.audio import Recording
from fastsag.data.separation import RATE, Demucs, build_separator, fingerprint, separate, stereo
from fastsag.errors import UserError
from tests.data.small_demucs import save_bag

BAG = ("f7e0c4bc", "d12395a8", "92cfc3b6", "04573f0d")


def noise(seconds: float, channels: int = 2) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (0.1 * rng.standard_normal((channels, int(seconds * RATE)))).astype(np.float32)


def cached(root: Path, name: str, **bag: object) -> None:
    """Put a bag where a download of the published weights would."""
    repo = hub.entry(name).repo.replace("/", "--")
    save_bag(root / f"models--{repo}" / "snapshots" / "abc", name, **bag)  # type: ignore[arg-type]
    (root / f"models--{repo}" / "refs").mkdir()
    (root / f"models--{repo}" / "refs" / "main").write_text("abc")


def test_demucs_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against Demucs' own separator: voice is its vocals, accompaniment the sum of the others."""
    api = pytest.importorskip("demucs.api")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    cached(tmp_path, "htdemucs")
    ours = Demucs("htdemucs")
    mix = noise(1.0)
    state = random.getstate()
    voice, band = ours(mix, seed=5)
    assert random.getstate() == state
    theirs = api.Separator.__new__(api.Separator)
    theirs._model, theirs._samplerate, theirs._audio_channels = ours.bag, RATE, 2
    theirs.update_parameter("cpu", 1, 0.25, True, None, 0, False, None, None)
    random.seed(5)
    import torch

    _, stems = theirs.separate_tensor(torch.from_numpy(mix))
    random.setstate(state)
    np.testing.assert_allclose(voice, stems["vocals"].numpy(), atol=1e-6)
    others = sum(stems[name] for name in ("drums", "bass", "other"))
    np.testing.assert_allclose(band, others.numpy(), atol=1e-6)
    assert np.array_equal(ours(mix, seed=5)[0], voice)
    assert not np.array_equal(ours(mix, seed=6)[0], voice)


@pytest.mark.slow
def test_a_bag_of_four_with_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """htdemucs_ft: each model gives the stem it was tuned for."""
    pytest.importorskip("demucs")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    cached(tmp_path, "htdemucs_ft", signatures=BAG, weights=np.eye(4).tolist())
    bag = Demucs("htdemucs_ft", shifts=0)
    mix = noise(1.0)
    alone = Demucs("htdemucs_ft", shifts=0)
    alone.bag.models, alone.bag.weights = alone.bag.models[3:], [[1.0] * 4]
    np.testing.assert_allclose(bag(mix, 0)[0], alone(mix, 0)[0], atol=1e-6)


def test_absent_weights_name_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="run: fastsag checkpoint download htdemucs_ft"):
        fingerprint("htdemucs_ft")


def test_damaged_weights_are_a_user_error(tmp_path: Path) -> None:
    pytest.importorskip("demucs")
    save_bag(tmp_path)
    before = fingerprint(str(tmp_path))
    (tmp_path / "955717e8.safetensors").write_bytes(b"not weights")
    assert fingerprint(str(tmp_path)) != before
    with pytest.raises(UserError, match="download it again"):
        build_separator(str(tmp_path))
    (tmp_path / "955717e8.safetensors").unlink()
    with pytest.raises(UserError, match="no such file"):
        build_separator(str(tmp_path / "htdemucs.yaml"))


def test_a_separator_of_ones_own() -> None:
    own = build_separator("tests.data.songs:halve")
    mono = Recording(noise(0.5, channels=1)[:, ::2], RATE // 2)
    voice, band = separate(mono, own, seed=0)
    assert voice.shape == band.shape == (2, mono.samples.shape[1] * 2)
    np.testing.assert_allclose(voice, band, atol=1e-6)
    with pytest.raises(UserError, match="separator gave"):
        separate(mono, build_separator("tests.data.songs:flat"), seed=0)


@pytest.mark.parametrize("name", ["tests.data.songs:absent", "no.such.module:x", "no-such-folder"])
def test_unknown_separators(name: str) -> None:
    with pytest.raises(UserError, match="no such separator|no separator"):
        build_separator(name)


def test_channels_become_two() -> None:
    eight = np.arange(24, dtype=np.float32).reshape(8, 3)
    assert np.array_equal(stereo(eight), np.stack([eight.mean(0)] * 2))
    assert np.array_equal(stereo(eight[:2]), eight[:2])
