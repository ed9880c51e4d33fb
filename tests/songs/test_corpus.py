"""Corpora: the same bytes whatever the order, resumed, listed with checksums, failures told."""

import json
from pathlib import Path

import pytest

from fastsag.data.shards import Record, read_shard, shard_paths
from fastsag.errors import UserError
from fastsag.songs import corpus, generator
from fastsag.songs.corpus import FAILURES, MANIFEST, Job, Recipe, generate, make_shard, verify
from fastsag.songs.settings import SongSettings

SEED = 5
needs_programs = pytest.mark.usefixtures("programs")


@pytest.fixture
def songs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Songs of half a second, made in this process; returns the indices made."""
    import numpy as np

    made: list[int] = []

    def quick(seed, index, bands, reserved, settings):  # type: ignore[no-untyped-def]
        made.append(index)
        if index == 3:
            raise RuntimeError("no voice")
        for number in range(bands):
            rng = np.random.default_rng((seed, index, number))
            sound = (0.1 * rng.standard_normal(12_000)).astype(np.float32)
            name = f"{seed:04d}-{index:06d}"
            meta = {"song": name, "split": generator.split_of(name), "sample_rate": 24_000}
            yield Record(f"{name}-{number}", sound, sound, meta, {"drums": sound})

    class Here:
        def __init__(self, *args, **kwargs) -> None: ...
        def __enter__(self):  # type: ignore[no-untyped-def]
            return self

        def __exit__(self, *args) -> None: ...
        def submit(self, function, *args):  # type: ignore[no-untyped-def]
            from concurrent.futures import Future

            future: Future = Future()
            future.set_result(function(*args))
            return future

    monkeypatch.setattr(generator, "song_records", quick)
    monkeypatch.setattr(corpus, "check_programs", lambda: None)
    monkeypatch.setattr(corpus, "ProcessPoolExecutor", Here)
    return made


def hours(count: int) -> float:
    return count * corpus._LONGER * 39 / 3600


def manifest(folder: Path) -> dict:
    return json.loads((folder / MANIFEST).read_text())


def test_a_killed_run_goes_on(tmp_path: Path, songs: list[int]) -> None:
    recipe = Recipe(bands=1)
    generate(tmp_path / "once", hours(20), SEED, 1, recipe)
    folder = tmp_path / "killed"
    generate(folder, hours(20), SEED, 1, recipe)
    # As if killed: one shard absent, one written but not yet listed.
    first, second, _ = shard_paths(folder)
    first.unlink()
    listed = manifest(folder)
    listed["shards"] = [e for e in listed["shards"] if e["name"] != second.name]
    (folder / MANIFEST).write_text(json.dumps(listed))
    songs.clear()
    generate(folder, hours(20), SEED, 1, recipe)
    assert songs == list(range(16))
    for path in shard_paths(folder):
        assert path.read_bytes() == (tmp_path / "once" / path.name).read_bytes()
    assert manifest(folder) == manifest(tmp_path / "once")


def test_more_hours_add_songs_and_complete_the_last_shard(tmp_path: Path, songs: list[int]) -> None:
    generate(tmp_path, hours(12), SEED, 1, Recipe(bands=1))
    songs.clear()
    generate(tmp_path, hours(20), SEED, 1, Recipe(bands=1))
    assert songs == list(range(8, 20))
    keys = [record.key for path in shard_paths(tmp_path) for record in read_shard(path)]
    assert keys == [f"{SEED:04d}-{index:06d}-0" for index in range(20) if index != 3]


def test_failures_are_listed(tmp_path: Path, songs: list[int]) -> None:
    failures = generate(tmp_path, hours(8), SEED, 1, Recipe(bands=1))
    expected = {"seed": SEED, "index": 3, "error": "RuntimeError: no voice"}
    assert failures == [expected]
    assert [json.loads(line) for line in (tmp_path / FAILURES).open()] == [expected]
    (entry,) = manifest(tmp_path)["shards"]
    assert entry["records"] == 7 and entry["failures"] == [expected]
    # Told again when nothing is left to do.
    assert generate(tmp_path, hours(8), SEED, 1, Recipe(bands=1)) == [expected]


def test_checksums_find_damage(tmp_path: Path, songs: list[int]) -> None:
    generate(tmp_path, hours(16), SEED, 1, Recipe(bands=1))
    assert verify(tmp_path) == []
    path = shard_paths(tmp_path)[1]
    data = bytearray(path.read_bytes())
    data[5_000] ^= 1
    path.write_bytes(data)
    assert verify(tmp_path) == [path.name]
    with pytest.raises(UserError, match="no manifest"):
        verify(tmp_path / "nowhere")


def test_another_recipe_is_refused(tmp_path: Path, songs: list[int]) -> None:
    generate(tmp_path, hours(8), SEED, 1, Recipe(bands=1))
    for other in (
        Recipe(bands=2),
        Recipe(bands=1, stems=True),
        Recipe(bands=1, settings=SongSettings(families=("waltz",))),
    ):
        with pytest.raises(UserError, match="other settings"):
            generate(tmp_path, hours(8), SEED, 1, other)
    (tmp_path / MANIFEST).unlink()
    with pytest.raises(UserError, match="no manifest.json"):
        generate(tmp_path, hours(8), SEED, 1, Recipe(bands=1))


def test_stems_are_kept_on_request(tmp_path: Path, songs: list[int]) -> None:
    for stems in (False, True):
        job = Job(tmp_path / f"{stems}.tar", SEED, range(1), Recipe(bands=1, stems=stems))
        make_shard(job)
        (record,) = read_shard(job.path, extras=True)
        assert set(record.stems) == ({"drums"} if stems else set())


def test_bands_of_a_song_stay_in_one_split(tmp_path: Path, songs: list[int]) -> None:
    generate(tmp_path, hours(90), SEED, 1, Recipe(bands=3))
    splits: dict[str, set[str]] = {}
    for path in shard_paths(tmp_path):
        for record in read_shard(path):
            splits.setdefault(record.meta["song"], set()).add(record.meta["split"])
    assert all(len(found) == 1 for found in splits.values())


@needs_programs
@pytest.mark.slow
def test_workers_and_order_do_not_change_the_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus, "SONGS_PER_SHARD", 1)
    for workers in (1, 2):
        generate(tmp_path / str(workers), hours(3), SEED, workers, Recipe(bands=1))
    for path in shard_paths(tmp_path / "1"):
        assert path.read_bytes() == (tmp_path / "2" / path.name).read_bytes()
