"""Files are whole or absent, whatever happens while they are written."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastsag.data.store import DiskFull, alone, remove_partial, replacing, save
from fastsag.errors import UserError


def _broken_off(path: Path, error: Exception) -> None:
    with replacing(path) as handle:
        handle.write(b"half of the new")
        raise error


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    save(path, b"old")
    with pytest.raises(ValueError):
        _broken_off(path, ValueError())
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


def test_a_full_disk_says_so_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(DiskFull, match="the disk is full; free some space"):
        _broken_off(tmp_path / "file", full)
    assert not list(tmp_path.iterdir())


def test_other_errors_of_the_system_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(PermissionError):
        _broken_off(tmp_path / "file", PermissionError(errno.EACCES, "no"))


def test_what_a_killed_run_left_is_removed(tmp_path: Path) -> None:
    code = f"""
import os
from pathlib import Path
from fastsag.data.store import replacing
with replacing(Path({str(tmp_path)!r}) / "a" / "file") as handle:
    handle.write(b"half"); handle.flush(); os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", code], check=False)
    save(tmp_path / "a" / "whole", b"")
    assert remove_partial(tmp_path) == 1
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["whole"]


def test_two_commands_do_not_share_a_folder(tmp_path: Path) -> None:
    with alone(tmp_path), pytest.raises(UserError, match="another command"), alone(tmp_path):
        pass
    with alone(tmp_path):
        pass
