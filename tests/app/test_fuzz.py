"""Fuzzing: requests made from the OpenAPI schema, and broken audio. Nothing may be a 5xx.

FASTSAG_FUZZ=20 makes twenty times as many requests, others at every run.
"""

import io
import os
import time
from collections import Counter

import httpx
import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastsag.app.limits import Limits
from fastsag.app.service import Service
from tests.app.conftest import samples, wav
from tests.app.live import running

schemathesis = pytest.importorskip("schemathesis")
GenerationMode = schemathesis.GenerationMode
checks = pytest.importorskip("schemathesis.specs.openapi.checks")
QUIET = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much]

TIMES = int(os.environ.get("FASTSAG_FUZZ", "1"))
LIMITED = settings(
    deadline=None, suppress_health_check=QUIET, derandomize=TIMES == 1, database=None
)


@pytest.fixture(scope="module")
def service(tiny):
    return Service([str(tiny)], "cpu", Limits(minutes=0.2))


@pytest.fixture(scope="module")
def address(service):
    with running(service, page=False) as where:
        yield where


@pytest.fixture(scope="module")
def api(address):
    return schemathesis.openapi.from_url(f"{address}/openapi.json")


@pytest.fixture(scope="module")
def http(address):
    with httpx.Client(base_url=address, timeout=60) as client:
        yield client


# Few random bytes are a voice, so that a request of the right shape may well be refused.
EXCLUDED = [checks.positive_data_acceptance, checks.negative_data_rejection]


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_requests_from_the_schema(api, mode):
    """Status, content type and body are as the schema says, and never 5xx."""
    answers, voice = Counter(), wav(0.6)
    for found in api.get_all_operations():
        operation = found.ok()

        @settings(LIMITED, max_examples=40 * TIMES)
        @given(case=operation.as_strategy(generation_mode=mode))
        def check(case):
            if isinstance(case.body, dict) and mode is GenerationMode.POSITIVE:
                case.body |= {"voice": voice, "steps": 1}
                if case.body.get("sampler") == "distilled":  # this checkpoint has no student
                    del case.body["sampler"]
            answer = case.call_and_validate(excluded_checks=EXCLUDED)
            answers[case.method, answer.status_code] += 1

        if mode is GenerationMode.POSITIVE or operation.method == "post":
            check()
    assert answers["POST", 422] > 5, answers
    assert mode is GenerationMode.NEGATIVE or answers["POST", 200] > 5, answers


def broken(kind: str, cut: float, flips: list[tuple[float, int]]) -> bytes:
    """A good recording, shortened, with bytes overwritten."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples(0.7).T, 22_050, format=kind)
    content = bytearray(buffer.getvalue()[: max(1, int(cut * buffer.tell()))])
    for place, value in flips:
        content[int(place * (len(content) - 1))] = value
    return bytes(content)


def place():
    """Anywhere, with the header often."""
    return st.one_of(st.floats(0, 1), st.floats(0, 0.004))


@settings(LIMITED, max_examples=60 * TIMES)
@given(
    st.sampled_from(["WAV", "FLAC", "OGG", "MP3", "AIFF", "CAF", "W64"]),
    st.one_of(st.just(1.0), st.floats(0, 1)),
    st.lists(st.tuples(place(), st.integers(0, 255)), max_size=8),
)
def test_broken_audio(http, kind, cut, flips):
    answer = _send(http, broken(kind, cut, flips))
    assert answer.status_code in (200, 413, 422), answer.text
    if answer.status_code == 200:
        assert soundfile.info(io.BytesIO(answer.content)).frames > 0


PERHAPS = st.one_of(st.none(), st.sampled_from(["", "-1", "0", "nan", "1e9", "C", "|", "4/4"]))


@settings(LIMITED, max_examples=60 * TIMES)
@given(
    st.fixed_dictionaries(
        {
            "tempo": PERHAPS | st.floats(30, 300).map(str),
            "downbeat": PERHAPS | st.floats(-10, 3600).map(str),
            "tuning": PERHAPS | st.floats(-100, 100).map(str),
            "meter": PERHAPS | st.sampled_from(["3/4", "4/4"]),
            "key": PERHAPS | st.sampled_from(["A minor", "F#"]),
            "chords": PERHAPS | st.lists(st.sampled_from(["C", "Am G", "%", "N.C."])).map("|".join),
            "lead_sheet": PERHAPS
            | st.lists(st.floats(-20, 1e10), max_size=6).map(
                lambda times: "beats: " + " ".join(map(str, sorted(times)))
            ),
            "seed": st.integers(0, 2**32 - 1),
            "level_db": st.floats(-40, 20),
            "guidance": st.floats(0, 20),
        }
    )
)
def test_whatever_is_said_of_the_song(http, fields):
    said = {name: value for name, value in fields.items() if value is not None}
    answer = _send(http, wav(0.7), **said)
    assert answer.status_code in (200, 422), (answer.text, said)


def _float_wav(values: np.ndarray, rate: int = 22_050) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, values, rate, format="WAV", subtype="FLOAT")
    return buffer.getvalue()


ODD = {
    "nothing": b"",
    "zeros": bytes(100_000),
    "text": b"voice, please" * 1_000,
    "a picture": b"\x89PNG\r\n\x1a\n" + bytes(5_000),
    "a zip": b"PK\x03\x04" + bytes(5_000),
    "a playlist": b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n",
    "a list": b"ffconcat version 1.0\nfile /etc/passwd\n",
    "half a header": wav()[:30],
    "silence": _float_wav(np.zeros(22_050)),
    "not a number": _float_wav(np.full(22_050, np.nan)),
    "infinite": _float_wav(np.full(22_050, np.inf)),
    "huge": _float_wav(np.full(22_050, 1e30)),
    "a click": _float_wav(np.eye(1, 22_050).ravel()),
    "noise": _float_wav(np.random.default_rng(0).standard_normal(22_050)),
    "a constant": _float_wav(np.full(22_050, 0.5)),
    "says it is longer": wav()[:40] + b"\xff\xff\xff\x7f" + wav()[44:],
    "a strange rate": wav()[:24] + b"\x01\x00\x00\x00" + wav()[28:],
    "no channel": wav()[:22] + b"\x00\x00" + wav()[24:],
    "many channels": wav()[:22] + b"\xff\xff" + wav()[24:],
}


@pytest.mark.parametrize("name", ODD)
def test_odd_audio(http, name):
    answer = _send(http, ODD[name])
    assert answer.status_code in (200, 422), answer.text
    if answer.status_code == 200:
        assert np.isfinite(soundfile.read(io.BytesIO(answer.content))[0]).all()


def test_afterwards_it_is_well(http, service):
    """Runs last in this file: the worker lives, and nothing was left on disk."""
    assert _send(http, wav()).status_code == 200
    deadline = time.monotonic() + 10  # files go when their answer has been sent
    while sorted(path.name for path in service.folder.iterdir()) != ["shelf"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert http.get("/health").json()["running"] == 0


def _send(http, content, **fields):
    files = {"voice": ("a.wav", content)}
    return http.post("/accompany", files=files, data={"steps": 1, **fields})
