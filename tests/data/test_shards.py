"""Shards: what is written is read back, and a damaged shard says so."""

import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fastsag.data.shards import Record, read_shard, shard_paths, write_shard
from fastsag.errors import UserError

RATE = 24_000
STEP = 1 / 32768  # of 16-bit audio


def _records(count: int) -> list[Record]:
    rng = np.random.default_rng(0)
    return [
        Record(
            key=f"0001-{index:06d}-0",
            vocals=rng.uniform(-0.9, 0.9, 2_000).astype(np.float32),
            accompaniment=rng.uniform(-0.9, 0.9, 2_000).astype(np.float32),
            meta={"song": f"0001-{index:06d}", "sample_rate": RATE, "beats": [0.3, 0.8]},
        )
        for index in range(count)
    ]


def test_round_trip(tmp_path: Path) -> None:
    records = _records(3)
    assert write_shard(tmp_path / "a.tar", records) == 3
    back = list(read_shard(tmp_path / "a.tar"))
    for before, after in zip(records, back, strict=True):
        assert after.key == before.key
        assert after.meta == before.meta
        assert after.vocals.dtype == after.accompaniment.dtype == np.float32
        assert np.abs(after.vocals - before.vocals).max() <= STEP
        assert np.abs(after.accompaniment - before.accompaniment).max() <= STEP


def test_names_are_those_of_webdataset(tmp_path: Path) -> None:
    write_shard(tmp_path / "a.tar", _records(1))
    with tarfile.open(tmp_path / "a.tar") as tar:
        suffixes = [name.split(".", 1)[1] for name in tar.getnames()]
    assert suffixes == ["vocals.flac", "accompaniment.flac", "json"]


def test_stems_and_features_come_back_when_asked_for(tmp_path: Path) -> None:
    bass = np.linspace(-0.5, 0.5, 2_000, dtype=np.float32)
    mel = np.arange(6, dtype=np.float16).reshape(2, 3)
    records = [
        replace(record, stems={"bass": bass}, features={"mel": mel}) for record in _records(2)
    ]
    write_shard(tmp_path / "a.tar", records)
    for record in read_shard(tmp_path / "a.tar", extras=True):
        assert list(record.stems) == ["bass"] and list(record.features) == ["mel"]
        assert np.abs(record.stems["bass"] - bass).max() <= STEP
        np.testing.assert_array_equal(record.features["mel"], mel)
    assert [record.stems for record in read_shard(tmp_path / "a.tar")] == [{}, {}]


def test_webdataset_groups_a_record_into_one_sample(tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    write_shard(tmp_path / "a.tar", _records(2))
    samples = list(webdataset.WebDataset(str(tmp_path / "a.tar"), shardshuffle=False))
    assert [sample["__key__"].rsplit("/")[-1] for sample in samples] == [
        "0001-000000-0",
        "0001-000001-0",
    ]
    assert {"vocals.flac", "accompaniment.flac", "json"} <= set(samples[0])


def test_same_records_same_bytes(tmp_path: Path) -> None:
    for name in ("a.tar", "b.tar"):
        write_shard(tmp_path / name, _records(2))
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def test_a_killed_writer_leaves_no_shard(tmp_path: Path) -> None:
    def broken():  # type: ignore[no-untyped-def]
        yield from _records(1)
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        write_shard(tmp_path / "a.tar", broken())
    assert not list(tmp_path.glob("*.tar"))


def test_paths_are_sorted(tmp_path: Path) -> None:
    for name in ("b.tar", "a.tar", "c.tar"):
        write_shard(tmp_path / name, _records(1))
    assert [path.name for path in shard_paths(tmp_path)] == ["a.tar", "b.tar", "c.tar"]


def test_an_empty_folder_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="fastsag songs generate"):
        shard_paths(tmp_path)


def test_damage_is_a_user_error(tmp_path: Path) -> None:
    write_shard(tmp_path / "a.tar", _records(2))
    (tmp_path / "cut.tar").write_bytes((tmp_path / "a.tar").read_bytes()[:9_000])
    (tmp_path / "text.tar").write_text("not a tar file")
    for name in ("cut.tar", "text.tar"):
        with pytest.raises(UserError, match=name):
            list(read_shard(tmp_path / name))


def test_a_missing_part_is_a_user_error(tmp_path: Path) -> None:
    write_shard(tmp_path / "a.tar", _records(1))
    with tarfile.open(tmp_path / "a.tar") as whole, tarfile.open(tmp_path / "b.tar", "w") as less:
        for member in whole.getmembers()[:2]:
            less.addfile(member, whole.extractfile(member))
    with pytest.raises(UserError, match="incomplete"):
        list(read_shard(tmp_path / "b.tar"))
