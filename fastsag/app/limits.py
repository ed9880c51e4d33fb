"""What one worker takes on."""

from __future__ import annotations

from dataclasses import dataclass

LOWEST_HZ, HIGHEST_HZ = 8_000, 192_000
MOST_CHANNELS = 2
MOST_STEPS = 100


@dataclass(frozen=True)
class Limits:
    """Of one worker.

    megabytes: of an upload. minutes: of a recording. queue: jobs that may wait. seconds: that one
    job may run. kept: results and voices of the page on disk; keep_seconds: how long they stay.
    """

    megabytes: float = 100
    minutes: float = 10
    queue: int = 64
    seconds: float = 900
    kept: int = 120
    keep_seconds: float = 3600

    @property
    def bytes(self) -> int:
        """Largest upload in bytes."""
        return int(self.megabytes * 1e6)
