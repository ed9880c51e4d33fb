"""Songs that are sung and played: repeatable, in tune, on the written chords, on time."""

import dataclasses
import json
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from fastsag.chords import CHORDS, chord_index, moved
from fastsag.data.shards import Record
from fastsag.errors import UserError
from fastsag.songs import band, check, generator, groove_table
from fastsag.songs.arrangement import arrange, chart, choose_grooves, grooves
from fastsag.songs.composition import Score, compose
from fastsag.songs.families import FAMILIES
from fastsag.songs.generator import render_song, song_records, split_of, takes
from fastsag.songs.preview import write_preview
from fastsag.songs.singer import random_singer
from fastsag.songs.syllables import RATE, RESERVED, TRAINING_VOICES, spoken
from fastsag.songs.voice import sing

SEED = 5
needs_programs = pytest.mark.usefixtures("programs")


def short_song(seed: int = SEED, **choice: str) -> Score:
    """The shortest of some songs: audio of it costs least."""
    songs = [compose(np.random.default_rng((seed, i)), **choice) for i in range(12)]
    return min(songs, key=lambda score: score.duration)


@pytest.fixture(scope="module")
def record(programs: None) -> Record:
    return render_song(SEED, 0)


def test_reserved_voices_never_train() -> None:
    assert not set(RESERVED) & set(TRAINING_VOICES)
    held_out = ("slt", "kal", "ked", "festival")
    assert not [v for v in TRAINING_VOICES if any(name in v.split("+")[0] for name in held_out)]
    drawn = {random_singer(np.random.default_rng(i), (50, 69), "en").source for i in range(500)}
    assert drawn <= {"formant", *TRAINING_VOICES}


def test_every_family_has_measured_grooves() -> None:
    table = grooves()
    assert set(table) == {family.name for family in FAMILIES}
    assert len(table) >= 20
    for name, rows in table.items():
        mains = [row for row in rows if row["role"] == "main"]
        assert len(mains) >= 4, name
        assert all(row["chord"] >= groove_table.LEAST_CHORD for row in rows)
        assert all(row["beat"] >= groove_table.LEAST_BEAT for row in mains)


def test_a_groove_table_is_filtered_by_role() -> None:
    rows = [
        {"groove": "folk:Good", "role": "main", "chord": 1.0, "beat": 0.95},
        {"groove": "folk:Diffuse", "role": "main", "chord": 1.0, "beat": 0.3},
        {"groove": "folk:Sour", "role": "main", "chord": 0.5, "beat": 0.95},
        {"groove": "folk:Fill", "role": "fill", "chord": 1.0, "beat": 0.0},
    ]
    only_fill = {"family": "folk", "file": "none", "rows": rows[3:]}
    table = groove_table.usable([{"family": "folk", "file": "folk", "rows": rows}, only_fill])
    assert [row["groove"] for row in table["folk"]] == ["folk:Good", "folk:Fill"]
    assert json.loads(groove_table.as_text(table)) == table


def test_splits_are_by_song() -> None:
    splits = [split_of(f"0001-{index:06d}") for index in range(4_000)]
    shares = {name: splits.count(name) / len(splits) for name in set(splits)}
    assert shares["train"] == pytest.approx(0.9, abs=0.02)
    assert shares["validation"] == pytest.approx(0.05, abs=0.015)
    assert shares["test"] == pytest.approx(0.05, abs=0.015)


def test_a_silent_bar_is_no_hit() -> None:
    assert groove_table.rank(np.zeros(12), 0) == 24


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
    names = "mode keys meter barlines sections family language voice conditions grooves instruments"
    assert set(names.split()) <= set(meta)
    for note in meta["notes"]:
        start, end = note["sung"]
        assert abs(start - note["start"]) < 0.2 and start < end
    json.dumps(meta)


def test_stems_add_up_to_the_accompaniment(record: Record) -> None:
    assert set(record.stems) <= set(band.STEMS) and len(record.stems) >= 2
    total = np.sum(list(record.stems.values()), axis=0)
    assert np.abs(total - record.accompaniment).max() < 1e-5


def test_same_seed_same_bytes(record: Record) -> None:
    again = render_song(SEED, 0)
    assert np.array_equal(again.vocals, record.vocals)
    assert np.array_equal(again.accompaniment, record.accompaniment)
    assert again.meta == record.meta


@pytest.mark.slow
def test_bands_share_the_take_and_the_truth(record: Record) -> None:
    first, second = song_records(SEED, 0, 2)
    assert np.array_equal(first.accompaniment, record.accompaniment)
    assert np.array_equal(first.vocals, record.vocals)
    assert not np.array_equal(first.accompaniment, second.accompaniment)
    for name in ("song", "split", "beats", "chords", "notes", "key", "voice"):
        assert first.meta[name] == second.meta[name]


@needs_programs
@pytest.mark.parametrize("source", ["formant", "espeak-en-us+f2", "flite-rms"])
def test_sung_notes_are_in_tune_when_they_are_said_to_be_sung(source: str) -> None:
    """Median pitch of each note, by a method that did not make it, against the score."""
    pyworld = pytest.importorskip("pyworld")
    score = short_song(style="folk")
    singer = random_singer(np.random.default_rng(1), score.vocal_range, score.language, source)
    singer = dataclasses.replace(singer, detune=0.0, off_key=0.0, double="none")
    sung = sing(score, singer, np.random.default_rng(2))
    voice = sung.voice.astype(np.float64)
    pitches = [note.pitch for note in score.notes]
    low, high = (440 * 2 ** ((p - 69) / 12) for p in (min(pitches) - 5, max(pitches) + 5))
    f0, times = pyworld.dio(voice, RATE, f0_floor=low, f0_ceil=high)
    f0 = pyworld.stonemask(voice, f0, times, RATE)
    close, voiced = [], []
    for note, (start, end) in zip(score.notes, sung.times, strict=True):
        inside = (times > min(start + 0.06, (start + end) / 2)) & (times < end)
        sounding = f0[inside & (f0 > 0)]
        voiced.append(np.mean(f0[inside] > 0))
        pitch = 69 + 12 * np.log2(np.median(sounding) / 440) if len(sounding) else np.inf
        close.append(abs(pitch - note.pitch) < 0.5)
    assert np.mean(close) > 0.95
    assert np.mean(voiced) > 0.7


@needs_programs
def test_singers_sound_different() -> None:
    """At least 40 voices whose average vowels differ by more than a decibel or two a band."""
    shapes = []
    edges = np.unique(np.geomspace(4, 400, 24).astype(int))
    for index in range(48):
        rng = np.random.default_rng((SEED, index))
        singer = random_singer(rng, (45 + index % 20, 64 + index % 20), "it")
        if singer.source == "formant":
            continue
        syllable = spoken(singer.source, "la")
        bins = np.clip(np.arange(513) / singer.formant_scale, 0, 512).astype(int)
        vowel = syllable.envelope[slice(*syllable.vowel)].mean(0)[bins]
        bands = [vowel[a:b].mean() for a, b in pairwise(edges)]
        shape = 10 * np.log10(np.array(bands) + 1e-12) + singer.tilt_db * np.arange(len(bands)) / 4
        shapes.append(shape - shape.mean())
    distances = np.sqrt(((np.array(shapes)[:, None] - np.array(shapes)[None]) ** 2).mean(-1))
    np.fill_diagonal(distances, np.inf)
    print(np.sort(distances.min(1)))
    distinct = (distances.min(1) > 1.5).mean()
    assert len(shapes) >= 30
    assert distinct > 0.9


@needs_programs
@pytest.mark.slow
def test_reserved_voice_sings_the_same_song(record: Record) -> None:
    held_out = render_song(SEED, 0, "flite-slt")
    assert held_out.meta["voice"]["source"] == "flite-slt"
    assert held_out.meta["split"] == "test"
    written = [{k: v for k, v in note.items() if k != "sung"} for note in record.meta["notes"]]
    assert written == [
        {k: v for k, v in note.items() if k != "sung"} for note in held_out.meta["notes"]
    ]
    assert not np.array_equal(held_out.vocals, record.vocals)


@needs_programs
@pytest.mark.parametrize("family", ["soft pop", "waltz", "jig", "six-eight ballad", "swing"])
def test_arrangement_plays_the_written_chords(family: str) -> None:
    """Every bar and half bar, at the seconds of the score, in each meter."""
    hits = []
    for index in range(3):
        rng = np.random.default_rng((SEED, index))
        score = compose(rng, family=family)
        midi = arrange(score, choose_grooves(family, rng), rng)
        for span in score.spans[:-1]:
            start, end = score.seconds(span.start), score.seconds(span.end)
            heard = groove_table.chroma(midi, start, end)
            label = chord_index(span.chord.triad)
            if heard.any() and span.chord.quality not in ("sus4", "dim", "dim7"):
                hits.append(groove_table.rank(heard, label) < 3)
    assert len(hits) > 40
    assert np.mean(hits) > 0.9


def test_charts_place_chords_on_the_beats_of_the_groove() -> None:
    score = short_song(family="soft pop")
    rng = np.random.default_rng(0)
    played = choose_grooves("soft pop", rng)
    lines = chart(score, played, score.tempo, 1).splitlines()
    bars = [line for line in lines if line[0].isdigit()]
    assert len(bars) == score.bar_count
    halves = [bar for section in score.sections for bar in section.bars if len(bar) == 2]
    assert sum("@3" in line for line in bars) == len(halves)


def test_accompaniment_sounds_the_written_chords(record: Record) -> None:
    pytest.importorskip("librosa")
    heard = check.chords_heard(record.accompaniment, RATE, record.meta["chords"])
    assert heard["chords"] > 0.8  # 0.13 by chance
    wrong = [
        {**chord, "label": CHORDS[moved(chord_index(chord["label"]), 6)]}
        for chord in record.meta["chords"]
    ]
    assert check.chords_heard(record.accompaniment, RATE, wrong)["chords"] < 0.4


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
    player = band.Band(
        font, swap=0, spread_db=0, bass_db=0, drums_db=0, room=0.5, seed=1, tilt_db=3
    )
    sound = np.abs(band.play(midi, player, lead, 4.0))
    for time in lead + times:
        start = int((time - 0.02) * RATE)
        window = sound[start : start + int(0.2 * RATE)]
        onset = start + np.flatnonzero(window > 0.1 * window.max())[0]
        assert abs(onset / RATE - time) < 0.02


@needs_programs
@pytest.mark.slow
def test_preview_writes_what_people_look_at(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    pretty_midi = pytest.importorskip("pretty_midi")
    take = next(takes(SEED, 0, 1))
    written = write_preview(take, tmp_path)
    assert {path.name for path in written} >= {
        "voice-dry.wav", "vocals.wav", "accompaniment.wav", "mix.wav", "song.mid",
        "lead-sheet.txt", "truth.json", "song.png",
    }  # fmt: skip
    assert all(path.stat().st_size > 100 for path in written)
    melody = pretty_midi.PrettyMIDI(str(tmp_path / "song.mid")).instruments[0]
    assert [note.pitch for note in melody.notes] == [note.pitch for note in take.score.notes]
    text = (tmp_path / "lead-sheet.txt").read_text()
    assert "[verse" in text or "[chorus" in text
    assert text.count("[") == len(take.score.sections)
