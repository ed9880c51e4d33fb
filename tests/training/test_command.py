"""`fastsag train` from a file: end to end, killed and resumed, in two processes."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from fastsag import checkpoint
from fastsag import config as configuration
from fastsag.audio import Recording
from fastsag.cli.train import train
from fastsag.errors import UserError
from fastsag.pipeline import Accompanist
from fastsag.training.loop import averaged_weights
from fastsag.vocoder import build_vocoder

CONFIGS = Path(__file__).parents[2] / "configs"
DEBUG = CONFIGS / "debug.yaml"

KILLED_AT_37 = """
import os, signal
from fastsag.training.accompaniment import AccompanimentTraining as Training
step = Training.training_step
def dies(self, batch, index):
    if self.trainer.global_step == 37:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, batch, index)
Training.training_step = dies
from fastsag.cli.main import main
main()
"""


def run(*arguments: object, code: str | None = None) -> subprocess.CompletedProcess[str]:
    program = ["-c", code] if code else ["-m", "fastsag.cli.main"]
    command = [sys.executable, *program, *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)


def losses(text: str, name: str) -> dict[int, float]:
    """Validation losses by step, from what a run printed."""
    found = re.findall(rf"step (\d+)  validation .*?\b{name} ([\d.]+)", text)
    return {int(step): float(value) for step, value in found}


@pytest.fixture(scope="module")
def whole(corpus, tmp_path_factory) -> tuple[Path, str]:
    """An uninterrupted run of debug.yaml, and what it printed."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    done = run("train", DEBUG, "--data", corpus, "--out", out)
    assert done.returncode == 0, done.stderr
    return out, done.stderr


def test_the_tiny_model_trains_and_accompanies(whole):
    """Shows 1: its losses fall, and its checkpoint plays."""
    out, text = whole
    falls = {}
    for name in ("prior", "diffusion", "semantic"):
        first, last = losses(text, name)[30], losses(text, name)[60]
        falls[name] = first - last
    # The prior has learned by step 30 what three songs can teach it.
    assert falls["diffusion"] > 0 and falls["semantic"] > 0 and sum(falls.values()) > 0.05
    assert losses(text, "prior")[60] < 0.1
    assert re.search(r"step 60/60  [\d.]+ s/step  [\d.]+ crops/s  data \d+%", text)
    names = {path.name for path in (out / "previews").iterdir()}
    assert {"0000030-0.png", "0000060-1.mix.wav", "0000060-1.generated.wav"} <= names
    config = configuration.load(out / "config.yaml")
    weights = averaged_weights(out)
    folder = out / "exported"
    parts = {name.removeprefix("model."): tensor for name, tensor in weights.items()}
    checkpoint.export(folder, config, parts, {})
    config, model, _ = checkpoint.load(folder)
    player = Accompanist(config, model, build_vocoder(config.vocoder, config.mel))
    time = np.arange(3 * 24_000) / 24_000
    voice = Recording(0.2 * np.sin(2 * np.pi * 220 * time).astype(np.float32)[None], 24_000)
    band = player.accompany(voice).accompaniment
    assert band.shape == voice.samples.shape and np.abs(band).max() > 1e-3


def test_killed_at_37_of_60_it_ends_with_the_same_weights(whole, corpus, tmp_path):
    """Shows 2: kill -9, then the same command again."""
    arguments = ("train", DEBUG, "--data", corpus, "--out", tmp_path)
    killed = run(*arguments, code=KILLED_AT_37)
    assert killed.returncode == -signal.SIGKILL
    resumed = run(*arguments)
    assert resumed.returncode == 0, resumed.stderr
    one, other = averaged_weights(whole[0]), averaged_weights(tmp_path)
    assert all(torch.equal(one[name], other[name]) for name in one)
    again = run(*arguments)
    assert "already trained for 60 steps" in again.stdout


@pytest.mark.slow
def test_two_processes_are_one_with_the_whole_batch(corpus, tmp_path):
    """Shows 2: gloo, two processes with four items each against one with eight."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    # A Perceiver drops frames at random by process; debug.yaml has none.
    settings = ["training.steps=20", "training.validate_every=20", "training.batch_size=8"]
    curves, weights = {}, {}
    for devices in (1, 2):
        out = tmp_path / str(devices)
        done = run(
            "train", DEBUG, *settings, "training.previews=0",
            "--data", corpus, "--out", out, "--devices", devices,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        board = EventAccumulator(str(out / "logs"))
        board.Reload()
        names = ("train/loss", "train/diffusion", "validation/diffusion", "validation/prior")
        curves[devices] = {name: [e.value for e in board.Scalars(name)] for name in names}
        weights[devices] = averaged_weights(out)
    for name, values in curves[1].items():
        assert curves[2][name] == pytest.approx(values, rel=1e-3), name
    for name, value in weights[1].items():
        torch.testing.assert_close(weights[2][name], value, atol=1e-4, rtol=1e-2)


def test_a_batch_that_cannot_be_shared_is_refused(corpus, tmp_path):
    with pytest.raises(UserError, match="choose a multiple of 3"):
        train(DEBUG, ["training.accumulate=3"], data=[str(corpus)], out=tmp_path)


def test_the_list_names_every_configuration_with_the_papers_figures(capsys):
    train(list_them=True)
    text = capsys.readouterr().out
    others = ("eval", "singsong")  # of other commands
    files = {
        path.relative_to(CONFIGS.parent).as_posix()
        for path in CONFIGS.rglob("*.yaml")
        if path.parent.name not in others
    }
    assert files == set(re.findall(r"^configs/\S+", text, re.MULTILINE))
    assert re.search(r"configs/paper.yaml .* 0\.8917 +1\.3043 +0\.0701 +0\.3247", text)


def test_a_dry_run_prints_what_would_run(capsys):
    mel = CONFIGS / "ablations" / "mel.yaml"
    train(mel, ["training.steps=7"], base=CONFIGS / "compact.yaml", dry_run=True)
    text = capsys.readouterr().out
    assert "condition: mel" in text and "steps: 7" in text and "kind: dit" in text


def test_without_a_configuration_the_list_is_named():
    with pytest.raises(UserError, match="train --list"):
        train()
