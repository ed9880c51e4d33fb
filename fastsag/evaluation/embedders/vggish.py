"""VGGish as FADTK uses it: 128 numbers for each 0.96 s, before the last activation.

Network: Hershey et al., "CNN Architectures for Large-Scale Audio Classification" (ICASSP 2017), in
the layout of harritaylor/torchvggish. Front end: AudioSet's. No PCA, no quantisation. Nothing is
downloaded: the weights file is read from this machine.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from fastsag import published
from fastsag.errors import UserError

WEIGHTS = "vggish-10086976.pth"
RELEASE = f"https://github.com/harritaylor/torchvggish/releases/download/v0.1/{WEIGHTS}"
VARIABLE = "FASTSAG_VGGISH"  # environment: path of the weights file

SAMPLE_RATE = 16_000  # Hz
WINDOW = 400  # samples, 25 ms
HOP = 160  # samples, 10 ms
N_FFT = 512
BANDS = 64
BAND_HZ = (125.0, 7_500.0)
LOG_OFFSET = 0.01  # added to magnitudes
PATCH = 96  # frames, 0.96 s; patches do not overlap
SHORTEST = SAMPLE_RATE  # samples; what is shorter is padded with zeros
SIZE = 128

_BATCH = 32  # patches at once: 50 MB at the first layer
_LAYERS = (64, "M", 128, "M", 256, 256, "M", 512, 512, "M")  # channels of a 3x3; M halves


class Network(nn.Module):
    """Log mel patches (B, 1, 96, 64) -> (B, 128); tensors named as in the published file.

    The published network ends in a ReLU, which FADTK removes and which is absent here.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 1
        for kind in _LAYERS:
            if isinstance(kind, int):
                layers += [nn.Conv2d(channels, kind, 3, padding=1), nn.ReLU()]
                channels = kind
            else:
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.embeddings = nn.Sequential(
            nn.Linear(channels * 6 * 4, 4096),
            nn.ReLU(),
            nn.Linear(4096, 4096),
            nn.ReLU(),
            nn.Linear(4096, SIZE),
        )

    def forward(self, patches: Tensor) -> Tensor:
        features = self.features(patches).permute(0, 2, 3, 1)  # time, band, channel
        return self.embeddings(features.flatten(1))


class Vggish:
    """Samples (N,) at 16 kHz -> (frames, 128), one frame for each whole 0.96 s; see `patches`.

    Args:
        network: in evaluation mode.
    """

    name = "vggish"
    sample_rate = SAMPLE_RATE
    size = SIZE

    def __init__(self, network: Network) -> None:
        self.network = network.eval().requires_grad_(False)

    @torch.no_grad()
    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """Samples (N,) float32 in -1..1 -> (frames, 128) float32; 10 frames for 10 s.

        Raises:
            ValueError: not one channel.
        """
        batches = torch.from_numpy(patches(samples)).unsqueeze(1).split(_BATCH)
        return torch.cat([self.network(batch) for batch in batches]).numpy()


def patches(samples: np.ndarray) -> np.ndarray:
    """Samples (N,) at 16 kHz -> log mel patches (B, 96, 64) float32.

    AudioSet's front end: periodic Hann window, magnitudes, no padding at the edges but zeros up to
    1 s; what does not fill a patch is left out. 10 s are 998 frames and 10 patches.

    Raises:
        ValueError: not one channel.
    """
    if samples.ndim != 1:
        raise ValueError(f"samples of shape {samples.shape}: one channel (N,) is expected")
    wave = np.pad(samples.astype(np.float64), (0, max(0, SHORTEST - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(wave, WINDOW)[::HOP]
    frames = frames[: len(frames) // PATCH * PATCH]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    magnitude = np.abs(np.fft.rfft(frames * window, N_FFT))
    log_mel = np.log(magnitude @ mel_filters().T + LOG_OFFSET)
    return log_mel.reshape(-1, PATCH, BANDS).astype(np.float32)


def mel_filters() -> np.ndarray:
    """Triangles (64, 257) whose sides are straight on the HTK mel scale, not in Hz; peak 1.

    The constant component (bin 0) belongs to no band.
    """
    bins = hz_to_mel(np.linspace(0, SAMPLE_RATE / 2, N_FFT // 2 + 1))
    low, high = hz_to_mel(np.array(BAND_HZ))
    edges = np.linspace(low, high, BANDS + 2)
    rising = (bins - edges[:-2, None]) / (edges[1] - edges[0])
    falling = (edges[2:, None] - bins) / (edges[1] - edges[0])
    filters = np.maximum(0.0, np.minimum(rising, falling))
    filters[:, 0] = 0.0
    return filters


def hz_to_mel(hz: np.ndarray) -> np.ndarray:
    """Hz -> mel on HTK's scale."""
    return 1127.0 * np.log1p(hz / 700.0)


def build(path: Path | None = None) -> Vggish:
    """The embedder with the published weights.

    Args:
        path: the weights file; otherwise the environment's FASTSAG_VGGISH names it, otherwise it is
            looked for in torch's cache, where FADTK puts it.

    Raises:
        UserError: it is not on this machine (the message says what to get, and where to put it),
            cannot be read, or is not VGGish.
    """
    file = weights_file(path)
    with torch.device("meta"):
        network = Network()
    state = published.tensors(file)
    wrong = published.misfits(published.shapes(state), published.shapes(network.state_dict()))
    if wrong:
        raise UserError(f"{file}: not VGGish's weights: {'; '.join(wrong)}")
    network.load_state_dict({name: part.float() for name, part in state.items()}, assign=True)
    return Vggish(network)


def weights_file(path: Path | None = None) -> Path:
    """Where the weights lie: `path`, else FASTSAG_VGGISH, else torch's cache.

    Raises:
        UserError: as `build`, if there is no such file.
    """
    named = path or os.environ.get(VARIABLE)
    cached = Path(torch.hub.get_dir()) / "checkpoints" / WEIGHTS
    file = Path(named).expanduser() if named else cached
    if file.is_file():
        return file
    raise UserError(
        f"{file}: VGGish's weights (about 289 MB, licence Apache-2.0) are not there; run: "
        f"curl -L --create-dirs -o {cached} {RELEASE} (or set {VARIABLE} to their path)"
    )
