"""Pulses find the beat of a regular melody; the planner steers them and takes any length."""

import numpy as np
import pytest
import torch

from fastsag.conditioning.encoders.melodic import ENERGY, ONSET, SIZE
from fastsag.conditioning.planner import Planner, planner_losses, steer
from fastsag.conditioning.pulse import BEAT_PULSES, PulseBank

RATE, PATCH = 46.875, 4


def clicks(
    bpm: float, seconds: float = 20.0, first: float = 0.31
) -> tuple[torch.Tensor, np.ndarray]:
    """Semantics with an onset on every beat, and the true beat position of each frame."""
    times = (np.arange(int(seconds * RATE)) + 0.5) / RATE
    position = (times - 0.31) * bpm / 60
    semantics = torch.zeros(1, len(times), SIZE)
    phase = position - np.round(position)
    near = np.abs(phase) * 60 / bpm < 0.5 / RATE
    semantics[0, near, ONSET] = 1
    semantics[0, :, ENERGY] = 0.6
    return semantics, position


@pytest.mark.parametrize("bpm", [82.0, 120.0, 151.0])
def test_a_pulse_near_the_tempo_has_the_phase_of_the_beat(bpm):
    semantics, position = clicks(bpm)
    beats, _ = PulseBank(RATE, PATCH)(semantics)
    tempi = np.geomspace(45, 200, BEAT_PULSES)
    pulse = beats[0, np.abs(tempi - bpm).argmin()].numpy()
    heard = pulse[0] + 1j * pulse[1]
    centres = (np.arange(len(heard)) + 0.5) * PATCH - 0.5
    true = np.exp(2j * np.pi * np.interp(centres, np.arange(len(position)), position))
    middle = slice(20, -20)
    error = np.angle(heard[middle] * true[middle].conj()) / (2 * np.pi)
    assert np.abs(error).max() < 0.08


def test_steering_is_complex_multiplication():
    weights, pulses = torch.randn(1, 3, 2, 5, 2), torch.randn(1, 3, 1, 5, 2)
    expected = (torch.view_as_complex(weights) * torch.view_as_complex(pulses)).sum(-1)
    torch.testing.assert_close(torch.view_as_complex(steer(weights, pulses)), expected)


@pytest.fixture(scope="module")
def planner() -> Planner:
    torch.manual_seed(0)
    return Planner(dim=SIZE, rate_hz=RATE, width=32, depth=1, heads=2, patch=PATCH).eval()


@pytest.mark.parametrize("frames", [64, 255, 256, 1000, 1003])
def test_any_length(planner, frames):
    parts = planner.plan_frames(torch.rand(frames, SIZE), window=64)
    assert [len(part) for part in parts] == [frames // PATCH] * 5
    assert all(torch.isfinite(part).all() for part in parts)


def test_losses_fall_on_one_batch(planner):
    torch.manual_seed(0)
    semantics, position = clicks(120.0)
    length = semantics.shape[1] // PATCH
    turns = torch.from_numpy(position[PATCH // 2 :: PATCH][:length].copy()).float()[None]
    truth = {
        "beat": turns % 1,
        "bar": turns / 4 % 1,
        "metre": torch.tensor([1]),
        "chord": torch.full((1, length), 3),
        "key": torch.tensor([5]),
        "style": torch.tensor([2]),
    }
    optimizer = torch.optim.Adam(planner.parameters(), lr=1e-2)
    totals = []
    for _ in range(40):
        total = torch.stack(list(planner_losses(planner(semantics), **truth).values())).sum()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert totals[-1] < 0.4 * totals[0]


def test_a_song_of_unknown_style_teaches_none(planner):
    semantics, _ = clicks(120.0)
    frames = planner(semantics)
    length = semantics.shape[1] // PATCH
    flat = {"beat": torch.zeros(1, length), "bar": torch.zeros(1, length)}
    chord = torch.zeros(1, length, dtype=torch.long)
    index = {"metre": torch.tensor([1]), "chord": chord, "key": torch.tensor([5])}
    known = planner_losses(frames, **flat, **index, style=torch.tensor([2]))
    unknown = planner_losses(frames, **flat, **index, style=torch.tensor([-1]))
    assert unknown.pop("style") == 0 and known.pop("style") > 0
    assert known == unknown
