"""MERT as FADTK uses it: one hidden layer, 75 frames a second, the frames as they are.

The same network and weights as `fastsag.conditioning.encoders.mert`, other preparation: here the
whole recording is normalised and the frames are not. MERT-v1-95M is licensed CC-BY-NC-4.0
(non-commercial).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fastsag import hub
from fastsag.conditioning.encoders.mert import CONFIG, load_hubert

MODEL = "m-a-p/MERT-v1-95M"
SAMPLE_RATE = 24_000  # Hz
LONGEST = 6 * 60 * SAMPLE_RATE  # samples; FADTK leaves out what follows
SHORTEST = 400  # samples; the convolutions' receptive field


class Mert:
    """Samples (N,) at 24 kHz -> (frames, size), frames = (N - 400) // 320 + 1: 749 for 10 s.

    Args:
        hubert: transformers' `HubertModel` in evaluation mode.
        layer: whose output; 0 would be the input of the first layer.
        name: "mert" for the last layer, "mert-7" for the seventh.
    """

    sample_rate = SAMPLE_RATE

    def __init__(self, hubert: Any, layer: int, name: str) -> None:
        self.hubert = hubert.eval().requires_grad_(False)
        self.layer, self.name = layer, name
        self.size = int(hubert.config.hidden_size)

    @torch.no_grad()
    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """Samples (N,) float32 -> (frames, size) float32, of the first 6 minutes.

        Raises:
            ValueError: not one channel, or fewer than 400 samples.
        """
        if samples.ndim != 1 or len(samples) < SHORTEST:
            raise ValueError(f"samples of shape {samples.shape}: one channel of {SHORTEST} or more")
        wave = torch.from_numpy(standardize(samples[:LONGEST])).unsqueeze(0)
        states = self.hubert(wave, output_hidden_states=True).hidden_states
        return states[self.layer][0].numpy()


def standardize(samples: np.ndarray) -> np.ndarray:
    """Zero mean and unit variance over the whole recording (N,), float32.

    As transformers' `Wav2Vec2FeatureExtractor`: the population variance, plus 1e-7.
    """
    wave = samples.astype(np.float32)
    return (wave - wave.mean()) / np.sqrt(wave.var() + np.float32(1e-7))


def build(layer: int | None = None, model: str = MODEL) -> Mert:
    """The embedder with published weights; the paper's are the last layer, 4, 7 and 11.

    It is called "mert", "mert-4" and so on; other models lend it their own name.

    Args:
        layer: 1 to the last; None is the last, 12 of MERT-v1-95M.
        model: a name of `fastsag.hub`, or a folder with config.json and weights.

    Raises:
        UserError: the weights are not on this machine (the message says how to get them), do not
            fit, or there is no such layer.
        MissingExtra: transformers is not installed.
    """
    layer = _depth(model) if layer is None else layer
    hubert = load_hubert(model, layer)
    folder = Path(model).name.lower()
    base = "mert" if folder == Path(MODEL).name.lower() else folder
    return Mert(hubert, layer, base if layer == _depth(model) else f"{base}-{layer}")


def _depth(model: str) -> int:
    """How many layers a checkpoint has, 12 unless its configuration says otherwise."""
    folder = Path(model)
    path = folder / CONFIG if (folder / CONFIG).is_file() else hub.local(model, CONFIG)
    try:
        return int(json.loads(path.read_text(encoding="utf-8"))["num_hidden_layers"])
    except (OSError, ValueError, TypeError, KeyError):
        return 12  # what Hubert assumes; `load_hubert` says what is wrong with the file
