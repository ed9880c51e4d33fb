"""LAION's CLAP for music as FADTK uses it: 512 numbers of unit length for 10 s from each second.

Two embedders whose scores are not comparable:

- `clap`: the original checkpoint `music_audioset_epoch_15_esc_90.14.pt`, the paper's CLAP-MUSIC;
- `clap-larger`: `laion/larger_clap_music`, a later model in transformers' layout. What it was
  trained on is not stated; others saw that it embeds differently.

Both run in transformers' HTSAT (Chen et al., ICASSP 2022). The original's tensors are renamed on
reading. With the same random weights laion_clap 1.1.7 and this file gave the same embeddings (to
5e-8 at HTSAT-base's full size); with the published weights that was not tried.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fastsag import hub, published
from fastsag.config import MelConfig
from fastsag.errors import UserError, require
from fastsag.mel import filterbank

SAMPLE_RATE = 48_000  # Hz
WINDOW = 10 * SAMPLE_RATE  # samples embedded at once
HOP = SAMPLE_RATE  # samples from one window's start to the next
FULL_SCALE = 32_767  # of the 16-bit quantisation
SIZE = 512

N_FFT, MEL_HOP, BANDS = 1024, 480, 64
BAND_HZ = (50.0, 14_000.0)
POWER_FLOOR = 1e-10  # under which the logarithm is clamped

LARGER, ORIGINAL = "laion/larger_clap_music", "lukewys/laion_clap"
CHECKPOINT = "music_audioset_epoch_15_esc_90.14.pt"
CONFIG, WEIGHTS = "config.json", ("model.safetensors", "pytorch_model.bin")
HTSAT_BASE: dict[str, Any] = {
    "depths": [2, 2, 12, 2],
    "num_attention_heads": [4, 8, 16, 32],
    "hidden_size": 1024,
    "patch_embeds_hidden_size": 128,
    "projection_dim": SIZE,
}

# laion_clap's name of a tensor -> transformers', tried in turn.
_RENAMED = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"^audio_branch\.", "audio_model.audio_encoder."),
        (r"^audio_projection\.0\.", "audio_projection.linear1."),
        (r"^audio_projection\.2\.", "audio_projection.linear2."),
        (r"\.bn0\.", ".batch_norm."),
        (r"\.norm1\.", ".layernorm_before."),
        (r"\.norm2\.", ".layernorm_after."),
        (r"\.attn\.proj\.", ".attention.output.dense."),
        (r"\.attn\.", ".attention.self."),
        (r"\.mlp\.fc1\.", ".intermediate.dense."),
        (r"\.mlp\.fc2\.", ".output.dense."),
    )
)
# Of the audio network, but no part of the embedding: the front end's own tables, masks that follow
# from the sizes, and the classifier.
_UNUSED = re.compile(
    r"\.(spectrogram_extractor|logmel_extractor|tscam_conv|head)\.|\.attn_mask$|"
    r"\.relative_position_index$|\.num_batches_tracked$"
)
_AUDIO = ("audio_model.", "audio_projection.")


class Clap:
    """Samples (N,) at 48 kHz -> (frames, 512) of unit length, one frame a second; see `windows`.

    Args:
        network: transformers' `ClapAudioModelWithProjection` in evaluation mode.
        name: "clap" or "clap-larger".
    """

    sample_rate = SAMPLE_RATE

    def __init__(self, network: Any, name: str) -> None:
        self.network = network.eval().requires_grad_(False)
        self.name = name
        self.size = int(network.config.projection_dim)

    @torch.no_grad()
    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """Samples (N,) float32 in -1..1 -> (ceil(N / 48,000), 512) float32; 10 frames for 10 s.

        Raises:
            ValueError: not one channel, or no samples.
        """
        frames = [
            self.network(input_features=log_mel(torch.from_numpy(window))[None, None]).audio_embeds
            for window in windows(samples)
        ]
        return F.normalize(torch.cat(frames), dim=-1).numpy()


def windows(samples: np.ndarray) -> list[np.ndarray]:
    """Samples (N,) at 48 kHz -> 10 s (480,000,) from each second on, float32.

    Clipped to -1..1 and quantised to 16 bits first, as FADTK does; the last ones are padded with
    zeros at their end, so that of 10 s nine windows in ten are.

    Raises:
        ValueError: not one channel, or no samples.
    """
    if samples.ndim != 1 or not len(samples):
        raise ValueError(f"samples of shape {samples.shape}: one channel (N,) is expected")
    integers = (np.clip(samples, -1.0, 1.0) * FULL_SCALE).astype(np.int16)
    wave = (integers / FULL_SCALE).astype(np.float32)
    padded = np.pad(wave, (0, WINDOW))
    return [padded[start : start + WINDOW] for start in range(0, len(wave), HOP)]


def log_mel(wave: Tensor) -> Tensor:
    """Samples (N,) at 48 kHz -> power in dB (N // 480 + 1, 64), of Slaney's mel bands.

    HTSAT's front end (torchlibrosa): centred frames with reflection at the edges, periodic Hann.
    """
    spectrum = torch.stft(
        wave, N_FFT, MEL_HOP, window=torch.hann_window(N_FFT), center=True, return_complex=True
    )
    filters = filterbank(
        MelConfig(
            sample_rate=SAMPLE_RATE,
            n_fft=N_FFT,
            n_mels=BANDS,
            f_min=BAND_HZ[0],
            f_max=BAND_HZ[1],
        )
    )
    power = torch.from_numpy(filters).float() @ spectrum.abs().square()
    return 10.0 * power.clamp(min=POWER_FLOOR).log10().T


def build(name: str = "clap", path: Path | None = None) -> Clap:
    """The embedder with published weights.

    Args:
        name: "clap", the paper's, or "clap-larger".
        path: for "clap" the checkpoint file, for "clap-larger" a folder in transformers' layout;
            otherwise the Hugging Face cache is asked.

    Raises:
        UserError: unknown name; the weights are not on this machine (the message says how to get
            them) or do not fit.
        MissingExtra: transformers is not installed.
    """
    if name == "clap":
        file = path or hub.local(ORIGINAL, CHECKPOINT)
        return Clap(_network(HTSAT_BASE, convert(_original(file)), file), name)
    if name == "clap-larger":
        folder = path or hub.local(LARGER, CONFIG).parent
        file = _weights_file(folder, path is None)
        return Clap(_network(_configuration(folder / CONFIG), published.tensors(file), file), name)
    raise UserError(f"{name}: unknown CLAP; choose clap or clap-larger")


def convert(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of laion_clap by transformers' names; query, key and value are parted.

    Text, classifier and the front end's tables are left out; names that are not known are kept.
    """
    converted: dict[str, Tensor] = {}
    for name, tensor in state.items():
        plain = name.removeprefix("module.")
        if not plain.startswith(("audio_branch.", "audio_projection.")) or _UNUSED.search(plain):
            continue
        for pattern, replacement in _RENAMED:
            plain = pattern.sub(replacement, plain)
        if ".self.qkv." in plain:
            for part, piece in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                converted[plain.replace(".qkv.", f".{part}.")] = piece
        else:
            converted[plain] = tensor
    return converted


def _network(values: Mapping[str, Any], state: Mapping[str, Tensor], file: Path) -> Any:
    """transformers' audio network with the tensors of a file; those of the text are ignored."""
    transformers = require("transformers", extra="mert")
    network = transformers.ClapAudioModelWithProjection(transformers.ClapAudioConfig(**values))
    found = {
        name: tensor
        for name, tensor in state.items()
        if name.startswith(_AUDIO) and not _UNUSED.search(name)
    }
    expected = published.shapes(network.state_dict())
    derived = [name for name in expected if _UNUSED.search(name)]
    wrong = published.misfits(published.shapes(found), expected, optional=derived)
    if wrong:
        raise UserError(f"{file}: not the weights of this CLAP: {'; '.join(wrong)}")
    network.load_state_dict(found, strict=False)
    return network


def _original(path: Path) -> dict[str, Tensor]:
    """The tensors of laion_clap's training checkpoint, which also holds plain numpy numbers."""
    scalar = np.float64(0).__reduce__()[0]
    allowed: list[Any] = [
        np.dtype,
        *(type(np.dtype(kind)) for kind in ("f4", "f8", "i8")),
        (scalar, "numpy.core.multiarray.scalar"),
        (scalar, "numpy._core.multiarray.scalar"),
    ]
    with torch.serialization.safe_globals(allowed):
        found = published.read(path)
    state = found.get("state_dict", found) if isinstance(found, dict) else None
    if not isinstance(state, dict) or not all(isinstance(part, Tensor) for part in state.values()):
        raise UserError(f"{path}: not a checkpoint of CLAP; expected {CHECKPOINT}")
    return state


def _weights_file(folder: Path, cached: bool) -> Path:
    for name in WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    if cached:
        return hub.local(LARGER, WEIGHTS[-1])
    raise UserError(f"{folder}: holds no weights; expected {' or '.join(WEIGHTS)}")


def _configuration(path: Path) -> dict[str, Any]:
    """Arguments of a `ClapAudioConfig`: the sizes of the audio network alone."""
    transformers = require("transformers", extra="mert")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        audio = dict(values["audio_config"])
        audio["projection_dim"] = values.get("projection_dim", SIZE)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path}: not the configuration of a CLAP ({error}); download it") from None
    sizes = transformers.ClapAudioConfig.__annotations__
    return {key: value for key, value in audio.items() if key in sizes}
