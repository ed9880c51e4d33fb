"""`fastsag app`: what it says and what it refuses."""

import subprocess
import sys

import httpx
import pytest
from typer.testing import CliRunner

from fastsag.app.server import listen
from fastsag.cli.main import app
from fastsag.errors import UserError


def fastsag(*arguments: object):
    return CliRunner().invoke(app, ["app", *map(str, arguments)])


def test_help_teaches():
    done = fastsag("--help")
    assert done.exit_code == 0
    assert "Example: fastsag app" in done.output and "127.0.0.1" in done.output


def test_a_port_in_use_is_said_before_anything_is_loaded():
    with listen("127.0.0.1", 0) as taken:
        done = fastsag("--port", taken.getsockname()[1], "--checkpoint", "nonesuch")
    assert isinstance(done.exception, UserError)
    assert "cannot listen there" in str(done.exception) and "choose another" in str(done.exception)


def test_an_unknown_checkpoint_is_named():
    with listen("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    done = fastsag("--port", port, "--checkpoint", "nonesuch")
    assert "nonesuch: unknown checkpoint" in str(done.exception)


def test_there_are_no_tunnels():
    done = fastsag("--share", "always")
    assert done.exit_code == 2 and "never" in done.output


@pytest.mark.slow
def test_letting_others_in_says_what_it_means(tiny):
    with listen("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "fastsag.cli.main", "app", "--host", "0.0.0.0"]
    command += ["--checkpoint", str(tiny), "--port", str(port)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
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
