"""Reading, resampling and writing."""

import os

import numpy as np
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


def test_a_header_tells_without_decoding(tmp_path):
    audio.write(tmp_path / "a.flac", noise(2, 44_100), 22_050, "flac")
    assert audio.header(tmp_path / "a.flac") == (2.0, 22_050, 2)
    (tmp_path / "b.flac").write_bytes(b"not audio")
    with pytest.raises(UserError, match="b.flac: not audio"):
        audio.header(tmp_path / "b.flac")


def test_a_shorter_limit_is_kept(tmp_path):
    audio.write(tmp_path / "a.wav", noise(1, 48_000), 24_000, "wav")
    assert audio.read(tmp_path / "a.wav", longest_seconds=2).samples.shape == (1, 48_000)
    with pytest.raises(UserError, match="lasts"):
        audio.read(tmp_path / "a.wav", longest_seconds=1.5)


@pytest.mark.parametrize(
    "start", ["#EXTM3U\n#EXTINF:1,\n{0}\n#EXT-X-ENDLIST\n", "ffconcat version 1.0\nfile {0}\n"]
)
def test_a_playlist_opens_no_other_file(tmp_path, start):
    """A file from elsewhere must not make FFmpeg read a neighbour."""
    pytest.importorskip("av")
    audio.write(tmp_path / "secret.wav", noise(1, 48_000), 24_000, "wav")
    (tmp_path / "voice").write_text(start.format("secret.wav"))
    with pytest.raises(UserError, match="not audio"):
        audio.read(tmp_path / "voice")
    with pytest.raises(UserError, match="not audio"):
        audio.header(tmp_path / "voice")
