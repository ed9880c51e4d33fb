"""MERT as the paper's semantic encoder: transformers' Hubert, one hidden layer, normalised frames.

The weights are not ours: MERT-v1-95M and -330M are licensed CC-BY-NC-4.0 (non-commercial). They are
read from a folder or from the Hugging Face cache, never from the network.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from fastsag import hub, published
from fastsag.conditioning.encoders.contract import SemanticEncoder
from fastsag.errors import UserError, require
from fastsag.levels import min_max_level
from fastsag.spool import Array

CONFIG, WEIGHTS = "config.json", ("model.safetensors", "pytorch_model.bin")
_UNUSED = "masked_spec_embed"  # embedding of masked frames: pretraining alone


class MertEncoder(SemanticEncoder):
    """Waveform (B, N) at 24 kHz -> (B, S, D), 75 frames a second, frozen.

    N is cut to a multiple of the hop; the valid convolutions give S = N // hop - 1. All recordings
    of a batch have equal length: there is no attention mask.

    Args:
        model: folder with config.json and weights in Hubert's layout, or a name of `fastsag.hub`.
        layer: which transformer layer's output; later layers are dropped, they are never needed.
        hop_length: samples a frame.
        wave: "min_max" scales a recording as the authors' code does, "plain" leaves it.

    Raises:
        UserError: the weights are not on this machine (the message says how to get them), or do
            not fit their configuration.
    """

    sample_rate = 24_000
    lost = 1  # convolutions without padding
    piece = 750  # 10 s, as in training; batches have equal lengths: there is no attention mask
    fixed = True
    bf16 = True

    def __init__(
        self,
        model: str,
        layer: int,
        hop_length: int = 320,
        wave: Literal["plain", "min_max"] = "plain",
    ) -> None:
        super().__init__()
        self.hubert = load_hubert(model, layer).eval().requires_grad_(False)
        self.layer, self.hop_length = layer, hop_length
        self.size = int(self.hubert.config.hidden_size)
        self.wave = wave

    def level(self, samples: Array) -> tuple[float, float]:
        """What scales samples (1, N) to -0.8..0.8, or leaves them."""
        return min_max_level(samples) if self.wave == "min_max" else (1.0, 0.0)

    @torch.no_grad()
    def forward(self, wave: Tensor) -> Tensor:
        wave = wave[:, : wave.shape[1] // self.hop_length * self.hop_length]
        states = self.hubert(wave, output_hidden_states=True).hidden_states
        return normalize_frames(states[self.layer].float())


def load_hubert(model: str, layer: int) -> Any:
    """transformers' `HubertModel` with the first `layer` transformer layers of a checkpoint.

    Its `hidden_states[layer]` is that of the whole model. Every tensor of the checkpoint is
    accounted for by name and shape, those of the dropped layers too.

    Raises:
        UserError: as `MertEncoder`; or there is no such layer.
        MissingExtra: transformers is not installed.
    """
    transformers = require("transformers", extra="mert")
    folder = Path(model) if (Path(model) / CONFIG).is_file() else hub.local(model, CONFIG).parent
    values = _configuration(folder / CONFIG)
    with torch.device("meta"):
        hubert = transformers.HubertModel(transformers.HubertConfig(**values))
    depth = len(hubert.encoder.layers)
    if not 1 <= layer <= depth:
        raise UserError(f"{model}: encoder.layer {layer}: choose one of its layers 1 to {depth}")
    state = _weights(hubert, _weights_file(model, folder))
    hubert.encoder.layers = hubert.encoder.layers[:layer]
    if layer < depth and values.get("do_stable_layer_norm"):
        hubert.encoder.layer_norm = nn.Identity()  # belongs to the last layer's output
    hubert.to_empty(device="cpu")
    hubert.load_state_dict({name: state[name] for name in hubert.state_dict()})
    return hubert


def _configuration(path: Path) -> dict[str, Any]:
    """Arguments of a `HubertConfig`; MERT's own model_type would only make transformers warn."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); download it again") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: not the configuration of a Hubert model; download it again")
    about = {"model_type", "architectures", "auto_map", "transformers_version", "torch_dtype"}
    unmasked = {"mask_time_prob": 0.0, "mask_feature_prob": 0.0}
    return {key: value for key, value in values.items() if key not in about} | unmasked


def _weights_file(model: str, folder: Path) -> Path:
    for name in WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    if folder == Path(model):
        raise UserError(f"{folder}: holds no weights; expected {' or '.join(WEIGHTS)}")
    return hub.local(model, WEIGHTS[-1])


def _weights(hubert: nn.Module, path: Path) -> dict[str, Tensor]:
    """The tensors of a file by the names of `hubert`, whichever way weight norm is spelled."""
    found = {published.plain_name(name): part for name, part in published.tensors(path).items()}
    found.pop(_UNUSED, None)
    names = {published.plain_name(name): name for name in hubert.state_dict()}
    shapes = published.shapes(hubert.state_dict())
    expected = {plain: shapes[name] for plain, name in names.items()}
    wrong = published.misfits(published.shapes(found), expected)
    if wrong:
        raise UserError(f"{path}: does not fit the {CONFIG} beside it: {'; '.join(wrong)}")
    return {names[plain]: tensor for plain, tensor in found.items()}


def normalize_frames(features: Tensor) -> Tensor:
    """Zero mean and unit variance over the features of each frame (B, S, D)."""
    centred = features - features.mean(-1, keepdim=True)
    return centred / torch.sqrt(centred.var(-1, keepdim=True) + 1e-7)
