"""Long arrays, in memory or in files.

What grows with a recording (its samples, spectrograms, the band, the mix) is made by a `Store`: of
`Memory` come numpy arrays, of `Files` come `Spool`s, of which the process holds one piece at a
time. Both are read and written by slices of columns: `array[:, start:stop]`.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from fastsag.errors import Unwritable

_PIECE = 1 << 18  # values handled at once


class Array(Protocol):
    """A float32 array (R, N): a numpy array or a `Spool`."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    def __len__(self) -> int: ...
    def __getitem__(self, key: Any, /) -> Any: ...
    def __setitem__(self, key: Any, value: Any, /) -> None: ...
    def __array__(self) -> np.ndarray: ...


class Store(Protocol):
    """Makes arrays."""

    def zeros(self, rows: int, count: int) -> Array:
        """Silence (rows, count)."""

    def keep(self, parts: Iterable[np.ndarray]) -> Array:
        """Parts (R, n) one after the other, of which there is at least one: (R, N)."""


class Memory:
    """A `Store` of numpy arrays."""

    def zeros(self, rows: int, count: int) -> np.ndarray:
        return np.zeros((rows, count), dtype=np.float32)

    def keep(self, parts: Iterable[np.ndarray]) -> np.ndarray:
        return np.concatenate(list(parts), axis=1).astype(np.float32, copy=False)


class Files:
    """A `Store` of files without names in `folder`, which vanish with their arrays."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def zeros(self, rows: int, count: int) -> Spool:
        """Raises Unwritable: the folder cannot be written to."""
        return Spool(self.folder, rows, count)

    def keep(self, parts: Iterable[np.ndarray]) -> Spool:
        """Raises Unwritable: the folder cannot be written to, or is full."""
        spool: Spool | None = None
        for part in parts:
            spool = spool or Spool(self.folder, len(part), 0)
            spool.append(part)
        if spool is None:
            raise ValueError("nothing to keep")
        return spool


class Spool:
    """An array (rows, count) in a file, float32, column after column, at first zero.

    It is read and written by slices of columns, of all rows: `spool[:, 10:20]` is a copy.
    """

    def __init__(self, folder: Path, rows: int, count: int) -> None:
        self.folder, self.shape = folder, (rows, count)
        try:
            self._file = tempfile.TemporaryFile(dir=folder, prefix=".fastsag-")  # noqa: SIM115
            self._file.truncate(4 * rows * count)  # takes no room before it is written
        except OSError as error:
            raise Unwritable(folder, error) from None

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> np.ndarray:
        start, stop = self._columns(key)
        columns = np.zeros((stop - start, len(self)), dtype=np.float32)
        if columns.size:
            self._file.seek(4 * len(self) * start)
            self._file.readinto(columns.data.cast("B"))
        return columns.T

    def __setitem__(self, key: Any, value: Any) -> None:
        start, stop = self._columns(key)
        values = np.broadcast_to(np.asarray(value, dtype=np.float32), (len(self), stop - start))
        self._write(start, values)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:, :].astype(dtype or np.float32, copy=False)

    def append(self, values: np.ndarray) -> None:
        """Write (rows, n) behind the end.

        Raises:
            Unwritable: the folder is full.
        """
        rows, count = self.shape
        self._write(count, np.broadcast_to(values, (rows, values.shape[-1])))
        self.shape = (rows, count + values.shape[-1])

    def _write(self, start: int, values: np.ndarray) -> None:
        try:
            self._file.seek(4 * len(self) * start)
            self._file.write(np.ascontiguousarray(values.T, dtype=np.float32).tobytes())
            self._file.flush()  # a full disk is told here
        except OSError as error:
            raise Unwritable(self.folder, error) from None

    def _columns(self, key: Any) -> tuple[int, int]:
        rows, columns = key
        if rows not in (slice(None), Ellipsis) or columns.step not in (None, 1):
            raise IndexError(f"{key}: a Spool is read by spool[:, start:stop]")
        start, stop, _ = columns.indices(self.shape[1])
        return start, max(start, stop)


def slices(array: Array) -> Iterator[slice]:
    """Stretches of columns that are handled at once."""
    count = array.shape[-1]
    size = max(1, _PIECE // math.prod(array.shape[:-1]))
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def pieces(array: Array) -> Iterator[np.ndarray]:
    """The columns of `slices`: views of a numpy array, copies of a `Spool`."""
    for part in slices(array):
        yield array[..., part]
