"""The model: sizes, conditions and golden vectors of the whole."""

from pathlib import Path

import pytest
import torch

from fastsag import config as configuration
from fastsag.config import Config
from fastsag.errors import UserError
from fastsag.lead_sheet import PLAN_FEATURES, PLAN_PARTS
from fastsag.model import build, build_student

CONFIGS = Path(__file__).parents[1] / "configs"


def test_the_papers_size():
    with torch.device("meta"):
        model = build(configuration.load(CONFIGS / "paper.yaml"))
    counts = {
        name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()
    }
    assert counts == {
        "projection": 158_178_816,
        "resampler": 15_243_876,
        "prior": 1_407_400,
        "denoiser": 7_634_887,
    }
    assert sum(counts.values()) == 182_464_979


@pytest.mark.parametrize("name", ["compact.yaml", "debug.yaml", "paper.yaml"])
def test_configurations_survive_yaml(name, tmp_path):
    config = configuration.load(CONFIGS / name)
    (tmp_path / "again.yaml").write_text(configuration.dump(config))
    assert configuration.load(tmp_path / "again.yaml") == config


def test_unknown_keys_are_named(tmp_path):
    text = (CONFIGS / "debug.yaml").read_text() + "\nstesp: 3\n"
    (tmp_path / "typo.yaml").write_text(text)
    with pytest.raises(UserError, match=r"typo\.yaml.*stesp"):
        configuration.load(tmp_path / "typo.yaml")


@pytest.fixture
def config() -> Config:
    return configuration.load(CONFIGS / "debug.yaml")


def test_conditions_have_prior_plan_and_context(config):
    model = build(config)
    frames = 102  # not a multiple of 4
    plan = torch.randn(2, PLAN_FEATURES, frames)
    context = torch.zeros(2, 101, frames)
    context[:, :, :10] = 1
    conditions = model.condition(torch.rand(2, 51, 39), frames, plan, context)
    assert conditions.channels.shape == (2, 100 + PLAN_FEATURES + 101, 104)
    assert conditions.mask is not None and conditions.mask[..., frames:].sum() == 0
    assert conditions.null[:, : 100 + PLAN_FEATURES].abs().sum() == 0
    assert torch.equal(conditions.null[:, -101:], conditions.channels[:, -101:])
    assert conditions.semantics.shape == (2, 51, 39)


def test_what_a_configuration_hides_of_the_plan_changes_nothing(config):
    torch.manual_seed(0)
    hidden = config.model_copy(update={"plan": ("harmony",)})
    model, plan = build(hidden), torch.randn(1, PLAN_FEATURES, 100)
    channels = []
    for part in (None, "phase", "style", "harmony"):
        other = plan.clone()
        if part:
            other[:, PLAN_PARTS[part]] += 1
        channels.append(model.condition(torch.zeros(1, 50, 39), 100, other).channels)
    same = [torch.equal(channels[0], changed) for changed in channels[1:]]
    assert same == [True, True, False]


def test_a_plan_where_none_belongs_is_refused(config):
    with pytest.raises(ValueError, match="plan"):
        build(config).condition(torch.rand(1, 50, 39), 100)
    no_planner = config.model_copy(update={"planner": None})
    with pytest.raises(ValueError, match="plan"):
        build(no_planner).condition(torch.rand(1, 50, 39), 100, torch.zeros(1, PLAN_FEATURES, 100))


def test_the_denoiser_hears_every_part_of_its_condition(config):
    """Gradients reach the denoised mel from prior, plan and context."""
    torch.manual_seed(0)
    model = build(config)
    for parameter in model.denoiser.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    channels = torch.randn(1, 100 + PLAN_FEATURES + 101, 64, requires_grad=True)
    out = model.denoiser(torch.randn(1, 100, 64), torch.tensor([0.5]), channels)
    out.square().sum().backward()
    reached = channels.grad.abs().sum(-1)[0]
    assert all(
        reached[part].min() > 0 for part in (slice(0, 100), slice(100, 140), slice(140, 241))
    )


def test_a_student_keeps_to_the_ceiling_of_its_teacher(config):
    torch.manual_seed(0)
    model, student = build(config), build_student(config)
    conditions = model.condition(torch.rand(1, 50, 39), 100, torch.zeros(1, PLAN_FEATURES, 100))
    x, levels = torch.randn(1, 100, 100), torch.tensor([0.5])
    free = model.jump(student, conditions)(x, levels, levels / 2)
    ceiling = float(free.detach().median())
    cut = model.jump(student, conditions, ceiling)(x, levels, levels / 2)
    assert free.max() > ceiling and torch.equal(cut, free.clamp(max=ceiling))
