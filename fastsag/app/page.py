"""The page: a voice, a button, a band. One of the two faces of the service.

Events of the page are private: programs use the API.
"""

from __future__ import annotations

import asyncio
import shutil
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fastsag.app import view
from fastsag.app.api import clean_name
from fastsag.app.jobs import Job
from fastsag.app.limits import MOST_STEPS
from fastsag.app.problems import Problem
from fastsag.app.results import Result
from fastsag.app.service import Order, Service
from fastsag.errors import require
from fastsag.lead_sheet import Hints
from fastsag.take import Settings

TAKES = 3
_MOST_VISITS = 1_000
_WATCH_SECONDS = 0.2
ANY_STYLE = "Surprise me"
Updates = AsyncIterator[dict[Any, Any]]


@dataclass
class Visit:
    """One open page.

    uploads: its files with gradio; voice: the token of the last one on the shelf, song: its name;
    takes: tokens by number; shown: the number.
    """

    uploads: set[Path] = field(default_factory=set)
    voice: str = ""
    song: str = "voice"
    order: Order = field(default_factory=Order)
    takes: dict[int, str] = field(default_factory=dict)
    shown: int = 1
    job: Job[Result] | None = None


class Page:
    """What the page's events do.

    Args:
        service: what does the work.
        bundled: voices that every page may pick.

    `parts` are the page's components by name, filled by the layout.
    """

    def __init__(self, service: Service, bundled: Sequence[Path] = ()) -> None:
        self.service, self.bundled = service, bundled
        self.visits: OrderedDict[str, Visit] = OrderedDict()
        self.parts: dict[str, Any] = {}

    def visit(self, request: Any) -> Visit:
        """The visit that an event belongs to."""
        visit = self.visits.setdefault(request.session_hash, Visit())
        self.visits.move_to_end(request.session_hash)
        while len(self.visits) > _MOST_VISITS:
            self.leave(next(iter(self.visits)))
        return visit

    def leave(self, session: str) -> None:
        """A page was closed: end its job, remove its files."""
        visit = self.visits.pop(session, None)
        if visit is None:
            return
        if visit.job:
            self.service.worker.cancel(visit.job)
        self.service.shelf.drop(visit.voice, *visit.takes.values())
        used = set().union(*(other.uploads for other in self.visits.values()))
        for path in visit.uploads - used:  # gradio gives equal files one path
            path.unlink(missing_ok=True)

    def cancel(self, request: Any) -> None:
        """Cancel the job of a page."""
        job = self.visit(request).job
        if job:
            self.service.worker.cancel(job)

    async def play(
        self,
        request: Any,
        voice: str | None,
        style: str,
        checkpoint: str,
        steps: float | None,
        seed: float | None,
        level: float,
        precision: str,
    ) -> Updates:
        """The button: a first take of a voice."""
        visit = self.visit(request)
        if not voice:
            yield self._say("Record yourself or drop a recording first.", wrong=True)
            return
        order = Order(
            checkpoint=checkpoint,
            precision=precision,
            settings=Settings(
                steps=min(max(0, int(steps or 0)), MOST_STEPS) or None,
                seed=min(max(0, int(seed or 0)), 2**32),
                ending=True,
            ),
            hints=Hints(style=None if style == ANY_STYLE else style),
            level_db=min(max(level, -40.0), 20.0),
            picture=True,
        )
        self.service.shelf.drop(visit.voice, *visit.takes.values())
        token, folder = self.service.shelf.new()
        path = folder / "upload"
        await asyncio.to_thread(shutil.copyfile, voice, path)
        self.service.shelf.put(token, path)
        if Path(voice).name not in {path.name for path in self.bundled}:
            visit.uploads.add(Path(voice))
        visit.voice, visit.song = token, Path(clean_name(Path(voice).name)).stem
        visit.order, visit.takes = order, {}
        async for update in self._generate(visit, 1):
            yield update

    async def choose(self, request: Any, take: int) -> Updates:
        """Another take: shown if it is there, else made."""
        visit = self.visit(request)
        if take in visit.takes:
            visit.shown = take
            try:
                yield self._show(visit)
            except Problem as problem:
                yield self._say(problem.detail, wrong=True)
            return
        async for update in self._generate(visit, take):
            yield update

    async def replay(self, request: Any, text: str) -> Updates:
        """Play the shown take again from an edited lead sheet."""
        visit = self.visit(request)
        try:
            shown: Result = self.service.shelf.get(visit.takes.get(visit.shown, ""))
            hints = shown.hints(text)
        except Problem as problem:
            yield self._say(problem.detail, wrong=True)
            return
        self.service.shelf.drop(*visit.takes.values())
        visit.order, visit.takes = replace(visit.order, hints=hints), {}
        async for update in self._generate(visit, visit.shown):
            yield update

    async def _generate(self, visit: Visit, take: int) -> Updates:
        """Queue a take, tell of its progress, show it."""
        service = self.service
        token = ""
        try:
            voice = service.shelf.get(visit.voice)
            token, folder = service.shelf.new()
            settings = replace(visit.order.settings, seed=visit.order.settings.seed + take - 1)
            order = replace(visit.order, settings=settings)
            accompanist = await asyncio.to_thread(
                service.accompanist, order.checkpoint, order.precision
            )
            steps = order.settings.way(accompanist.config).steps
            job = visit.job = service.submit(voice, visit.song, folder, order)
            yield self._busy(view.progress(service.worker.progress(job), steps))
            while not job.future.done():
                await asyncio.sleep(_WATCH_SECONDS)
                yield self._busy(view.progress(service.worker.progress(job), steps))
            service.shelf.put(token, job.future.result())
        except Problem as problem:
            service.shelf.drop(token)
            cancelled = problem.kind == "cancelled"
            yield self._say("Cancelled." if cancelled else problem.detail, not cancelled, visit)
            return
        except BaseException:  # the page was closed
            if visit.job:
                service.worker.cancel(visit.job)
            service.shelf.drop(token)
            raise
        finally:
            visit.job = None
        visit.takes[take], visit.shown = token, take
        yield self._show(visit)

    # What the components show.

    def _busy(self, html: str) -> dict[Any, Any]:
        gr, parts = require("gradio", extra="app"), self.parts
        return {
            parts["status"]: gr.update(value=html, visible=True),
            parts["play"]: gr.update(interactive=False),
            parts["cancel"]: gr.update(visible=True),
            parts["takes"]: gr.update(interactive=False),
            parts["replay"]: gr.update(interactive=False),
        }

    def _idle(self) -> dict[Any, Any]:
        gr, parts = require("gradio", extra="app"), self.parts
        return {
            parts["status"]: gr.update(value="", visible=False),
            parts["play"]: gr.update(interactive=True),
            parts["cancel"]: gr.update(visible=False),
            parts["takes"]: gr.update(interactive=True),
            parts["replay"]: gr.update(interactive=True),
        }

    def _say(self, text: str, wrong: bool, visit: Visit | None = None) -> dict[Any, Any]:
        gr, parts = require("gradio", extra="app"), self.parts
        updates = self._idle()
        updates[parts["status"]] = gr.update(value=view.message(text, wrong), visible=True)
        if visit is not None:
            updates[parts["takes"]] = gr.update(value=visit.shown, interactive=True)
        return updates

    def _show(self, visit: Visit) -> dict[Any, Any]:
        gr, parts = require("gradio", extra="app"), self.parts
        token = visit.takes[visit.shown]
        result: Result = self.service.shelf.get(token)
        return {
            **self._idle(),
            parts["empty"]: gr.update(visible=False),
            parts["result"]: gr.update(visible=True),
            parts["takes"]: gr.update(
                choices=self._labels(visit), value=visit.shown, interactive=True
            ),
            parts["player"]: view.player(token, result, f"{visit.song}.take{visit.shown}"),
            parts["sheet"]: view.lead_sheet(result.sheet),
            parts["text"]: gr.update(value=result.sheet_text, visible=result.sheet is not None),
            parts["replay"]: gr.update(interactive=True, visible=result.sheet is not None),
            parts["pictures"]: gr.update(visible=True),
            parts["picture"]: view.picture(token),
        }

    def _labels(self, visit: Visit) -> list[tuple[str, int]]:
        """Takes by number, those that are there with their style."""
        labels = []
        for take in range(1, TAKES + 1):
            label = f"Take {take}"
            if take in visit.takes:
                sheet = self.service.shelf.get(visit.takes[take]).sheet
                label += f" · {sheet.style}" if sheet and sheet.style else ""
            labels.append((label, take))
        return labels
