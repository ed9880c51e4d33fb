"""Arrays in files: they read as numpy arrays do, and a process holds only pieces of them."""

import tracemalloc

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fastsag import audio, levels, spool
from fastsag import config as configuration
from fastsag.errors import UserError
from fastsag.model import build
from fastsag.pipeline import Accompanist
from fastsag.spool import Files, Memory
from fastsag.vocoder import build_vocoder
from fastsag.windows import Window, join
from tests.data.media import write_m4a
from tests.test_audio import noise
from tests.test_pipeline import CONFIGS, voice


@pytest.fixture(scope="module")
def player() -> Accompanist:
    torch.manual_seed(0)
    config = configuration.load(CONFIGS / "debug.yaml")
    return Accompanist(config, build(config), build_vocoder(config.vocoder, config.mel))


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 3),
    count=st.integers(0, 40),
    edits=st.lists(
        st.tuples(st.integers(-5, 50), st.integers(-5, 50), st.floats(-1, 1)), max_size=8
    ),
)
def test_a_spool_is_read_and_written_as_an_array(tmp_path_factory, rows, count, edits):
    folder = tmp_path_factory.getbasetemp()
    filed, held = Files(folder).zeros(rows, count), Memory().zeros(rows, count)
    for start, stop, value in edits:
        for array in (filed, held):
            piece = array[:, start:stop]
            array[:, start:stop] = piece + value
        np.testing.assert_array_equal(filed[..., start:stop], held[..., start:stop])
    assert filed.shape == held.shape and len(filed) == len(held)
    np.testing.assert_array_equal(np.asarray(filed), held)


def test_parts_are_kept_one_behind_the_other(tmp_path):
    parts = [noise(2, count, seed) for seed, count in enumerate((5, 0, 1_000, 3))]
    filed, held = Files(tmp_path).keep(parts), Memory().keep(parts)
    assert filed.shape == held.shape == (2, 1_008)
    np.testing.assert_array_equal(np.asarray(filed), held)
    with pytest.raises(ValueError, match="nothing"):
        Files(tmp_path).keep([])


@pytest.mark.parametrize("key", [(0, slice(0, 3)), (slice(None), slice(0, 9, 2)), (slice(1), ...)])
def test_only_stretches_of_all_rows_are_read(tmp_path, key):
    with pytest.raises((IndexError, AttributeError)):
        Files(tmp_path).zeros(2, 10)[key]


def test_no_file_is_seen_or_left(tmp_path):
    array = Files(tmp_path).zeros(1, 1_000)
    array[:, 10:20] = 1
    del array
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_or_full_is_named(tmp_path):
    with pytest.raises(UserError, match=f"{tmp_path}/none: cannot be written"):
        Files(tmp_path / "none").zeros(1, 10)
    array = Files(tmp_path).zeros(1, 10)
    array._file.close()
    array._file = open("/dev/full", "r+b", buffering=0)  # noqa: SIM115
    with pytest.raises(UserError, match=f"{tmp_path}: cannot be written .*space"):
        array[:, 0:10] = 1


@pytest.mark.parametrize("rates", [(48_000, 24_000), (24_175.44, 44_100), (24_000, 24_000)])
@pytest.mark.parametrize("channels", [1, 2])
def test_resampling_in_parts_is_resampling(rates, channels):
    samples = noise(channels, 100_003)
    whole = audio.resample(samples, *rates)
    parts = audio.resampled(np.split(samples, [1, 4_000, 70_000], axis=1), *rates)
    np.testing.assert_array_equal(np.concatenate(list(parts), axis=1), whole)


@pytest.mark.parametrize("count", [0, 5, 2_000, 2_500])
def test_parts_are_cut_or_padded(count):
    samples = noise(1, 2_000)
    parts = audio.fitted(np.split(samples, [700, 1_900], axis=1), count)
    made = np.concatenate(list(parts), axis=1)
    np.testing.assert_array_equal(made, audio.resample(samples, 1, 1, count))


def test_joining_mixing_and_levels_are_the_same_in_files(tmp_path, monkeypatch):
    monkeypatch.setattr(spool, "_PIECE", 5_000)
    sung, band = noise(2, 30_000, 1, 0.3), noise(1, 30_000, 2, 0.9)
    made = []
    for store in (Memory(), Files(tmp_path)):
        joined = store.zeros(1, 30_000)
        join(joined, band[:, :20_000], Window(0, 20_000, 0), 100)
        join(joined, band[:, 18_000:], Window(18_000, 30_000, 2_000), 100)
        mixed = levels.mix(store.keep([sung]), joined, 24_000, -3, store)
        made.append((np.asarray(mixed.samples), np.asarray(mixed.accompaniment), mixed.figures()))
        assert levels.min_max_level(joined) == levels.min_max_level(np.asarray(joined))
    for one, other in zip(*made, strict=True):
        np.testing.assert_equal(one, other)


@pytest.mark.parametrize("kind", ["wav", "m4a"])
def test_files_are_read_alike(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    if kind == "wav":
        audio.write(path, noise(2, 300_000), 44_100, "wav")
    else:
        write_m4a(pytest.importorskip("av"), path, [noise(1, 300_000)[0]])
    held, filed = audio.read(path), audio.read(path, store=Files(tmp_path))
    assert held.sample_rate == filed.sample_rate
    np.testing.assert_array_equal(np.asarray(filed.samples), held.samples)


def test_a_song_in_files_is_the_song_in_memory(player, tmp_path, monkeypatch):
    monkeypatch.setattr(spool, "_PIECE", 10_000)
    source = voice(14.0, 44_100, 2, hz=2 ** (20 / 1200))
    audio.write(tmp_path / "voice.wav", source.samples, source.sample_rate, "wav")
    held, filed = (
        player.accompany(tmp_path / "voice.wav", store=store) for store in (None, Files(tmp_path))
    )
    for name in ("mix", "accompaniment", "mel", "prior", "voice_mel"):
        one, other = getattr(held, name), getattr(filed, name)
        assert isinstance(one, np.ndarray)
        np.testing.assert_array_equal(np.asarray(other), one)
    assert filed.record["loudness"] == held.record["loudness"]
    assert filed.lead_sheet.to_dict() == held.lead_sheet.to_dict()
    audio.write(tmp_path / "mix.wav", filed.mix, filed.sample_rate, "wav")
    back, _ = soundfile.read(tmp_path / "mix.wav", dtype="float32")
    np.testing.assert_allclose(back.T, held.mix, atol=2**-23)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mix.wav", "voice.wav"]


@pytest.mark.slow
def test_memory_does_not_grow_with_the_recording(player, tmp_path):
    """What numpy holds at once; networks see windows of one length."""
    player.accompany(voice(1.0))  # what is imported and compiled once
    peaks = {}
    for minutes in (1, 5):
        path = tmp_path / f"{minutes}.wav"
        audio.write(path, voice(60.0 * minutes).samples, 24_000, "wav")
        for name, store in (("files", Files(tmp_path)), ("memory", Memory())):
            tracemalloc.start()
            player.accompany(path, store=store)
            peaks[name, minutes] = tracemalloc.get_traced_memory()[1] / 1e6
            tracemalloc.stop()
    voices = 4 * 60 * 24_000 * 4 / 1e6  # MB of four minutes
    assert peaks["memory", 5] - peaks["memory", 1] > 3 * voices
    assert peaks["files", 5] - peaks["files", 1] < 0.05 * voices, peaks
