"""Speed of a stage from a few positions: exact where the cost is a straight line."""

import time
from types import SimpleNamespace

import pytest
import torch

from fastsag import authors
from fastsag.baselines.singsong.config import SingSongConfig, TransformerConfig
from fastsag.baselines.singsong.layout import stage_layout
from fastsag.benchmarks import singsong as part
from fastsag.config import Config
from tests.small_authors import SMALL


def test_an_integral_of_a_line_is_its_sum():
    positions = [0, 40, 99]
    assert part.integrate(positions, [3 + 2 * p for p in positions], 100) == pytest.approx(
        sum(3 + 2 * p for p in range(100))
    )
    # Outside what was timed the cost stays what it was at the edge.
    assert part.integrate([10, 20], [1.0, 2.0], 30) == pytest.approx(10 + 16.5 + 18)


class Clocked:
    """A model whose tokens take a time that grows with their position, on a clock of its own."""

    layout = stage_layout("coarse", 8, 4, 8, 2)

    def __init__(self) -> None:
        self.now = 0.0

    def generate(self, given, frames, *, known=None, tick, **_):
        done = 0 if known is None else known.shape[1] * 2
        self.now += 0.5 + 0.01 * done  # the prompt and what is known, whole
        for token in range(frames * 2 - done):
            tick(token)
            self.now += 0.02 + 0.001 * (done + token)


def test_a_stage_costs_what_its_tokens_cost(monkeypatch):
    model = Clocked()
    monkeypatch.setattr(time, "perf_counter", lambda: model.now)
    given = torch.zeros(1, 50, 1, dtype=torch.long)
    cost = part.stage_cost(model, given, 100, 4)
    assert cost.tokens == 200 and cost.prompt == pytest.approx(0.5)
    exact = 0.5 + sum(0.02 + 0.001 * token for token in range(200))
    assert cost.cached == pytest.approx(exact, rel=0.03)
    assert cost.uncached == pytest.approx(sum(0.5 + 0.01 * t for t in range(200)), rel=0.01)


def test_a_real_model_is_timed_and_checked(monkeypatch):
    size = TransformerConfig(width=16, depth=1, heads=2, head_size=8, hidden=16)
    monkeypatch.setattr(part, "CHECK_SIZE", size)
    stage = SimpleNamespace(
        model=SimpleNamespace(layout=Clocked.layout), given_frames=12, wanted_frames=30
    )
    ratios = part.check(stage, 3)
    assert set(ratios) == {"cached", "uncached"} and all(value > 0 for value in ratios.values())


def test_the_report_names_every_system_and_the_papers_figures():
    row = {"seconds": 10.0, "rtf": 1.0, "ratio": 1.0, "paper_rtf": 0.3247, "paper_ratio": 1.0}
    record = {
        "config": "singsong-large",
        "audio_seconds": 10.0,
        "positions": 4,
        "rows": [
            {"system": "FastSAG", "cache": None, **row},
            {"system": "SingSong s+c", "cache": False, **row},
        ],
        "fastsag": {"precision": "fp32"},
        "singsong": {
            "parameters": 255e6,
            "precision": "bf16",
            "check": {"cached": 1.0, "uncached": 0.98},
        },
        "machine": {"threads": 2, "processor": "a processor"},
    }
    text = part.report(record)
    assert "| FastSAG | 10.0 | 1.00 | 1.00 | 0.3247 | 1.0 |" in text
    assert "SingSong s+c, no cache (integrated)" in text and "0.98 without" in text
    assert part.PAPER_RTF["SingSong s+c+f"] / part.PAPER_RTF["FastSAG"] == pytest.approx(
        147, abs=0.2
    )


@pytest.mark.slow
def test_the_whole_comparison_with_small_networks(monkeypatch):
    """MERT and Encodec at full size, everything else small."""
    size = {"width": 16, "depth": 1, "heads": 2, "head_size": 8, "hidden": 16}
    stages = {
        name: {"window_seconds": 1.0, "overlap": overlap, "training": {}}
        for name, overlap in (("semantic", 0.5), ("coarse", 0.5), ("fine", 0.0))
    }
    encoder = {"kind": "mert", "layer": 1}
    fastsag = SMALL | {
        "encoder": encoder,
        "projection": {"channels": 768, "layers": 1, "stacks": 1},
        "resampler": {"kind": "interpolation"},
        "denoiser": {"kind": "unet", "dim": 8},
        "sampler": {"steps": 1},
        "vocoder": {"kind": "griffin_lim", "iterations": 1},
    }
    monkeypatch.setattr(authors, "default_config", lambda: Config.model_validate(fastsag))
    monkeypatch.setattr(part, "CHECK_SIZE", TransformerConfig(**size))
    config = SingSongConfig.model_validate(
        {
            "name": "small",
            "encoder": encoder,
            "codec": {"kind": "encodec"},
            "transformer": size,
            "stages": stages,
        }
    )
    record = part.compare(config, 2)
    systems = [(row["system"], row["cache"]) for row in record["rows"]]
    both = ("SingSong s+c", "SingSong s+c+f")
    assert systems == [("FastSAG", None), *((name, c) for c in (True, False) for name in both)]
    assert all(row["rtf"] > 0 for row in record["rows"])
    assert record["singsong"]["stages"]["fine"]["batch"] == 10  # windows of 1 s in 10 s
    assert "| FastSAG |" in part.report(record)
