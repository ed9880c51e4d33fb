"""A small checkpoint in the authors' layout: their names, fewer and smaller tensors."""

import zlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fastsag import authors
from fastsag.config import Config
from fastsag.model import build
from fastsag.nn.snake import low_pass
from fastsag.vocoder import build_vocoder

SMALL = {
    "name": "small-authors",
    "encoder": {"kind": "mert", "layer": 2, "size": 32, "wave": "min_max"},
    "projection": {"channels": 32, "layers": 2, "stacks": 2},
    "resampler": {"kind": "perceiver", "frames": 12, "latents": 3, "latent_dim": 8, "depth": 1}
    | {"heads": 2, "head_dim": 4},
    "prior": {"channels": 100, "layers": 2, "stacks": 1},
    "denoiser": {"kind": "unet", "dim": 8, "padded_frames": 16},
    "vocoder": {"kind": "bigvgan", "channels": 64},
}
MERT_SIZES = {768: 32, 3072: 48, 512: 16, 128: 16, 48: 8}
MERT_CHANGES = {
    "conv_dim": [16] * 7,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
THEIRS = {ours: theirs for theirs, ours in authors.CORE_NAMES.items()}


def their_name(ours: str) -> str:
    prefix = next(prefix for prefix in THEIRS if ours.startswith(prefix))
    return THEIRS[prefix] + ours.removeprefix(prefix)


def small_layout(config: Config, full: authors.Layout) -> authors.Layout:
    with torch.device("meta"):
        model, vocoder = build(config), build_vocoder(config.vocoder, config.mel)
    core = {their_name(name): tuple(part.shape) for name, part in model.state_dict().items()}
    parts: dict[str, tuple[int, ...]] = {}
    for name, part in vocoder.state_dict().items():
        shape = tuple(part.shape)
        if name.endswith(".weight"):
            parts |= {f"{name}_g": (shape[0], 1, 1), f"{name}_v": shape}
        else:
            parts[name] = shape
        if name.endswith(".act.alpha"):
            for end in ("upsample.filter", "downsample.lowpass.filter"):
                parts[name.removesuffix("act.alpha") + end] = (1, 1, 12)
    mert = {
        name: tuple(MERT_SIZES.get(size, size) for size in shape)
        for name, shape in full.mert.items()
        if not any(f".layers.{layer}." in name for layer in range(2, 12))
        or "feature_extractor" in name
    }
    vocoder_layout = {f"vocoder.generator.{name}": shape for name, shape in parts.items()}
    return authors.Layout(core, vocoder_layout, mert)


def value(name: str, shape: tuple[int, ...]) -> Tensor:
    if name.endswith("filter"):
        return low_pass().view(shape)
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    return 0.3 * torch.randn(shape, generator=generator)


def newer(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weight norm in its newer spelling."""
    ends = {"weight_g": "original0", "weight_v": "original1"}
    return {
        name.replace(f".{name.rpartition('.')[2]}", f".parametrizations.weight.{end}")
        if (end := ends.get(name.rpartition(".")[2]))
        else name: tensor
        for name, tensor in state.items()
    }


def saved(content: Any, path: Path) -> Path:
    torch.save(content, path)
    return path
