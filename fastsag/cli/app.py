"""`fastsag app`: the page and the HTTP API on this machine."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated

import typer

from fastsag.errors import require

_OPEN = """\
Other machines can reach this service. Whoever reaches port {port} can send recordings and use this
machine's processor; there is no login and no encryption, and browsers give pages the microphone
only over HTTPS or on the same machine. Where you do not know everybody on the network, listen at
127.0.0.1 and put a proxy with TLS and a login in front (docs/service.md)."""


class Share(StrEnum):
    """Tunnels to the outside: none."""

    never = "never"


def app(
    host: Annotated[
        str, typer.Option(help="Address to listen at; 0.0.0.0 lets other machines in.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 7860,
    share: Annotated[
        Share, typer.Option(help="never: no tunnel to the outside is opened.")
    ] = Share.never,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Also answer under this name (of a proxy); repeat."),
    ] = None,
    checkpoint: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME_OR_PATH", help="To choose from; repeat. [default: compact]"),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    max_megabytes: Annotated[float, typer.Option(min=0.1, help="Of an upload.")] = 100,
    max_minutes: Annotated[float, typer.Option(min=0.1, help="Of a recording.")] = 10,
    max_queue: Annotated[int, typer.Option(min=1, help="Jobs that may wait.")] = 64,
    time_limit: Annotated[
        float, typer.Option(metavar="SECONDS", min=1, help="That one job may run.")
    ] = 900,
) -> None:
    """Serve a web page where people sing and a band comes in, and an HTTP API for programs.

    One job runs at a time; others wait. Recordings and results lie in a private folder and are
    removed when their page is closed, at the latest when the service ends. docs/service.md has
    the API and how to run several workers.

    Example: fastsag app --port 7860, then open http://127.0.0.1:7860
    """
    require("uvicorn", extra="app")
    from fastsag.app.guard import LOOPBACK
    from fastsag.app.limits import Limits
    from fastsag.app.server import create_app, listen, serve
    from fastsag.app.service import Service

    names, others = checkpoint or ["compact"], allow_host or []
    local = host in LOOPBACK
    socket = listen(host, port)
    print(f"Loading {', '.join(names)} ...", file=sys.stderr, flush=True)
    limits = Limits(max_megabytes, max_minutes, max_queue, time_limit)
    service = Service(names, device, limits)
    application = create_app(service, [*LOOPBACK, *others] if local or others else None)
    print(f"Ready: http://{host if ':' not in host else f'[{host}]'}:{port}", file=sys.stderr)
    if not local:
        print(_OPEN.format(port=port), file=sys.stderr)
    print("Ctrl-C ends it.", file=sys.stderr, flush=True)
    serve(application, socket)
