"""Songs that are sung and played: repeatable, in tune, on the written chords, on time."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from fastsag.chords import chord_index, chord_tones
from fastsag.data.shards import Record, read_shard, shard_paths
from fastsag.errors import UserError
from fastsag.songs import band, generator, groove_table
from fastsag.songs.arrangement import arrange, choose_groove, grooves
from fastsag.songs.composition import compose
from fastsag.songs.generator import generate, render_song, song_records, split_of
from fastsag.songs.syllables import RATE, RESERVED, TRAINING_VOICES
from fastsag.songs.voice import random_singer, sing

SEED = 5
needs_programs = pytest.mark.usefixtures("programs")


@pytest.fixture(scope="module")
def record(programs: None) -> Record:
    return render_song(SEED, 0)


def test_reserved_voices_never_train() -> None:
    assert not set(RESERVED) & set(TRAINING_VOICES)
    held_out = ("slt", "kal", "ked", "festival")
    assert not [voice for voice in TRAINING_VOICES if any(name in voice for name in held_out)]


def test_every_style_has_measured_grooves() -> None:
    for style, rows in grooves().items():
        assert len(rows) >= 8, style
        assert all(row["chord"] >= groove_table.LEAST_CHORD for row in rows)
        assert all(row["beat"] >= groove_table.LEAST_BEAT for row in rows)


def test_splits_are_by_song() -> None:
    splits = [split_of(f"0001-{index:06d}") for index in range(4_000)]
    shares = {name: splits.count(name) / len(splits) for name in set(splits)}
    assert shares["train"] == pytest.approx(0.9, abs=0.02)
    assert shares["validation"] == pytest.approx(0.05, abs=0.015)
    assert shares["test"] == pytest.approx(0.05, abs=0.015)


def test_a_silent_bar_is_no_hit() -> None:
    assert groove_table._rank(np.zeros(12), 0) == 24


def test_missing_programs_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="mma, espeak-ng, flite: .*apt-get install"):
        generator.check_programs()


def test_missing_library_and_soundfonts_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(band, "find_library", lambda name: None)
    with pytest.raises(UserError, match="libfluidsynth: .*apt-get install"):
        band.check_player()
    monkeypatch.setattr(band, "find_library", lambda name: "libfluidsynth.so.3")
    monkeypatch.setattr(band, "_FOLDERS", (Path("/nowhere"),))
    with pytest.raises(UserError, match="soundfont not installed; .*apt-get install"):
        band.check_player()


def test_unknown_reserved_voice_is_refused() -> None:
    with pytest.raises(ValueError, match="flite-slt"):
        render_song(SEED, 0, "flite-rms")


def test_record_has_the_promised_form(record: Record) -> None:
    meta = record.meta
    assert record.key == f"{meta['song']}-0"
    assert len(record.vocals) == len(record.accompaniment) == round(meta["duration"] * RATE)
    for samples in (record.vocals, record.accompaniment):
        assert samples.dtype == np.float32
        assert np.isfinite(samples).all()
        assert 0.1 < np.abs(samples).max() < 1
    level = 20 * np.log10(np.sqrt(np.mean(record.accompaniment**2)))
    assert -23 < level < -17.5
    json.dumps(meta)


def test_same_seed_same_bytes(record: Record) -> None:
    again = render_song(SEED, 0)
    assert np.array_equal(again.vocals, record.vocals)
    assert np.array_equal(again.accompaniment, record.accompaniment)
    assert again.meta == record.meta


def test_bands_share_the_voice_and_the_truth(record: Record) -> None:
    first, second = song_records(SEED, 0, 2)
    assert np.array_equal(first.accompaniment, record.accompaniment)
    assert np.array_equal(first.vocals, second.vocals)
    assert not np.array_equal(first.accompaniment, second.accompaniment)
    for name in ("song", "split", "beats", "chords", "notes", "key"):
        assert first.meta[name] == second.meta[name]


@needs_programs
@pytest.mark.parametrize("source", ["formant", "espeak-en-us+f2", "flite-rms"])
def test_sung_notes_are_in_tune(source: str) -> None:
    """Median pitch of each note, by a method that did not make it, against the score."""
    pyworld = pytest.importorskip("pyworld")
    score = compose(np.random.default_rng(SEED))
    singer = random_singer(np.random.default_rng(1), score.vocal_range, source)
    singer = dataclasses.replace(singer, detune=0.0, noise_db=-75.0, room=0.0)
    voice = sing(score, singer, np.random.default_rng(2)).astype(np.float64)
    f0, times = pyworld.dio(voice, RATE, f0_floor=60, f0_ceil=1_100)
    f0 = pyworld.stonemask(voice, f0, times, RATE)
    close = []
    for note in score.notes:
        inside = (times > score.seconds(note.start) + 0.06) & (times < score.seconds(note.end))
        sounding = f0[inside & (f0 > 0)]
        pitch = 69 + 12 * np.log2(np.median(sounding) / 440) if len(sounding) else np.inf
        close.append(abs(pitch - note.pitch) < 0.5)
    assert np.mean(close) > 0.9


@needs_programs
def test_reserved_voice_sings_the_same_song(record: Record) -> None:
    held_out = render_song(SEED, 0, "flite-slt")
    assert held_out.meta["voice"]["source"] == "flite-slt"
    assert held_out.meta["split"] == "test"
    assert held_out.meta["notes"] == record.meta["notes"]
    assert not np.array_equal(held_out.vocals, record.vocals)


@needs_programs
def test_arrangement_plays_the_written_chords() -> None:
    hits = []
    for index in range(6):
        rng = np.random.default_rng((SEED, index))
        score = compose(rng)
        midi = arrange(score.chords, score.tempo, choose_groove(score.style, rng), index)
        bar = score.beats_per_bar * score.beat_seconds
        for number, chord in enumerate(score.chords):
            chroma = groove_table._chroma(midi, number * bar, (number + 1) * bar)
            hits.append(groove_table._rank(chroma, chord) == 0)
    assert np.mean(hits) > 0.95


def test_accompaniment_sounds_the_written_chords(record: Record) -> None:
    """Energy on chord tones against the other pitch classes, from the audio."""
    shares = []
    for chord in record.meta["chords"]:
        part = record.accompaniment[int(chord["start"] * RATE) : int(chord["end"] * RATE)]
        power = np.abs(np.fft.rfft(part * np.hanning(len(part)))) ** 2
        hz = np.fft.rfftfreq(len(part), 1 / RATE)
        band_hz = (hz > 60) & (hz < 1_000)
        classes = np.rint(69 + 12 * np.log2(hz[band_hz] / 440)).astype(int) % 12
        tones = chord_tones(chord_index(chord["label"]))
        shares.append(power[band_hz][np.isin(classes, tones)].sum() / power[band_hz].sum())
    assert np.median(shares) > 0.6  # 0.25 by chance


@needs_programs
@pytest.mark.parametrize("font", band._FONTS)
def test_a_struck_note_sounds_at_its_time(font: str) -> None:
    pretty_midi = pytest.importorskip("pretty_midi")
    midi = pretty_midi.PrettyMIDI()
    drums = pretty_midi.Instrument(0, is_drum=True)
    times = 0.013 + 0.75 * np.arange(4)
    drums.notes = [pretty_midi.Note(100, 37, time, time + 0.2) for time in times]
    midi.instruments = [drums]
    lead = 0.3
    player = band.Band(font, swap=0, spread_db=0, drums_db=0, room=0, seed=1)
    sound = np.abs(band.play(midi, player, lead, 4.0))
    for time in lead + times:
        start = int((time - 0.02) * RATE)
        window = sound[start : start + int(0.2 * RATE)]
        onset = start + np.flatnonzero(window > 0.1 * window.max())[0]
        assert abs(onset / RATE - time) < 0.02


@needs_programs
def test_corpus_resumes(tmp_path: Path) -> None:
    assert generate(tmp_path, hours=0.01, seed=SEED, workers=1, bands=1) == []
    (shard,) = shard_paths(tmp_path)
    written = shard.read_bytes()
    stamp = shard.stat().st_mtime_ns
    assert [item.key for item in read_shard(shard)] == [f"{SEED:04d}-000000-0"]
    assert generate(tmp_path, hours=0.01, seed=SEED, workers=1, bands=1) == []
    assert shard.stat().st_mtime_ns == stamp
    shard.unlink()
    generate(tmp_path, hours=0.01, seed=SEED, workers=1, bands=1)
    assert shard.read_bytes() == written


@needs_programs
def test_a_failed_song_is_reported_and_the_rest_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = generator.song_records

    def flaky(seed: int, index: int, bands: int, reserved: bool):  # type: ignore[no-untyped-def]
        if index == 1:
            raise RuntimeError("no voice")
        return real(seed, index, bands, reserved)

    monkeypatch.setattr(generator, "song_records", flaky)
    job = generator.Job(tmp_path / "a.tar", SEED, range(2), 1, False)
    seconds, failures = generator.make_shard(job)
    assert seconds > 0
    assert failures == [{"seed": SEED, "index": 1, "error": "RuntimeError: no voice"}]
    assert len(list(read_shard(tmp_path / "a.tar"))) == 1
