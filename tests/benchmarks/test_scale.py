"""Cost against length and cold starts: real processes, and what is made of their figures."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from fastsag import checkpoint
from fastsag import config as configuration
from fastsag.benchmarks import length, pictures, start
from fastsag.cli.main import app
from fastsag.errors import UserError
from fastsag.model import build

CONFIGS = Path(__file__).parents[2] / "configs"
DEMO = Path(__file__).parents[2] / "fastsag" / "assets" / "demo-voice.flac"


def rows(exponent: float = 1.0, mb_per_minute: float = 20.0) -> list[dict]:
    return [
        {
            "audio_seconds": seconds,
            "seconds": 0.1 * seconds**exponent,
            "rtf": 0.1 * seconds ** (exponent - 1),
            "stages": {"denoise": 0.06 * seconds, "vocode": 0.04 * seconds},
            "loaded_mb": 300.0,
            "peak_mb": 400 + mb_per_minute * seconds / 60,
        }
        for seconds in (10.0, 60.0, 600.0)
    ]


@pytest.mark.parametrize("exponent", [1.0, 1.2])
def test_growth_of_known_costs(exponent):
    found = length.growth(rows(exponent))
    assert found["exponent"] == pytest.approx(exponent)
    further = [60**exponent - 10**exponent, 600**exponent - 60**exponent]
    assert found["slopes"] == pytest.approx([0.1 * further[0] / 50, 0.1 * further[1] / 540])
    assert found["mb_per_minute"] == pytest.approx(20)


def test_the_record_is_told_and_drawn(tmp_path):
    record = {"kind": "length", "checkpoint": "compact", "rows": rows(), **length.growth(rows())}
    record["machine"] = {"threads": 2, "processor": "a processor"}
    text = length.report(record)
    assert "| 600 | 60.00 | 0.1000 | 600 | 300 |" in text
    assert (
        "length to the 1.000" in text
        and "costs 0.100, 0.100 s" in text
        and "20.0 MB a minute" in text
    )
    pytest.importorskip("matplotlib")
    pictures.length(tmp_path / "length.png", record)
    assert (tmp_path / "length.png").stat().st_size > 10_000


def test_a_failing_process_is_named():
    with pytest.raises(UserError, match="0.5 s: the process failed .*nowhere: unknown checkpoint"):
        length.measure(DEMO, [0.5], "nowhere")


@pytest.mark.slow
def test_length_of_real_processes(tmp_path):
    torch.manual_seed(0)
    config = configuration.load(CONFIGS / "debug.yaml")
    checkpoint.export(tmp_path / "model", config, build(config).state_dict(), {})
    out = tmp_path / "length.json"
    words = ["bench", "length", "--checkpoint", tmp_path / "model", "--seconds", 1, "--seconds", 4]
    words += ["--steps", 1, "--threads", 1, "-o", out]
    run = CliRunner().invoke(app, [str(word) for word in words])
    assert run.exit_code == 0, (run.output, run.exception)
    record = json.loads(out.read_text())
    assert [row["audio_seconds"] for row in record["rows"]] == [1, 4]
    for row in record["rows"]:
        assert row["peak_mb"] >= row["loaded_mb"] > 100 and row["rtf"] > 0
        assert sum(row["stages"].values()) == pytest.approx(row["seconds"], rel=0.3)
    assert record["machine"]["threads"] == 1


@pytest.mark.slow
def test_start_of_real_processes(tmp_path):
    record = start.measure(DEMO, seconds=2.0, runs=1)
    taken = {name: figures["median"] for name, figures in record["seconds"].items()}
    assert 0 < taken["python"] < taken["import"] < taken["first_sound"]
    assert "| import fastsag |" in start.report(record)


def test_importing_leaves_slow_libraries_alone():
    """Each costs a tenth of a second and more, and none is needed before there is sound."""
    code = "import fastsag, sys; print('\\n'.join(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    slow = {"pyloudnorm", "scipy.signal", "scipy.ndimage", "scipy.stats", "transformers"}
    assert slow & set(run.stdout.split()) == set()
