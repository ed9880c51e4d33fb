"""The client against a running service; many at once; one that hangs up."""

import io
import json
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fastsag.app import client as module
from fastsag.app.client import Client, ServiceError
from fastsag.app.limits import Limits
from fastsag.app.service import Service
from tests.app.conftest import samples, wav
from tests.app.live import running


@pytest.fixture(scope="module")
def address(tiny):
    service = Service([str(tiny)], "cpu", Limits(minutes=0.5))
    with running(service, page=False) as where:
        yield where


def test_it_speaks_the_api(address):
    client = Client(address)
    assert client.health()["status"] == "ok" and client.version()
    files = client.everything(wav(), chords="C | G", seed=2)
    assert json.loads(files["record.json"])["seed"] == 2 and "mix.wav" in files


def test_errors_have_their_kind(address):
    for content, fields, kind in [
        (b"x", {}, "audio-unusable"),
        (wav(31), {}, "audio-too-long"),
        (wav(), {"style": "polka"}, "invalid-request"),
    ]:
        with pytest.raises(ServiceError) as caught:
            Client(address).accompany(content, **fields)
        assert caught.value.kind == kind and caught.value.retry_seconds is None


def test_it_runs_as_a_copied_file(address, tmp_path):
    """Without the package beside it."""
    (tmp_path / "voice.wav").write_bytes(wav())
    copy = tmp_path / "client.py"
    copy.write_text(Path(module.__file__).read_text())
    command = [sys.executable, "-I", copy, "voice.wav", "mix.mp3", "--format", "mp3"]
    subprocess.run([*command, "--address", address], check=True, cwd=tmp_path)
    assert soundfile.info(tmp_path / "mix.mp3").format == "MP3"


def test_nobody_gets_anothers_answer(address):
    """Each client sends a voice of its own length and pitch and finds it in its mix."""

    def one(number: int) -> float:
        seconds, hz = 0.6 + 0.05 * number, 1 + 0.06 * number
        content = Client(address).accompany(wav(seconds, hz=hz), steps=1, level_db=-40)
        mix, rate = soundfile.read(io.BytesIO(content))
        voice = samples(seconds, hz=hz)[0]
        assert rate == 22_050 and mix.shape == voice.shape
        return float(np.corrcoef(mix, voice)[0, 1])

    with ThreadPoolExecutor(12) as pool:
        assert min(pool.map(one, range(12))) > 0.99


def test_hanging_up_cancels(address):
    """A client that closes its connection leaves the worker free."""
    host, port = address.removeprefix("http://").split(":")
    body, kind = module._form({"steps": 100}, "voice.wav", wav(29))
    heading = f"POST /accompany HTTP/1.1\r\nHost: {host}\r\nContent-Type: {kind}\r\n"
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(f"{heading}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        _until(lambda: Client(address).health()["running"] == 1)
    began = time.monotonic()
    _until(lambda: Client(address).health()["running"] == 0)
    assert time.monotonic() - began < 5  # the whole job takes several times as long


def _until(true) -> None:
    done = threading.Event()
    for _ in range(200):
        if true():
            return
        done.wait(0.1)
    raise AssertionError("did not happen")
