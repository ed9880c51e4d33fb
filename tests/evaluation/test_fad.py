"""FAD of folders with the offline embedder: preparation, cache, damage, command."""

import json

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from fastsag.cli.main import app
from fastsag.errors import UserError
from fastsag.evaluation import fad
from fastsag.evaluation.embedders import BUILDERS, build
from fastsag.evaluation.embedders.offline import Offline
from fastsag.evaluation.sets import audio_files

RATE = 24_000


@pytest.mark.parametrize(
    ("rate", "new_rate"), [(44_100, 24_000), (24_000, 16_000), (8_000, 48_000)]
)
def test_resampling_keeps_sines_and_removes_what_does_not_fit(rate, new_rate):
    time, new_time = np.arange(rate) / rate, np.arange(new_rate) / new_rate
    inside = slice(new_rate // 10, -new_rate // 10)
    low = fad.resample(np.sin(2 * np.pi * 1_000 * time).astype(np.float32), rate, new_rate)
    assert len(low) == new_rate
    np.testing.assert_allclose(low[inside], np.sin(2 * np.pi * 1_000 * new_time)[inside], atol=1e-3)
    if rate > new_rate:
        high = np.sin(2 * np.pi * 0.53 * new_rate * time).astype(np.float32)
        assert np.abs(fad.resample(high, rate, new_rate)[inside]).max() < 1e-3


def music(seed: int, seconds: float = 8.0) -> np.ndarray:
    """Plucked triads, four a second."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(RATE / 4)) / RATE
    notes = []
    for _ in range(int(seconds * 4)):
        hz = 220 * 2 ** ((rng.integers(12) + np.array([0, 4, 7])) / 12)
        partials = sum(np.sin(2 * np.pi * k * hz[:, None] * time) / k for k in range(1, 6))
        notes.append(partials.sum(0) * np.exp(-6 * time))
    return (0.1 * np.concatenate(notes)).astype(np.float32)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """True music, other music, and the same spoiled more and more."""
    root = tmp_path_factory.mktemp("fad")
    rng = np.random.default_rng(0)

    def folder(name, spoil, first=0):
        (root / name).mkdir()
        for index in range(6):
            soundfile.write(root / name / f"{index}.wav", spoil(music(first + index)), RATE)

    def low_pass(width):
        return lambda x: np.convolve(x, np.hanning(width) / np.hanning(width).sum(), "same")

    folder("true", lambda x: x)
    folder("other", lambda x: x, first=100)
    for level in (0.003, 0.01, 0.1):
        folder(f"noise{level}", lambda x, level=level: x + level * rng.standard_normal(len(x)))
    for width in (9, 33, 129):
        folder(f"low{width}", low_pass(width))
    return root


def test_offline_fad_grows_with_damage(folders, tmp_path):
    embedder = Offline()

    def score(name):
        return fad.fad(folders / "true", folders / name, embedder, cache=tmp_path)["fad"]

    assert score("true") == pytest.approx(0, abs=1e-3)
    assert 0 < score("other") < score("noise0.003") < score("noise0.01") < score("noise0.1")
    assert score("other") < score("low9") < score("low33") < score("low129")


def test_embeddings_are_computed_once(folders, tmp_path, monkeypatch):
    embedder = Offline()
    path = folders / "true" / "0.wav"
    first = fad.embeddings(path, embedder, tmp_path)
    assert first.dtype == np.float16 and first.shape == (8, embedder.size)
    monkeypatch.setattr(fad, "prepared", None)
    assert np.array_equal(fad.embeddings(path, embedder, tmp_path), first)


def test_the_command(folders, tmp_path):
    out = tmp_path / "scores.json"
    words = ["evaluate", "fad", folders / "true", folders / "other", folders / "noise0.1"]
    options = ["--per-song", "-o", out, "--cache", tmp_path / "cache"]
    run = CliRunner().invoke(app, [str(word) for word in [*words, *options]])
    assert run.exit_code == 0, run.output
    assert "| other | offline-v1 |" in run.output
    records = json.loads(out.read_text())
    assert [record["system"] for record in records] == ["other", "noise0.1"]
    assert set(records[0]["songs"]) == {f"{index}.wav" for index in range(6)}


def test_faults_are_named(folders, tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        audio_files(tmp_path / "absent")
    with pytest.raises(UserError, match="no audio file"):
        audio_files(tmp_path)
    (tmp_path / "bad.wav").write_text("nonsense")
    with pytest.raises(UserError, match=r"bad\.wav"):
        fad.fad(folders / "true", tmp_path, Offline(), cache=tmp_path / "cache")
    with pytest.raises(UserError, match="nonesuch: unknown embedder; choose one of offline-v1"):
        build("nonesuch")
    assert "mert-7" in BUILDERS
