"""The queue: one at a time, in order, bounded, cancelled, timed."""

import threading
import time

import pytest

from fastsag.app.jobs import Progress, Worker
from fastsag.app.problems import Problem


@pytest.fixture
def worker():
    made = Worker(queue=3, seconds=20)
    yield made
    made.close()


class Held:
    """Work that waits for a word and says when it began."""

    def __init__(self, value: int = 0) -> None:
        self.began, self.go, self.value = threading.Event(), threading.Event(), value

    def __call__(self, report):
        self.began.set()
        while not self.go.wait(0.01):
            report("playing", 1, 2)
        return self.value


def kind(job) -> str:
    with pytest.raises(Problem) as caught:
        job.future.result(5)
    return caught.value.kind


def test_one_at_a_time_and_in_order(worker):
    busy, order = [], []

    def work(number):
        def run(_):
            busy.append(number)
            assert len(busy) == 1
            time.sleep(0.01)
            order.append(busy.pop())
            return number

        return run

    jobs = [worker.submit(work(number)) for number in range(3)]
    assert [job.future.result(5) for job in jobs] == [0, 1, 2] == order


def test_a_full_queue_refuses_and_tells_places(worker):
    held = Held(7)
    first = worker.submit(held)
    held.began.wait(5)
    others = [worker.submit(lambda _: None) for _ in range(3)]
    assert [worker.progress(job).ahead for job in others] == [1, 2, 3]
    assert worker.load == (1, 3)
    with pytest.raises(Problem, match="try later"):
        worker.submit(lambda _: None)
    worker.cancel(others[0])  # its place is free at once
    assert kind(others[0]) == "cancelled"
    others.append(worker.submit(lambda _: None))
    held.go.set()
    assert first.future.result(5) == 7
    assert all(job.future.result(5) is None for job in others[1:])


def test_a_running_job_is_cancelled_at_its_next_report(worker):
    held = Held()
    job = worker.submit(held)
    held.began.wait(5)
    time.sleep(0.05)
    assert worker.progress(job) == Progress("playing", 1, 2, 0)
    worker.cancel(job)
    assert kind(job) == "cancelled"
    assert worker.submit(lambda _: 5).future.result(5) == 5


def test_a_job_ends_at_the_time_limit():
    worker = Worker(queue=1, seconds=0.1)
    assert kind(worker.submit(Held())) == "time-limit"
    worker.close()


def test_a_crash_of_one_job_does_not_end_the_others(worker):
    assert kind(worker.submit(lambda _: 1 / 0)) == "internal"
    assert worker.submit(lambda _: 5).future.result(5) == 5


def test_closing_cancels_everything(worker):
    held = Held()
    running, waiting = worker.submit(held), worker.submit(lambda _: None)
    held.began.wait(5)
    worker.close()
    assert kind(running) == kind(waiting) == "cancelled"
    with pytest.raises(Problem, match="shutting down"):
        worker.submit(lambda _: None)
