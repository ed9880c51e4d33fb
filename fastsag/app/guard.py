"""In front of everything: whom the service answers, how much it reads, what a browser may load."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from fastsag.app.problems import MEDIA_TYPE, Problem

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

LOOPBACK = ("localhost", "127.0.0.1", "::1")
# The page may load what this server gives and nothing else, whatever its libraries would like.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' data: blob:; "
    "font-src 'self' data:; connect-src 'self' data: blob:; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'"
)
_HEADERS = [
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]


class Guard:
    """ASGI middleware.

    Args:
        application: what it guards.
        most_bytes: of a request's body.
        hosts: names under which the service answers; None is any. A fixed list keeps web pages of
            others from reaching a service on this machine under a name of theirs (DNS rebinding).
    """

    def __init__(
        self, application: Application, most_bytes: int, hosts: Sequence[str] | None
    ) -> None:
        self._application, self._most_bytes = application, most_bytes
        self._hosts = None if hosts is None else {host.lower() for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":  # nothing here speaks it
            await send({"type": "websocket.close"})
            return
        if scope["type"] == "lifespan":
            await self._application(scope, receive, send)
            return
        headers = dict(scope["headers"])
        try:
            self._check_host(headers.get(b"host", b"").decode("latin-1"))
            # A browser says so when a page of elsewhere makes it send a form.
            if headers.get(b"sec-fetch-site") == b"cross-site" and scope["method"] != "GET":
                raise Problem("cross-site", "open the page of this service itself")
            self._check_size(headers.get(b"content-length", b"0"))
        except Problem as problem:
            await refuse(send, problem)
            return
        await _Exchange(self, receive, send).run(scope)

    def _check_host(self, host: str) -> None:
        name = host.rpartition(":")[0] if ":" in host.rpartition("]")[2] else host
        if self._hosts is not None and name.strip("[]").lower() not in self._hosts:
            raise Problem(
                "host-refused",
                "this service answers under names it was told alone; add --allow-host",
            )

    def _check_size(self, length: bytes) -> None:
        if length.isdigit() and int(length) > self._most_bytes:
            raise self.too_large

    @property
    def too_large(self) -> Problem:
        """What is said of a body over the limit."""
        return Problem(
            "too-large",
            f"at most {self._most_bytes / 1e6:g} MB are taken; send FLAC or MP3, or cut it",
        )


class _Exchange:
    """One request: counts what comes in, adds headers to what goes out."""

    def __init__(self, guard: Guard, receive: Receive, send: Send) -> None:
        self._guard, self._receive, self._send = guard, receive, send
        self._read, self._started, self._refused = 0, False, False

    async def run(self, scope: Scope) -> None:
        await self._guard._application(scope, self.receive, self.send)

    async def receive(self) -> Message:
        if self._refused:
            return {"type": "http.disconnect"}
        message = await self._receive()
        self._read += len(message.get("body", b""))
        if self._read > self._guard._most_bytes and not self._started:
            self._refused = True  # a body that did not say how long it is
            await refuse(self._send, self._guard.too_large)
            return {"type": "http.disconnect"}
        return message

    async def send(self, message: Message) -> None:
        if self._refused:
            return
        if message["type"] == "http.response.start":
            self._started = True
            message = {**message, "headers": [*message.get("headers", []), *_HEADERS]}
        await self._send(message)


async def refuse(send: Send, problem: Problem) -> None:
    """Answer with a problem."""
    body = json.dumps(problem.body()).encode()
    headers = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    start = {"type": "http.response.start", "status": problem.status}
    await send({**start, "headers": [*headers, *_HEADERS]})
    await send({"type": "http.response.body", "body": body})
