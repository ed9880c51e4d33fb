"""Errors that a user can act on: one line with the file, the reason and the remedy."""

from __future__ import annotations

import importlib
import warnings
from pathlib import Path
from types import ModuleType


class UserError(Exception):
    """Something the user can mend; the command prints it alone and exits with status 2.

    Style: `song.wav: not an audio file that can be read (reason); convert it to WAV or FLAC`.
    """


class Unwritable(UserError):
    """A file or folder cannot be written, or the disk is full: not the fault of any input."""

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(f"{path}: cannot be written ({error.strerror}); choose another folder")


class MissingExtra(UserError):
    """An optional dependency is not installed; the message names the extra."""


def require(module: str, extra: str) -> ModuleType:
    """Import an optional dependency; what it warns of at that moment is for its makers alone.

    Args:
        module: dotted name, such as "lightning.pytorch".
        extra: the extra of this package that installs it.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra(
            f"{module}: not installed ({error}); run: pip install 'fastsag[{extra}]'"
        ) from error
