"""Configurations that change others, and conditions that fit their parts."""

import pytest

from fastsag import config as configuration
from fastsag.config import MelConfig, merged
from fastsag.errors import UserError
from fastsag.mel import silence

WHOLE = """
name: whole
projection: {channels: 8, layers: 2, stacks: 1}
resampler: {kind: perceiver, frames: 64}
prior: {channels: 8, layers: 2, stacks: 1}
denoiser: {kind: unet, dim: 8}
"""


def write(path, text):
    path.write_text(text)
    return path


def test_a_delta_changes_its_base_and_nothing_else(tmp_path):
    write(tmp_path / "whole.yaml", WHOLE)
    write(tmp_path / "one.yaml", "base: whole.yaml\nname: one\nprior: {layers: 5}\n")
    (tmp_path / "deep").mkdir()
    two = write(tmp_path / "deep" / "two.yaml", "base: ../one.yaml\nprior: {stacks: 3}\n")
    config = configuration.load(two)
    assert (config.name, config.prior.channels) == ("one", 8)
    assert (config.prior.layers, config.prior.stacks) == (5, 3)


def test_another_kind_replaces_a_section_whole():
    values = {"resampler": {"kind": "perceiver", "frames": 64}, "x": 1}
    assert merged(values, {"resampler": {"kind": "interpolation"}}) == {
        "resampler": {"kind": "interpolation"},
        "x": 1,
    }
    kept = merged(values, {"resampler": {"kind": "perceiver", "latents": 2}})
    assert kept["resampler"] == {"kind": "perceiver", "frames": 64, "latents": 2}
    assert values["resampler"] == {"kind": "perceiver", "frames": 64}


def test_unknown_keys_of_a_delta_and_circles_are_refused(tmp_path):
    write(tmp_path / "whole.yaml", WHOLE)
    typo = write(tmp_path / "typo.yaml", "base: whole.yaml\ntraining: {stesp: 3}\n")
    with pytest.raises(UserError, match=r"typo\.yaml.*stesp"):
        configuration.load(typo)
    circle = write(tmp_path / "circle.yaml", "base: other.yaml\n")
    write(tmp_path / "other.yaml", "base: circle.yaml\n")
    with pytest.raises(UserError, match="its own base"):
        configuration.load(circle)
    with pytest.raises(UserError, match="no base to replace"):
        configuration.read_yaml(tmp_path / "whole.yaml", tmp_path / "typo.yaml")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("condition: mel", "null for projection"),
        ("projection: null", "settings for projection"),
        ("{condition: mel, projection: null, resampler: null}", "loss.semantic to 0"),
    ],
)
def test_a_condition_without_its_parts_is_refused(tmp_path, change, reason):
    import yaml

    values = {**yaml.safe_load(WHOLE), **yaml.safe_load(change)}
    path = write(tmp_path / "odd.yaml", yaml.safe_dump(values))
    with pytest.raises(UserError, match=reason):
        configuration.load(path)


def test_silence_is_the_floor_in_both_units():
    assert silence(MelConfig(normalize=False)) == pytest.approx(-11.5129, abs=1e-3)
    assert silence(MelConfig()) == pytest.approx((-11.5129 + 12) / 14 * 2 - 1, abs=1e-4)
