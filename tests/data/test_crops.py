"""Crops: aligned, repeatable, and truthfully transposed."""

import dataclasses

import numpy as np
import pytest

from fastsag.chords import CHORDS, chord_index, key_index
from fastsag.conditioning.planner import METRES
from fastsag.config import MelConfig, MelodicConfig, VoiceNoise
from fastsag.data.crops import CropDataset, PlanDataset, _at_centres, tempo, transpose
from fastsag.data.features import FeatureExtractor, add_noise, digest
from fastsag.data.progressions import bar_chords, count_progressions
from fastsag.data.shards import Record, write_shard
from fastsag.data.symbolic import symbolic_song
from fastsag.lead_sheet import PLAN_FEATURES
from fastsag.songs.composition import compose
from tests.data.loading import load_songs

MEL = MelConfig(n_fft=2048, win_length=2048, scale="low_linear")
RATE_HZ = 46.875


def record(seed: int = 0) -> Record:
    """A short score with sines for voice and band."""
    score = compose(np.random.default_rng(seed))
    meta = {**score.record(), "song": f"s{seed}", "split": "train", "sample_rate": 24_000}
    samples = np.sin(2 * np.pi * 220 * np.arange(int(score.duration * 24_000)) / 24_000)
    samples = (0.1 * samples).astype(np.float32)
    return Record(f"s{seed}", samples, samples, meta)


def test_features_line_up_and_are_cached(tmp_path):
    write_shard(tmp_path / "a.tar", [record(1), record(2)])
    songs = load_songs(tmp_path, MEL, MelodicConfig(), ("train",))
    assert len(songs) == 2
    for song in songs:
        frames = song.mel.shape[1]
        assert abs(2 * len(song.voice) - frames) <= 2
        assert song.plan.shape == (PLAN_FEATURES, frames)
        assert len(song.beat) == len(song.bar) == len(song.chord) == len(song.voice)
    cache = next(tmp_path.glob("*.npz"))
    stamp = cache.stat().st_mtime_ns
    again = load_songs(tmp_path, MEL, MelodicConfig(), ("train",))
    assert cache.stat().st_mtime_ns == stamp
    assert np.array_equal(songs[0].mel, again[0].mel)


def test_noise_on_the_voice_is_reproducible_and_renames_the_features():
    voice = record(1).vocals
    noise = VoiceNoise(std=0.01, chance=1.0, share=0.1)
    one, two = (add_noise(voice, noise, seed="song") for _ in range(2))
    assert np.array_equal(one, two) and not np.array_equal(one, add_noise(voice, noise, "other"))
    plain = add_noise(voice, VoiceNoise(std=0.01), "song") - voice
    assert plain.std() == pytest.approx(0.01, rel=0.05)
    assert 0.01 < (one - voice).std() < 0.11 * np.abs(voice).max() + 0.01
    assert add_noise(voice, VoiceNoise(), "song") is voice
    assert digest(MEL, MelodicConfig(), noise) != digest(MEL, MelodicConfig(), VoiceNoise())


def test_crops_depend_on_seed_and_index_alone():
    extractor = FeatureExtractor(MEL, MelodicConfig())
    one = record(1)
    songs = [extractor(one.vocals, one.accompaniment, one.meta)]
    crops = CropDataset(songs, MEL, 256, RATE_HZ, length=10, seed=3)
    first, again = crops[4], CropDataset(songs, MEL, 256, RATE_HZ, length=99, seed=3)[4]
    assert all(first[name].equal(again[name]) for name in first)
    assert first["mel"].shape == (100, 256) and first["voice"].shape == (128, 39)
    with pytest.raises(ValueError, match="none of 1 songs"):
        CropDataset(songs, MEL, 10**6, RATE_HZ, length=1, seed=0)


def test_transposition_moves_chords_and_key_together():
    chords = np.array([chord_index("C:maj"), chord_index("A:min"), chord_index("N"), -1])
    moved, key = transpose(chords, key_index("C major"), 2)
    assert list(moved) == [chord_index("D:maj"), chord_index("B:min"), chord_index("N"), -1]
    assert key == key_index("D major")


def test_symbolic_voices_sing_their_score():
    hits = []
    for seed in range(8):
        score = compose(np.random.default_rng(seed))
        song = symbolic_song(score.record(), RATE_HZ, np.random.default_rng(seed))
        for note in score.notes:
            middle = 0.5 * (score.seconds(note.start) + score.seconds(note.end))
            peak = song.voice[int(middle * RATE_HZ), :36].astype(float).argmax()
            distance = (peak - 3 * note.pitch + 18) % 36 - 18
            hits.append(abs(distance) <= 2)
        half = song.beat[: len(song.beat) // 2]  # songs slow down at their end
        if not score.free_tempo:
            assert tempo(half, RATE_HZ) == pytest.approx(score.tempo, rel=0.01)
    assert np.mean(hits) > 0.95


def test_slow_songs_count_twice_as_fast_for_the_planner():
    score = next(
        score
        for score in (compose(np.random.default_rng(i), "ballad") for i in range(50))
        if score.tempo < 75
    )
    song = symbolic_song(score.record(), RATE_HZ, np.random.default_rng(0))
    dataset = PlanDataset([], [song], 256, 4, RATE_HZ, METRES, 1, 0)
    assert tempo(dataset[0]["beat"].numpy(), RATE_HZ / 4) == pytest.approx(
        2 * score.tempo, rel=0.03
    )


def test_progressions_are_counted_bar_by_bar():
    scores = [compose(np.random.default_rng(seed)) for seed in range(20)]
    songs = [
        symbolic_song(score.record(), RATE_HZ, np.random.default_rng(seed))
        for seed, score in enumerate(scores)
    ]
    record = scores[0].record()
    assert [CHORDS[chord] for chord in bar_chords(songs[0])] == [
        chord["label"] for chord in record["chords"] if chord["start"] in record["downbeats"]
    ]
    table = count_progressions(songs)
    np.testing.assert_allclose(np.exp(table).sum(-1), 1, rtol=1e-5)
    follows = np.exp(table[0, chord_index("G:maj")])
    assert follows[chord_index("C:maj")] == follows[:24].max()


def test_crops_of_songs_of_any_length_have_one_shape():
    """The semantic rate need not divide the mel rate: 75 and 93.75 frames a second."""
    songs = [
        dataclasses.replace(
            symbolic_song(
                compose(np.random.default_rng(0)).record(), 75.0, np.random.default_rng(0)
            ),
            voice=np.zeros((frames * 4 // 5, 2), np.float16),
            accompaniment=np.zeros((frames * 4 // 5, 2), np.float16),
            mel=np.zeros((3, frames), np.float16),
            plan=np.zeros((1, frames), np.float16),
        )
        for frames in (937, 940, 1_501, 2_004)
    ]
    crops = CropDataset(songs, MEL, 937, 75.0, length=40, seed=0)
    assert {tuple(crops[i]["voice"].shape) for i in range(40)} == {(749, 2)}
    assert {tuple(crops[i]["mel"].shape) for i in range(40)} == {(3, 937)}


def test_six_eight_half_bars_and_new_keys_train(tmp_path):
    """Songs with all that records can say go through features, crops and training steps."""
    import torch

    from fastsag.config import load
    from fastsag.training.accompaniment import AccompanimentTraining
    from fastsag.training.planner import PlannerTraining

    scores = [compose(np.random.default_rng(seed)) for seed in range(120)]
    kinds = {
        "six-eight": [s for s in scores if s.meter == "6/8"],
        "new key": [s for s in scores if any(section.shift for section in s.sections)],
        "half bars": [s for s in scores if any(len(b) > 1 for x in s.sections for b in x.bars)],
        "free tempo": [s for s in scores if s.free_tempo],
    }
    records = []
    for name, found in kinds.items():
        meta = found[0].record() | {"song": name, "split": "train", "sample_rate": 24_000}
        tone = np.sin(np.arange(int(meta["duration"] * 24_000)) / 20).astype(np.float32) / 10
        records.append(Record(name.replace(" ", "-"), tone, tone, meta))
    write_shard(tmp_path / "a.tar", records)
    config = load("configs/debug.yaml")
    songs = load_songs(tmp_path, config.mel, config.encoder, ("train",))
    assert {song.metre for song in songs} <= set(METRES)
    for song in songs:
        at_bar_lines = song.chord[np.flatnonzero(np.diff(song.bar.astype(float)) < -0.5) + 2]
        assert (at_bar_lines[:-2] >= 0).all()
    symbolic = [
        symbolic_song(found[0].record(), RATE_HZ, np.random.default_rng(0))
        for found in kinds.values()
    ]
    crops = CropDataset(songs, config.mel, config.training.crop_frames, RATE_HZ, 4, 0)
    plans = PlanDataset(songs, symbolic, 256, 4, RATE_HZ, METRES, 8, 0)
    for module, dataset in (
        (AccompanimentTraining(config), crops),
        (PlannerTraining(config, count_progressions([*songs, *symbolic])), plans),
    ):
        optimizer = torch.optim.SGD(module.parameters(), lr=1e-3)
        loader = torch.utils.data.DataLoader(dataset, batch_size=4)
        module.log = module.log_dict = lambda *args, **kwargs: None
        for batch in loader:
            loss = module.training_step(batch, 0)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            assert torch.isfinite(loss)


@pytest.mark.parametrize("patch", [1, 3, 4])
def test_phases_of_tokens_are_those_at_their_centres(patch):
    frames = np.arange(24) + 0.5
    turns = 0.11 * frames  # passes 1 and 2
    centres = (np.arange(24 // patch) + 0.5) * patch
    error = _at_centres(turns % 1, patch) - 0.11 * centres % 1
    np.testing.assert_allclose((error + 0.5) % 1 - 0.5, 0, atol=1e-9)
