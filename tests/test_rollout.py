"""Mels of any length: windows that are denoised together."""

import dataclasses
from itertools import pairwise

import torch

from fastsag.config import EDGE_FRAMES, Config
from fastsag.diffusion.sampling import Way
from fastsag.model import build
from fastsag.rollout import Rollout, _Merge
from fastsag.windows import cut, tiles


def small(frames: int = 64, overlap: int = 16) -> Config:
    """The paper's parts, tiny."""
    return Config.model_validate(
        {
            "name": "small",
            "mel": {"n_mels": 20},
            "projection": {"channels": 39, "layers": 2, "stacks": 1},
            "resampler": {"kind": "perceiver", "frames": frames, "latents": 4, "latent_dim": 16,
                          "depth": 1, "heads": 2, "head_dim": 8},
            "prior": {"channels": 20, "layers": 2, "stacks": 1},
            "denoiser": {"kind": "unet", "dim": 16, "mults": [1, 2], "padded_frames": frames + 8},
            "edm": {"levels": "authors"},
            "sampler": {"steps": 3},
            "window": {"frames": frames, "overlap": overlap},
        }
    )  # fmt: skip


def take(config: Config, seed: int = 0) -> Rollout:
    torch.manual_seed(1)
    return Rollout(
        model=build(config).eval(),
        config=config,
        way=Way("euler", config.sampler.steps, guidance=1.0),
        seed=seed,
        device=torch.device("cpu"),
        bf16=False,
        frames_of=lambda count: count // 2,
        lost=0,
    )


@torch.inference_mode()
def test_one_window_is_the_plain_model():
    config = small()
    rollout, semantics = take(config), torch.rand(32, 39)
    prior, mel = rollout(semantics, None, 64, lambda *_: None)
    conditions = rollout.model.condition(semantics[None], 64)
    assert conditions.prior.shape[-1] == 72
    noise = rollout.noise(64, torch.Generator().manual_seed(0))
    x = noise * 80
    sigmas = rollout.sigmas()
    denoise = rollout.model.denoise(conditions)
    for sigma, following in pairwise(sigmas):  # with the no-op at the end
        x = x + (following - sigma) * (x - denoise(x, sigma[None])) / sigma
    torch.testing.assert_close(torch.from_numpy(mel), x[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(torch.from_numpy(prior), conditions.prior[0, :, :64])


@torch.inference_mode()
def test_long_mels_are_whole_finite_and_reproducible():
    config, semantics = small(), torch.rand(200, 39)
    ticks: list[tuple[int, int]] = []
    prior, mel = take(config)(semantics, None, 331, lambda *tick: ticks.append(tick))
    assert prior.shape == mel.shape == (20, 331)
    again = take(config)(semantics, None, 331, lambda *_: None)[1]
    other = take(config, seed=1)(semantics, None, 331, lambda *_: None)[1]
    assert (mel == again).all() and not (mel == other).all()
    assert ticks[-1][0] == ticks[-1][1] and ticks == sorted(ticks)


@torch.inference_mode()
def test_windows_denoised_in_batches_are_the_same():
    config, semantics = small(), torch.rand(200, 39)
    alone, together = take(config), dataclasses.replace(take(config), batch=3)  # of seven windows
    sizes = []
    network = together.model.denoiser.network
    network.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    ticks: list[tuple[int, int]] = []
    expected = alone(semantics, None, 331, lambda *_: None)
    made = together(semantics, None, 331, lambda *tick: ticks.append(tick))
    for one, other in zip(made, expected, strict=True):
        torch.testing.assert_close(torch.from_numpy(one), torch.from_numpy(other))
    assert set(sizes) == {1, 3} and ticks[-1] == (21, 21)


@torch.inference_mode()
def test_a_short_mel_is_cut_from_one_window():
    prior, mel = take(small())(torch.rand(5, 39), None, 11, lambda *_: None)
    assert prior.shape == mel.shape == (20, 11)


def test_merging_agreeing_windows_is_the_identity():
    truth = torch.randn(1, 3, 250)
    windows = tiles(250, 100, 30)
    merge = _Merge(windows, 30, torch.device("cpu"))
    merged = merge([truth[..., window.start : window.stop] for window in windows])
    torch.testing.assert_close(merged, truth)


def test_merged_windows_fade():
    windows = tiles(170, 100, 30)
    merge = _Merge(windows, 30, torch.device("cpu"))
    merged = merge([torch.zeros(1, 1, 100), torch.ones(1, 1, 100)])[0, 0]
    assert merged.diff().min() >= 0 and merged.diff().max() < 1 / 25


@torch.inference_mode()
def test_the_wild_ends_of_continued_windows_are_not_played(monkeypatch):
    """Every window ends with frames that are thrown away, the last one too."""
    config = small(frames=96, overlap=0)
    values = config.model_dump()
    values["window"] = {"frames": 96, "context": 32, "overlap": 0}
    values["denoiser"] = {"kind": "dit", "width": 32, "depth": 1, "heads": 2}
    values["resampler"] = {"kind": "interpolation"}
    rollout = take(Config.model_validate(values))
    sizes = []

    def wild(denoise, noise, *_):
        sizes.append(noise.shape[-1])
        out = torch.zeros_like(noise)
        out[..., -EDGE_FRAMES:] = 100.0
        return out

    monkeypatch.setattr(rollout.model, "generate", wild)
    for total in (20, 72, 73, 200):
        sizes.clear()
        _, mel = rollout(torch.rand(total // 2, 39), None, total, lambda *_: None)
        assert mel.shape == (20, total) and (mel == 0).all()
        assert len(sizes) == len(cut(total, rollout.config.window)) and max(sizes) <= 96
