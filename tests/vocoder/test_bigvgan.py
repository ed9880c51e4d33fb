"""BigVGAN: the published numbers, names and sizes, and what `folded` accepts."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from fastsag.nn.sequence import by_frame
from fastsag.nn.snake import AntiAliasedSnake, low_pass
from fastsag.vocoder.bigvgan import VARIANTS, BigVGAN, folded
from tests.golden.weights import assert_golden, fill, golden, golden_weight

V1, V2, V2_44K = VARIANTS
OLDER = ("weight_g", "weight_v")
NEWER = ("parametrizations.weight.original0", "parametrizations.weight.original1")


def published_shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """What the published state dict of this module holds: weight norm and filters."""
    shapes: dict[str, tuple[int, ...]] = {}
    for key, tensor in module.state_dict().items():
        shape = tuple(tensor.shape)
        if key.endswith(".weight"):
            shapes[key + "_g"] = (shape[0], 1, 1)
            shapes[key + "_v"] = shape
        else:
            shapes[key] = shape
        if key.endswith(".act.alpha"):
            activation = key.removesuffix("act.alpha")
            shapes[activation + "upsample.filter"] = (1, 1, 12)
            shapes[activation + "downsample.lowpass.filter"] = (1, 1, 12)
    return shapes


def published(module: nn.Module) -> dict[str, Tensor]:
    """A state dict like NVIDIA's, with the golden weights."""
    return {
        key: golden()["aa_filter"].view(shape)
        if key.endswith("filter")
        else golden_weight(key, shape)
        for key, shape in published_shapes(module).items()
    }


def newer(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        key.replace(OLDER[0], NEWER[0]).replace(OLDER[1], NEWER[1]): tensor
        for key, tensor in state.items()
    }


def small(variant: str, channels: int = 128) -> BigVGAN:
    vocoder = BigVGAN(**VARIANTS[variant], channels=channels).eval()
    vocoder.load_state_dict(folded(published(vocoder)))
    return vocoder


def test_low_pass_is_the_published_filter():
    assert (low_pass() - golden()["aa_filter"]).abs().max() < 1e-7


@torch.no_grad()
def test_activation_matches_golden():
    arrays = golden()
    activation = fill(AntiAliasedSnake(6), "toy_act.")
    assert_golden(activation(by_frame(arrays["act_in"]))[:, :, 0], arrays["act_out"])


@torch.no_grad()
@pytest.mark.parametrize("tag, variant", [("voc1", V1), ("voc2", V2)])
def test_waveform_matches_golden(tag, variant):
    arrays = golden()
    assert_golden(small(variant)(arrays[f"{tag}_mel"]), arrays[f"{tag}_out"][:, 0])


@torch.no_grad()
@pytest.mark.parametrize("length", [1, 2, 3, 4, 7, 50])
def test_activation_is_the_same_in_blocks_and_layouts(monkeypatch, length):
    activation, x = fill(AntiAliasedSnake(6), "toy_act."), torch.randn(2, 6, 1, length)
    whole = activation(x)
    torch.testing.assert_close(activation(by_frame(x[:, :, 0])), whole, atol=2e-6, rtol=1e-5)
    for frames in (1, 6, 9, 11):
        monkeypatch.setattr("fastsag.nn.snake._BLOCK", 12 * frames // torch.get_num_threads())
        torch.testing.assert_close(activation(x), whole, atol=2e-6, rtol=1e-5)


@torch.no_grad()
def test_activation_is_the_plain_formula():
    """As the reference states it: a transposed convolution, the snake, a strided convolution."""
    activation, x = fill(AntiAliasedSnake(6), "toy_act."), torch.randn(2, 6, 31)
    taps = low_pass().expand(6, 1, -1)
    wide = F.pad(x, (5, 5), mode="replicate")
    wide = 2 * F.conv_transpose1d(wide, taps, stride=2, groups=6)[..., 15:-15]
    frequency, magnitude = activation.act.alpha.exp()[:, None], activation.act.beta.exp()[:, None]
    wide = wide + (wide * frequency).sin() ** 2 / magnitude
    expected = F.conv1d(F.pad(wide, (5, 6), mode="replicate"), taps, stride=2, groups=6)
    torch.testing.assert_close(activation(x.unsqueeze(2))[:, :, 0], expected, atol=2e-6, rtol=1e-5)


def test_activation_has_the_right_gradient():
    activation = fill(AntiAliasedSnake(2), "toy_act.").double()
    x = torch.randn(1, 2, 1, 9, dtype=torch.float64, requires_grad=True)

    def call(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
        return torch.func.functional_call(activation, {"act.alpha": alpha, "act.beta": beta}, x)

    assert torch.autograd.gradcheck(call, (x, activation.act.alpha, activation.act.beta))


@torch.no_grad()
@pytest.mark.parametrize("frames", [1, 7])
@pytest.mark.parametrize("variant, hop", [(V1, 256), (V2, 256), (V2_44K, 512)])
def test_every_frame_is_one_hop(variant, hop, frames):
    vocoder = BigVGAN(**VARIANTS[variant], channels=64)
    wave = vocoder(torch.randn(2, vocoder.n_mels, frames))
    assert vocoder.hop == hop and wave.shape == (2, frames * hop) and wave.abs().max() <= 1


@torch.no_grad()
def test_first_version_squashes_and_second_clamps():
    loud = {}
    for variant in (V1, V2):
        vocoder = small(variant, channels=64)
        vocoder.conv_post.weight.mul_(100)
        loud[variant] = vocoder(torch.randn(1, 100, 4)).abs()
        assert loud[variant].max() <= 1
        assert (vocoder.conv_post.bias is None) == (variant == V2)
    assert (loud[V2] == 1).float().mean() > 0.5 > (loud[V1] == 1).float().mean()


@torch.no_grad()
def test_folding_is_what_weight_norm_computes():
    x = torch.randn(1, 8, 20)
    for conv in (nn.Conv1d(8, 4, 3), nn.ConvTranspose1d(8, 4, 4, 2)):
        normed = nn.Sequential(weight_norm(conv))
        normed[0].parametrizations.weight.original0.mul_(1.7)
        expected = normed(x)
        plain = nn.Sequential(type(conv)(8, 4, conv.kernel_size, conv.stride))
        plain.load_state_dict(folded(normed.state_dict()))
        torch.testing.assert_close(plain(x), expected, atol=1e-6, rtol=1e-6)


def test_all_published_forms_fold_to_the_same_tensors():
    vocoder = BigVGAN(**VARIANTS[V1], channels=64)
    state = published(vocoder)
    expected = folded(state)
    assert expected.keys() == vocoder.state_dict().keys()
    for form in (newer(state), {"generator": state}, {"generator": newer(state)}, expected):
        result = folded(form)
        assert result.keys() == expected.keys()
        assert all(torch.equal(result[key], expected[key]) for key in expected)


def test_full_size_has_the_published_tensors():
    with torch.device("meta"):
        vocoder = BigVGAN(**VARIANTS[V1])
    assert sum(parameter.numel() for parameter in vocoder.parameters()) == 112_414_513
    shapes = published_shapes(vocoder)
    assert len(shapes) == 784
    counted = (torch.Size(s).numel() for key, s in shapes.items() if not key.endswith("filter"))
    assert sum(counted) == 112_446_290
    # Names and shapes of `vocoder.generator.*` in the authors' checkpoint.
    for key, shape in {
        "conv_pre.weight_v": (1536, 100, 7),
        "ups.0.0.weight_g": (1536, 1, 1),
        "ups.0.0.weight_v": (1536, 768, 8),
        "ups.5.0.weight_v": (48, 24, 4),
        "resblocks.2.convs1.2.weight_v": (768, 768, 11),
        "resblocks.17.convs2.0.bias": (24,),
        "resblocks.17.activations.5.act.beta": (24,),
        "activation_post.downsample.lowpass.filter": (1, 1, 12),
        "activation_post.act.alpha": (24,),
        "conv_post.weight_v": (1, 24, 7),
        "conv_post.bias": (1,),
    }.items():
        assert shapes[key] == shape
    state = {
        key: low_pass().view(shape) if key.endswith("filter") else torch.empty(shape, device="meta")
        for key, shape in shapes.items()
    }
    vocoder.load_state_dict(folded(state))


@pytest.mark.parametrize("filter", [torch.full((1, 1, 12), 1 / 12), torch.ones(1, 1, 8) / 8])
def test_foreign_filter_is_refused(filter):
    name = "activation_post.upsample.filter"
    with pytest.raises(ValueError, match=name):
        folded({"conv_post.bias": torch.zeros(1), name: filter})


@pytest.mark.parametrize("lost", OLDER)
@pytest.mark.parametrize("spelling", [dict, newer])
def test_half_a_pair_is_refused(lost, spelling):
    state = {"conv_pre.weight_g": torch.ones(4, 1, 1), "conv_pre.weight_v": torch.ones(4, 2, 7)}
    del state[f"conv_pre.{lost}"]
    with pytest.raises(ValueError, match=f"conv_pre.{lost}: missing"):
        folded(spelling(state))


def test_magnitude_of_another_shape_is_refused():
    state = {"conv_pre.weight_g": torch.ones(1, 1, 1), "conv_pre.weight_v": torch.ones(4, 2, 7)}
    with pytest.raises(ValueError, match="conv_pre.weight_g: shape"):
        folded(state)


@pytest.mark.parametrize(
    "arguments, message",
    [({"rates": (4, 3)}, "rates: .*4, 3"), ({"channels": 96}, "channels: 96 .* of 64")],
)
def test_impossible_sizes_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        BigVGAN(**arguments)


@pytest.mark.parametrize("shape", [(1, 80, 4), (100, 4)])
def test_another_mel_is_refused(shape):
    with pytest.raises(ValueError, match="expected \\(B, 100, T\\)"):
        BigVGAN(channels=64)(torch.zeros(shape))
