"""A file of golden arrays: inputs and the published implementation's outputs, by name."""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tests.golden.weights import mask_of, recipe_input


class UnreadableArchive(Exception):
    """Not a file of golden arrays; the message is one line."""


@dataclass(frozen=True)
class Archive:
    """Arrays by name (float32 or int64), and the name of the set, which seeds unstored inputs."""

    set_name: str
    arrays: Mapping[str, Tensor]

    def __getitem__(self, name: str) -> Tensor:
        return self.arrays[name]

    def numbers(self, pattern: str) -> list[int]:
        """The pattern's group in the names that match it wholly, as numbers, each once."""
        matches = (re.fullmatch(pattern, name) for name in self.arrays)
        return sorted({int(match[1]) for match in matches if match})

    def recipe(self, tag: str, shape: tuple[int, ...]) -> Tensor:
        """An input that is too large to be stored."""
        return recipe_input(tag, shape, set_name=self.set_name)

    def mask(self, lengths: str, like: str) -> Tensor:
        """Mask (B, 1, T) of the lengths (B,) over the frames of the array `like` (B, M, T)."""
        return mask_of(self[lengths], self[like].shape[-1])


def read(path: Path) -> Archive:
    """Read an npz file.

    Raises:
        UnreadableArchive: not an npz file, damaged, or without a set name.
    """
    try:
        with np.load(path) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except OSError as error:
        raise UnreadableArchive(f"{path}: cannot be read ({error.strerror or error})") from None
    except (ValueError, EOFError, AttributeError, TypeError, zipfile.BadZipFile, zlib.error):
        raise UnreadableArchive(f"{path}: is no npz file, or a damaged one") from None
    name = arrays.pop("set_name", None)
    if name is None or name.shape != () or name.dtype.kind not in "US":
        raise UnreadableArchive(f"{path}: has no set_name, the string that seeds its inputs")
    text = name.item()
    set_name = text.decode() if isinstance(text, bytes) else str(text)
    return Archive(set_name, {name: _tensor(array) for name, array in arrays.items()})


def _tensor(array: np.ndarray) -> Tensor:
    """float32 or int64; what is not numeric becomes empty, which matches no output."""
    if array.dtype.kind == "f":
        return torch.from_numpy(array.astype(np.float32))
    if array.dtype.kind in "iub":
        return torch.from_numpy(array.astype(np.int64))
    return torch.empty(0)
