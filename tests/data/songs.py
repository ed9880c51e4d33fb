"""Short songs of sines for tests of the preparation."""

import os
import signal
from pathlib import Path

import numpy as np
import soundfile

RATE = 44_100


def tone(hz: float, seconds: float, level: float = 0.3, rate: int = RATE) -> np.ndarray:
    """A sine (N,) whose RMS is level / sqrt(2)."""
    return (level * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate)) / rate)).astype("f4")


def write(path: Path, samples: np.ndarray, rate: int = RATE) -> Path:
    """Write (N,) or (N, C) as the file's name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate)
    return path


def stems(folder: Path, hz: float, seconds: float = 3.2, level: float = 0.3) -> Path:
    """SONG/vocals.wav and SONG/accompaniment.flac."""
    write(folder / "vocals.wav", tone(hz, seconds, level))
    write(folder / "accompaniment.flac", tone(hz / 4, seconds, level))
    return folder


def corpus(folder: Path, count: int = 6) -> Path:
    """Songs with given stems, no two alike."""
    for index in range(count):
        stems(folder / f"song{index}", 300 + 20 * index, 2.1 + index % 3)
    return folder


def halve(mix: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A separator for tests: two unequal shares of the mix; the seed shows in the voice."""
    voice = (0.5 + 0.1 * (seed % 3)) * mix
    return voice.astype("f4"), (mix - voice).astype("f4")


def deadly(mix: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """As `halve`, but a loud mix kills its process."""
    if np.abs(mix).max() > 0.8:
        os.kill(os.getpid(), signal.SIGKILL)
    return halve(mix, seed)


def flat(mix: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Not a separator: it loses a channel."""
    return mix[0], mix[0]
