"""Encoders of MERT's layout with random weights: a Hubert saved where `MertEncoder` looks."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors.torch import save_file


@contextmanager
def saved(hubert: Any) -> Iterator[Path]:
    """A folder, for as long as the context lasts, with a transformers `HubertModel`."""
    with tempfile.TemporaryDirectory() as folder:
        hubert.config.save_pretrained(folder)
        save_file(hubert.state_dict(), Path(folder) / "model.safetensors")
        yield Path(folder)
