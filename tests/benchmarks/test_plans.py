"""The plans: the baseline computes what the package computes, and the record adds up."""

import json
import subprocess
import sys

import pytest
import torch

from fastsag.benchmarks import networks, pictures, plans
from fastsag.benchmarks.counters import ceilings, work
from fastsag.benchmarks.published import published_euler
from fastsag.config import Config, VocosConfig
from tests.small_authors import MERT_CHANGES, SMALL

pytest.importorskip("transformers")

SEED = 3


@pytest.fixture(autouse=True)
def small_machine(monkeypatch):
    monkeypatch.setattr("fastsag.benchmarks.counters._SQUARE", 256)
    monkeypatch.setattr("fastsag.benchmarks.counters._IMAGE", (1, 16, 20, 20))
    monkeypatch.setattr("fastsag.benchmarks.counters._COPIED", 2**16)


@pytest.fixture(scope="module")
def size() -> networks.Size:
    config = Config.model_validate(SMALL | {"window": {"frames": 12}})
    mert = networks.paper().mert | MERT_CHANGES | {"num_hidden_layers": 3}
    return networks.Size(config, mert, VocosConfig(width=16, hidden=32, depth=1))


@pytest.fixture(scope="module")
def bench(size) -> networks.Bench:
    return networks.Bench(size)


@torch.inference_mode()
@pytest.mark.parametrize("stage", networks.STAGES)
def test_every_stage_computes_the_published_result(bench, stage):
    published = bench.stage(stage, "published")()
    ours = bench.stage(stage, "fp32")()
    assert published.abs().max() > 0.01
    torch.testing.assert_close(ours, published, atol=5e-5, rtol=1e-4)


@torch.inference_mode()
def test_the_exact_plan_has_the_authors_mel(bench):
    """All steps, from the waveform; a copy that is one weight off does not."""
    published, ours = bench.mel("published")[0], bench.mel("fp32")[0]
    assert (published - ours).abs().max() < plans.TOLERANCE < published.std() / 100
    bench.model.denoiser.network.final_conv.bias.add_(0.01)
    try:
        assert (published - bench.mel("fp32")[0]).abs().max() > plans.TOLERANCE
    finally:
        bench.model.denoiser.network.final_conv.bias.sub_(0.01)


@torch.inference_mode()
@pytest.mark.parametrize("stage", networks.STAGES)
def test_half_precision_stays_near(bench, stage):
    exact, half = (bench.stage(stage, way)().float() for way in ("fp32", "bf16"))
    assert 0 < (exact - half).std() < 0.05 * exact.std()


def test_evaluations_of_the_published_sampler():
    calls = []

    def denoise(x, sigma):
        calls.append(float(sigma))
        return 0.5 * x

    sigmas = torch.tensor([8.0, 2.0, 1.0, 0.0])
    out = published_euler(denoise, torch.ones(1, 2, 3), sigmas)
    assert calls == [8.0, 2.0, 1.0]
    # x' = x + (s' - s) x / (2 s): factors 1 - 6/16, 1 - 1/4, 1 - 1/2
    assert out[0, 0, 0] == pytest.approx(8 * 0.625 * 0.75 * 0.5)


def test_the_record_adds_up(size, tmp_path):
    told = []
    record = plans.compare(size, ["exact", "fast", "fast-vocos"], rounds=1, progress=told.append)
    assert [plan["name"] for plan in record["plans"]] == ["authors", "exact", "fast", "fast-vocos"]
    for plan in record["plans"]:
        stages = plan["stages"]
        assert plan["seconds"] == pytest.approx(sum(s["seconds"] for s in stages.values()))
        assert plan["rtf"] == pytest.approx(plan["seconds"] / record["audio_seconds"])
        for stage in stages.values():
            rate = stage["flops"] / stage["seconds"]
            assert rate == pytest.approx(stage["flops_per_second"])
    first, _, fast, vocos = record["plans"]
    assert first["times_faster"] == 1 and first["evaluations"] == 51
    assert fast["stages"]["denoiser"]["seconds"] == vocos["stages"]["denoiser"]["seconds"]
    per_call = [p["stages"]["denoiser"]["bytes"] / p["evaluations"] for p in (fast, vocos)]
    assert per_call[0] == per_call[1]
    assert record["whole"]["exact"] and set(record["whole"]["sampling"]) == {"authors", "exact"}
    assert json.loads(json.dumps(record)) == record
    text = plans.report(record)
    assert "| fast-vocos | bf16 | 16 | vocos |" in text and "within 5e-05" in text
    pytest.importorskip("matplotlib")
    pictures.roofline(tmp_path / "plans.png", record)
    assert (tmp_path / "plans.png").stat().st_size > 10_000


def test_flops_and_bytes_of_known_operations():
    x, kernel = torch.randn(1, 8, 10, 10), torch.randn(4, 8, 3, 3)
    assert work(lambda: torch.nn.functional.conv2d(x, kernel)).flops == 2 * 4 * 8 * 9 * 64
    linear = torch.nn.Linear(6, 7)
    assert work(lambda: linear(torch.ones(5, 6))).flops == 2 * 5 * 6 * 7
    query = torch.randn(1, 2, 16, 8)
    attend = torch.nn.functional.scaled_dot_product_attention
    assert work(lambda: attend(query, query, query)).flops == 2 * (2 * 2 * 16 * 16 * 8)
    assert work(lambda: x * x.new_ones(1)).bytes >= 2 * x.nbytes
    assert work(lambda: x.view(-1)).bytes == 0


def test_the_ceilings_are_plausible():
    found = ceilings()
    assert all(1e8 < rate < 1e15 for rate in (*found.gemm.values(), *found.conv.values()))
    assert found.compute("fp32") == max(found.gemm["fp32"], found.conv["fp32"])
    assert 1e8 < found.memory < 1e13


def test_peak_growth_is_what_a_run_holds():
    # In a process of its own: one that holds freed memory has no need to grow.
    script = (
        "import torch; from fastsag.benchmarks.counters import peak_growth_mb; "
        "print(peak_growth_mb(lambda: torch.ones(25_000_000).sum()))"
    )
    command = [sys.executable, "-c", script]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    if told == "None":
        pytest.skip("the system does not tell")
    assert 60 < float(told) < 250
