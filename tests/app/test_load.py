"""Fifty clients at once against the real command: nobody fails, nobody gets another's band.

FASTSAG_LOAD_CHECKPOINT=compact pytest tests/app/test_load.py -s -m slow
"""

import io
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import numpy as np
import pytest
import soundfile

from fastsag.app.client import Client
from tests.app.conftest import samples, wav

CLIENTS, ROUNDS = 50, 5
RATES_HZ = (16_000, 22_050, 24_000, 44_100)
pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")


@pytest.fixture
def server(tiny, tmp_path):
    """A service of its own process: address, process id, its folder for temporary files."""
    from fastsag.app.server import listen

    with listen("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    name = os.environ.get("FASTSAG_LOAD_CHECKPOINT", str(tiny))
    command = [sys.executable, "-m", "fastsag.cli.main", "app", "--checkpoint", name]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    process = subprocess.Popen([*command, "--port", str(port)], env=environment)
    address = f"http://127.0.0.1:{port}"
    for _ in range(300):
        try:
            Client(address).health()
            break
        except OSError:
            time.sleep(0.2)
    yield address, process.pid, tmp_path
    process.terminate()
    assert process.wait(30) in (0, -15)
    assert list(tmp_path.iterdir()) == []  # it takes its files with it


def one(address: str, number: int) -> float:
    """One client's call; returns how long it took."""
    seconds, hz, rate = 0.6 + 0.03 * number, 1 + 0.02 * number, RATES_HZ[number % 4]
    began = time.monotonic()
    content = Client(address).accompany(wav(seconds, rate, hz=hz), seed=number, level_db=-40)
    took = time.monotonic() - began
    mix, got = soundfile.read(io.BytesIO(content))
    voice = samples(seconds, rate, hz=hz)[0]
    assert got == rate and mix.shape == voice.shape
    assert np.corrcoef(mix, voice)[0, 1] > 0.99
    return took


def memory_mb(pid: int) -> float:
    """Resident memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


@pytest.mark.slow
def test_fifty_clients_at_once(server):
    address, pid, folder = server
    resident = []
    for _ in range(ROUNDS):
        began = time.monotonic()
        with ThreadPoolExecutor(CLIENTS) as pool:
            took = sorted(pool.map(lambda number: one(address, number), range(CLIENTS)))
        resident.append(memory_mb(pid))
        print(
            f"{CLIENTS} answers in {time.monotonic() - began:.1f} s, each after "
            f"{took[0]:.1f} / {median(took):.1f} / {took[-1]:.1f} s (first, median, last); "
            f"resident {resident[-1]:.0f} MB"
        )
    assert resident[-1] < 1.1 * resident[1]
    (private,) = folder.iterdir()
    ends = time.monotonic() + 10  # the last answer's files go once it is sent

    def left() -> set[str]:
        return {path.name for path in private.iterdir()} - {"uploads"}

    while left() != {"shelf"} and time.monotonic() < ends:
        time.sleep(0.1)
    assert left() == {"shelf"}
    assert Client(address).health()["running"] == 0
