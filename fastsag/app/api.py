"""The HTTP API: `POST /accompany`, `GET /health`, `GET /version`, and their errors.

`/openapi.json` describes it; `docs/service.md` shows it with curl.
"""

from __future__ import annotations

import asyncio
import shutil
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Form, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException

from fastsag import notation
from fastsag.app.jobs import Job
from fastsag.app.limits import MOST_STEPS
from fastsag.app.problems import MEDIA_TYPE, PREFIX, Problem
from fastsag.app.results import KINDS, LONGEST_SHEET, NAMES, Result
from fastsag.app.service import Order, Service
from fastsag.errors import UserError
from fastsag.lead_sheet import STYLES, Hints
from fastsag.take import Settings
from fastsag.version import __version__

_WATCH_SECONDS = 0.3  # how soon it is noticed that a client has gone


class Answer(StrEnum):
    """What comes back."""

    mix = "mix"
    accompaniment = "accompaniment"
    all = "all"


class Format(StrEnum):
    """Of audio."""

    wav = "wav"
    flac = "flac"
    mp3 = "mp3"


class Precision(StrEnum):
    """Of the networks."""

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"


class Sampler(StrEnum):
    """Of the denoiser."""

    euler = "euler"
    heun = "heun"
    dpmpp_2m = "dpmpp_2m"
    distilled = "distilled"


class AccompanyForm(BaseModel):
    """A voice and what is wished of its band; what is left out is heard from the voice."""

    model_config = ConfigDict(extra="forbid")

    voice: UploadFile = Field(description="A recording of one voice: wav, flac, mp3, ogg, m4a.")
    answer: Answer = Field(Answer.mix, description="`all` is a zip with the lead sheet as well.")
    format: Format = Field(Format.wav, description="Of the audio.")
    seed: int = Field(0, ge=0, lt=2**32, description="Same seed, same band.")
    style: str | None = Field(
        None,
        description="If left out, one that suits the voice; another seed, another style.",
        json_schema_extra={"enum": [*STYLES]},
    )
    sampler: Sampler | None = Field(None, description="`distilled` plays in one to four steps.")
    steps: int | None = Field(None, ge=1, le=MOST_STEPS, description="Sampler steps.")
    guidance: float | None = Field(None, ge=0, le=20, description="1 is none.")
    level_db: float = Field(-3.0, ge=-40, le=20, description="Band against voice, in LU.")
    ending: bool = Field(False, description="The band may end behind the recording.")
    checkpoint: str | None = Field(None, max_length=80, description="One that `/health` lists.")
    precision: Precision = Precision.auto
    key: str | None = Field(None, max_length=20, description='Such as "A minor" or F#m.')
    tempo: str | None = Field(None, max_length=20, description="Beats a minute.")
    meter: str | None = Field(None, max_length=20, description="3/4 or 4/4.")
    downbeat: str | None = Field(None, max_length=20, description="First bar line, in seconds.")
    tuning: str | None = Field(None, max_length=20, description="Cents against A440.")
    chords: str | None = Field(None, max_length=10_000, description='"C | G | Am F | N.C."')
    lead_sheet: str | None = Field(
        None, max_length=LONGEST_SHEET, description="The text form of `fastsag lead-sheet`."
    )

    def hints(self) -> Hints:
        """What is said of the song; single fields go before the lead sheet.

        Raises:
            Problem: a field that cannot be read.
        """
        hints = Hints()
        try:
            for name in ("style", "key", "tempo", "meter", "downbeat", "tuning", "chords"):
                text = getattr(self, name)
                if text is not None:
                    hints = notation.field(name, text).over(hints)
            if self.lead_sheet is not None:
                hints = hints.over(notation.parse(self.lead_sheet))
        except UserError as error:
            raise Problem("invalid-request", str(error)) from None
        return hints

    def order(self) -> Order:
        """What the service is asked for."""
        return Order(
            checkpoint=self.checkpoint,
            precision=self.precision.value,
            settings=Settings(
                sampler=None if self.sampler is None else self.sampler.value,
                steps=self.steps,
                guidance=self.guidance,
                seed=self.seed,
                ending=self.ending,
            ),
            hints=self.hints(),
            level_db=self.level_db,
        )


class Health(BaseModel):
    """Alive, and how busy. running: 0 or 1. queue: how many may wait."""

    status: str
    running: int
    waiting: int
    queue: int
    checkpoints: list[str]


class Version(BaseModel):
    """Of the package."""

    fastsag: str


class ProblemBody(BaseModel):
    """RFC 9457. type: `urn:fastsag:problem:` and a word for programs; detail: for people."""

    type: str = Field(examples=[PREFIX + "audio-too-long"])
    title: str
    status: int
    detail: str


_AUDIO = {mime: {"schema": {"type": "string", "format": "binary"}} for mime in KINDS.values()}
_AUDIO["application/zip"] = {"schema": {"type": "string", "format": "binary"}}


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemBody"}}}
    return {status: {"description": "A problem.", "content": content} for status in statuses}


def routes(service: Service) -> APIRouter:
    """The addresses of a service."""
    router = APIRouter()

    @router.post(
        "/accompany",
        response_class=FileResponse,
        responses={
            200: {"description": "Audio, or a zip for answer=all.", "content": _AUDIO},
            **_problems(400, 403, 413, 421, 422, 503),
        },
    )
    async def accompany(request: Request, form: Annotated[AccompanyForm, Form()]) -> FileResponse:
        """Play a band to a voice. The answer comes when it is done; hanging up cancels."""
        order, name = form.order(), clean_name(form.voice.filename)
        workspace = service.workspace()
        try:
            folder = Path(workspace.name)
            upload = folder / "upload"
            await asyncio.to_thread(_store, form.voice, upload)
            job = await asyncio.to_thread(service.submit, upload, name, folder, order)
            result = await _result(request, service, job)
            kind = form.format.value
            part, mime = f"{form.answer.value}.{kind}", KINDS[kind]
            if form.answer is Answer.all:
                part, mime = "all.zip", "application/zip"
                path = await asyncio.to_thread(result.bundle, kind)
            else:
                path = await asyncio.to_thread(result.file, part)
        except BaseException:
            workspace.cleanup()
            raise
        done = BackgroundTask(workspace.cleanup)
        return FileResponse(path, media_type=mime, filename=part, background=done)

    @router.get("/health", responses=_problems(421))
    async def health() -> Health:
        """Whether the worker lives, and how busy it is."""
        running, waiting = service.worker.load
        return Health(
            status="ok",
            running=running,
            waiting=waiting,
            queue=service.limits.queue,
            checkpoints=service.checkpoints,
        )

    @router.get("/version", responses=_problems(421))
    async def version() -> Version:
        """Which version answers."""
        return Version(fastsag=__version__)

    @router.get("/takes/{token}/{name}", include_in_schema=False)
    async def take_file(token: str, name: str) -> FileResponse:
        """A file of a take on the page; the token is known to its page alone."""
        result = service.shelf.get(token)
        if not isinstance(result, Result):
            raise Problem("not-found", "there is no such take")
        path = await asyncio.to_thread(result.file, name)
        return FileResponse(path, media_type=NAMES[name], headers={"Cache-Control": "no-store"})

    return router


async def _result(request: Request, service: Service, job: Job[Result]) -> Result:
    """Wait for a job; a client that hangs up has cancelled it."""
    future = asyncio.wrap_future(job.future)
    try:
        while not (await asyncio.wait([future], timeout=_WATCH_SECONDS))[0]:
            if await request.is_disconnected():
                service.worker.cancel(job)
        return await future
    except asyncio.CancelledError:
        service.worker.cancel(job)
        raise


def _store(upload: UploadFile, path: Path) -> None:
    with path.open("wb") as file:
        shutil.copyfileobj(upload.file, file)


def clean_name(name: str | None) -> str:
    """What the owner calls a file, fit to be said in a message; never used as a path."""
    last = (name or "").replace("\\", "/").rpartition("/")[2]
    return "".join(letter for letter in last if letter.isprintable())[:80] or "voice"


def answer(problem: Problem) -> JSONResponse:
    """A problem as a response."""
    return JSONResponse(
        problem.body(), problem.status, headers=problem.headers, media_type=MEDIA_TYPE
    )


def say_problems(application: FastAPI) -> None:
    """Let every error of the application be a problem object."""
    of_status = {404: "not-found", 405: "method-not-allowed", 413: "too-large"}

    async def problem(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, Problem)
        return answer(error)

    async def invalid(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        said = [
            f"{'.'.join(str(part) for part in item['loc'][1:]) or 'body'}: {item['msg']}"
            for item in error.errors()
        ]
        return answer(Problem("invalid-request", "; ".join(said[:8])))

    async def http(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        kind = of_status.get(error.status_code, "bad-request")
        response = answer(Problem(kind, str(error.detail)))
        response.headers.update(error.headers or {})
        return response

    async def internal(_: Request, error: Exception) -> JSONResponse:
        return answer(Problem("internal", "the request failed; the log says why"))

    application.add_exception_handler(Problem, problem)
    application.add_exception_handler(RequestValidationError, invalid)
    application.add_exception_handler(HTTPException, http)
    application.add_exception_handler(Exception, internal)
