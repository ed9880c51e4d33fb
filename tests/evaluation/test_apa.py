"""Accompaniment prompt adherence: its formula, the deal, the mix, and bands that fit or do not."""

import json

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from fastsag.cli.main import app
from fastsag.errors import UserError
from fastsag.evaluation import apa
from fastsag.evaluation.embedders.offline import Offline
from fastsag.levels import loudness

RATE = 24_000
DISTANCE = st.floats(0, 1e6)


@given(DISTANCE, DISTANCE, st.floats(1e-6, 1e6))
def test_the_formula_is_the_papers(to_true, to_shuffled, between):
    expected = np.clip(0.5 + (to_shuffled - to_true) / (2 * between), 0, 1)
    assert apa.apa(to_true, to_shuffled, between) == pytest.approx(expected, abs=1e-12)


def test_its_ends():
    assert apa.apa(0, 3, 3) == 1 and apa.apa(3, 0, 3) == 0 and apa.apa(5, 5, 3) == 0.5
    assert apa.apa(0, 9, 3) == 1 and apa.apa(9, 0, 3) == 0  # clipped
    assert apa.apa(-1e-9, -1e-9, -1e-9) == 0  # all the same
    assert apa.apa(1, 2, 0) == 1


def test_embeddings_of_known_gaussians():
    """Sets that differ by a shift alone: distances are squares of it."""
    true = np.random.default_rng(0).standard_normal((50, 4))
    step = np.array([1.0, 0, 0, 0])
    found = apa.adherence(true + step, true, true + 4 * step)
    assert found.to_true == pytest.approx(1) and found.to_shuffled == pytest.approx(9)
    assert found.true_to_shuffled == pytest.approx(16)
    assert found.apa == pytest.approx(0.5 + 8 / 32)
    assert set(found.row()) == {"apa", "to_true", "to_shuffled", "true_to_shuffled"}
    with pytest.raises(UserError, match="at least two"):
        apa.adherence(true[:1], true, true)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(0, 99))
def test_every_band_is_dealt_once_and_to_another_song(sizes, seed):
    songs = np.repeat(np.arange(len(sizes)), sizes)
    if len(songs) < 2:
        with pytest.raises(UserError, match="at least two"):
            apa.partners(songs, seed)
        return
    dealt = apa.partners(songs, seed)
    assert sorted(dealt) == list(range(len(songs)))
    assert (dealt != np.arange(len(songs))).all()
    assert np.array_equal(dealt, apa.partners(songs, seed))
    if 2 * max(sizes) <= len(songs):
        assert (songs[dealt] != songs).all()


def test_windows_leave_out_the_rest():
    samples = np.arange(int(12.5 * 100))
    found = apa.windows(samples, 100)
    assert [len(part) for part in found] == [500, 500]
    assert found[1][0] == 500 and apa.windows(samples[:499], 100) == []


@pytest.mark.parametrize("band_gain", [0.01, 0.3, 3.0])
def test_the_mix_is_level(band_gain):
    rng = np.random.default_rng(0)
    voice, band = 0.05 * rng.standard_normal((2, 5 * RATE))
    mix = apa.mixed(voice, band_gain * band, RATE)
    assert mix.dtype == np.float32 and mix.shape == voice.shape
    assert loudness(mix[None], RATE) == pytest.approx(apa.MIX_LUFS, abs=0.05)
    # Equally loud, and noise: as much of the one as of the other.
    assert np.dot(mix, voice) / np.dot(voice, voice) == pytest.approx(
        np.dot(mix, band) / np.dot(band, band), rel=0.05
    )


def test_the_mix_of_silence_and_of_clicks():
    voice = np.zeros(5 * RATE)
    assert not apa.mixed(voice, voice, RATE).any()
    hiss = 1e-5 * np.random.default_rng(0).standard_normal(len(voice))
    assert np.corrcoef(apa.mixed(song(0)[0][: len(voice)], hiss, RATE), hiss)[0, 1] < 0.05  # gated
    clicks = voice.copy()
    clicks[:: RATE // 2] = 1.0
    assert np.abs(apa.mixed(voice, clicks, RATE)).max() <= 1.0


def song(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """10 s in one key of twelve: a sung line of sines, and a band of triads on its notes."""
    rng = np.random.default_rng(seed)
    time = np.arange(RATE // 2) / RATE
    sung, played = [], []
    for step in rng.choice([0, 2, 4, 5, 7, 9, 11], 20):
        hz = 220 * 2 ** ((seed % 12 + step) / 12)
        sung.append(np.sin(2 * np.pi * 2 * hz * time))
        chord = sum(np.sin(2 * np.pi * k * hz * time) / k for k in (1, 2, 3, 4, 6, 8))
        played.append(chord * np.exp(-3 * time))
    return 0.1 * np.concatenate(sung), 0.1 * np.concatenate(played)


def test_bands_that_fit_adhere_more_than_bands_of_others():
    voices, bands = zip(*(song(seed) for seed in range(8)), strict=True)
    rng = np.random.default_rng(0)

    def score(candidate):
        return apa.adherence_of_songs(voices, bands, candidate, RATE, Offline()).apa

    noisy = [band + 0.001 * rng.standard_normal(len(band)) for band in bands]
    half = [*bands[:4], *bands[5:], bands[4]]
    others = [*bands[1:], bands[0]]
    assert score(noisy) > 0.5
    assert 1 > score(half) > (worst := score(others))
    assert worst < 0.5
    with pytest.raises(UserError, match="8 voices, 7 true bands"):
        apa.adherence_of_songs(voices, bands[1:], bands, RATE, Offline())


def test_the_command_puts_anchors_beside_and_embeds_once(tmp_path, monkeypatch):
    (tmp_path / "set").mkdir()
    (tmp_path / "others").mkdir()
    pairs = [song(seed) for seed in range(4)]
    for index, (voice, band) in enumerate(pairs):
        soundfile.write(tmp_path / "set" / f"{index}.vocals.wav", voice, RATE)
        soundfile.write(tmp_path / "set" / f"{index}.accompaniment.wav", band, RATE)
        other = pairs[(index + 2) % 4][1]
        soundfile.write(tmp_path / "others" / f"{index}.accompaniment.wav", other, RATE)
    out = tmp_path / "apa.json"
    words = ["evaluate", "apa", tmp_path / "set", tmp_path / "others", "-o", out]
    words = [str(word) for word in [*words, "--cache", tmp_path / "cache"]]
    first = CliRunner().invoke(app, words)
    assert first.exit_code == 0, (first.output, first.exception)
    scores = {row["system"]: row for row in json.loads(out.read_text())}
    assert list(scores) == [*apa.ANCHORS, "others"]
    assert scores["true band"]["apa"] == 1 and scores["true band"]["to_true"] < 1e-3
    assert scores["others"]["apa"] < 0.6 and scores["others"]["songs"] == 4
    monkeypatch.setattr(Offline, "__call__", None)
    again = CliRunner().invoke(app, words)
    assert again.output == first.output
    (tmp_path / "set" / "3.accompaniment.wav").unlink()
    refused = CliRunner().invoke(app, words)
    assert "3 has no KEY.accompaniment" in str(refused.exception)
