"""The API over a real application: answers, errors and what is left behind."""

import errno
import io
import json
import os
import zipfile

import numpy as np
import pytest
import soundfile
from fastapi.testclient import TestClient

from fastsag import audio
from fastsag.app.server import create_app
from fastsag.app.service import Service
from fastsag.errors import Unwritable
from fastsag.pipeline import Accompanist
from tests.app.conftest import wav


@pytest.fixture(scope="module")
def http(service):
    application = create_app(service, page=False)
    return TestClient(application, base_url="http://localhost")  # outside "with": stays open


def send(http, content=None, **fields):
    files = {"voice": ("song.wav", wav() if content is None else content)}
    return http.post("/accompany", files=files, data=fields)


def test_health_and_version(http):
    health = http.get("/health").json()
    assert health == {
        "status": "ok",
        "running": 0,
        "waiting": 0,
        "queue": 2,
        "checkpoints": ["tiny"],
    }
    assert http.get("/version").json().keys() == {"fastsag"}


def test_the_mix_is_the_pipelines(http, tiny, tmp_path):
    """The service adds nothing: the same samples as the pipeline, to 24 bits."""
    (tmp_path / "song.wav").write_bytes(wav(2.0, 44_100, 2))
    expected = Accompanist.from_pretrained(tiny).accompany(tmp_path / "song.wav")
    answer = send(http, wav(2.0, 44_100, 2))
    assert answer.status_code == 200 and answer.headers["content-type"] == "audio/wav"
    got, rate = soundfile.read(io.BytesIO(answer.content), dtype="float32")
    assert rate == 44_100
    np.testing.assert_allclose(got.T, expected.mix, atol=2**-22)


@pytest.mark.parametrize("step", ["read", "accompany"])
def test_a_disk_that_is_full_is_not_the_requests_fault(http, monkeypatch, tmp_path, step):
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fails(*_args, **_options):
        raise Unwritable(tmp_path, full)

    owner = audio if step == "read" else Accompanist
    monkeypatch.setattr(owner, step, fails)
    answer = send(http)
    assert answer.status_code == 500 and answer.json()["type"].endswith(":internal")
    assert str(tmp_path) not in answer.text


def test_everything_in_a_zip(http):
    answer = send(http, answer="all", format="flac", seed=5, chords="C | G", tempo="100", steps=2)
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    assert set(archive.namelist()) == {
        "mix.flac",
        "accompaniment.flac",
        "record.json",
        "lead-sheet.txt",
        "lead-sheet.mid",
    }
    record = json.loads(archive.read("record.json"))
    assert (record["seed"], record["steps"], record["checkpoint"]) == (5, 2, "tiny")
    assert record["input"] == "song.wav"
    assert record["lead_sheet"]["tempo"] == pytest.approx(100, abs=1)
    assert b"| C" in archive.read("lead-sheet.txt")


@pytest.mark.parametrize("rate", [22_050, 96_000])
def test_mp3_of_any_rate(http, rate):
    answer = send(http, wav(1.0, rate), format="mp3", answer="accompaniment")
    assert answer.status_code == 200 and answer.headers["content-type"] == "audio/mpeg"
    assert abs(soundfile.info(io.BytesIO(answer.content)).duration - 1) < 0.2


@pytest.mark.parametrize(
    ("content", "fields", "status", "kind", "detail"),
    [
        (b"nonsense", {}, 422, "audio-unusable", "song.wav: not audio"),
        (b"", {}, 422, "audio-unusable", "song.wav: not audio"),
        (wav(0.1), {}, 422, "audio-unusable", "song.wav: lasts 0.10 s"),
        (wav(13), {}, 422, "audio-too-long", "at most 0.2 min"),
        (wav(1, channels=3), {}, 422, "audio-unusable", "3 channels"),
        (wav(1, rate=4_000), {}, 422, "audio-unusable", "4000 samples a second"),
        (wav(30, 48_000), {}, 413, "too-large", "at most 2 MB"),
        (None, {"seed": "x"}, 422, "invalid-request", "seed"),
        (None, {"steps": 101}, 422, "invalid-request", "steps"),
        (None, {"colour": "red"}, 422, "invalid-request", "colour"),
        (None, {"chords": "C | H"}, 422, "invalid-request", "chords: 'H' is not a chord"),
        (None, {"lead_sheet": "nonsense"}, 422, "invalid-request", "line 1"),
        (None, {"checkpoint": "/etc"}, 422, "invalid-request", "not served; choose tiny"),
    ],
)
def test_errors_are_typed_and_leave_nothing(http, service, content, fields, status, kind, detail):
    before = set(service.folder.rglob("*"))
    answer = send(http, content, **fields)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["type"] == f"urn:fastsag:problem:{kind}" and problem["status"] == status
    assert detail in problem["detail"] and str(service.folder) not in answer.text
    assert set(service.folder.rglob("*")) == before


def test_a_body_that_does_not_say_its_size_is_cut_off(http):
    def endless():
        for _ in range(100):
            yield bytes(100_000)

    headers = {"content-type": "multipart/form-data; boundary=x"}
    answer = http.post("/accompany", content=endless(), headers=headers)
    assert answer.status_code == 413


def test_other_addresses_and_methods(http):
    assert http.get("/nothing").json()["type"] == "urn:fastsag:problem:not-found"
    for method in ("GET", "PUT", "HEAD", "TRACE", "QUERY"):
        answer = http.request(method, "/accompany")
        assert answer.status_code == 405 and answer.headers["allow"] == "POST", method
    assert http.get("/takes/../../etc/passwd").status_code == 404
    assert http.get("/takes/x/mix.wav").status_code == 404


def test_files_are_private_and_gone_afterwards(http, service):
    assert service.folder.stat().st_mode & 0o077 == 0
    before = set(service.folder.rglob("*"))
    assert send(http).status_code == 200
    assert set(service.folder.rglob("*")) == before


def test_nothing_is_left_when_it_stops(tiny):
    service = Service([str(tiny)], "cpu")
    with TestClient(create_app(service, page=False), base_url="http://localhost") as client:
        assert client.get("/health").status_code == 200 and service.folder.exists()
    assert not service.folder.exists()


def test_pages_of_other_sites_send_nothing(http):
    headers = {"sec-fetch-site": "cross-site"}
    answer = http.post("/accompany", files={"voice": wav()}, headers=headers)
    assert answer.status_code == 403 and answer.json()["type"].endswith(":cross-site")
    assert http.get("/health", headers=headers).status_code == 200


def test_only_known_hosts_are_answered(service):
    application = create_app(service, hosts=["localhost", "::1"], page=False)
    for host, status in [
        ("localhost:7860", 200),
        ("[::1]:7860", 200),
        ("LOCALHOST", 200),
        ("evil.example", 421),
        ("localhost.evil.example:80", 421),
        ("", 421),
    ]:
        answer = TestClient(application).get("/health", headers={"host": host})
        assert answer.status_code == status, host
