"""One heavy job at a time; the others wait in a queue of bounded length.

A job is a function that calls `report(stage, done, total)` as it goes. That call is where a job
ends early: it raises once the job was cancelled or ran out of time.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Generic, NamedTuple, TypeVar

from fastsag.app.problems import Problem

T = TypeVar("T")
Report = Callable[[str, int, int], None]  # stage, steps done, steps in all

log = logging.getLogger(__name__)


class Progress(NamedTuple):
    """Where a job is. ahead: jobs before it in the queue, counting the one that runs."""

    stage: str
    done: int
    total: int
    ahead: int


class Job(Generic[T]):
    """Work that waits, runs or is done; `future` holds its result or a `Problem`."""

    def __init__(self, work: Callable[[Report], T], seconds: float) -> None:
        self.future: Future[T] = Future()
        self._work: Callable[[Report], T] | None = work
        self._seconds, self._deadline = seconds, float("inf")
        self._cancelled = threading.Event()
        self._seen: tuple[str, int, int] = ("waiting", 0, 0)

    def cancel(self) -> None:
        """Let the job end: at once while it waits, at its next report while it runs."""
        self._cancelled.set()

    def report(self, stage: str, done: int, total: int) -> None:
        """Called by the work.

        Raises:
            Problem: the work should end.
        """
        if self._cancelled.is_set():
            raise Problem("cancelled", "the job was cancelled")
        if time.monotonic() > self._deadline:
            raise Problem(
                "time-limit",
                f"the job took more than {self._seconds:g} s; send a shorter recording or ask for "
                "fewer steps",
            )
        self._seen = (stage, done, total)

    def run(self) -> None:
        """Do the work, whatever comes of it."""
        work, self._work = self._work, None
        assert work is not None
        self._deadline = time.monotonic() + self._seconds
        try:
            self.report("listening", 0, 0)
            self.future.set_result(work(self.report))
        except Problem as problem:
            self.future.set_exception(problem)
        except Exception:
            log.exception("a job failed")
            self.future.set_exception(Problem("internal", "the job failed; the log says why"))


class Worker:
    """The queue and the thread that works through it."""

    def __init__(self, queue: int, seconds: float) -> None:
        self._longest, self._seconds = queue, seconds
        self._waiting: deque[Job[Any]] = deque()
        self._running: Job[Any] | None = None
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._loop, name="fastsag-worker", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[Report], T]) -> Job[T]:
        """Queue a job.

        Raises:
            Problem: the queue is full, or the worker is closing.
        """
        job = Job(work, self._seconds)
        with self._changed:
            if self._closed:
                raise Problem("closing", "the service is shutting down; try again")
            self._drop_cancelled()
            if len(self._waiting) >= self._longest:
                raise Problem("queue-full", f"{len(self._waiting)} jobs are waiting; try later")
            self._waiting.append(job)
            self._changed.notify()
        return job

    def cancel(self, job: Job[Any]) -> None:
        """End a job; its place in the queue is free at once."""
        job.cancel()
        with self._changed:
            self._drop_cancelled()

    def progress(self, job: Job[Any]) -> Progress:
        """Where a job is."""
        with self._changed:
            if job in self._waiting:
                running = self._running is not None
                return Progress("waiting", 0, 0, self._waiting.index(job) + running)
        return Progress(*job._seen, 0)

    @property
    def load(self) -> tuple[int, int]:
        """Jobs that run (0 or 1) and jobs that wait."""
        with self._changed:
            return int(self._running is not None), len(self._waiting)

    def close(self, seconds: float = 10) -> None:
        """Cancel everything and wait for the thread, at most `seconds`."""
        with self._changed:
            self._closed = True
            for job in (*self._waiting, *([self._running] if self._running else [])):
                job.cancel()
            self._drop_cancelled()
            self._changed.notify()
        self._thread.join(seconds)

    def _drop_cancelled(self) -> None:
        for job in [job for job in self._waiting if job._cancelled.is_set()]:
            self._waiting.remove(job)
            job.future.set_exception(Problem("cancelled", "the job was cancelled"))

    def _loop(self) -> None:
        while True:
            with self._changed:
                self._running = None
                while not self._waiting and not self._closed:
                    self._changed.wait()
                if not self._waiting:
                    return
                job = self._running = self._waiting.popleft()
            job.run()
            del job  # its result belongs to whoever asked for it
