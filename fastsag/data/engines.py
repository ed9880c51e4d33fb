"""Who does the work: this process, several, or a Ray cluster. The functions are the same, and as
each item's result depends on the item alone, so are the bytes.

Workers that die (out of memory, a crash in a decoder) do not end a run: what they held is done
again, and an item that keeps killing its worker is given up.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait as wait_for
from typing import Any

from fastsag.errors import UserError, require

Row = dict[str, Any]  # of plain values
Work = Callable[[Row], Row]
LOST = "lost"  # key of a result whose worker died each time
_PATIENCE_SECONDS = 10.0
_AHEAD = 4  # items a worker that are handed out in advance
_BLOCK, _BLOCKS = 16, 256  # of many items, as many a Ray task; of few, one for each


def local(work: Work, rows: Iterable[Row], workers: int) -> Iterator[Row]:
    """Results as they come, from `workers` processes; with one worker, from this process.

    An item that killed its worker twice, the second time alone, gives {**item, "lost": True}.
    """
    rows = list(rows)
    workers = min(workers, len(rows))
    if workers <= 1:
        yield from map(work, rows)
        return
    todo = iter(rows)
    held: list[Row] = []  # of workers that died
    while True:
        try:
            yield from _pool(work, todo, workers, held)
        except BrokenProcessPool:
            yield from _one_by_one(work, held)
            held.clear()
            continue
        return


def _pool(work: Work, todo: Iterator[Row], workers: int, held: list[Row]) -> Iterator[Row]:
    """One pool until `todo` is done or a worker dies; `held` then lists the unfinished items."""
    pending: dict[Future[Row], Row] = {}
    pool = _executor(workers)
    try:
        while True:
            while len(pending) < _AHEAD * workers and (row := next(todo, None)) is not None:
                held.append(row)
                pending[pool.submit(work, row)] = row
            if not pending:
                return
            for future in wait(pending, return_when=FIRST_COMPLETED).done:
                result = future.result()
                held.remove(pending.pop(future))
                yield result
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _one_by_one(work: Work, rows: list[Row]) -> Iterator[Row]:
    """Each item in a process of its own, so that a deadly one is known."""
    for row in rows:
        with _executor(1) as pool:
            try:
                yield pool.submit(work, row).result()
            except BrokenProcessPool:
                yield {**row, LOST: True}


def _executor(workers: int) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)


def _start_worker() -> None:
    """A worker ends at once when it is interrupted or its parent is gone."""
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait_for([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def ray(
    work: Work, rows: Iterable[Row], workers: int | None, address: str | None, gpus: float = 0
) -> Iterator[Row]:
    """Results as they come, through Ray Data.

    Args:
        work: every node must be able to import what it uses, and see the same files.
        rows: items.
        workers: tasks at once; None for as many as the cluster has room for.
        address: of a cluster ("auto", "host:port"); None starts one on this machine.
        gpus: that a task holds.

    Raises:
        UserError: no such cluster, or a task failed on every try.
        MissingExtra: Ray is not installed.
    """
    module = require("ray", extra="cluster")
    data = require("ray.data", extra="cluster")
    items = [{"item": json.dumps(row)} for row in rows]
    if not items:
        return
    _connect(module, address, workers)
    try:
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        data.DataContext.get_current().enable_progress_bars = False
        blocks = min(len(items), max(_BLOCKS, -(-len(items) // _BLOCK)))
        dataset = data.from_items(items, override_num_blocks=blocks)

        def task(row: Row) -> Row:
            return {"result": json.dumps(work(json.loads(row["item"])))}

        resources = {"num_gpus": gpus} if gpus else {}
        done = dataset.map(task, num_cpus=1, concurrency=workers, **resources)
        for row in done.iter_rows():
            yield json.loads(row["result"])
    except module.exceptions.RayError as error:
        raise UserError(
            f"Ray: {str(error).splitlines()[0]}; run the same command again, it goes on where it "
            "stopped"
        ) from None
    finally:
        module.shutdown()


def _connect(module: Any, address: str | None, workers: int | None) -> None:
    settings = {"address": address} if address else {"num_cpus": workers}
    try:
        host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
        if colon:  # Ray itself would try for minutes
            socket.create_connection((host, int(port)), timeout=_PATIENCE_SECONDS).close()
        module.init(
            **settings,
            log_to_driver=False,
            logging_level="ERROR",
            runtime_env={"env_vars": {"OMP_NUM_THREADS": "1"}},
        )
    except (ConnectionError, ValueError, OSError) as error:
        raise UserError(
            f"--address {address}: no Ray cluster there ({error}); start one: ray start --head"
        ) from None
