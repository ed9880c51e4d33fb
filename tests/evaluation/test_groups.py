"""Tables by kind of song and over seeds."""

import json

import numpy as np
import pytest
import soundfile

from fastsag.errors import UserError
from fastsag.evaluation import groups

SONGS = {"a": "rock", "b": "rock", "c": "waltz"}


def rows(system: str, values: list[float]) -> list[dict]:
    return [
        {"system": system, "song": song, **dict.fromkeys(groups.COLUMNS, value)}
        for song, value in zip(SONGS, values, strict=True)
    ]


def cells(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.split("\n")[2:]]


def test_groups_are_averaged_apart():
    (rock, waltz) = cells(groups.table(rows("ours", [0.2, 0.4, 0.9]), SONGS, "style"))
    assert rock[:4] == ["ours", "rock", "2", "0.30"]
    assert waltz[:4] == ["ours", "waltz", "1", "0.90"]


def test_seeds_are_one_system_with_the_spread_of_their_means():
    two = rows("ours-0", [0.2, 0.4, 0.6]) + rows("ours-1", [0.4, 0.6, 0.8])
    (line,) = cells(groups.table(two))
    assert line[:2] == ["ours", f"0.50 ± {np.std([0.4, 0.6], ddof=1):.2f}"]
    assert groups.seeds(["true band", "other-7"]) == {
        "true band": ["true band"],
        "other-7": ["other-7"],
    }


def test_scores_that_no_song_has_are_left_out():
    some = rows("ours", [0.2, 0.4, 0.6])
    some[0]["beat"] = None
    assert groups.cell(some, "beat") == "0.50"
    assert groups.cell([{**row, "beat": None} for row in some], "beat") == "-"


@pytest.fixture
def songs(tmp_path):
    for song, tempo in {"slow": 71.2, "quick": 151.0}.items():
        soundfile.write(tmp_path / f"{song}.vocals.wav", np.zeros(100), 24_000)
        truth = {"tempo": tempo, "style": "rock", "voice": {"source": "flite-kal"}}
        (tmp_path / f"{song}.truth.json").write_text(json.dumps(truth))
    return tmp_path


def test_songs_are_grouped_by_what_their_truth_tells(songs):
    assert groups.groups(songs, "tempo") == {"slow": "to 90", "quick": "150 and more"}
    assert groups.groups(songs, "voice") == {"slow": "flite-kal", "quick": "flite-kal"}


@pytest.mark.parametrize(("field", "told"), [("colour", "unknown"), ("recording", "--recording")])
def test_what_is_not_told_is_a_clear_error(songs, field, told):
    with pytest.raises(UserError, match=told):
        groups.groups(songs, field)
