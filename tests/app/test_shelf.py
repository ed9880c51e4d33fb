"""Results of the page: unguessable, private, limited in number and age."""

import time

import pytest

from fastsag.app.problems import Problem
from fastsag.app.shelf import Shelf


def test_what_is_put_is_found_until_dropped(tmp_path):
    shelf = Shelf(tmp_path / "shelf", most=5, seconds=60)
    token, folder = shelf.new()
    assert folder.stat().st_mode & 0o077 == 0 and len(token) >= 24
    with pytest.raises(Problem):
        shelf.get(token)  # not yet
    shelf.put(token, "take")
    assert shelf.get(token) == "take"
    shelf.drop(token, "unknown")
    assert not folder.exists()
    with pytest.raises(Problem, match="too long ago"):
        shelf.get(token)


def test_the_oldest_goes_first(tmp_path):
    shelf = Shelf(tmp_path / "shelf", most=2, seconds=60)
    folders = [shelf.new()[1] for _ in range(3)]
    assert [folder.exists() for folder in folders] == [False, True, True]


def test_what_is_old_goes(tmp_path):
    shelf = Shelf(tmp_path / "shelf", most=5, seconds=0.05)
    token, folder = shelf.new()
    shelf.put(token, "take")
    time.sleep(0.1)
    with pytest.raises(Problem):
        shelf.get(token)
    assert not folder.exists()
