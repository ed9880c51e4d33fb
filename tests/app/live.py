"""A service on a free port of this machine, run in a thread of the test's process."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

import uvicorn

from fastsag.app.server import create_app, listen
from fastsag.app.service import Service


@contextlib.contextmanager
def running(service: Service, page: bool = True) -> Iterator[str]:
    """Yields its address."""
    at = listen("127.0.0.1", 0)
    application = create_app(service, hosts=["127.0.0.1"], page=page)
    server = uvicorn.Server(uvicorn.Config(application, log_level="warning"))
    thread = threading.Thread(target=server.run, args=([at],), daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{at.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
