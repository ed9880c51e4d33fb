"""Streams: the same crops whatever came before, from any process, from far away and without end."""

import dataclasses
import functools
import http.server
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from fastsag.config import MelConfig, MelodicConfig, VoiceNoise
from fastsag.data import streams as module
from fastsag.data.features import FeatureExtractor
from fastsag.data.streams import (
    Features,
    Shard,
    Stream,
    StreamCrops,
    Window,
    all_songs,
    held_out_songs,
    open_stream,
    weighted,
)
from fastsag.errors import UserError
from tests.training.corpus import record, write_corpus

FEATURES = Features(MelConfig(n_fft=2048, win_length=2048), MelodicConfig(), VoiceNoise())


@pytest.fixture(scope="module")
def song():
    one = record(0)
    return FeatureExtractor(FEATURES.mel, FEATURES.encoder)(one.vocals, one.accompaniment, one.meta)


@pytest.fixture
def loaded(monkeypatch, song) -> Counter:
    """Shards that hold nothing but their own name; counts how often each is loaded."""
    counts: Counter = Counter()

    def load(self, shard):
        counts[shard.origin] += 1
        return [dataclasses.replace(song, song=shard.origin)]

    monkeypatch.setattr(module.Loader, "_load", load)
    monkeypatch.setattr(module, "crop", lambda song, *_: {"song": song.song})
    monkeypatch.setattr(Features, "cache", lambda self, shard: Path("/"))
    return counts


def stream(count: int, name: str = "x", weight: float = 1.0) -> Stream:
    shards = tuple(Shard(f"{name}{i}", lambda: iter(()), f"{name}{i}") for i in range(count))
    return Stream(name, weight, shards)


def crops(streams, length=400, seed=0, **window) -> StreamCrops:
    return StreamCrops(streams, FEATURES, 64, length, seed, Window(**window))


def names(dataset: StreamCrops, items) -> list[str]:
    return [dataset[item]["song"] for item in items]


ROLLING = {"shards": 4, "crops_per_shard": 10, "lanes": 2}


def test_a_crop_depends_on_seed_and_index_alone(loaded):
    whole = names(crops([stream(20)], **ROLLING), range(400))
    late = crops([stream(20)], **ROLLING)
    assert names(late, range(300, 400)) == whole[300:]  # as a resumed run begins
    assert names(late, [7, 250]) == [whole[7], whole[250]]
    assert names(crops([stream(20)], seed=1, **ROLLING), range(400)) != whole


def test_a_large_corpus_passes_through_memory(loaded):
    dataset = crops([stream(20)], **ROLLING)
    seen = names(dataset, range(400))
    assert set(seen[:40]) < set(seen)
    assert len(set(seen)) == 20  # two rounds of it: all of it was there
    assert all(len(pool.loading) <= 3 for pool in dataset.pools.values())
    assert max(loaded.values()) <= 3
    counts = np.array(list(Counter(seen).values()))
    assert counts.min() >= 5 and counts.max() <= 60


def test_a_process_loads_only_the_shards_of_its_own_lanes(loaded):
    both = [set(names(crops([stream(16)], lanes=8), range(rank, 400, 2))) for rank in (0, 1)]
    assert len(both[0]) == len(both[1]) == 8 and not both[0] & both[1]
    whole = names(crops([stream(16)], lanes=8), range(400))
    assert set(whole) == both[0] | both[1]


def test_a_small_corpus_stays_in_memory(loaded):
    assert set(names(crops([stream(3)]), range(60))) == {"x0", "x1", "x2"}
    assert loaded == {"x0": 1, "x1": 1, "x2": 1}


def test_sources_have_their_share(loaded):
    found = names(crops([stream(9, "a"), stream(2, "b", 3.0)], length=2000), range(2000))
    share = sum(name.startswith("b") for name in found) / 2000
    assert share == pytest.approx(0.75, abs=0.04)


def test_songs_without_end_are_made_one_after_the_other(loaded):
    endless = Stream("made", 1.0, made=lambda k: Shard(f"m{k}", lambda: iter(()), f"m{k}"))
    found = names(crops([endless], **ROLLING), range(400))
    assert set(found) == {f"m{k}" for k in range(40)} and set(found[:20]) == {"m0", "m1"}
    assert set(loaded.values()) == {1}
    with pytest.raises(UserError, match="has no end"):
        all_songs([endless], FEATURES, "train")


def test_weights_are_read_from_the_end(tmp_path):
    (tmp_path / "a@2").mkdir()
    assert weighted("corpus@0.5") == ("corpus", 0.5)
    assert weighted("https://user@host/x-{0..3}.tar") == ("https://user@host/x-{0..3}.tar", 1.0)
    assert weighted(f"{tmp_path}/a@2") == (f"{tmp_path}/a@2", 1.0)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A corpus over HTTP: its folder and address."""
    folder = write_corpus(tmp_path_factory.mktemp("served"), shards=2, songs=1)
    quiet = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    handler = functools.partial(quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_shards_over_http_give_the_same_crops(served, tmp_path):
    folder, address = served
    near = open_stream(str(folder), cache=tmp_path / "near")
    far = open_stream(address + "/songs-{000..001}.tar", cache=tmp_path / "far")
    one, other = (StreamCrops([part], FEATURES, 64, 9, 0) for part in (near, far))
    for index in (0, 8):
        assert all(one[index][name].equal(other[index][name]) for name in one[index])
    assert len(list((tmp_path / "far").glob("*.npz"))) == 2
    assert len(held_out_songs([far], FEATURES, 9)) == 1


def test_an_absent_address_is_named(served, tmp_path):
    stream = open_stream(served[1] + "/none.tar", cache=tmp_path)
    with pytest.raises(UserError, match=r"none\.tar: cannot be fetched"):
        list(stream.shards[0].records())


def test_songs_too_short_to_train_on_are_named(tmp_path):
    stream = open_stream(str(write_corpus(tmp_path, shards=1)))
    with pytest.raises(UserError, match=r"lasts 10\.9 s.*crop_frames"):
        StreamCrops([stream], FEATURES, 1024, 1, 0)[0]


def test_songs_without_beats_are_for_models_without_a_planner(tmp_path):
    stream = open_stream(str(write_corpus(tmp_path, shards=1, plan=False)))
    assert StreamCrops([stream], FEATURES, 64, 1, 0)[0]["plan"].abs().sum() == 0
    planned = dataclasses.replace(FEATURES, planned=True)
    with pytest.raises(UserError, match="beats and chords are known.*finetune"):
        StreamCrops([stream], planned, 64, 1, 0)[0]
    with pytest.raises(UserError, match="validation split whose beats"):
        held_out_songs([stream], planned, 4)
