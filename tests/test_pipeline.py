"""The ladder with a tiny untrained model: shapes, lengths, determinism, windows."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from fastsag import checkpoint
from fastsag import config as configuration
from fastsag.audio import Recording
from fastsag.config import GriffinLimConfig, VocosConfig
from fastsag.errors import UserError
from fastsag.lead_sheet import Hints
from fastsag.model import build
from fastsag.pipeline import Accompanist
from fastsag.take import Settings
from fastsag.vocoder import build_vocoder
from fastsag.vocoder.bigvgan import BigVGAN

CONFIGS = Path(__file__).parents[1] / "configs"


@pytest.fixture(scope="module")
def accompanist() -> Accompanist:
    torch.manual_seed(0)
    config = configuration.load(CONFIGS / "debug.yaml")
    return Accompanist(config, build(config), build_vocoder(config.vocoder, config.mel))


def voice(seconds: float, rate: int = 24_000, channels: int = 1, hz: float = 1.0) -> Recording:
    """A melody of four notes, again and again, at `hz` times its pitch."""
    time = np.arange(int(seconds * rate)) / rate
    hz = hz * np.array([220.0, 246.94, 277.18, 329.63])[(time * 2).astype(int) % 4]
    tone = 0.2 * np.sin(2 * np.pi * np.cumsum(hz) / rate) * (time * 2 % 1 < 0.9)
    return Recording(np.tile(tone.astype(np.float32), (channels, 1)), rate)


@pytest.mark.parametrize("seconds", [0.5, 0.73, 7.01])
@pytest.mark.parametrize(("rate", "channels"), [(24_000, 1), (44_100, 2), (16_000, 1)])
def test_output_has_the_inputs_rate_and_count(accompanist, seconds, rate, channels):
    source = voice(seconds, rate, channels)
    result = accompanist.accompany(source)
    assert result.mix.shape == source.samples.shape
    assert result.accompaniment.shape == (1, source.samples.shape[1])
    assert result.sample_rate == rate
    assert np.isfinite(result.mix).all() and np.abs(result.mix).max() <= 1


def test_a_band_may_end_behind_the_voice(accompanist):
    source = voice(3.3, 44_100, 2)
    ended = accompanist.accompany(source, settings=Settings(ending=True), lead_sheet=Hints(bpm=90))
    count = source.samples.shape[1]
    expected = (ended.lead_sheet.ending + 1.5) * 44_100
    assert count < ended.mix.shape[1] == pytest.approx(expected, abs=1)
    assert ended.mix.shape[0] == 2 and ended.accompaniment.shape == (1, ended.mix.shape[1])
    common = 10 ** (ended.record["loudness"]["common_gain_db"] / 20)
    left = ended.mix - ended.accompaniment
    np.testing.assert_allclose(left[:, :count], source.samples * common, atol=2e-3)
    assert np.abs(left[:, count:]).max() == 0
    frames = ended.mix.shape[1] / 44_100 * accompanist.config.mel.frame_rate
    assert ended.mel.shape[1] == math.ceil(frames)


def test_same_seed_same_samples_other_seed_other_samples(accompanist):
    one, two, three = (
        accompanist.accompany(voice(3.0), settings=Settings(seed=seed)).mix for seed in (5, 5, 6)
    )
    assert np.array_equal(one, two) and not np.allclose(one, three)


def test_the_mix_is_the_voice_and_the_band(accompanist):
    source = voice(2.0, 44_100, 2)
    result = accompanist.accompany(source, level_db=-6.0)
    common = 10 ** (result.record["loudness"]["common_gain_db"] / 20)
    left = result.mix - result.accompaniment
    np.testing.assert_allclose(left, source.samples * common, atol=2e-3)


def test_pieces_of_semantics_join_exactly(accompanist, monkeypatch):
    samples = accompanist.prepare(voice(9.0))
    whole = accompanist.semantics(samples)
    monkeypatch.setattr(accompanist.encoder, "piece", 94)
    assert torch.allclose(accompanist.semantics(samples), whole, atol=1e-5)


@pytest.mark.parametrize("kind", [GriffinLimConfig(iterations=4), VocosConfig(width=32, depth=2)])
def test_pieces_of_a_waveform_go_on_in_phase(accompanist, monkeypatch, kind):
    """Pieces that began at phases of their own would cancel each other where they join."""
    torch.manual_seed(0)
    vocoder = build_vocoder(kind, accompanist.config.mel).eval()
    monkeypatch.setattr(accompanist, "vocoder", vocoder)
    monkeypatch.setattr(accompanist, "precision", "fp32")
    mel = accompanist.log_mel(accompanist.prepare(voice(12.0)))
    made = {}
    for seconds in (12, 3):
        monkeypatch.setattr("fastsag.vocoder.pieces.PIECE_SECONDS", seconds)
        made[seconds] = accompanist.waveform(mel)
    apart = np.sqrt(np.mean((made[3] - made[12]) ** 2) / np.mean(made[12] ** 2))
    assert 0 < apart < 0.2


def test_a_given_lead_sheet_is_played(accompanist):
    source = voice(4.0)
    _, sheet, _ = accompanist.listen(source, Hints(style="folk"))
    result = accompanist.accompany(source, lead_sheet=sheet)
    assert result.lead_sheet is sheet and result.record["lead_sheet"]["style"] == "folk"


def test_hints_are_played(accompanist):
    hints = Hints(bpm=110.0, downbeat=0.5, chords=("C:maj", "G:maj"), key="C major")
    sheet = accompanist.accompany(voice(9.0), lead_sheet=hints).record["lead_sheet"]
    assert sheet["tempo"] == pytest.approx(110, abs=0.5) and sheet["key"] == "C major"
    assert sheet["chords"][1:3] == ("C:maj", "G:maj")


@pytest.mark.parametrize("cents", [-37.0, 0.0, 22.0])
def test_the_band_tunes_to_the_singer(accompanist, cents):
    """A singer who is sharp is heard at A440, and beats stay in the recording's time."""
    tuned = voice(9.0, hz=2 ** (cents / 1200))
    semantics, sheet, heard = accompanist.listen(tuned)
    assert heard == pytest.approx(cents, abs=5)
    assert abs(accompanist.tuning(semantics)) < 5
    assert sheet.tuning == heard and sheet.beats[-1] == pytest.approx(9, abs=1.2)
    result = accompanist.accompany(tuned, lead_sheet=Hints(tuning=cents))
    assert result.mix.shape == tuned.samples.shape
    assert result.record["lead_sheet"]["tuning"] == (cents if abs(cents) > 4 else 0)


@pytest.mark.parametrize(
    ("settings", "name"), [(Settings(sampler="ancestral"), "ancestral"), (Settings(style="x"), "x")]
)
def test_unknown_settings_are_named(accompanist, settings, name):
    with pytest.raises(UserError, match=f"{name}: unknown"):
        accompanist.accompany(voice(1.0), settings=settings)


def test_checkpoints_round_trip_and_fit(accompanist, tmp_path):
    config = accompanist.config
    checkpoint.export(tmp_path, config, accompanist.model.state_dict(), {})
    loaded = Accompanist.from_pretrained(tmp_path)
    result = loaded.accompany(voice(1.0))
    assert result.record["checkpoint"] == str(tmp_path)
    wider = config.model_copy(update={"prior": config.prior.model_copy(update={"channels": 33})})
    (tmp_path / "config.yaml").write_text(configuration.dump(wider))
    with pytest.raises(UserError, match="do not fit"):
        Accompanist.from_pretrained(tmp_path)


def test_an_unknown_checkpoint_lists_the_known_ones():
    with pytest.raises(UserError, match="unknown checkpoint"):
        Accompanist.from_pretrained("nonesuch")


def test_half_precision_reaches_the_vocoder_that_bears_it(accompanist):
    """BigVGAN, but not a network that does not say it may be computed so."""
    torch.manual_seed(0)
    config = accompanist.config
    vocoder = BigVGAN(channels=64)
    mel = np.random.default_rng(0).normal(-5, 1, (100, 20)).astype(np.float32)
    waves = {}
    for precision in ("fp32", "bf16"):
        made = Accompanist(config, accompanist.model, vocoder, precision=precision)
        waves[precision] = made.waveform(mel)
    error = np.abs(waves["fp32"] - waves["bf16"]).std() / waves["fp32"].std()
    assert 0 < error < 0.05
    plain = build_vocoder(config.vocoder, config.mel)
    half = Accompanist(config, accompanist.model, plain, precision="bf16")
    assert (half.waveform(mel) == accompanist.waveform(mel)).all()
