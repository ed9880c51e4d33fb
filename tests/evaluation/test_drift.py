"""A band that changes is measured as one that changes, and a seam is found where there is one."""

import json

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

pytest.importorskip("librosa")

from fastsag.cli.main import app
from fastsag.errors import UserError
from fastsag.evaluation.drift import drift

RATE, SECONDS = 22_050, 24.0
HALF = 12.0


def band(bpm=(120, 120), gain=(1.0, 1.0), tonic=(261.6, 261.6), seed=0) -> np.ndarray:
    """A triad with a click on every beat; another tempo, level or tonic in the second half."""
    time = np.arange(int(SECONDS * RATE)) / RATE
    late = (time >= HALF).astype(int)
    rng = np.random.default_rng(seed)
    hertz = np.array(tonic)[late]
    sound = sum(
        np.sin(2 * np.pi * np.cumsum(hertz * ratio) / RATE) for ratio in (1, 1.26, 1.498, 2)
    )
    step = 60 / np.array(bpm)
    beats = np.concatenate([np.arange(0, HALF, step[0]), np.arange(HALF, SECONDS, step[1])])
    for beat in beats:
        start = int(beat * RATE)
        click = rng.standard_normal(800) * np.exp(-np.arange(800) / 150)
        sound[start : start + 800] += 6 * click[: len(sound) - start]
    return 0.05 * np.array(gain)[late] * sound


def measured(tmp_path, samples, **options):
    soundfile.write(tmp_path / "band.wav", samples, RATE, subtype="FLOAT")
    return drift(tmp_path / "band.wav", window=6.0, **options)


def test_a_steady_band_is_steady(tmp_path):
    found = measured(tmp_path, band())
    spread = found.spread()
    assert len(found.windows) == 4
    assert spread["tempo"] < 0.01 and spread["loudness_lufs"] < 0.5 and spread["centroid_hz"] < 0.05
    assert len(found.keys()) == 1 and found.seams == [] and found.p_values == {}


def test_each_change_shows_in_its_own_figure(tmp_path):
    faster = measured(tmp_path, band(bpm=(100, 125)))
    assert faster.windows[0]["tempo"] == pytest.approx(100, rel=0.02)
    assert faster.windows[3]["tempo"] == pytest.approx(125, rel=0.02)
    assert faster.spread()["loudness_lufs"] < 2
    louder = measured(tmp_path, band(gain=(0.5, 1.0)))
    assert louder.windows[3]["loudness_lufs"] - louder.windows[0]["loudness_lufs"] == (
        pytest.approx(6.02, abs=0.3)
    )
    assert louder.spread()["tempo"] < 0.01
    other = measured(tmp_path, band(tonic=(261.6, 277.2)))
    assert [row["key"] for row in other.windows] == ["C major"] * 2 + ["C# major"] * 2


def test_a_seam_stands_out_only_where_the_sound_changes(tmp_path):
    samples = band()
    noise = np.random.default_rng(1).standard_normal(len(samples))
    rough = samples + np.where(np.arange(len(samples)) / RATE < HALF, 0, 0.1) * noise
    found = measured(tmp_path, rough, joins=[HALF])
    assert found.seams[0]["texture"] > 0.99 and found.p_values["texture"] < 0.2
    joins = [3.1, 6.3, 9.7, 14.2, 17.4, 20.6]
    found = measured(tmp_path, samples, joins=joins)
    assert all(p > 0.05 for p in found.p_values.values())
    assert len(found.seams) == len(joins)


def test_a_silent_window_has_no_figures_and_short_bands_are_refused(tmp_path):
    samples = band()
    samples[: int(HALF * RATE)] = 0
    silent = measured(tmp_path, samples).windows[0]
    assert [silent[name] for name in ("tempo", "loudness_lufs", "centroid_hz", "key")] == [None] * 4
    soundfile.write(tmp_path / "short.wav", band()[: 5 * RATE], RATE)
    with pytest.raises(UserError, match="two windows"):
        drift(tmp_path / "short.wav")


def test_the_command_finds_the_joins_beside_the_band(tmp_path):
    soundfile.write(tmp_path / "song.accompaniment.wav", band(), RATE)
    (tmp_path / "song.json").write_text(json.dumps({"joins_seconds": [10.0, 20.0]}))
    arguments = ["evaluate", "drift", str(tmp_path / "song.accompaniment.wav"), "--window", "6"]
    arguments += ["--picture", str(tmp_path / "p.png"), "-o", str(tmp_path / "scores.json")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    (scores,) = json.loads((tmp_path / "scores.json").read_text()).values()
    assert [seam["seconds"] for seam in scores["seams"]] == [10.0, 20.0]
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    (tmp_path / "song.json").write_text("[]")
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code != 0 and "song.json" in str(result.exception) + result.output
