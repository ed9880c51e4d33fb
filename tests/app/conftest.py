"""A service over a tiny untrained checkpoint, and voices that can be told apart."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

pytest.importorskip("gradio")

from fastsag import checkpoint
from fastsag import config as configuration
from fastsag.app.limits import Limits
from fastsag.app.service import Service
from fastsag.model import build

CONFIGS = Path(__file__).parents[2] / "configs"
MELODY_HZ = (220.0, 246.94, 277.18, 329.63)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of configs/debug.yaml with random weights."""
    folder = tmp_path_factory.mktemp("checkpoints") / "tiny"
    torch.manual_seed(0)
    config = configuration.load(CONFIGS / "debug.yaml")
    checkpoint.export(folder, config, build(config).state_dict(), {})
    return folder


@pytest.fixture(scope="module")
def service(tiny: Path) -> Iterator[Service]:
    """Small limits, so that a test reaches them."""
    made = Service([str(tiny)], "cpu", Limits(megabytes=2, minutes=0.2, queue=2, kept=6))
    yield made
    made.close()


def samples(seconds: float, rate: int = 22_050, channels: int = 1, hz: float = 1.0) -> np.ndarray:
    """A melody (C, N) at `hz` times its pitch."""
    time = np.arange(int(seconds * rate)) / rate
    pitch = hz * np.array(MELODY_HZ)[(time * 2).astype(int) % 4]
    tone = 0.2 * np.sin(2 * np.pi * np.cumsum(pitch) / rate) * (time * 2 % 1 < 0.9)
    return np.tile(tone.astype(np.float32), (channels, 1))


def wav(seconds: float = 1.5, rate: int = 22_050, channels: int = 1, hz: float = 1.0) -> bytes:
    """The same as a file."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples(seconds, rate, channels, hz).T, rate, format="WAV")
    return buffer.getvalue()
