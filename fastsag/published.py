"""Weight files that others published: read without running code, compared name by name."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from fastsag.errors import UserError

Shapes = Mapping[str, tuple[int, ...]]

_NAMED = 5  # tensors named in a message before "..."
_NORMED = re.compile(r"\.parametrizations\.(\w+)\.original([01])$")


def read(path: Path) -> Any:
    """What a torch or safetensors file holds, on the CPU; large tensors stay mapped to the file.

    Only tensors and plain values are read: a file whose pickle asks for any other object is
    refused, and nothing in it is run.

    Raises:
        UserError: absent, unreadable, damaged, no such file at all, or refused.
    """
    try:
        with path.open("rb"):
            pass
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(
            path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
        )
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: cannot be read ({reason}); check the path") from None
    except Exception as error:  # bytes that are no pickle can fail an unpickler in any way
        asked = re.search(r"GLOBAL (\S+)", str(error))
        if asked:
            raise UserError(
                f"{path}: refused, it holds more than tensors ({asked[1]}) and reading that could "
                "run code; save its state dict alone"
            ) from None
        raise UserError(f"{path}: not a file of torch tensors; download it again") from None


def tensors(path: Path) -> dict[str, Tensor]:
    """A file that is nothing but tensors by name.

    Raises:
        UserError: as `read`, or it holds something else.
    """
    found = read(path)
    if not isinstance(found, dict) or not all(isinstance(part, Tensor) for part in found.values()):
        raise UserError(f"{path}: not tensors by name; download it again")
    return found


def plain_name(name: str) -> str:
    """A tensor's name with weight norm in its older spelling, `weight_g` and `weight_v`.

    Newer torch writes `parametrizations.weight.original0` and `original1`.
    """
    return _NORMED.sub(lambda found: f".{found[1]}_{'gv'[int(found[2])]}", name)


def shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor by name."""
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def misfits(found: Shapes, expected: Shapes, optional: Iterable[str] = ()) -> list[str]:
    """How the tensors of a file differ from those expected, a phrase for each kind.

    Args:
        found, expected: shapes by name.
        optional: expected names that may be absent.

    Returns:
        Up to three phrases with a count and the first names; none if everything fits.
    """
    absent = set(expected) - set(found) - set(optional)
    missing = [name for name in expected if name in absent]
    extra = [name for name in found if name not in expected]
    misshapen = [
        f"{name} {_shape(shape)} instead of {_shape(expected[name])}"
        for name, shape in found.items()
        if name in expected and tuple(shape) != tuple(expected[name])
    ]
    kinds = (("missing", missing), ("not known", extra), ("of another shape", misshapen))
    return [f"{len(names)} {kind} ({listed(names)})" for kind, names in kinds if names]


def listed(names: list[str]) -> str:
    """The first few names and dots for the rest."""
    return ", ".join([*names[:_NAMED], *(["..."] if len(names) > _NAMED else [])])


def _shape(sizes: tuple[int, ...]) -> str:
    return "x".join(map(str, sizes)) or "scalar"
