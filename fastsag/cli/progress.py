"""One line of progress on a terminal, nothing elsewhere."""

from __future__ import annotations

import sys


def tell(what: str, done: int, total: int) -> None:
    """Show "what: done/total" in place of the line before."""
    if sys.stderr.isatty():
        end = "" if done < total else "\r\x1b[K"
        print(f"\r\x1b[K{what}: {done}/{total}", end=end, file=sys.stderr, flush=True)
