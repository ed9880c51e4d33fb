"""A sampler never waits for the device: it runs on one that has no numbers to read."""

import pytest
import torch

from fastsag import config as configuration
from fastsag.diffusion.samplers import SAMPLERS
from fastsag.diffusion.schedule import karras_sigmas
from fastsag.lead_sheet import PLAN_FEATURES
from fastsag.model import FastSAG, build
from tests.small_authors import SMALL

CONFIGS = {
    "unet": configuration.Config.model_validate(SMALL),
    "dit": configuration.load("configs/debug.yaml"),
}


def generate(model: FastSAG, config: configuration.Config, sampler, spoil=lambda x: x):
    """Twelve frames on the device "meta", whose tensors have shapes and no values."""
    frames, steps = 12, []
    plan = torch.zeros(1, PLAN_FEATURES, frames) if config.planner else None
    conditions = model.condition(torch.zeros(1, 9, config.encoder.size), frames, plan)
    guided = model.denoise(conditions, 2.0, 0.5)
    out = model.generate(
        lambda x, sigma: guided(spoil(x), sigma),
        torch.zeros(1, config.mel.n_mels, frames),
        karras_sigmas(4).to("cpu"),
        sampler,
        lambda step, *_: steps.append(step),
    )
    assert len(steps) >= 3
    return out


@torch.inference_mode()
@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("sampler", SAMPLERS.values())
def test_no_value_is_read_from_the_device(name, sampler):
    config = CONFIGS[name]
    with torch.device("cpu"):
        levels = karras_sigmas(4)
    with torch.device("meta"):
        model = build(config).eval()
    torch.manual_seed(0)
    with torch.device("meta"), pytest.MonkeyPatch.context() as patch:
        patch.setitem(globals(), "karras_sigmas", lambda _: levels)
        assert generate(model, config, sampler).device.type == "meta"
        with pytest.raises((RuntimeError, NotImplementedError)):
            generate(model, config, sampler, spoil=lambda x: x * x.mean().item())
