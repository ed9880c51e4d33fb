"""Scores: musical properties over many songs, and a ground truth that agrees with itself."""

import time

import numpy as np
import pytest

from fastsag.chords import CHORDS, PITCH_CLASSES, chord_index, chord_tones, key_index
from fastsag.lead_sheet import STYLES, from_record
from fastsag.songs.composition import Score, compose
from fastsag.songs.harmony import scale_over
from fastsag.songs.melody import Note


@pytest.fixture(scope="module")
def scores() -> list[Score]:
    return [compose(np.random.default_rng((7, index))) for index in range(200)]


def _chord(score: Score, note: Note) -> int:
    return score.chords[int(note.start // score.beats_per_bar)]


def test_same_seed_same_score() -> None:
    assert compose(np.random.default_rng(3)) == compose(np.random.default_rng(3))
    assert compose(np.random.default_rng(3)) != compose(np.random.default_rng(4))


def test_composing_is_fast() -> None:
    started = time.perf_counter()
    for index in range(50):
        compose(np.random.default_rng(index))
    assert (time.perf_counter() - started) / 50 < 0.05


def test_variety(scores: list[Score]) -> None:
    assert {score.tonic for score in scores} == set(range(12))
    assert {score.mode for score in scores} == {"major", "minor"}
    assert {score.beats_per_bar for score in scores} == {3, 4}
    assert {score.style for score in scores} == set(STYLES)
    assert len({score.chords for score in scores}) > 190


@pytest.mark.parametrize("style", STYLES)
def test_the_style_asked_for(style: str) -> None:
    score = compose(np.random.default_rng(1), style)
    assert score.style == style
    assert (score.beats_per_bar == 3) == (style == "waltz")


def test_length_is_that_of_a_short_song(scores: list[Score]) -> None:
    assert all(20 < score.duration < 60 for score in scores)


def test_ends_on_the_tonic(scores: list[Score]) -> None:
    for score in scores:
        quality = "maj" if score.mode == "major" else "min"
        assert CHORDS[score.chords[-1]] == f"{PITCH_CLASSES[score.tonic]}:{quality}"
        assert score.notes[-1].pitch % 12 == score.tonic


def test_notes_follow_each_other_within_the_song(scores: list[Score]) -> None:
    for score in scores:
        end = len(score.chords) * score.beats_per_bar
        for before, after in zip(score.notes[:-1], score.notes[1:], strict=True):
            assert before.end <= after.start
        assert all(0 <= note.start < note.end <= end for note in score.notes)
        assert all((note.end - note.start) * score.beat_seconds > 0.1 for note in score.notes)


def test_the_intro_is_vocal_free_but_for_a_pickup(scores: list[Score]) -> None:
    for score in scores:
        assert score.notes[0].start >= score.sung_from * score.beats_per_bar - 1
    assert len({score.sung_from for score in scores}) > 2


def test_notes_fit_the_singer(scores: list[Score]) -> None:
    for score in scores:
        low, high = score.vocal_range
        assert all(low <= note.pitch <= high for note in score.notes)


def test_notes_are_in_key_bent_to_the_chord(scores: list[Score]) -> None:
    for score in scores:
        for note in score.notes:
            tones = chord_tones(_chord(score, note))
            assert note.pitch % 12 in scale_over(score.tonic, score.mode, tones)


def test_minor_raises_the_leading_tone_over_the_dominant() -> None:
    tonic = 9
    assert (tonic + 11) % 12 in scale_over(tonic, "minor", chord_tones(chord_index("E:maj")))
    assert (tonic + 10) % 12 not in scale_over(tonic, "minor", chord_tones(chord_index("E:maj")))
    assert (tonic + 10) % 12 in scale_over(tonic, "minor", chord_tones(chord_index("A:min")))


def test_strong_beats_lean_on_the_chord(scores: list[Score]) -> None:
    def share(notes: list[tuple[Score, Note]]) -> float:
        return float(np.mean([n.pitch % 12 in chord_tones(_chord(s, n)) for s, n in notes]))

    everything = [(score, note) for score in scores for note in score.notes]
    strong = [(s, n) for s, n in everything if n.start % s.beats_per_bar == 0]
    assert share(strong) > 0.9
    assert 0.6 < share(everything) < share(strong)


def test_melodies_move_by_step_and_breathe(scores: list[Score]) -> None:
    steps = np.concatenate([np.diff([note.pitch for note in s.notes]) for s in scores])
    assert np.mean(np.abs(steps) <= 4) > 0.8
    assert np.mean(np.abs(steps) > 9) < 0.02
    for score in scores:
        rests = [b.start - a.end for a, b in zip(score.notes[:-1], score.notes[1:], strict=True)]
        assert max(rests) >= 0.4


def test_record_is_consistent(scores: list[Score]) -> None:
    for score in scores:
        record = score.record()
        beats = np.array(record["beats"])
        assert np.allclose(np.diff(beats), 60 / record["tempo"], atol=2e-6)
        assert record["downbeats"] == record["beats"][: -1 : record["beats_per_bar"]]
        assert [chord["start"] for chord in record["chords"]] == record["downbeats"]
        assert record["chords"][-1]["end"] == record["beats"][-1] < record["duration"]
        assert all(chord["label"] in CHORDS for chord in record["chords"])
        assert key_index(record["key"]) == score.tonic + 12 * (score.mode == "minor")
        assert record["notes"][-1]["end"] <= record["duration"]
        assert all(note["lyric"] for note in record["notes"])


def test_lead_sheet_reads_the_record(scores: list[Score]) -> None:
    for score in scores[:20]:
        sheet = from_record(score.record())
        assert sheet.tempo == pytest.approx(score.tempo, rel=1e-4)
        bars = [chord_index(label) for label in sheet.chords[1 : 1 + len(score.chords)]]
        assert tuple(bars) == score.chords
