"""The whole preparation: what comes out, from whatever comes in, however it is interrupted."""

import hashlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from fastsag.config import MelConfig, MelodicConfig, VoiceNoise
from fastsag.data import prepare as module
from fastsag.data import sources, store
from fastsag.data.features import FeatureExtractor
from fastsag.data.prepare import Engine, prepare
from fastsag.data.settings import FeatureSettings, PrepareSettings, SeparationSettings
from fastsag.data.shards import read_shard, shard_paths
from fastsag.errors import UserError
from fastsag.mel import band_centres
from tests.data.loading import load_songs
from tests.data.songs import RATE, corpus, stems, tone, write

STEP = 1 / 32768  # of 16 bit
OWN = SeparationSettings(separator="tests.data.songs:halve", weights="tests.data.songs:halve")
MEL = MelConfig(n_fft=2048, win_length=2048, scale="low_linear")


def settings(**changes: Any) -> PrepareSettings:
    return PrepareSettings(**{"clip_seconds": 1.0, "shard_clips": 4, "separation": OWN, **changes})


def run(songs: Path, out: Path, engine: Engine | None = None, **changes: Any) -> module.Report:
    steps = module.ALL_STEPS if changes.get("features") else ("separate", "clip", "shard")
    found = sources.find([songs], skip=out)
    return prepare(found, out, settings(**changes), steps, engine)


def digests(out: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.iterdir())
        if path.is_file() and not path.name.startswith(".")
    }


def records(out: Path) -> list[Any]:
    return [record for path in shard_paths(out) for record in read_shard(path, extras=True)]


def test_clips_are_the_songs_own_samples(tmp_path: Path) -> None:
    corpus(tmp_path / "in", 3)
    report = run(tmp_path / "in", tmp_path / "out")
    found = records(tmp_path / "out")
    assert len(found) == 2 + 3 + 4 == report.gates["paper"]
    for record in found:
        index = int(record.meta["name"].removeprefix("song"))
        start = round(record.meta["offset"] * RATE)
        truth = tone(300 + 20 * index, 5.0)[start : start + RATE]
        np.testing.assert_allclose(record.vocals, truth, atol=2 * STEP)
        assert record.meta["sample_rate"] == RATE and record.meta["duration"] == 1.0
        assert record.meta["gates"] == {"paper": True, "authors": True} and "gain_db" in record.meta
    assert len({record.key for record in found}) == len(found)


def test_songs_never_part_and_the_list_names_the_test_clips(tmp_path: Path) -> None:
    corpus(tmp_path / "in", 12)
    run(tmp_path / "in", tmp_path / "out", evaluation_clips=3)
    splits: dict[str, set[str]] = {}
    for path in shard_paths(tmp_path / "out"):
        for record in read_shard(path):
            assert path.name.startswith(record.meta["split"])
            splits.setdefault(record.meta["song"], set()).add(record.meta["split"])
    assert all(len(split) == 1 for split in splits.values())
    listed = (tmp_path / "out" / "evaluation.jsonl").read_text().splitlines()
    test = [record.key for record in records(tmp_path / "out") if record.meta["split"] == "test"]
    assert sorted(json.loads(line)["clip"] for line in listed) == sorted(test)
    assert len(test) == 3


def test_levels_keep_their_balance_where_a_stem_would_clip(tmp_path: Path) -> None:
    loud, soft = np.float32(2.0) * tone(400, 1.0, 0.9), tone(100, 1.0, 0.3)
    folder = tmp_path / "in" / "loud"
    folder.mkdir(parents=True)
    soundfile.write(folder / "vocals.wav", loud, RATE, subtype="FLOAT")
    soundfile.write(folder / "accompaniment.wav", soft, RATE, subtype="FLOAT")
    run(tmp_path / "in", tmp_path / "out")
    (record,) = records(tmp_path / "out")
    gain = 10 ** (record.meta["gain_db"] / 20)
    assert gain == pytest.approx(1 / 1.8, rel=1e-3)
    np.testing.assert_allclose(record.vocals, gain * loud, atol=2 * STEP)
    np.testing.assert_allclose(record.accompaniment, gain * soft, atol=2 * STEP)
    level = record.meta["levels"]["vocals"]["rms_db"]  # the song's, before it was turned down
    assert level == pytest.approx(20 * np.log10(1.8 / np.sqrt(2)), abs=0.02)


def test_workers_and_order_do_not_matter(tmp_path: Path) -> None:
    corpus(tmp_path / "in")
    write(tmp_path / "in" / "mix.wav", tone(500, 3.0))
    write(tmp_path / "in" / "short.wav", tone(500, 0.7))
    run(tmp_path / "in", tmp_path / "one")
    run(tmp_path / "in", tmp_path / "two", Engine("local", 2))
    backwards = sources.find([tmp_path / "in"])[::-1]
    prepare(backwards, tmp_path / "three", settings(), ("separate", "clip", "shard"))
    assert digests(tmp_path / "one") == digests(tmp_path / "two") == digests(tmp_path / "three")
    assert {"manifest.json", "failures.jsonl", "evaluation.jsonl"} < set(digests(tmp_path / "one"))


def test_a_second_run_writes_nothing_again(tmp_path: Path) -> None:
    corpus(tmp_path / "in", 3)
    run(tmp_path / "in", tmp_path / "out")
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.tar")}
    report = run(tmp_path / "in", tmp_path / "out")
    assert report.outcomes == {"kept": 3}
    assert stamps == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.tar")}


def test_steps_alone_give_what_all_together_give(tmp_path: Path) -> None:
    corpus(tmp_path / "in", 3)
    run(tmp_path / "in", tmp_path / "whole")
    found = sources.find([tmp_path / "in"])
    report = prepare(found, tmp_path / "out", settings(), ("clip",))
    assert report.outcomes == {"waiting": 3}
    with pytest.raises(UserError, match="3 songs wait for an earlier step"):
        prepare(found, tmp_path / "out", settings(), ("shard",))
    for step in ("separate", "clip", "shard"):
        prepare(found, tmp_path / "out", settings(), (step,))
    assert digests(tmp_path / "whole") == digests(tmp_path / "out")


def test_stems_may_go_once_they_are_clipped(tmp_path: Path) -> None:
    corpus(tmp_path / "in", 3)
    run(tmp_path / "in", tmp_path / "whole")
    found = sources.find([tmp_path / "in"])
    for _ in range(2):
        steps = ("separate", "clip", "shard")
        report = prepare(found, tmp_path / "out", settings(), steps, discard=True)
    assert report.outcomes == {"kept": 3} and not list((tmp_path / "out").rglob("*.flac"))
    assert digests(tmp_path / "whole") == digests(tmp_path / "out")


def test_other_settings_meet_no_stale_files_and_old_shards_go(tmp_path: Path) -> None:
    corpus(tmp_path / "in")
    run(tmp_path / "in", tmp_path / "out", shard_clips=2)
    many = len(shard_paths(tmp_path / "out"))
    run(tmp_path / "in", tmp_path / "out", shard_clips=1000, gate="none")
    run(tmp_path / "in", tmp_path / "fresh", shard_clips=1000, gate="none")
    assert len(shard_paths(tmp_path / "out")) < many
    assert digests(tmp_path / "out") == digests(tmp_path / "fresh")


def test_faults_are_reported_and_the_rest_goes_on(tmp_path: Path) -> None:
    songs = corpus(tmp_path / "in", 2)
    (songs / "corrupt.flac").write_bytes(b"fLaC" + bytes(5_000))
    (songs / "empty.mp3").write_bytes(b"")
    write(songs / "no-samples.wav", np.zeros(0, np.float32))
    write(songs / "silent.wav", np.zeros(3 * RATE, np.float32))
    write(songs / "mono.wav", tone(400, 2.0))
    write(songs / "telephone.wav", tone(400, 2.0, rate=8_000), 8_000)
    write(songs / "eight.wav", np.stack([tone(200 + k, 2.0) for k in range(8)], axis=1))
    write(songs / "hour.wav", np.zeros(3_601 * 100, np.float32), 100)
    write(songs / "short.wav", tone(400, 0.8))
    soundfile.write(songs / "nan.wav", np.full(2 * RATE, np.nan), RATE, subtype="FLOAT")
    write(songs / "copy" / "vocals.wav", tone(300, 2.1))
    (songs / "copy" / "accompaniment.flac").write_bytes(
        (songs / "song0" / "accompaniment.flac").read_bytes()
    )
    write(songs / "uneven" / "vocals.wav", tone(300, 2.1))
    write(songs / "uneven" / "no_vocals.wav", tone(300, 3.1))
    write(songs / "instrumental" / "vocals.wav", np.zeros(3 * RATE, np.float32))
    write(songs / "instrumental" / "no_vocals.wav", tone(300, 3.0))
    run(songs, tmp_path / "out")
    rows = [json.loads(line) for line in (tmp_path / "out" / "failures.jsonl").open()]
    assert [row["path"] for row in rows] == sorted(row["path"] for row in rows)
    reasons = {row["path"]: (row["used"], row["reason"]) for row in rows}
    for name, reason in {
        "corrupt.flac": "not audio",
        "empty.mp3": "not audio",
        "no-samples.wav": "holds no samples",
        "silent.wav": "is silent",
        "telephone.wav": "has 8,000 Hz and nothing above 4,000 Hz",
        "hour.wav": "into parts of at most 20 min",
        "short.wav": "less than one clip",
        "nan.wav": "NaN",
        "song0": "same audio as copy",
        "uneven": "differ in length",
        "instrumental": "vocals are silent",
    }.items():
        used, said = reasons.pop(name)
        assert not used and reason in said, (name, said)
        assert str(tmp_path) not in said
    assert reasons == {
        "mono.wav": (True, "mono: separated as their mean on both sides"),
        "eight.wav": (True, "8 channels: separated as their mean on both sides"),
    }
    names = {record.meta["name"] for record in records(tmp_path / "out")}
    assert names == {"copy", "song1", "mono.wav", "eight.wav"}


def test_protected_and_compressed_files(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    from tests.data.media import write_m4a

    songs = corpus(tmp_path / "in", 1)
    write_m4a(av, songs / "fine.m4a", [tone(300, 2.2)])
    data = write_m4a(av, songs / "sold.m4a", [tone(300, 2.2)]).read_bytes()
    (songs / "sold.m4a").write_bytes(data.replace(b"mp4a", b"drms"))
    run(songs, tmp_path / "out")
    (row,) = [json.loads(line) for line in (tmp_path / "out" / "failures.jsonl").open()]
    assert row["path"] == "sold.m4a" and "DRM" in row["reason"]
    assert "fine.m4a" in {record.meta["name"] for record in records(tmp_path / "out")}


def test_a_failure_that_is_mended_is_forgotten(tmp_path: Path) -> None:
    songs = corpus(tmp_path / "in", 2)
    (songs / "late.wav").write_bytes(b"")
    run(songs, tmp_path / "out")
    write(songs / "late.wav", tone(300, 2.0))
    run(songs, tmp_path / "out")
    run(songs, tmp_path / "fresh")
    assert digests(tmp_path / "out") == digests(tmp_path / "fresh")


def test_a_full_disk_stops_cleanly_and_the_run_goes_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that takes 600 kB, then no more."""
    corpus(tmp_path / "in")
    run(tmp_path / "in", tmp_path / "whole")
    room = itertools.count(600_000, -60_000)
    real = store.os.fsync

    def full(handle: int) -> None:
        if next(room) <= 0:
            raise OSError(28, os.strerror(28))
        real(handle)

    monkeypatch.setattr(store.os, "fsync", full)
    with pytest.raises(UserError, match="disk is full; free some space and run the same command"):
        run(tmp_path / "in", tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.partial"))
    monkeypatch.undo()
    run(tmp_path / "in", tmp_path / "out")
    assert digests(tmp_path / "whole") == digests(tmp_path / "out")


def features() -> FeatureSettings:
    return FeatureSettings(mel=MEL, encoder=MelodicConfig(), noise=VoiceNoise(std=0.01))


def test_stored_features_are_those_that_training_would_compute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus(tmp_path / "in", 3)
    run(tmp_path / "in", tmp_path / "with", features=features())
    run(tmp_path / "in", tmp_path / "without")
    for record in records(tmp_path / "with"):
        assert {array.dtype for array in record.features.values()} == {np.dtype(np.float16)}
    every = ("train", "validation", "test")
    with monkeypatch.context() as patch:  # nothing is computed a second time
        patch.delattr(FeatureExtractor, "arrays")
        loaded = load_songs(tmp_path / "with", MEL, MelodicConfig(), every, noise=features().noise)
    assert len(loaded) == 9
    extractor = FeatureExtractor(MEL, MelodicConfig(), features().noise)
    for stored, record in zip(loaded, records(tmp_path / "without"), strict=True):
        computed = extractor(record.vocals, record.accompaniment, record.meta)
        assert not stored.planned and stored.key == -1 and stored.mel.shape[1] == 93
        assert (stored.song, stored.split) == (computed.song, computed.split)
        for name in ("voice", "accompaniment", "mel", "plan", "chord"):
            np.testing.assert_array_equal(getattr(stored, name), getattr(computed, name))


def test_features_of_another_version_are_computed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus(tmp_path / "in", 1)
    run(tmp_path / "in", tmp_path / "out", features=features())
    monkeypatch.setattr("fastsag.data.features._VERSION", -1)
    report = run(tmp_path / "in", tmp_path / "out", features=features())
    assert report.outcomes == {"done": 1} and set(report.seconds) == {"features"}


def test_clips_without_features_are_resampled_for_training(tmp_path: Path) -> None:
    """Shards at 44.1 kHz; the model hears 24 kHz. The sine stays at its pitch."""
    corpus(tmp_path / "in", 1)
    run(tmp_path / "in", tmp_path / "out")
    (one, *_) = load_songs(tmp_path / "out", MEL, MelodicConfig(), ("train",))
    loudest = band_centres(MEL)[one.mel.astype(np.float32).mean(1).argmax()]
    assert loudest == pytest.approx(75, abs=12)  # the accompaniment's, to one band


def musdb(root: Path, layout: str) -> Path:
    """Two songs, one for training and one for testing, whose stems are known sines."""
    parts = {"drums": 110, "bass": 55, "other": 440, "vocals": 330}
    for subset, level in (("train", 0.1), ("test", 0.2)):
        tracks = {name: tone(hz, 3.3, level) for name, hz in parts.items()}
        mixture = sum(tracks.values())
        if layout == "hq":
            for name, samples in {"mixture": mixture, **tracks}.items():
                write(root / subset / "A - B" / f"{name}.wav", samples)
        else:
            from tests.data.media import write_m4a

            av = pytest.importorskip("av")
            write_m4a(av, root / subset / "A - B.stem.mp4", [mixture, *tracks.values()])
    return root


@pytest.mark.parametrize("layout", ["hq", "stem.mp4"])
def test_the_zero_shot_set_of_musdb(tmp_path: Path, layout: str) -> None:
    """Vocals at -17 dBFS pass both readings; only the test song is taken."""
    root = musdb(tmp_path / "in", layout)
    report = run(root, tmp_path / "out", preset="musdb18-test", gate="authors")
    assert report.gates == {"clips": 3, "paper": 3, "authors": 3}
    found = records(tmp_path / "out")
    assert {record.meta["split"] for record in found} == {"test"} and len(found) == 3
    spectrum = np.abs(np.fft.rfft(found[0].vocals))
    assert spectrum.argmax() == 330
    band = np.abs(np.fft.rfft(found[0].accompaniment))
    assert sorted(np.argsort(band)[-3:]) == [55, 110, 440]
    rows = [json.loads(line) for line in (tmp_path / "out" / "zero-shot.jsonl").open()]
    assert [row["clip"] for row in rows] == sorted(record.key for record in found)
    assert all(row["paper"] and row["authors"] and row["in_shards"] for row in rows)


def test_musdb_test_songs_never_train(tmp_path: Path) -> None:
    root = musdb(tmp_path / "in", "hq")
    run(root, tmp_path / "out")
    assert {record.meta["name"] for record in records(tmp_path / "out")} == {"train/A - B"}
    assert "kept for evaluation" in (tmp_path / "out" / "failures.jsonl").read_text()
    with pytest.raises(UserError, match="no MUSDB18 test songs"):
        run(corpus(tmp_path / "other", 1), tmp_path / "none", preset="musdb18-test")


def deadly(row: dict[str, Any]) -> dict[str, Any]:
    """Work that kills its worker on one item."""
    if row["number"] == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return row


@pytest.mark.slow
def test_a_worker_that_dies_takes_nothing_with_it() -> None:
    from fastsag.data.engines import local

    rows = [{"number": number} for number in range(6)]
    found = sorted(local(deadly, rows, 2), key=lambda row: row["number"])
    assert found == [row if row["number"] != 3 else {**row, "lost": True} for row in rows]


def command(songs: Path, out: Path, *more: object) -> list[str]:
    words = ["prepare", songs, "-o", out, "--clip-seconds", 1, "--shard-clips", 4, *more]
    return [sys.executable, "-m", "fastsag.cli.main", *map(str, words)]


@pytest.mark.slow
def test_kill_and_run_again(tmp_path: Path) -> None:
    """SIGKILL at several moments, two workers: the last run ends with the same bytes."""
    corpus(tmp_path / "in", 8)
    subprocess.run(command(tmp_path / "in", tmp_path / "whole", "--workers", 1), check=True)
    killed = 0
    for moment in np.random.default_rng(0).uniform(3.0, 8.0, 3):
        process = subprocess.Popen(
            command(tmp_path / "in", tmp_path / "out", "--workers", 2), stderr=subprocess.DEVNULL
        )
        time.sleep(moment)
        killed += process.poll() is None
        process.kill()
        process.wait()
    subprocess.run(command(tmp_path / "in", tmp_path / "out", "--workers", 2), check=True)
    assert killed
    assert digests(tmp_path / "whole") == digests(tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.partial"))


@pytest.mark.slow
def test_a_ray_cluster_gives_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two nodes, each a process of its own; one song kills whoever works on it."""
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    root = Path(__file__).parents[2]
    monkeypatch.setenv("PYTHONPATH", str(root))
    corpus(tmp_path / "in", 4)
    write(tmp_path / "in" / "broken.wav", np.zeros(0, np.float32))
    write(tmp_path / "in" / "deadly.wav", tone(400, 2.0, 0.9))
    own = "tests.data.songs:deadly"
    separation = SeparationSettings(separator=own, weights=own)
    run(tmp_path / "in", tmp_path / "one", Engine("local", 2), separation=separation)
    node = {"num_cpus": 1, "object_store_memory": 100 * 2**20}
    cluster = cluster_utils.Cluster(True, head_node_args={**node, "include_dashboard": False})
    try:
        cluster.add_node(**node)
        engine = Engine("ray", None, cluster.address)
        run(tmp_path / "in", tmp_path / "two", engine, separation=separation)
    finally:
        cluster.shutdown()
    assert "its worker died twice" in (tmp_path / "two" / "failures.jsonl").read_text()
    assert digests(tmp_path / "one") == digests(tmp_path / "two")


def test_stems_in_one_folder_alone(tmp_path: Path) -> None:
    """The folder that is given may itself be the song."""
    run(stems(tmp_path / "song", 300), tmp_path / "out")
    assert {record.meta["name"] for record in records(tmp_path / "out")} == {"song"}
