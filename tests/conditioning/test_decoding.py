"""Noisy frame-wise plans decode into the true, steady lead sheet."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from fastsag.chords import CHORDS, chord_index, key_index
from fastsag.conditioning import decoding
from fastsag.conditioning.beats import Onsets, bar_lines, beat_times, covering
from fastsag.conditioning.decoding import choose_chords, choose_style, decode
from fastsag.conditioning.planner import METRES, PlanFrames
from fastsag.lead_sheet import STYLES, Hints

RATE = 23.4375  # tokens a second


def frames_of(bpm, metre, first, chords, key, seconds, noise, rng, drift=0.0):
    """Planner output for a song whose beat 0 is at 0.2 s, with phase noise."""
    times = (np.arange(int(seconds * RATE)) + 0.5) / RATE
    position = (times - 0.2) * bpm / 60 + drift * np.sin(2 * np.pi * times / seconds)
    turns = position + noise * rng.standard_normal(len(times))
    bar = (position - first) / metre + noise * rng.standard_normal(len(times))

    def phasor(values):
        return np.stack([np.cos(2 * np.pi * values), np.sin(2 * np.pi * values)], -1)

    bars = 0.05 * rng.standard_normal((len(times), len(METRES), 2))
    bars[:, METRES.index(metre)] += phasor(bar)
    index = np.clip(np.floor((position - first) / metre).astype(int), 0, len(chords) - 1)
    logits = rng.standard_normal((len(times), len(CHORDS)))
    logits[np.arange(len(times)), [chord_index(chords[i]) for i in index]] += 1.5
    keys = rng.standard_normal((len(times), 24))
    keys[:, key_index(key)] += 2
    styles = rng.standard_normal((len(times), len(STYLES)))
    parts = (phasor(turns), bars, logits, keys, styles)
    return PlanFrames(*(torch.from_numpy(part) for part in parts)), times, position


@pytest.mark.parametrize(("bpm", "metre"), [(78, 4), (97.3, 3), (128, 4), (150, 3)])
def test_decodes_the_true_song(bpm, metre):
    rng = np.random.default_rng(metre)
    chords = ["A:min", "F:maj", "C:maj", "G:maj"] * 3
    seconds = 0.2 + (1 + metre * len(chords)) * 60 / bpm
    frames, *_ = frames_of(bpm, metre, 1, chords, "A minor", seconds, 0.08, rng)
    sheet = decode(frames, RATE, seconds)
    assert sheet.tempo == pytest.approx(bpm, rel=0.005)
    assert sheet.beats_per_bar == metre
    assert sheet.key == "A minor"
    first = 0.2 + 60 / bpm
    start = sheet.beats[sheet.first_downbeat]
    bar = metre * 60 / bpm
    assert abs((start - first + bar / 2) % bar - bar / 2) < 0.05
    played = [
        label for time, label in sheet.chord_times() if first - 0.1 < time < seconds - bar / 2
    ]
    assert played == chords[: len(played)] and len(played) >= 11


def test_bars_that_fit_three_and_four_alike_have_four():
    times = (np.arange(700) + 0.5) / RATE
    beats = np.arange(0, 31, 0.5)
    bars = np.exp(-2j * np.pi * times[:, None] / 0.5 / np.array(METRES)).conj()
    for three, metre in ((1.0, 4), (1.02, 4), (1.05, 3)):
        assert bar_lines(bars * np.array([three, 1.0]), times, beats)[0] == metre
    assert bar_lines(bars, times, beats, 3)[0] == 3


def test_beats_follow_a_singer_who_drifts():
    rng = np.random.default_rng(0)
    frames, times, position = frames_of(100, 4, 0, ["C:maj"], "C major", 120.0, 0.1, rng, drift=0.5)
    phasor = frames.beat[:, 0].numpy() + 1j * frames.beat[:, 1].numpy()
    beats, confidence = beat_times(phasor, RATE, 120.0)
    error = np.interp(beats, times, position)
    inner = (beats > 10) & (beats < 110)
    assert np.abs(error - np.round(error))[inner].max() < 0.12
    assert confidence > 0.6


def test_silence_gives_a_usable_sheet():
    zeros = PlanFrames(
        *(torch.zeros(40, *shape) for shape in ((2,), (2, 2), (25,), (24,), (len(STYLES),)))
    )
    sheet = decode(zeros, RATE, 1.7)
    assert len(sheet.beats) >= 2 and np.isfinite(sheet.beats).all()
    assert sheet.features(np.linspace(0, 1.7, 50)).shape[1] == 50


def test_hints_are_kept_and_the_rest_is_estimated():
    rng = np.random.default_rng(1)
    chords = ["A:min", "F:maj", "C:maj", "G:maj"] * 3
    frames, *_ = frames_of(100, 4, 1, chords, "A minor", 29.0, 0.05, rng)
    free = decode(frames, RATE, 29.0)
    told = decode(frames, RATE, 29.0, Hints(bpm=100.0))
    np.testing.assert_allclose(np.diff(told.beats), 0.6)
    assert abs((told.beats[0] - 0.2 + 0.3) % 0.6 - 0.3) < 0.02
    assert told.chords[1:12] == free.chords[1:12] and "key" in told.confidence
    told = decode(frames, RATE, 29.0, Hints(chords=("D:maj", "E:min A:maj"), key="D major"))
    assert told.key == "D major" and told.chords[:4] == (
        "D:maj", "D:maj", "E:min A:maj", "D:maj",
    )  # fmt: skip
    np.testing.assert_allclose(told.beats, free.beats)
    told = decode(frames, RATE, 29.0, Hints(metre=3))
    assert told.beats_per_bar == 3
    told = decode(frames, RATE, 29.0, Hints(downbeat=2.05))
    assert told.beats[told.first_downbeat] == pytest.approx(2.05)


@pytest.mark.parametrize("bpm", [50.0, 220.0])
def test_tempi_beyond_the_planners_octave(bpm):
    """A beat of the given tempo falls on one that the planner hears at double or half of it."""
    rng = np.random.default_rng(0)
    heard = 100 if bpm == 50 else 110
    frames, *_ = frames_of(heard, 4, 0, ["C:maj"], "C major", 30.0, 0.05, rng)
    beats = decode(frames, RATE, 30.0, Hints(bpm=bpm)).beats
    np.testing.assert_allclose(np.diff(beats), 60 / bpm)
    step = 60 / max(bpm, heard)
    assert abs((beats[0] - 0.2 + step / 2) % step - step / 2) < 0.03


def test_given_beats_are_continued_to_cover_the_song():
    beats = covering(np.array([1.0, 1.5, 2.1]), 4.0)
    np.testing.assert_allclose(beats, [0.0, 0.5, 1.0, 1.5, 2.1, 2.7, 3.3, 3.9, 4.5])


def test_unclear_bars_take_what_usually_follows():
    table = np.full((2, len(CHORDS), len(CHORDS)), -4.0)
    usual = ["C:maj", "F:maj", "G:maj", "C:maj"]
    for one, other in pairwise(map(chord_index, usual)):
        table[0, one, other] = -0.1
    scores = np.zeros((4, len(CHORDS)))
    heard = [chord_index(label) for label in ("D:maj", "G:maj", "A:maj", "D:maj")]
    scores[[0, 1, 3], np.array(heard)[[0, 1, 3]]] = 3.0  # bar 2 is not heard at all
    chosen, _ = choose_chords(scores, np.arange(4), 4, key_index("D major"), table)
    assert chosen == heard


def song_in_a_minor(times: int, seconds: float) -> PlanFrames:
    """Four bars of two seconds, so many times."""
    chords = ["A:min", "F:maj", "C:maj", "G:maj"] * times
    return frames_of(120, 4, 0, chords, "A minor", seconds, 0.05, np.random.default_rng(1))[0]


def test_the_band_ends_with_the_song():
    frames, bar = song_in_a_minor(4, 32.2), 2.0
    whole = decode(frames, RATE, 32.2)
    first = whole.beats[whole.first_downbeat]
    ended = decode(frames, RATE, 32.2, last_note=(first + 4.5 * bar, first + 4.9 * bar))
    assert ended.chords[:6] == whole.chords[:6]
    assert ended.chords[6] == "A:min" and set(ended.chords[7:]) == {"N"}
    # A note that sounds a little over the bar line ends in the bar before.
    again = decode(frames, RATE, 32.2, last_note=(first + 4.5 * bar, first + 5 * bar + 0.1))
    assert again.chords == ended.chords
    assert decode(frames, RATE, 32.2, last_note=(31.0, 32.0)).chords[:17] == whole.chords[:17]


def test_a_last_note_held_on_the_tonic_is_the_end():
    frames, bar = song_in_a_minor(4, 32.2), 2.0
    whole = decode(frames, RATE, 32.2)
    first = whole.beats[whole.first_downbeat]
    for begins, last in ((4.1, 5), (4.5, 6), (3.4, 5)):  # of bar 5, on the tonic
        held = decode(frames, RATE, 32.2, last_note=(first + begins * bar, first + 4.9 * bar))
        assert held.chords[last] == "A:min" and set(held.chords[last + 1 :]) == {"N"}
        assert held.ending == pytest.approx(first + last * bar, abs=0.1)
    # Bar 6 is not on the tonic: however long its note is, the song comes home.
    away = decode(frames, RATE, 32.2, last_note=(first + 5.1 * bar, first + 5.9 * bar))
    assert away.chords[6:8] == ("F:maj", "A:min") and set(away.chords[8:]) == {"N"}


def test_a_band_may_end_behind_the_recording():
    frames = song_in_a_minor(2, 15.0)
    note = (14.5, 14.9)
    cut = decode(frames, RATE, 15.0, last_note=note)
    ended = decode(frames, RATE, 15.0, last_note=note, beyond=12.0)
    assert cut.ending is None and 16.5 < ended.ending < 18.5
    assert ended.chords[-2:] == ("A:min", "N") and ended.beats[-1] < 21
    np.testing.assert_allclose(ended.beats[: len(cut.beats)], cut.beats)
    assert ended.chords[: len(cut.chords)] == cut.chords
    assert ended.confidence == cut.confidence
    # Played again from its own sheet it is the same, and an added bar is played.
    downbeat = ended.beats[ended.first_downbeat]
    sheet = Hints(beats=tuple(ended.beats), downbeat=downbeat, chords=ended.chords[1:])
    again = decode(frames, RATE, 15.0, sheet, last_note=note, beyond=12.0)
    assert again.chords[1:] == ended.chords[1:] and again.ending == pytest.approx(ended.ending)
    longer = replace(sheet, chords=(*ended.chords[1:-1], "D:min", "A:min"))
    longer = decode(frames, RATE, 15.0, longer, last_note=note, beyond=12.0)
    assert longer.ending == pytest.approx(ended.ending + 4, abs=0.01)
    # Long before the end of the recording nothing changes.
    early = decode(frames, RATE, 15.0, last_note=(6.0, 6.4), beyond=12.0)
    assert early.ending < 11 and early.beats[-1] > 15


def test_a_song_that_has_left_its_key_ends_where_it_is():
    chords = ["C:maj", "F:maj", "N"]
    assert decoding._ended(chords, 1, key_index("C major"), False)[2] == "C:maj"
    assert decoding._ended(chords, 1, key_index("D minor"), False)[2] == "D:min"
    assert decoding._ended(chords, 1, key_index("G major"), False)[2] == "F:maj"


def test_chords_that_are_given_end_only_where_they_are_a_loop():
    rng = np.random.default_rng(1)
    frames, *_ = frames_of(120, 4, 0, ["C:maj"], "C major", 32.2, 0.05, rng)
    loop = decode(frames, RATE, 32.2, Hints(chords=("D:maj", "E:min")), last_note=(9.0, 10.0))
    assert "N" in loop.chords and loop.chords[1:5] == ("D:maj", "E:min") * 2
    song = Hints(chords=("D:maj", "E:min") * 20)
    assert "N" not in decode(frames, RATE, 32.2, song, last_note=(9.0, 10.0)).chords


def test_seeds_go_through_the_styles_that_suit_best_first():
    logits = np.full(len(STYLES), -4.0)
    for style, logit in {
        "folk": 2.0,
        "waltz": 1.9,
        "swing": 1.5,
        "country": 1.0,
        "rock": 0.2,
    }.items():
        logits[STYLES.index(style)] = logit
    taken = [choose_style(logits, 4, seed)[0] for seed in range(4)]
    assert taken == ["folk", "swing", "country", "folk"]  # rock is a sixth of folk, waltz has three
    sure = [choose_style(logits, 4, seed)[1] for seed in range(3)]
    assert sure == sorted(sure, reverse=True) and 0.4 < sure[0] < 0.6
    assert choose_style(logits, 3, 5) == ("waltz", 1.0)


def test_a_style_is_estimated_unless_it_is_said():
    rng = np.random.default_rng(3)
    frames, *_ = frames_of(100, 4, 0, ["C:maj"], "C major", 20.0, 0.05, rng)
    frames.styles[:, STYLES.index("bossa")] += 3
    sheet = decode(frames, RATE, 20.0)
    assert sheet.style == "bossa" and sheet.confidence["style"] > 0.5
    told = decode(frames, RATE, 20.0, Hints(style="funk"))
    assert told.style == "funk" and "style" not in told.confidence
    assert decode(frames, RATE, 20.0, Hints(metre=3)).style == "waltz"


@pytest.mark.parametrize("off", [-0.08, -0.03, 0.05])
def test_beats_move_to_where_notes_begin(off):
    """A planner that is early or late everywhere, and a singer of half the beats."""
    rng = np.random.default_rng(5)
    frames, *_ = frames_of(104, 4, 0, ["C:maj"], "C major", 25.0, 0.05, rng)  # beat 0 at 0.2 s
    strength = 0.1 * rng.random(round(25 * 46.875))
    beats = np.arange(0.2 + off, 24.5, 60 / 104)
    sung = beats[rng.random(len(beats)) < 0.5]
    strength[np.round(sung * 46.875 - 0.5).astype(int)] = 1
    hints = (None, Hints(bpm=104.0))
    for sheet in (
        decode(frames, RATE, 25.0, hint, onsets=Onsets(strength, 46.875)) for hint in hints
    ):
        assert len(sheet.beats) in range(43, 46) and sheet.beats[0] > -0.02
        error = sheet.beats[:40] - beats[np.abs(beats[None] - sheet.beats[:40, None]).argmin(1)]
        assert np.abs(np.median(error) + 0.03) < 0.015  # a little ahead: singers come late
    told = decode(frames, RATE, 25.0, Hints(downbeat=2.0), onsets=Onsets(strength, 46.875))
    assert told.beats[told.first_downbeat] == pytest.approx(2.0)


def test_few_notes_move_no_beat():
    rng = np.random.default_rng(5)
    frames, *_ = frames_of(104, 4, 0, ["C:maj"], "C major", 3.0, 0.05, rng)
    strength = rng.random(140)
    for onsets in (Onsets(strength, 46.875), Onsets(0 * strength, 46.875)):
        plain = decode(frames, RATE, 3.0)
        np.testing.assert_array_equal(decode(frames, RATE, 3.0, onsets=onsets).beats, plain.beats)
