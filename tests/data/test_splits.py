"""Splits: exact, exclusive by song, and steady when the corpus grows."""

import numpy as np

from fastsag.data.splits import assign, shard_bits, shard_index


def counts(songs: int) -> dict[str, int]:
    return {f"song{k}": 1 + k % 7 for k in range(songs)}


def test_the_evaluation_set_has_exactly_its_size() -> None:
    corpus = counts(8_000)
    places = assign(corpus, 2_000, 500)
    sums = {
        split: sum(place.clips for place in places.values() if place.split == split)
        for split in ("train", "validation", "test")
    }
    assert sums["test"] == 2_000 and 500 <= sums["validation"] < 507
    assert set(places) == set(corpus)
    left = sum(corpus.values()) - sum(sums.values())
    assert 0 <= left < 7  # of the last song of the test split
    assert all(
        place.clips == corpus[song] for song, place in places.items() if place.split != "test"
    )


def test_a_small_corpus_still_trains() -> None:
    corpus = counts(60)
    places = assign(corpus, 2_000, 500)
    splits = [place.split for place in places.values()]
    assert splits.count("train") > 45 and {"validation", "test"} < set(splits)
    assert {place.split for place in assign({"one": 3}, 2_000, 500).values()} == {"train"}
    assert assign({"none": 0}, 2_000, 500) == {}


def test_more_songs_move_few_of_those_that_were_there() -> None:
    before, after = assign(counts(8_000), 500, 500), assign(counts(8_100), 500, 500)
    moved = [song for song in before if before[song].split != after[song].split]
    assert len(moved) < 10


def test_shards_are_even_and_only_split_when_a_corpus_grows() -> None:
    assert [shard_bits(clips, 100) for clips in (1, 100, 101, 200, 201, 800)] == [0, 0, 1, 1, 2, 3]
    songs = [f"song{k}" for k in range(4_000)]
    load = np.bincount([shard_index(song, 3) for song in songs], minlength=8)
    assert load.min() > 400 and load.sum() == 4_000
    assert all(shard_index(song, 4) // 2 == shard_index(song, 3) for song in songs)
    assert {shard_index(song, 0) for song in songs} == {0}
