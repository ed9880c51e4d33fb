"""The real command: outputs, exit statuses, and that bad input leaves nothing behind."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from fastsag import checkpoint
from fastsag import config as configuration
from fastsag.model import build

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    """A checkpoint of configs/debug.yaml with random weights."""
    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    config = configuration.load(CONFIGS / "debug.yaml")
    checkpoint.export(folder, config, build(config).state_dict(), {})
    return folder


def voice(path: Path, seconds: float = 1.2, rate: int = 22_050, channels: int = 1) -> Path:
    time = np.arange(int(seconds * rate)) / rate
    tone = 0.2 * np.sin(2 * np.pi * 220 * 2 ** (np.floor(time * 2) % 5 / 12) * time)
    soundfile.write(path, np.tile(tone[:, None], (1, channels)), rate)
    return path


def fastsag(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fastsag.cli.main", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def test_it_writes_what_it_says(tiny, tmp_path):
    source = voice(tmp_path / "song.wav", 2.3, 44_100, 2)
    out = tmp_path / "out"
    done = fastsag("accompany", source, "-o", out, "--checkpoint", tiny, "--plot", "--seed", 3)
    assert done.returncode == 0, done.stderr
    names = {
        "song.accompaniment.wav",
        "song.mix.wav",
        "song.json",
        "song.lead-sheet.txt",
        "song.png",
    }
    assert {path.name for path in out.iterdir()} == names
    assert all(name in done.stdout for name in names)
    mix, accompaniment = (
        soundfile.info(out / f"song.{part}.wav") for part in ("mix", "accompaniment")
    )
    assert (mix.samplerate, mix.frames, mix.channels) == (44_100, int(2.3 * 44_100), 2)
    assert (accompaniment.samplerate, accompaniment.frames) == (44_100, int(2.3 * 44_100))
    record = json.loads((out / "song.json").read_text())
    assert record["seed"] == 3 and record["steps"] == 3 and record["sampler"] == "euler"
    assert record["loudness"]["peak_dbfs"] <= 0
    assert record["lead_sheet"]["beats_per_bar"] in (3, 4)


def test_same_seed_same_bytes_and_takes_differ(tiny, tmp_path):
    source = voice(tmp_path / "song.wav")
    for name in ("a", "b"):
        done = fastsag(
            "accompany", source, "-o", tmp_path / name, "--checkpoint", tiny, "--takes", 2
        )
        assert done.returncode == 0, done.stderr
    first, again, other = (
        (tmp_path / path).read_bytes()
        for path in ("a/song.take1.mix.wav", "b/song.take1.mix.wav", "a/song.take2.mix.wav")
    )
    assert first == again and first != other


def test_one_bad_file_does_not_stop_the_others(tiny, tmp_path):
    good = voice(tmp_path / "good.wav")
    bad = tmp_path / "bad.wav"
    bad.write_text("nonsense")
    out = tmp_path / "out"
    done = fastsag("accompany", bad, good, "-o", out, "--checkpoint", tiny)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and "bad.wav: not audio" in done.stderr
    assert {path.name for path in out.iterdir()} == {
        "good.accompaniment.wav",
        "good.mix.wav",
        "good.json",
        "good.lead-sheet.txt",
    }


def test_existing_results_are_kept_unless_told(tiny, tmp_path):
    source = voice(tmp_path / "song.wav")
    out = tmp_path / "out"
    out.mkdir()
    (out / "song.json").write_text("precious")
    done = fastsag("accompany", source, "-o", out, "--checkpoint", tiny)
    assert done.returncode == 2 and "--overwrite" in done.stderr
    assert (out / "song.json").read_text() == "precious" and len(list(out.iterdir())) == 1
    done = fastsag("accompany", source, "-o", out, "--checkpoint", tiny, "--overwrite")
    assert done.returncode == 0 and "precious" not in (out / "song.json").read_text()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["absent.wav"], "absent.wav: no such file"),
        (["voice.wav", "--checkpoint", "nonesuch"], "nonesuch: unknown checkpoint"),
        (["voice.wav", "--sampler", "magic"], "magic: unknown"),
        (["voice.wav", "--style", "polka"], "--style polka: unknown"),
        (["voice.wav", "--chords", "C | H"], "--chords 'H' is not a chord"),
        (["voice.wav", "--bpm", "fast"], "--bpm could not convert"),
        (["voice.wav", "--bpm", "90", "--beats", "voice.wav"], "leave out --bpm"),
        (["voice.wav", "--lead-sheet", "voice.wav"], "voice.wav: cannot be read"),
        (["voice.wav", "--device", "tpu"], "tpu: not available"),
        (["voice.wav", "folder/voice.wav"], "would write"),
        (["voice.wav", "--reference", "voice.wav"], "--plot"),
        (["voice.wav", "-o", "voice.wav/below"], "cannot be made"),
    ],
)
def test_bad_usage_is_one_line_and_leaves_nothing(tiny, tmp_path, arguments, reason):
    voice(tmp_path / "voice.wav")
    (tmp_path / "folder").mkdir()
    voice(tmp_path / "folder" / "voice.wav")
    words = [tmp_path / word if word.endswith((".wav", "below")) else word for word in arguments]
    if "-o" not in words:
        words += ["-o", tmp_path / "out"]
    if "--checkpoint" not in words:
        words += ["--checkpoint", tiny]
    done = fastsag("accompany", *words)
    assert done.returncode == 2
    assert reason in done.stderr and done.stderr.count("\n") == 1
    assert not list(tmp_path.glob("out/*"))


def test_a_lead_sheet_is_written_edited_and_played(tiny, tmp_path):
    source, song = voice(tmp_path / "song.wav", 6.0), tmp_path / "song.txt"
    done = fastsag("lead-sheet", source, "-o", song, "--checkpoint", tiny, "--plot")
    assert done.returncode == 0, done.stderr
    assert song.read_text() in done.stdout and (tmp_path / "song.png").exists()
    done = fastsag("lead-sheet", source, "-o", song, "--checkpoint", tiny)
    assert done.returncode == 2 and "--overwrite" in done.stderr
    song.write_text("key: F#m\ntempo: 100\ndownbeat: 0.5\n| F#m7 | D E | % | N.C. |\n")
    out = tmp_path / "out"
    sheet = ["--lead-sheet", song, "--key", "A", "--style", "folk"]
    done = fastsag("accompany", source, "-o", out, "--checkpoint", tiny, *sheet)
    assert done.returncode == 0, done.stderr
    played = json.loads((out / "song.json").read_text())["lead_sheet"]
    assert played["key"] == "A major" and played["style"] == "folk"
    assert played["tempo"] == pytest.approx(100)
    assert played["chords"][1:3] == ["F#:min7", "D:maj E:maj"]
    assert "| F#m7 | D E" in (out / "song.lead-sheet.txt").read_text()


def test_help_teaches():
    done = fastsag("accompany", "--help")
    assert done.returncode == 0 and "Exit status" in done.stdout and "Example" in done.stdout
