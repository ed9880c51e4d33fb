"""Shards become folders of paired clips, chosen by split and seed."""

import csv
import json

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from fastsag.cli.main import app
from fastsag.data.shards import Record, write_shard
from fastsag.errors import UserError
from fastsag.evaluation import sets
from fastsag.evaluation.truth import NEEDED

RATE = 8_000


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Two shards of four records: half of them test, the first annotated."""
    folder = tmp_path_factory.mktemp("shards")
    for shard in range(2):
        records = []
        for index in range(4):
            meta = {
                "song": f"song{shard}",
                "offset": 10.0 * index,
                "split": "test" if index % 2 else "train",
                "source": "folder",
                "sample_rate": RATE,
            }
            if (shard, index) == (0, 1):
                meta |= {name: [] for name in NEEDED}
            noise = np.random.default_rng(10 * shard + index).uniform(-0.3, 0.3, (2, RATE))
            records.append(Record(f"s{shard}-{index}", *noise.astype(np.float32), meta))
        write_shard(folder / f"part-{shard}.tar", records)
    return folder


def test_a_split_is_unpacked(shards, tmp_path):
    run = CliRunner().invoke(
        app, ["evaluate", "unpack", str(shards), "-o", str(tmp_path / "set"), "--split", "test"]
    )
    assert run.exit_code == 0 and "4 clips" in run.output, run.output
    known = sets.clips(tmp_path / "set")
    assert [clip.key for clip in known] == ["s0-1", "s0-3", "s1-1", "s1-3"]
    assert [clip.truth is not None for clip in known] == [True, False, False, False]
    samples, rate = soundfile.read(known[3].voice)
    expected = np.random.default_rng(13).uniform(-0.3, 0.3, (2, RATE))
    assert rate == RATE
    np.testing.assert_allclose(samples, expected[0], atol=1 / 32_768)
    np.testing.assert_allclose(soundfile.read(known[3].band)[0], expected[1], atol=1 / 32_768)
    with (tmp_path / "set" / sets.MANIFEST).open() as stream:
        rows = list(csv.DictReader(stream))
    assert rows[1]["clip"] == "s0-3" and rows[1]["song"] == "song0" and rows[1]["offset"] == "30.0"
    assert json.loads(known[0].truth.read_text())["split"] == "test"


def test_a_draw_follows_its_seed(shards, tmp_path):
    def drawn(name, seed):
        assert sets.unpack(shards, tmp_path / name, count=3, seed=seed) == 3
        return [clip.key for clip in sets.clips(tmp_path / name)]

    assert drawn("a", 0) == drawn("b", 0)
    assert len({tuple(drawn(f"c{seed}", seed)) for seed in range(1, 5)}) > 1
    with pytest.raises(UserError, match="4 .*9"):
        sets.unpack(shards, tmp_path / "d", split="test", count=9)
    with pytest.raises(UserError, match="no record of the split moon"):
        sets.unpack(shards, tmp_path / "d", split="moon")


def test_bands_come_from_shards_and_from_files(shards, tmp_path):
    assert len(list(sets.bands(shards))) == 8
    assert len(list(sets.bands(shards, longest_seconds=2.5))) == 3
    sets.unpack(shards, tmp_path, count=2)
    assert [rate for _, rate in sets.bands(tmp_path)] == [RATE, RATE]
