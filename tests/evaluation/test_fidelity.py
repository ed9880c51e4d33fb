"""Copies beside their recordings: alike is 0, damage is found and has its kind."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from fastsag import audio
from fastsag.cli.main import app
from fastsag.errors import UserError
from fastsag.evaluation import degrade, fidelity

RATE = 24_000


def plucks(seconds: float = 3.0) -> np.ndarray:
    """Decaying chords twice a second."""
    time = np.arange(int(seconds * RATE)) / RATE
    since = time % 0.5
    partials = sum(np.sin(2 * np.pi * hertz * time) for hertz in (220, 277, 330, 440, 554))
    return (0.1 * partials * np.exp(-6 * since)).astype(np.float32)


def put(folder: Path, samples: np.ndarray) -> Path:
    folder.mkdir(exist_ok=True)
    audio.write(folder / "one.flac", samples[None], RATE, "flac")
    return folder


@pytest.fixture
def bands(tmp_path) -> Path:
    return put(tmp_path / "bands", plucks())


def test_a_copy_is_at_zero_and_phase_alone_is_no_distance(bands, tmp_path):
    turned = put(tmp_path / "turned", -plucks())
    rows = fidelity.compare(bands, [bands.parent / "turned"])
    assert list(rows) == [str(bands), str(turned)]
    for measure in fidelity.DISTANCES:
        assert rows[str(turned)][measure] == pytest.approx(0, abs=2e-3)


def test_more_damage_is_further(bands, tmp_path):
    rng = np.random.default_rng(0)
    hiss = rng.standard_normal(len(plucks())).astype(np.float32)
    some, more = (put(tmp_path / f"{level}", plucks() + level * hiss) for level in (0.003, 0.03))
    rows = fidelity.compare(bands, [some, more])
    for measure in fidelity.DISTANCES:
        assert 0 < rows[str(some)][measure] < rows[str(more)][measure]
    assert rows[str(bands)]["tonality_db"] > rows[str(more)]["tonality_db"]


def test_distances_are_those_of_their_definitions():
    """Half as loud: 6.02 dB everywhere above the floor, a convergence of 0.5, ln 2."""
    noise = np.random.default_rng(0).standard_normal(22_050).astype(np.float32)
    found = fidelity.distances(0.5 * noise, noise)
    assert found["lsd_db"] == pytest.approx(20 * np.log10(2), abs=0.01)
    assert found["convergence"] == pytest.approx(0.5, abs=1e-3)
    assert found["log_magnitude"] == pytest.approx(np.log(2), abs=1e-3)


def test_griffin_lim_comes_nearer_with_more_rounds(bands, tmp_path):
    copies = [tmp_path / "few", tmp_path / "many"]
    for copy, rounds in zip(copies, (1, 32), strict=True):
        degrade.folder(bands, copy, degrade.griffin_lim("compact", rounds))
    few, many = (fidelity.compare(bands, [copy])[str(copy)] for copy in copies)
    assert many["convergence"] < few["convergence"]


def test_the_command_and_its_errors(bands, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UserError, match=r"empty: no audio"):
        fidelity.compare(bands, [empty])
    audio.write(empty / "two.wav", plucks()[None], RATE, "wav")
    with pytest.raises(UserError, match=r"no copy of one"):
        fidelity.compare(bands, [empty])
    scores = tmp_path / "scores.json"
    found = CliRunner().invoke(app, ["evaluate", "fidelity", *[str(bands)] * 2, "-o", str(scores)])
    assert found.exit_code == 0 and "| bands | 0.0 | 0.000 | 0.000 |" in found.output
    assert scores.exists()
