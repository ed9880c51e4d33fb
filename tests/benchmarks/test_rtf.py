"""The timer times what it says, and the record of a whole accompaniment adds up."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from fastsag import checkpoint
from fastsag import config as configuration
from fastsag.audio import Recording
from fastsag.benchmarks import rtf
from fastsag.benchmarks.timer import Timing, machine, peak_memory_mb, timed
from fastsag.cli.main import app
from fastsag.errors import UserError
from fastsag.model import build
from fastsag.pipeline import Accompanist
from fastsag.take import Settings
from fastsag.vocoder import build_vocoder

CONFIGS = Path(__file__).parents[2] / "configs"


def test_warm_ups_do_not_count():
    calls, told = [], []

    def run():
        time.sleep(0.05 if len(calls) < 2 else 0.005)
        calls.append(1)

    found = timed(run, runs=5, warmups=2, progress=lambda *step: told.append(step))
    assert len(calls) == 7 and len(found.seconds) == 5 and told[-1] == (7, 7)
    assert 0.005 <= found.median < 0.05


def test_figures_of_known_seconds():
    found = Timing(tuple(np.arange(1.0, 22.0)))  # 1 to 21
    assert found.figures() == {"median": 11.0, "p95": 20.0, "mean": 11.0}


def test_memory_and_machine():
    before = peak_memory_mb()["process"]
    block = np.ones(30_000_000)  # 240 MB
    assert peak_memory_mb()["process"] >= before > 10 and block[0] == 1
    assert machine()["threads"] == torch.get_num_threads()
    assert machine()["torch"] == str(torch.__version__)


@pytest.fixture(scope="module")
def accompanist() -> Accompanist:
    torch.manual_seed(0)
    config = configuration.load(CONFIGS / "debug.yaml")
    return Accompanist(config, build(config), build_vocoder(config.vocoder, config.mel))


def test_the_record_adds_up(accompanist):
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, (1, 24_000)).astype(np.float32)
    told: list[tuple] = []
    record = rtf.rtf(
        accompanist,
        Recording(noise, 24_000),
        0.5,
        Settings(steps=2, sampler="euler", guidance=1.0),
        runs=2,
        warmups=1,
        progress=lambda *line: told.append(line),
    )
    assert record["audio_seconds"] == 1.0 and record["network_evaluations"] == 2
    practice = record["practice"]
    assert practice["rtf"] == pytest.approx(practice["seconds"]["median"])
    assert record["paper"]["rtf"] == pytest.approx(record["paper"]["seconds"]["mean"])
    assert set(practice["stages"]) == {"plan", "denoise", "vocode", "mix", "rest"}
    whole = sum(stage["median"] for stage in practice["stages"].values())
    assert whole == pytest.approx(practice["seconds"]["median"], rel=0.5)
    assert min(stage["median"] for stage in practice["stages"].values()) >= 0
    assert told[2] == ("practice", 3, 3) and told[-1] == ("paper", 2, 2)
    assert json.loads(json.dumps(record)) == record
    assert "| denoise |" in rtf.report(record) and "2 network evaluations" in rtf.report(record)


def test_guidance_costs_a_second_evaluation(accompanist):
    noise = Recording(np.full((1, 24_000), 0.1, np.float32), 24_000)

    def calls(guidance):
        settings = Settings(steps=1, sampler="euler", guidance=guidance)
        return rtf.count_evaluations(
            accompanist, lambda: accompanist.accompany(noise, settings=settings)
        )

    assert (calls(1.0), calls(2.0)) == (1, 2)


def test_a_short_voice_repeats():
    recording = Recording(np.arange(5, dtype=np.float32)[None], 5)
    assert rtf.clip(recording, 2.4).samples[0].tolist() == [0, 1, 2, 3, 4] * 2 + [0, 1]
    with pytest.raises(UserError, match="at least 0.5"):
        rtf.clip(recording, 0.1)


@pytest.mark.slow
def test_the_command(tmp_path):
    torch.manual_seed(0)
    config = configuration.load(CONFIGS / "debug.yaml")
    checkpoint.export(tmp_path, config, build(config).state_dict(), {})
    out = tmp_path / "rtf.json"
    words = ["bench", "rtf", "--checkpoint", tmp_path, "--seconds", 0.5, "--steps", 1, "-o", out]
    run = CliRunner().invoke(app, [str(word) for word in words])
    assert run.exit_code == 0, (run.output, run.exception)
    record = json.loads(out.read_text())
    assert record["runs"] == 20 and record["warmups"] == 3 and record["load_seconds"] > 0
    assert "all (the paper's: file read, mean)" in run.output
