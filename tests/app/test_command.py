"""`fastsag app`: what it says and what it refuses."""

import os
import subprocess
import sys

import httpx
import pytest

from fastsag.app.server import listen


def fastsag(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fastsag.cli.main", "app", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_help_teaches():
    done = fastsag("--help")
    assert done.returncode == 0
    assert "Example: fastsag app" in done.stdout and "127.0.0.1" in done.stdout


def test_a_port_in_use_is_one_line_at_once():
    with listen("127.0.0.1", 0) as taken:
        done = fastsag("--port", taken.getsockname()[1])
    assert done.returncode == 2
    assert "cannot listen there" in done.stderr and done.stderr.count("\n") == 1


def test_there_are_no_tunnels():
    done = fastsag("--share", "always")
    assert done.returncode == 2 and "never" in done.stderr


@pytest.mark.slow
def test_letting_others_in_says_what_it_means(tiny):
    with listen("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "fastsag.cli.main", "app", "--host", "0.0.0.0"]
    command += ["--checkpoint", str(tiny), "--port", str(port)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ})
    said = ""
    while "Ctrl-C" not in said:
        said += process.stderr.readline()
    try:
        assert "no login and no encryption" in said
        assert httpx.get(f"http://127.0.0.1:{port}/health").json()["checkpoints"] == ["tiny"]
    finally:
        process.terminate()
        process.communicate(timeout=30)
    assert process.returncode in (0, -15)
