"""A corpus small enough to train on within a test."""

import numpy as np
import pytest
import soundfile

from fastsag.data.shards import Record, write_shard

RATE = 24_000


def tones(seconds: float, seed: int) -> np.ndarray:
    """Notes of random pitch, a quarter second each."""
    rng = np.random.default_rng(seed)
    time = np.arange(RATE // 4) / RATE
    count = int(np.ceil(4 * seconds))
    hz = 220 * 2 ** (rng.integers(12, size=count) / 12)
    notes = [0.3 * np.sin(2 * np.pi * f * time) * np.exp(-4 * time) for f in hz]
    return np.concatenate(notes)[: int(seconds * RATE)].astype(np.float32)


def record(key: str, song: str, split: str, seed: int, seconds: float = 3.0) -> Record:
    meta = {"song": song, "split": split, "sample_rate": RATE, "offset": 0.0, "source": "test"}
    return Record(key, tones(seconds, seed), tones(seconds, seed + 100), meta)


@pytest.fixture(scope="package")
def corpus(tmp_path_factory):
    """Two shards: songs a (two bands), b, c; c validates."""
    folder = tmp_path_factory.mktemp("corpus")
    first = [record("a-0", "a", "train", 0), record("a-1", "a", "train", 1)]
    write_shard(folder / "s-0.tar", [*first, record("b-0", "b", "train", 2, 4.0)])
    write_shard(folder / "s-1.tar", [record("c-0", "c", "validation", 3)])
    return folder


@pytest.fixture(scope="package")
def voice(tmp_path_factory):
    """A stereo voice at another rate, 4.2 s."""
    path = tmp_path_factory.mktemp("voice") / "sung.wav"
    rng = np.random.default_rng(5)
    samples = 0.2 * np.sin(2 * np.pi * 330 * np.arange(int(4.2 * 16_000)) / 16_000)
    stereo = np.stack([samples, 0.5 * samples], 1) + 0.001 * rng.standard_normal((67_200, 2))
    soundfile.write(path, stereo, 16_000)
    return path
