"""Demucs with random weights, in the layout of the published repositories."""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file

SOURCES = ["drums", "bass", "other", "vocals"]
SMALL: dict[str, Any] = {
    "channels": 8,
    "growth": 1,
    "bottom_channels": 16,
    "t_layers": 1,
    "t_heads": 2,
    "t_hidden_scale": 1.0,
    "dconv_depth": 1,
    "segment": Fraction(2),
}
# 42.0 M parameters, the size of the published htdemucs.
PUBLISHED: dict[str, Any] = {"bottom_channels": 512, "dconv_mode": 3, "segment": Fraction(39, 5)}


def save_bag(
    folder: Path,
    name: str = "htdemucs",
    signatures: tuple[str, ...] = ("955717e8",),
    weights: list[list[float]] | None = None,
    sizes: dict[str, Any] = SMALL,
) -> Path:
    """Write NAME.yaml and SIGNATURE.safetensors; returns the folder."""
    from demucs.htdemucs import HTDemucs

    folder.mkdir(parents=True, exist_ok=True)
    for seed, signature in enumerate(signatures):
        torch.manual_seed(seed)
        model = HTDemucs(SOURCES, **sizes)
        metadata = {
            "klass": "demucs.htdemucs.HTDemucs",
            "args": json.dumps([SOURCES]),
            "kwargs": json.dumps(sizes, default=_fraction),
        }
        state = {key: value.contiguous() for key, value in model.state_dict().items()}
        save_file(state, folder / f"{signature}.safetensors", metadata)
    bag = {"models": list(signatures), **({"weights": weights} if weights else {})}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(bag), encoding="utf-8")
    return folder


def _fraction(value: Fraction) -> dict[str, Any]:
    return {"_type": "fraction", "numerator": value.numerator, "denominator": value.denominator}
