"""Systems beside anchors: order, caching, estimated truth, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

pytest.importorskip("librosa")

from fastsag.cli.main import app
from fastsag.errors import UserError
from fastsag.evaluation import report, sets
from tests.evaluation.test_coherence import RATE, band, truth, voice

TRANSPOSED = {"one": 0, "two": 5}  # two songs, a fourth apart


def moved(song: dict, steps: int) -> dict:
    from fastsag.chords import CHORDS, chord_index, key_index, key_name
    from fastsag.chords import moved as moved_chord

    return {
        **song,
        "key": key_name((key_index(song["key"]) + steps) % 12),
        "chords": [
            {**chord, "label": CHORDS[moved_chord(chord_index(chord["label"]), steps)]}
            for chord in song["chords"]
        ],
        "notes": [{**note, "pitch": note["pitch"] + steps} for note in song["notes"]],
    }


@pytest.fixture(scope="session")
def songs(tmp_path_factory) -> Path:
    """Two songs with voices, bands and truths, and a system that plays both a semitone off."""
    root = tmp_path_factory.mktemp("songs")
    (root / "set").mkdir()
    (root / "off").mkdir()
    for name, steps in TRANSPOSED.items():
        song = moved(truth(), steps)
        soundfile.write(root / "set" / f"{name}.vocals.wav", voice(song), RATE)
        soundfile.write(root / "set" / f"{name}.accompaniment.wav", band(song), RATE)
        (root / "set" / f"{name}.truth.json").write_text(json.dumps(song))
        off = band(song, transpose=1)
        soundfile.write(root / "off" / f"{name}.vocals.accompaniment.wav", off, RATE)
    return root


@pytest.fixture(scope="session")
def rows(songs, tmp_path_factory) -> tuple[list[dict], Path]:
    cache = tmp_path_factory.mktemp("cache")
    told: list[tuple] = []
    found = report.compare(
        songs / "set",
        [("off", songs / "off")],
        cache=cache,
        progress=lambda *line: told.append(line),
    )
    assert told[-1] == ("off", "two", 14, 14)
    return found, cache


def test_the_true_band_is_first_of_all_anchors(rows):
    found, _ = rows
    assert list(dict.fromkeys(row["system"] for row in found)) == [*report.ANCHORS, "off"]
    score = report.means(found, "coherence")
    assert score[report.TRUE] == max(score.values())
    assert score[report.TRUE] > 0.75 > score[report.DRONE]
    assert score[report.RANDOM] < score[report.TRUE] - 0.3
    assert score[report.SILENCE] == score[report.VOICE] == 0 and score[report.NOISE] < 0.1
    assert score["off"] < score[report.TRUE] - 0.3
    gap = report.means(found, "sound_gap")
    assert gap[report.TRUE] == 0 < gap["off"] < gap[report.NOISE]
    text = report.table(found)
    assert text.count("| white noise |") == 2 and "| silence |" in text


def test_what_was_scored_is_not_scored_again(songs, rows, monkeypatch):
    found, cache = rows
    monkeypatch.setattr(report, "coherence", None)
    again = report.compare(songs / "set", [("off", songs / "off")], cache=cache)
    assert again == found


@pytest.mark.slow
def test_processes_give_the_same(songs, rows, tmp_path):
    found, _ = rows
    again = report.compare(songs / "set", [], anchors=(report.NOISE,), cache=tmp_path, workers=2)
    assert again == [row for row in found if row["system"] == report.NOISE]


@pytest.mark.slow
def test_the_command_without_annotations(songs, tmp_path):
    for path in (songs / "set").glob("*.wav"):
        (tmp_path / path.name).symlink_to(path)
    known = sets.clips(tmp_path)
    assert [clip.truth for clip in known] == [None, None]
    out = tmp_path / "scores.json"
    words = ["evaluate", "coherence", tmp_path, songs / "off", "--workers", 1]
    words += ["--cache", tmp_path / "cache", "-o", out, "--truth", "voice"]
    run = CliRunner().invoke(app, [str(word) for word in words])
    assert run.exit_code == 0, run.output
    assert "| off |" in run.output
    scores = json.loads(out.read_text())
    assert {row["chord"] for row in scores} == {None}
    true = report.means(scores, "coherence")
    assert true[report.TRUE] > true["off"] + 0.2


def test_what_is_missing_is_named(songs, tmp_path):
    with pytest.raises(UserError, match=r"no KEY\.vocals\.wav here"):
        sets.clips(tmp_path)
    with pytest.raises(UserError, match="0 files one"):
        report.compare(songs / "set", [("empty", tmp_path)])
    with pytest.raises(UserError, match="--truth sky: unknown; choose one of annotation"):
        report.compare(songs / "set", [], truth="sky")
    (tmp_path / "a.vocals.wav").symlink_to(songs / "set" / "one.vocals.wav")
    with pytest.raises(UserError, match="needs KEY.accompaniment"):
        report.compare(tmp_path, [], truth="band")
    with pytest.raises(UserError, match="needs KEY.truth.json"):
        report.compare(tmp_path, [], truth="annotation")
    (tmp_path / "a.truth.json").write_text('{"key": "C major"}')
    with pytest.raises(UserError, match=r"a\.truth\.json: has no beats"):
        report.compare(tmp_path, [], anchors=(report.VOICE,))


def test_keys_that_begin_alike_are_not_confused(tmp_path):
    for name in ("a1", "a10"):
        for part in ("vocals", "vocals.accompaniment"):
            soundfile.write(tmp_path / f"{name}.{part}.wav", np.ones(100) * 0.1, RATE)
    assert sets.candidate(tmp_path, "a1").name == "a1.vocals.accompaniment.wav"
    assert [clip.key for clip in sets.clips(tmp_path)] == ["a1", "a10"]


def test_a_random_partner_is_another_song():
    """Recordings of one song lie side by side in a set; the next of them is no stranger."""
    assert report._partners(["a", "a", "b", "b", "c"]) == [2, 2, 4, 4, 0]
    assert report._partners(["a", "a"]) == [0, 1]
