"""The golden checker, and with it every array of the public golden file."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.golden import parts
from tests.golden.archive import Archive, read
from tests.golden.audio_families import same_up_to_rounding
from tests.golden.check import FAMILIES, Family, check, compare, main, unknown

GOLDEN = Path(__file__).with_name("golden.npz")
SLOW = {"full", "losses", "sampler"}


@pytest.fixture(scope="module")
def public() -> Iterator[Archive]:
    yield read(GOLDEN)
    parts.projection.cache_clear()


@pytest.mark.parametrize(
    "family",
    [
        pytest.param(each, id=each.name, marks=[pytest.mark.slow] if each.name in SLOW else [])
        for each in FAMILIES
    ],
)
def test_public_file(public: Archive, family: Family) -> None:
    rows = list(check(public, [family]))
    assert rows
    assert all(row.passed for row in rows), "\n".join(map(str, rows))


def test_every_public_array_is_known(public: Archive) -> None:
    assert not list(unknown(public))


def small(path: Path, **changes: np.ndarray) -> Path:
    """Arrays of the public file that are computed at once, with changes."""
    with np.load(GOLDEN) as stored:
        names = ("set_name", "norm_in", "norm_out", "denorm_of_norm_in", "temb_t", "temb_sin")
        arrays = {name: stored[name] for name in names}
    np.savez(path, **arrays | changes)
    return path


def test_a_wrong_value_fails_its_row_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    right = small(tmp_path / "right.npz")
    assert main([str(right)]) == 0
    assert "3 of 3 arrays pass" in capsys.readouterr().out
    with np.load(right) as stored:
        changed = stored["temb_sin"].copy()
    changed[2, 5] += 1e-2
    assert main([str(small(tmp_path / "wrong.npz", temb_sin=changed))]) == 1
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines() if "FAIL" in line] == ["temb_sin"]
    assert "2 of 3 arrays pass" in out


@pytest.mark.parametrize(
    ("name", "array", "note"),
    [
        ("surprise", np.zeros(3), "unknown array"),
        ("mix_out", np.zeros((1, 100, 8)), "the file lacks 'mix_in'"),
        ("norm_out", np.zeros(5), "ours is 6"),
        ("norm_out", np.full(6, np.nan, np.float32), ""),
        ("norm_out", np.array("text"), "ours is 6"),
    ],
)
def test_what_cannot_be_compared_fails(
    name: str, array: np.ndarray, note: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(small(tmp_path / "odd.npz", **{name: array}))]) == 1
    failed = [line for line in capsys.readouterr().out.splitlines() if "FAIL" in line]
    assert len(failed) == 1 and failed[0].startswith(name) and note in failed[0]


def test_as_a_script(tmp_path: Path) -> None:
    """From another folder; what is no golden file ends with status 2 and one line."""
    script = Path(__file__).with_name("check.py")
    (tmp_path / "notes.npz").write_text("not an archive")
    run = subprocess.run(
        [sys.executable, script, "notes.npz"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 2 and not run.stdout
    assert run.stderr.splitlines() == ["notes.npz: is no npz file, or a damaged one"]


def test_unusable_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damaged = tmp_path / "damaged.npz"
    damaged.write_bytes(GOLDEN.read_bytes()[:5000])
    np.savez(tmp_path / "nameless.npz", norm_in=np.zeros(3))
    np.save(tmp_path / "single.npy", np.zeros(3))
    (tmp_path / "empty.npz").touch()
    for name in ("damaged.npz", "nameless.npz", "single.npy", "empty.npz", "missing.npz", "."):
        assert main([str(tmp_path / name)]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1


def test_other_set_names_have_other_inputs(public: Archive) -> None:
    other = Archive("other", public.arrays)
    shape = (1, 2, 3)
    assert torch.equal(public.recipe("full_z", shape), read(GOLDEN).recipe("full_z", shape))
    assert not torch.equal(public.recipe("full_z", shape), other.recipe("full_z", shape))


def test_mels_may_differ_by_the_rounding_of_quiet_bands_only() -> None:
    mel = torch.full((1, 4, 6), -5.0, dtype=torch.double)
    mel[:, :2] = -10.0
    mel[..., -1] = -11.5129
    quiet, loud, silent = mel.clone(), mel.clone(), mel.clone()
    quiet[0, 0, 0] += 5e-3
    loud[0, 3, 0] += 5e-3
    silent[0, 0, -1] += 5e-3
    assert compare("mel_out", mel, quiet).note
    assert [same_up_to_rounding(each, mel) for each in (quiet, loud, silent)] == [
        True,
        False,
        False,
    ]
    assert not same_up_to_rounding(mel + 0.1 * (mel == -10), mel)
