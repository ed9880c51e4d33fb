"""Two workers behind nginx with deploy/nginx.conf, as docs/service.md describes it."""

import contextlib
import io
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fastsag.app import client
from fastsag.app.client import Client, ServiceError
from fastsag.app.server import listen
from tests.app.conftest import samples, wav

CONFIG = Path(__file__).parents[2] / "deploy" / "nginx.conf"
NGINX = shutil.which("nginx") or "/usr/sbin/nginx"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path(NGINX).exists(), reason="needs Debian's nginx-light"),
]
AROUND = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    include {folder}/fastsag.conf;
}}
"""


def free_port() -> int:
    with listen("127.0.0.1", 0) as free:
        return free.getsockname()[1]


@pytest.fixture
def cluster(tiny, tmp_path):
    """The proxy's address and its workers' processes."""
    ports, front = [free_port(), free_port()], free_port()
    text = CONFIG.read_text().replace("listen 8080", f"listen 127.0.0.1:{front}")
    text = text.replace("7861", str(ports[0])).replace("7862", str(ports[1]))
    text = text.replace("music.example.org", "127.0.0.1").replace("100m", "1m")
    (tmp_path / "fastsag.conf").write_text(text)
    (tmp_path / "nginx.conf").write_text(AROUND.format(folder=tmp_path))
    fastsag = [sys.executable, "-m", "fastsag.cli.main", "app", "--checkpoint", str(tiny)]
    options = ["--allow-host", "127.0.0.1", "--max-queue", "4"]
    with contextlib.ExitStack() as stack:
        workers = [start(stack, [*fastsag, *options, "--port", str(port)]) for port in ports]
        start(stack, [NGINX, "-c", str(tmp_path / "nginx.conf"), "-e", str(tmp_path / "error.log")])
        for port in (*ports, front):
            wait_for(f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{front}", workers


def start(stack, command):
    process = stack.enter_context(subprocess.Popen(command, env={**os.environ}))
    stack.callback(process.wait, 30)
    stack.callback(process.terminate)
    return process


def wait_for(address):
    for _ in range(300):
        with contextlib.suppress(OSError, ServiceError):
            return Client(address).health()
        time.sleep(0.2)
    raise AssertionError(f"{address} does not answer")


def call(address: str, number: int) -> str:
    """One call; the worker that answered it."""
    seconds, hz = 0.7 + 0.05 * number, 1 + 0.05 * number
    body, kind = client._form({"level_db": -40}, "voice.wav", wav(seconds, hz=hz))
    request = urllib.request.Request(f"{address}/accompany", body, {"Content-Type": kind})
    with urllib.request.urlopen(request, timeout=120) as answer:
        mix, _ = soundfile.read(io.BytesIO(answer.read()))
        worker = answer.headers["X-Worker"]
    voice = samples(seconds, hz=hz)[0]
    assert mix.shape == voice.shape and np.corrcoef(mix, voice)[0, 1] > 0.99
    return worker


def test_calls_are_shared_and_survive_a_worker(cluster):
    address, workers = cluster
    with ThreadPoolExecutor(8) as pool:
        share = Counter(pool.map(lambda number: call(address, number), range(16)))
    assert sum(share.values()) == 16 and sum("," not in worker for worker in share) == 2, share
    with pytest.raises(ServiceError) as caught:  # nginx's own limit, before any worker
        Client(address).accompany(wav(30))
    assert caught.value.status == 413
    workers[0].terminate()
    workers[0].wait(30)
    assert [bool(call(address, number)) for number in range(3)] == [True] * 3


def test_a_page_stays_with_its_worker(cluster):
    address, _ = cluster
    seen = set()
    for _ in range(8):  # eight browsers
        with urllib.request.urlopen(address) as answer:
            cookie = answer.headers["Set-Cookie"].split(";")[0]
            first = answer.headers["X-Worker"]
        for _ in range(3):
            request = urllib.request.Request(f"{address}/config", headers={"Cookie": cookie})
            with urllib.request.urlopen(request) as answer:
                assert answer.headers["X-Worker"] == first
        seen.add(first)
    assert len(seen) == 2
