"""Between the world and gradio: what the page needs of its protocol, and nothing more.

gradio serves much besides the page, and its events take files by path. Behind this gate a path is
one of an upload, and addresses are never fetched.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fastsag.app.guard import Application, Message, Receive, Scope, Send, refuse
from fastsag.app.problems import Problem

_JOIN = "/gradio_api/queue/join"  # starts an event; its body holds the values of its inputs
_MOST_BYTES = 1_000_000  # of such a body
_OPEN = {
    "GET": (
        *("/assets/", "/static/", "/theme.css", "/config", "/favicon.ico", "/manifest.json"),
        *("/gradio_api/queue/data", "/gradio_api/heartbeat/", "/gradio_api/file="),
        *("/gradio_api/upload_progress", "/gradio_api/startup-events"),
    ),
    "POST": (_JOIN, "/gradio_api/upload", "/gradio_api/cancel"),
}


class Gate:
    """ASGI middleware around gradio alone.

    Args:
        application: gradio's.
        uploads: where gradio keeps uploads, and the only place that a path may lead to.
    """

    def __init__(self, application: Application, uploads: Path) -> None:
        self._application, self._uploads = application, uploads.resolve()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path, open_ = scope["path"], _OPEN.get(scope["method"], ())
            try:
                if path not in ("", "/") and not path.startswith(open_ or ("\0",)):
                    raise Problem("not-found", "there is nothing here")
                if path.startswith(_JOIN):
                    receive = await self._checked(receive)
            except Problem as problem:
                await refuse(send, problem)
                return
        await self._application(scope, receive, send)

    async def _checked(self, receive: Receive) -> Receive:
        """The same body once more, after a look at its paths."""
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > _MOST_BYTES:
                raise Problem("too-large", "the page's events are smaller than that")
        try:
            found = list(_paths(json.loads(body)))
        except (ValueError, RecursionError):
            raise Problem("bad-request", "the body is not JSON") from None
        for path in found:
            if not (isinstance(path, str) and self._is_upload(path)):
                raise Problem("invalid-request", "a file must be uploaded first")
        first: Message = {"type": "http.request", "body": body, "more_body": False}
        messages = iter([first])

        async def again() -> Message:
            return next(messages, None) or await receive()

        return again

    def _is_upload(self, path: str) -> bool:
        try:
            return Path(path).resolve().is_relative_to(self._uploads)
        except (ValueError, OSError, RuntimeError):
            return False


def _paths(value: Any) -> Iterator[Any]:
    """Every value named `path`, at any depth."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == "path" and inner is not None:
                yield inner
            yield from _paths(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _paths(inner)
