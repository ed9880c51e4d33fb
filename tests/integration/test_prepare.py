"""`fastsag prepare`, `fastsag data inspect` and `fastsag accompany --separate` as commands."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fastsag import checkpoint
from fastsag import config as configuration
from fastsag.data.shards import shard_paths
from fastsag.model import build
from tests.data.songs import corpus, tone, write

ROOT = Path(__file__).parents[2]


def fastsag(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fastsag.cli.main", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=ROOT)


def test_prepare_then_inspect(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    songs, out = corpus(tmp_path / "songs", 3), tmp_path / "out"
    (songs / "broken.mp3").write_bytes(b"")
    words = ("prepare", songs, "-o", out, "--clip-seconds", 1, "--workers", 1)
    done = fastsag(*words, "--separator", "tests.data.songs:halve")
    assert done.returncode == 1, done.stderr  # one song was left out
    assert "paper: 9 pass (100.0%) (kept)" in done.stdout
    assert (
        "1 songs left out" in done.stdout and "separate, clip: 4/4 songs, 1 failed" in done.stderr
    )
    inspected = fastsag("data", "inspect", out, "--verify")
    assert inspected.returncode == 0, inspected.stderr
    assert "every shard is as it was written" in inspected.stdout
    assert (out / "inspect.png").stat().st_size > 20_000
    shard = shard_paths(out)[0]
    data = bytearray(shard.read_bytes())
    data[700] ^= 1
    shard.write_bytes(data)
    again = fastsag("data", "inspect", out, "--verify", "--plot", tmp_path / "again.png")
    assert again.returncode == 1 and f"{shard}: its checksum differs" in again.stdout


def test_without_weights_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    write(tmp_path / "song.wav", tone(300, 2.0))
    done = fastsag("prepare", tmp_path / "song.wav", "-o", tmp_path / "out")
    assert done.returncode == 2 and not (tmp_path / "out").exists()
    assert "run: fastsag checkpoint download htdemucs" in done.stderr


def test_no_cluster_at_the_address(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    songs = corpus(tmp_path / "songs", 1)
    cluster = ("--engine", "ray", "--address", "127.0.0.1:1")
    done = fastsag("prepare", songs, "-o", tmp_path / "out", *cluster)
    assert done.returncode == 2 and "--address 127.0.0.1:1: no Ray cluster there" in done.stderr


def test_accompanying_a_whole_song(tmp_path: Path) -> None:
    config = configuration.load(ROOT / "configs" / "debug.yaml")
    torch.manual_seed(0)
    checkpoint.export(tmp_path / "tiny", config, build(config).state_dict(), {})
    write(tmp_path / "song.flac", tone(330, 1.5))
    words = ("--separate", "--separator", "tests.data.songs:halve", "--checkpoint")
    done = fastsag("accompany", tmp_path / "song.flac", "-o", tmp_path, *words, tmp_path / "tiny")
    assert done.returncode == 0, done.stderr
    import soundfile

    voice, rate = soundfile.read(tmp_path / "song.vocals.wav")
    assert voice.shape == (int(1.5 * rate), 2)
    assert abs(voice).max() == pytest.approx(0.5 * 0.3, abs=1e-3)  # half of the song
    record = json.loads((tmp_path / "song.json").read_text())
    assert (
        record["separator"] == "tests.data.songs:halve" and "song.vocals.wav" in record["outputs"]
    )
