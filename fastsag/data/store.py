"""Files that are whole or absent: atomic writes, full disks, one command at a time in a folder."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from fastsag.errors import UserError

TEMPORARY = ".partial"  # how the name of a file ends while it is written
_LOCK = ".lock"
_FULL = (errno.ENOSPC, errno.EDQUOT)


class DiskFull(UserError):
    """There is no room for a file; what was written before is whole."""


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A new file that takes the place of `path` when the block ends well; else nothing changes.

    On the disk before it is renamed, so that not even a power cut leaves half of it.

    Raises:
        DiskFull: there is no room; the half-written file is removed.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}{TEMPORARY}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as handle:
            yield handle
            handle.flush()
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise DiskFull(
            f"{path.parent}: the disk is full; free some space and run the same command again, "
            "it goes on where it stopped"
        ) from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def save(path: Path, data: bytes) -> None:
    """Write `data` to `path`, whole or not at all.

    Raises:
        DiskFull: there is no room.
    """
    with replacing(path) as handle:
        handle.write(data)


def remove_partial(folder: Path) -> int:
    """Delete what a killed run left half-written under `folder`; returns how many files."""
    count = 0
    for place, _, names in os.walk(folder):
        for name in names:
            if name.startswith(".") and name.endswith(TEMPORARY):
                Path(place, name).unlink(missing_ok=True)
                count += 1
    return count


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold `folder` against a second command; a killed holder lets go of it.

    Raises:
        UserError: the folder cannot be written to, or another command works in it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = (folder / _LOCK).open("w")
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be written to ({error.strerror}); choose another -o folder"
        ) from None
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(
                f"{folder}: another command is at work here; wait for it, or choose another folder"
            ) from None
        yield
