"""How a command's process holds memory.

glibc gives each large block back to the kernel as soon as it is freed, and torch frees activations
all the time: every pass over a spectrogram asks the kernel for the same pages again, cleared. With
two trainings on two cores, a fifth of the processors' time was the kernel's.
"""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # names of mallopt(3)
_KEPT_BYTES = 2**30


def keep_freed_memory() -> bool:
    """Let the C library reuse up to a GB of freed memory; False where it is not glibc.

    The peak stays what it is; between peaks the process holds more. For commands, which own their
    process; a program that imports `fastsag` decides for itself.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # musl
        return False
    return bool(mallopt(_MMAP_MAX, 0) and mallopt(_TRIM_THRESHOLD, _KEPT_BYTES))
