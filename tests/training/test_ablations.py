"""The ablations of Table 1: each trains from its YAML and differs in what it is meant to."""

from pathlib import Path

import pytest
import torch

from fastsag import checkpoint
from fastsag import config as configuration
from fastsag.cli.train import train
from fastsag.conditioning.resampler import InterpolationResampler, PerceiverResampler
from fastsag.config import Config
from fastsag.model import build
from fastsag.pipeline import Accompanist
from fastsag.training.loop import averaged_weights
from fastsag.vocoder import build_vocoder
from tests.test_pipeline import voice

CONFIGS = Path(__file__).parents[2] / "configs"
ABLATIONS = ("no-norm", "mel", "semantic-mel", "interpolation")
TINY = """
base: {reproduction}
projection: {{channels: 16, layers: 2, stacks: 1}}
resampler: {{frames: 64, latents: 4, latent_dim: 16, depth: 1, heads: 2, head_dim: 8}}
prior: {{channels: 16, layers: 2, stacks: 1}}
denoiser: {{dim: 8, mults: [1, 2]}}
sampler: {{name: euler, steps: 2}}
window: {{frames: 64, overlap: 16}}
vocoder: {{kind: griffin_lim, iterations: 1}}
training: {{steps: 6, batch_size: 2, crop_frames: 64, validate_every: 6, previews: 0}}
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("configs") / "tiny.yaml"
    path.write_text(TINY.format(reproduction=CONFIGS / "reproduction.yaml"))
    return path


def resolved(name: str, base: Path) -> Config:
    path = CONFIGS / "ablations" / f"{name}.yaml"
    return configuration.parse(configuration.read_yaml(path, base), name, Config)


def conditions(config: Config, vocal_mel: torch.Tensor):
    torch.manual_seed(0)
    model = build(config).eval()
    semantics = torch.rand(1, 32, 39, generator=torch.Generator().manual_seed(1))
    return model, model.condition(semantics, 64, vocal_mel=vocal_mel if model.vocal_mel else None)


@pytest.mark.parametrize("name", ABLATIONS)
def test_each_trains_and_accompanies(name, tiny, corpus, tmp_path, capsys):
    path = CONFIGS / "ablations" / f"{name}.yaml"
    train(path, data=[str(corpus)], out=tmp_path, base=tiny)
    assert ("semantic" in capsys.readouterr().err) == (name != "mel")
    weights = {
        key.removeprefix("model."): value for key, value in averaged_weights(tmp_path).items()
    }
    config = configuration.load(tmp_path / "config.yaml")
    torch.manual_seed(config.training.seed)
    fresh = build(config).state_dict()
    assert any(not torch.equal(fresh[key], weights[key]) for key in fresh)
    checkpoint.export(tmp_path / "made", config, weights, {})
    config, model, _ = checkpoint.load(tmp_path / "made")
    player = Accompanist(config, model, build_vocoder(config.vocoder, config.mel))
    source = voice(1.7)
    one = player.accompany(source)
    assert one.accompaniment.shape == source.samples.shape
    if model.vocal_mel:  # another voice, another band
        semantics = player.semantics(player.prepare(source))
        heard = player.log_mel(player.prepare(source))
        loud = player.mel(semantics, None, one_settings(), vocal_mel=heard)[1]
        flat = player.mel(semantics, None, one_settings(), vocal_mel=heard * 0)[1]
        assert not (loud == flat).all()


def one_settings():
    from fastsag.take import Settings

    return Settings()


def test_the_mel_takes_the_place_of_the_semantics(tiny):
    mel = torch.randn(1, 100, 64)
    model, found = conditions(resolved("mel", tiny), mel)
    assert model.projection is None and model.resampler is None and found.semantics is None
    torch.testing.assert_close(found.prior, model.prior(mel))


def test_the_mel_is_added_to_the_semantics(tiny):
    mel = torch.randn(1, 100, 64)
    model, found = conditions(resolved("semantic-mel", tiny), mel)
    silent = model.condition(torch.rand(1, 32, 39), 64, vocal_mel=torch.zeros_like(mel))
    assert found.semantics is not None and silent.semantics is not None
    full, without = conditions(configuration.load(tiny), mel)
    assert not full.vocal_mel
    semantics = torch.rand(1, 32, 39, generator=torch.Generator().manual_seed(1))
    read = full.resampler(full.projection(semantics) + semantics, 64)
    torch.testing.assert_close(found.prior, full.prior(read + mel))
    torch.testing.assert_close(without.prior, full.prior(read))


def test_the_resampler_and_the_normalisation_differ(tiny):
    mel = torch.zeros(1, 100, 64)
    full, _ = conditions(configuration.load(tiny), mel)
    bilinear, _ = conditions(resolved("interpolation", tiny), mel)
    assert isinstance(full.resampler, PerceiverResampler)
    assert isinstance(bilinear.resampler, InterpolationResampler)
    assert not list(bilinear.resampler.parameters())


def test_without_normalisation_the_crops_are_in_log_units(tiny, corpus):
    from fastsag.data.crops import CropDataset
    from tests.data.loading import load_songs

    crops = {}
    for name, config in (("full", configuration.load(tiny)), ("no", resolved("no-norm", tiny))):
        songs = load_songs(corpus, config.mel, config.encoder, ("train",), vocal_mel=True)
        crops[name] = CropDataset(songs, config.mel, 64, config.encoder.rate_hz, 4, 0)[0]
    for part in ("mel", "vocal_mel"):
        scaled = (crops["no"][part] + 8) / 14 * 2 - 1
        torch.testing.assert_close(crops["full"][part], scaled)
    assert crops["no"]["mel"].min() < -4 < crops["full"]["mel"].min()


@pytest.mark.parametrize("base", ["paper", "compact", "reproduction", "debug"])
@pytest.mark.parametrize("name", ABLATIONS)
def test_the_deltas_fit_every_configuration(name, base):
    config = resolved(name, CONFIGS / f"{base}.yaml")
    plain = configuration.load(CONFIGS / f"{base}.yaml")
    changed = {key for key in Config.model_fields if getattr(config, key) != getattr(plain, key)}
    allowed = {
        "no-norm": {"mel"},
        "mel": {"condition", "projection", "resampler", "loss"},
        "semantic-mel": {"condition"},
        "interpolation": {"resampler"},
    }[name]
    assert changed - {"name"} <= allowed
    with torch.device("meta"):
        build(config)
