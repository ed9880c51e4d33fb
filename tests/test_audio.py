"""Reading, resampling, loudness, mixing and writing."""

import json
import os

import numpy as np
import pyloudnorm
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from fastsag import audio
from fastsag.errors import UserError


def noise(channels: int = 1, count: int = 24_000, seed: int = 0, gain: float = 0.1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (gain * rng.standard_normal((channels, count))).astype(np.float32)


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("kind", ["wav", "flac"])
def test_lossless_round_trip(tmp_path, rate, channels, kind):
    samples = noise(channels, rate)
    path = tmp_path / f"a.{kind}"
    audio.write(path, samples, rate, kind)
    back = audio.read(path)
    assert back.sample_rate == rate and back.samples.shape == samples.shape
    np.testing.assert_allclose(back.samples, samples, atol=2**-23)


@pytest.mark.parametrize(("kind", "exact"), [("ogg", True), ("mp3", False)])
def test_lossy_round_trip(tmp_path, kind, exact):
    path = tmp_path / f"a.{kind}"
    audio.write(path, noise(2, 44_100), 44_100, kind)
    count = audio.read(path).samples.shape[1]
    assert count == 44_100 if exact else abs(count - 44_100) < 3_000


def test_a_format_that_cannot_hold_the_rate_says_so(tmp_path):
    for kind, rate in [("mp3", 96_000), ("ogg", 384_000)]:
        with pytest.raises(UserError, match=rf"a\.{kind}.*--format wav"):
            audio.write(tmp_path / f"a.{kind}", noise(1, 96_000), rate, kind)
    assert not list(tmp_path.iterdir())


BAD = {
    "empty.wav": (np.zeros((0, 1)), "no samples"),
    "short.wav": (np.full((100, 1), 0.1), "at least 0.5 s"),
    "silent.wav": (np.zeros((24_000, 1)), "silent"),
    "nan.wav": (np.full((24_000, 1), np.nan), "NaN"),
    "inf.wav": (np.full((24_000, 1), np.inf), "NaN or infinite"),
}


@pytest.mark.parametrize("name", BAD)
def test_unusable_recordings_name_file_and_reason(tmp_path, name):
    samples, reason = BAD[name]
    soundfile.write(tmp_path / name, samples, 24_000, subtype="FLOAT")
    with pytest.raises(UserError, match=f"{name}.*{reason}"):
        audio.read(tmp_path / name)


def test_what_is_no_audio_names_file_and_reason(tmp_path):
    (tmp_path / "text.wav").write_text("not audio")
    for path, reason in [
        (tmp_path / "text.wav", "not audio"),
        (tmp_path / "absent.wav", "no such file"),
        (tmp_path, "folder"),
    ]:
        with pytest.raises(UserError, match=reason):
            audio.read(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_folder_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="cannot be written"):
        audio.write(tmp_path / "a.wav", noise(), 24_000, "wav")


def test_m4a_through_the_media_extra(tmp_path):
    av = pytest.importorskip("av")
    path = tmp_path / "a.m4a"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44_100, layout="mono")
        frame = av.AudioFrame.from_ndarray(noise(1, 44_100), format="fltp", layout="mono")
        frame.sample_rate = 44_100
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    back = audio.read(path)
    assert back.sample_rate == 44_100 and abs(back.samples.shape[1] - 44_100) < 3_000


@settings(max_examples=20, deadline=None)
@given(st.sampled_from([8_000, 16_000, 44_100, 48_000]), st.integers(12_000, 30_000))
def test_resampling_there_and_back_keeps_the_count(rate, count):
    samples = noise(1, count)
    model = audio.resample(samples, rate, 24_000)
    assert audio.resample(model, 24_000, rate, count).shape == (1, count)


@pytest.mark.parametrize("rate", [24_000, 44_100, 48_000])
@pytest.mark.parametrize(("channels", "seconds"), [(1, 30.0), (2, 7.3), (5, 3.0)])
def test_loudness_is_pyloudnorms(rate, channels, seconds):
    samples = noise(channels, int(seconds * rate)) * np.linspace(0.01, 1, int(seconds * rate))
    expected = pyloudnorm.Meter(rate).integrated_loudness(samples.T.astype(np.float64))
    assert audio.loudness(samples.astype(np.float32), rate) == pytest.approx(expected, abs=0.02)


def test_loudness_of_silence_and_of_short_clips():
    assert audio.loudness(np.zeros((1, 24_000), np.float32), 24_000) == -np.inf
    assert np.isfinite(audio.loudness(noise(1, 3_000), 24_000))


@settings(max_examples=25, deadline=None)
@given(
    channels=st.integers(1, 3),
    voice=st.floats(1e-3, 3.0),
    band=st.floats(0, 3.0),
    level=st.floats(-30, 30),
)
def test_the_mix_never_clips_and_keeps_the_voice(channels, voice, band, level):
    sung, played = noise(channels, 12_000, 1, voice), noise(1, 12_000, 2, band)
    mixed = audio.mix(sung, played, 24_000, level)
    limit = 10 ** (audio.PEAK_DBFS / 20) + 1e-5
    assert np.abs(mixed.samples).max() <= limit
    assert np.abs(mixed.accompaniment).max() <= limit
    common = 10 ** (mixed.common_gain_db / 20)
    np.testing.assert_allclose(mixed.samples - mixed.accompaniment, sung * common, atol=1e-4)
    json.dumps(mixed.figures(), allow_nan=False)


@pytest.mark.parametrize("channels", [1, 2, 3, 5, 6])
def test_level_sets_the_band_against_the_voice(channels):
    voice, band = noise(channels, 96_000, 1, 0.05), noise(1, 96_000, 2, 0.01)
    mixed = audio.mix(voice, band, 24_000, -6.0)
    band_lufs = audio.loudness(np.repeat(mixed.accompaniment, channels, 0), 24_000)
    voice_lufs = audio.loudness(mixed.samples - mixed.accompaniment, 24_000)
    assert band_lufs - voice_lufs == pytest.approx(-6, abs=0.05)
    assert mixed.accompaniment_lufs == pytest.approx(band_lufs, abs=0.05)
    assert mixed.voice_lufs == pytest.approx(voice_lufs, abs=0.05)


def test_a_faint_voice_sets_the_level_of_its_band():
    mixed = audio.mix(noise(1, 96_000, 1, 1e-4), noise(1, 96_000, 2, 0.1), 24_000, -3.0)
    assert mixed.accompaniment_lufs - mixed.voice_lufs == pytest.approx(-3, abs=1e-6)
    assert mixed.voice_lufs < -70


@pytest.mark.parametrize("rate", [1_000, 2_000, 4_000])
def test_loudness_at_low_rates_is_near_the_plain_level(rate):
    assert audio.loudness(noise(1, 3 * rate), rate) == pytest.approx(-20.7, abs=2.0)
