"""Errors of the service, each with a type that programs can tell apart (RFC 9457)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

MEDIA_TYPE = "application/problem+json"
PREFIX = "urn:fastsag:problem:"

KINDS: dict[str, tuple[int, str]] = {
    "bad-request": (400, "The request is not well formed"),
    "cross-site": (403, "Pages of other sites may not send this"),
    "not-found": (404, "There is nothing here"),
    "method-not-allowed": (405, "This address takes another method"),
    "too-large": (413, "The upload is too large"),
    "host-refused": (421, "The service does not answer under this name"),
    "audio-unusable": (422, "The recording cannot be used"),
    "audio-too-long": (422, "The recording is too long"),
    "invalid-request": (422, "A field of the request is wrong"),
    "cancelled": (499, "The job was cancelled"),
    "internal": (500, "Something went wrong inside"),
    "queue-full": (503, "Too many jobs are waiting"),
    "time-limit": (503, "The job took too long"),
    "closing": (503, "The service is shutting down"),
}
"""HTTP status and title of each type."""

RETRY_SECONDS = 10  # after which a full queue is worth another try


@dataclass(eq=False)  # an exception is itself alone
class Problem(Exception):
    """What is wrong with a request. kind: a key of `KINDS`; detail: the reason and the remedy."""

    kind: str
    detail: str

    def __str__(self) -> str:
        return self.detail

    @property
    def status(self) -> int:
        """HTTP status."""
        return KINDS[self.kind][0]

    @property
    def headers(self) -> dict[str, str]:
        """HTTP headers beside it."""
        return {"Retry-After": str(RETRY_SECONDS)} if self.status == 503 else {}

    def body(self) -> dict[str, Any]:
        """The problem object of RFC 9457."""
        status, title = KINDS[self.kind]
        kind = PREFIX + self.kind
        return {"type": kind, "title": title, "status": status, "detail": self.detail}
