"""The application: the API, the page, and the guard in front; and how it is run."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import uvicorn
from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from fastsag.app import api
from fastsag.app.blocks import mount
from fastsag.app.guard import Guard
from fastsag.app.service import Service
from fastsag.errors import UserError
from fastsag.version import __version__


def create_app(service: Service, hosts: Sequence[str] | None = None, page: bool = True) -> FastAPI:
    """The whole application over a service, which it closes when it stops.

    Args:
        service: with its checkpoints loaded.
        hosts: names under which it answers; None is any.
        page: whether there is a page beside the API.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()

    application = FastAPI(
        title="FastSAG",
        summary="A voice goes in, a band comes out.",
        version=__version__,
        docs_url=None,  # its scripts would come from elsewhere
        redoc_url=None,
        lifespan=lifespan,
    )
    router = api.routes(service)
    application.include_router(router)
    _refuse_other_methods(application, router)
    api.say_problems(application)
    application.openapi = _schema(application)  # type: ignore[method-assign]
    application.add_middleware(Guard, most_bytes=service.limits.bytes, hosts=hosts)
    if page:
        mount(application, service)
    return application


def _refuse_other_methods(application: FastAPI, router: APIRouter) -> None:
    """The page answers every other address, so other methods need an answer of their own."""
    for route in router.routes:
        assert isinstance(route, APIRoute) and route.methods
        refusal = _Refusal(", ".join(sorted(route.methods)))
        application.router.routes.append(Route(route.path, refusal, include_in_schema=False))


class _Refusal:
    """ASGI: 405 to any method, known or not."""

    def __init__(self, allowed: str) -> None:
        self._allowed = allowed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raise HTTPException(405, f"use {self._allowed}", {"Allow": self._allowed})


def _schema(application: FastAPI) -> Callable[[], dict[str, Any]]:
    """OpenAPI with the problem object in the place of FastAPI's own errors."""

    def schema() -> dict[str, Any]:
        if application.openapi_schema is None:
            document = get_openapi(
                title=application.title,
                version=application.version,
                summary=application.summary,
                routes=application.routes,
            )
            content = document["paths"]["/accompany"]["post"]["requestBody"]["content"]
            # A form with a file in it cannot be sent the other way.
            content["multipart/form-data"] = content.pop("application/x-www-form-urlencoded")
            schemas = document["components"]["schemas"]
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)
            schemas["ProblemBody"] = api.ProblemBody.model_json_schema()
            application.openapi_schema = document
        return application.openapi_schema

    return schema


def listen(host: str, port: int) -> socket.socket:
    """A socket to serve at.

    Raises:
        UserError: the address is taken, or not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        raise UserError(
            f"--host {host} --port {port}: cannot listen there ({error.strerror or error}); "
            "choose another port"
        ) from None


def serve(application: FastAPI, at: socket.socket) -> None:
    """Run until interrupted; requests that run then get three seconds to end."""
    config = uvicorn.Config(
        application, log_level="warning", timeout_graceful_shutdown=3, server_header=False
    )
    uvicorn.Server(config).run(sockets=[at])
