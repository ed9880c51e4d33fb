"""Whose band is chosen, and what becomes of it."""

import json
import shutil

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from fastsag.baselines.randsong import Pool, RandSong, build_pool, choose, song_of, to_length
from fastsag.cli.main import app
from fastsag.data.shards import read_shard
from fastsag.errors import UserError


@pytest.fixture(scope="module")
def pool(corpus):
    return build_pool(corpus)


def test_a_pool_finds_the_bytes_of_every_band(corpus, pool):
    assert [one.key for one in pool.candidates] == ["a-0", "a-1", "b-0", "c-0"]
    records = {one.key: one for path in corpus.glob("*.tar") for one in read_shard(path)}
    for candidate in pool.candidates:
        samples = pool.read(candidate).samples
        assert np.array_equal(samples[0], records[candidate.key].accompaniment)


def test_it_survives_its_file_and_a_move_with_its_shards(corpus, pool, tmp_path):
    shutil.copytree(corpus, tmp_path / "one" / "corpus")
    build_pool(tmp_path / "one" / "corpus").save(tmp_path / "one" / "pool.jsonl")
    (tmp_path / "one").rename(tmp_path / "other")
    again = Pool.load(tmp_path / "other" / "pool.jsonl")
    assert again.candidates == pool.candidates
    assert again.read(again.candidates[2]).samples.shape == (1, 96_000)
    (tmp_path / "other" / "corpus" / "s-0.tar").unlink()
    with pytest.raises(UserError, match="no longer holds b-0"):
        again.read(again.candidates[2])


def test_a_smaller_pool_is_drawn(corpus):
    pools = [build_pool(corpus, 2, seed).candidates for seed in range(20)]
    assert all(len(part) == 2 for part in pools) and len(set(pools)) > 1
    assert build_pool(corpus, 2, 3).candidates == pools[3]


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.sampled_from(["a-0", "a-1", "b-0", "c-0"]))
def test_never_the_same_song(pool, seed, key):
    song = key.partition("-")[0]
    by_name = choose(pool, f"{key}.vocals.wav", None, seed)
    by_truth = choose(pool, "renamed.wav", song, seed)
    assert by_name.song != song and by_truth.song != song


def test_every_other_song_can_come_and_the_seed_decides(pool):
    chosen = [choose(pool, "new.wav", None, seed).key for seed in range(60)]
    assert set(chosen) == {"a-0", "a-1", "b-0", "c-0"}
    assert chosen == [choose(pool, "new.wav", None, seed).key for seed in range(60)]
    assert chosen != [choose(pool, "another.wav", None, seed).key for seed in range(60)]


def test_a_pool_of_one_song_is_refused(pool):
    alone = Pool(pool.folder, pool.candidates[:2])
    with pytest.raises(UserError, match="no other song"):
        choose(alone, "a-0.wav", None, 0)


def test_the_song_is_read_from_the_truth_beside(tmp_path):
    (tmp_path / "x-0.truth.json").write_text(json.dumps({"song": "x"}))
    assert song_of(tmp_path / "x-0.vocals.wav") == "x"
    assert song_of(tmp_path / "y.wav") is None


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 50), st.integers(0, 300), st.integers(0, 20))
def test_any_length_is_reached(length, count, fade):
    band = np.ones(length, dtype=np.float32)
    out = to_length(band, count, fade)
    assert len(out) == count and np.allclose(out, 1)


def test_a_join_is_smooth_and_the_first_turn_is_untouched():
    band = np.linspace(1, 0, 100, dtype=np.float32)
    out = to_length(band, 250, 10)
    assert np.array_equal(out[:90], band[:90])
    assert np.abs(np.diff(out)).max() < 0.2


def test_what_it_writes(corpus, voice, tmp_path):
    run = CliRunner().invoke
    made = run(app, ["randsong", "pool", "--data", str(corpus), "-o", str(tmp_path / "p.jsonl")])
    assert made.exit_code == 0 and "4 bands of 3 songs" in made.output
    arguments = ["randsong", "generate", str(voice), "-o", str(tmp_path / "out")]
    result = run(app, [*arguments, "--pool", str(tmp_path / "p.jsonl"), "--seed", "7"])
    assert result.exit_code == 0, result.output
    band, rate = soundfile.read(tmp_path / "out" / "sung.accompaniment.wav")
    mix, _ = soundfile.read(tmp_path / "out" / "sung.mix.wav")
    assert rate == 16_000 and band.shape == (67_200,) and mix.shape == (67_200, 2)
    sung, _ = soundfile.read(voice)
    assert np.allclose(mix, sung * _gain(mix - band[:, None], sung) + band[:, None], atol=1e-4)
    record = json.loads((tmp_path / "out" / "sung.json").read_text())
    assert record["seed"] == 7 and record["chosen"]["song"] in "abc"
    loudness = record["loudness"]
    assert loudness["accompaniment_lufs"] == pytest.approx(loudness["voice_lufs"] - 3, abs=0.1)
    assert record["outputs"] == ["sung.accompaniment.wav", "sung.mix.wav", "sung.json"]


def _gain(one: np.ndarray, other: np.ndarray) -> float:
    return float((one * other).sum() / (other * other).sum())


def test_a_missing_pool_is_told(voice, tmp_path):
    with pytest.raises(UserError, match="randsong pool"):
        Pool.load(tmp_path / "none.jsonl")
    (tmp_path / "bad.jsonl").write_text("{}\n")
    with pytest.raises(UserError, match="not a pool"):
        Pool.load(tmp_path / "bad.jsonl")
    with pytest.raises(UserError, match="no such file"):
        RandSong(Pool(tmp_path, ())).accompany(tmp_path / "none.wav")
