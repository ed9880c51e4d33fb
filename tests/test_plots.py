"""Spectrogram pictures."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from fastsag.errors import MissingExtra, UserError
from fastsag.plots import mel_panels

HOP_SECONDS = 256 / 24_000


def panels(seconds: float) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    frames = int(seconds / HOP_SECONDS)
    return {name: rng.normal(-6, 2, (100, frames)) for name in ("voice", "prior", "generated")}


@pytest.mark.parametrize("seconds", [0.5, 20, 90])
def test_a_picture_with_all_marks_is_written(tmp_path: Path, seconds: float) -> None:
    pytest.importorskip("matplotlib")
    mel_panels(
        tmp_path / "a.png",
        panels(seconds),
        HOP_SECONDS,
        "song.wav",
        band_hz=np.geomspace(40, 12_000, 100),
        beats=np.arange(0, seconds, 0.5),
        chords=[(2.0 * bar, "A:min") for bar in range(int(seconds / 2))],
    )
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_marks_are_optional_and_a_constant_panel_draws(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    mel_panels(tmp_path / "a.png", {"silence": np.full((100, 50), -11.5)}, HOP_SECONDS, "song.wav")
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_an_absent_folder_is_named(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    with pytest.raises(UserError, match="absent.*choose another folder"):
        mel_panels(tmp_path / "absent" / "a.png", panels(1), HOP_SECONDS, "song.wav")


def test_missing_matplotlib_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtra, match=r"fastsag\[plot\]"):
        mel_panels(tmp_path / "a.png", panels(1), HOP_SECONDS, "song.wav")
    assert not list(tmp_path.iterdir())
