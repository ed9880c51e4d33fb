"""FAD grows with noise, low-pass and shuffling, by every embedder.

The published weights cannot be had here: networks have random ones, small where they may.
"""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from fastsag.evaluation.embedders import clap, mert, vggish
from fastsag.evaluation.embedders.offline import Offline
from fastsag.evaluation.fad import resample
from fastsag.evaluation.frechet import frechet_distance, statistics
from tests.conditioning.test_mert import tiny
from tests.evaluation.test_embedders import SMALL, drawn

RATE = 16_000
FILES, SECONDS = 3, 3


def music(seed: int) -> np.ndarray:
    """Plucked chords on a walking bass with a click on each."""
    rng = np.random.default_rng(seed)
    time = np.arange(RATE // 4) / RATE
    notes = []
    for _ in range(4 * SECONDS):
        hz = 110 * 2 ** ((rng.integers(12) + np.array([0, 12, 16, 19])) / 12)
        note = sum(np.sin(2 * np.pi * k * hz[:, None] * time) / k for k in range(1, 8)).sum(0)
        note[:40] += rng.standard_normal(40)
        notes.append(note * np.exp(-8 * time))
    return (0.1 * np.concatenate(notes)).astype(np.float32)


def noise(level: float) -> Callable:
    return lambda x, rng: x + level * rng.standard_normal(len(x))


def low_pass(width: int) -> Callable:
    window = np.hanning(width) / np.hanning(width).sum()
    return lambda x, rng: np.convolve(x, window, "same")


def shuffle(milliseconds: int) -> Callable:
    """Pieces of that length in a random order."""

    def spoil(x, rng):
        size = RATE * milliseconds // 1000
        return rng.permutation(x[: len(x) // size * size].reshape(-1, size)).ravel()

    return spoil


DAMAGE = {
    "noise": [noise(0.001), noise(0.004), noise(0.02)],
    "low-pass": [low_pass(9), low_pass(33), low_pass(129)],
    "shuffling": [shuffle(100), shuffle(20), shuffle(4)],
}


def vggish_network() -> vggish.Vggish:
    """All convolutions, with narrower layers after them."""
    torch.manual_seed(0)
    with torch.device("meta"):
        network = vggish.Network()
    network.embeddings = torch.nn.Sequential(
        torch.nn.Linear(12_288, 64), torch.nn.ReLU(), torch.nn.Linear(64, 128)
    )
    network.to_empty(device="cpu")
    for parameter in network.parameters():
        fan_in = parameter[0].numel() if parameter.dim() > 1 else 1
        parameter.data = torch.randn(parameter.shape) * (2 / fan_in) ** 0.5 * (parameter.dim() > 1)
    return vggish.Vggish(network)


def mert_network(folder) -> mert.Mert:
    pytest.importorskip("transformers")
    tiny(folder)
    return mert.build(2, str(folder))


def clap_network() -> clap.Clap:
    transformers = pytest.importorskip("transformers")
    network = transformers.ClapAudioModelWithProjection(transformers.ClapAudioConfig(**SMALL))
    state = network.state_dict()
    floats = {
        name: drawn(name, tuple(part.shape))
        for name, part in state.items()
        if part.is_floating_point()
    }
    network.load_state_dict(state | floats)
    return clap.Clap(network, "clap")


@pytest.fixture(scope="module", params=["offline-v1", "vggish", "mert", "clap"])
def embedder(request, tmp_path_factory):
    if request.param == "mert":
        return mert_network(tmp_path_factory.mktemp("order") / "MERT")
    return {"offline-v1": Offline, "vggish": vggish_network, "clap": clap_network}[request.param]()


@pytest.mark.slow
def test_fad_grows_with_damage(embedder):
    rng = np.random.default_rng(0)
    whole = [music(seed) for seed in range(FILES)]

    def heard(files):
        waves = (resample(x.astype(np.float32), RATE, embedder.sample_rate) for x in files)
        return statistics(np.concatenate([embedder(wave) for wave in waves]))

    true = heard(whole)
    assert frechet_distance(true, true) == pytest.approx(0, abs=1e-4 * np.trace(true.covariance))
    for name, levels in DAMAGE.items():
        scores = [frechet_distance(true, heard([spoil(x, rng) for x in whole])) for spoil in levels]
        assert 0 < scores[0] < scores[1] < scores[2], (embedder.name, name, scores)
