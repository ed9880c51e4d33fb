"""Features of records with and without truth, and the presets of the noise on the voice."""

from pathlib import Path

import numpy as np
import pytest

from fastsag import config as configuration
from fastsag.config import MelConfig, MelodicConfig, Strict, VoiceNoise
from fastsag.data.features import FeatureExtractor, noise_seed
from fastsag.errors import UserError
from fastsag.lead_sheet import PLAN_FEATURES
from tests.data.songs import tone

CONFIGS = Path(__file__).parents[2] / "configs"


class Noisy(Strict):
    noise: VoiceNoise


def noise(value: object) -> VoiceNoise:
    return configuration.parse({"noise": value}, "test", Noisy).noise


def test_a_record_without_truth_has_no_plan() -> None:
    extractor = FeatureExtractor(MelConfig(), MelodicConfig())
    meta = {"song": "x", "split": "train", "clip": "x-0000", "sample_rate": 24_000}
    voice = tone(300, 2.0, rate=24_000)
    song = extractor(voice, voice, meta)
    assert not song.planned and song.metre == 0 and song.key == -1
    assert song.plan.shape == (PLAN_FEATURES, song.mel.shape[1]) and not song.plan.any()
    assert len(song.beat) == len(song.bar) == len(song.chord) == len(song.voice)
    assert (song.chord == -1).all()


def test_clips_of_a_song_have_noise_of_their_own() -> None:
    assert noise_seed({"song": "x", "clip": "x-0001"}) != noise_seed(
        {"song": "x", "clip": "x-0002"}
    )
    assert noise_seed({"song": "0001-000003"}) == "0001-000003"


def test_noise_presets_are_those_of_the_configurations() -> None:
    assert noise("none") == VoiceNoise()
    assert noise("paper") == configuration.load(CONFIGS / "paper.yaml").training.noise
    authors = configuration.load(CONFIGS / "paper-authors.yaml").training.noise
    assert noise("authors") == authors == VoiceNoise(std=0.01, chance=0.3, share=0.1)
    assert noise({"std": 0.5}).std == 0.5
    with pytest.raises(UserError, match="choose none, paper, authors"):
        noise("loud")


def test_features_follow_the_rate_of_a_record() -> None:
    extractor = FeatureExtractor(MelConfig(), MelodicConfig())
    meta = {"song": "x", "split": "train"}
    high, low = (
        extractor(
            tone(300, 4.0, rate=rate), tone(90, 4.0, rate=rate), {**meta, "sample_rate": rate}
        )
        for rate in (44_100, 24_000)
    )
    assert high.mel.shape == low.mel.shape
    inner = slice(20, -20)
    difference = np.abs(high.voice[inner].astype(float) - low.voice[inner]).mean()
    assert difference < 0.01
