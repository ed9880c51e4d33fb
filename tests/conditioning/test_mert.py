"""MERT: the same as transformers' Hubert, read from a folder or the cache, never the network."""

import json
import socket
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fastsag.conditioning.encoders import encode
from fastsag.conditioning.encoders.mert import MertEncoder, normalize_frames
from fastsag.errors import UserError
from tests.golden.weights import assert_golden, golden

REPO = "m-a-p/MERT-v1-95M"
LAYERS = 4


def sizes(**changes) -> dict:
    """The arguments of a tiny Hubert."""
    return {
        "hidden_size": 32,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "conv_dim": [8] * 7,
        "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 4,
    } | changes


def tiny(folder: Path, **changes):
    """A random Hubert in the layout of the hub, and the same as transformers' own model."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    model = transformers.HubertModel(transformers.HubertConfig(**sizes(**changes))).eval()
    state = {
        name.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): tensor
        for name, tensor in model.state_dict().items()
    }
    assert any(name.endswith("pos_conv_embed.conv.weight_g") for name in state)
    write(folder, state, **changes)
    return model, state


def write(folder: Path, state: dict[str, Tensor], **changes) -> None:
    theirs = {
        "model_type": "mert_model",
        "architectures": ["MERTModel"],
        "auto_map": {"AutoConfig": "configuration_MERT.MERTConfig"},
        "feature_extractor_cqt": False,
        "deepnorm": False,
        "attention_relax": -1.0,
        "sample_rate": 24_000,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(sizes(**changes) | theirs))
    torch.save(state, folder / "pytorch_model.bin")


def wave(samples: int = 6_400) -> Tensor:
    return 0.1 * torch.randn(2, samples, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("stable", [False, True])  # MERT-v1-95M, MERT-v1-330M
@pytest.mark.parametrize("layer", [1, 3, LAYERS])
@torch.no_grad()
def test_a_layer_is_that_of_the_whole_model(tmp_path, layer, stable):
    whole, _ = tiny(tmp_path, do_stable_layer_norm=stable)
    encoder = MertEncoder(str(tmp_path), layer)
    assert len(encoder.hubert.encoder.layers) == layer and encoder.size == 32
    states = whole(wave(), output_hidden_states=True).hidden_states
    assert torch.equal(encoder(wave()), normalize_frames(states[layer]))


@torch.no_grad()
def test_every_form_of_the_file_gives_the_same(tmp_path, capfd):
    model, state = tiny(tmp_path / "bin")
    expected = MertEncoder(str(tmp_path / "bin"), 3)(wave())
    model.save_pretrained(tmp_path / "own")  # safetensors, newer weight norm
    del state["masked_spec_embed"]
    write(tmp_path / "unmasked", state)
    capfd.readouterr()
    for form in ("own", "unmasked"):
        assert torch.equal(MertEncoder(str(tmp_path / form), 3)(wave()), expected)
    assert capfd.readouterr().err == ""  # nor does transformers say anything


def test_it_is_frozen_and_hears_749_frames_in_10_s(tmp_path):
    tiny(tmp_path)
    encoder = MertEncoder(str(tmp_path), 2)
    assert not encoder.hubert.training
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    with torch.no_grad():
        counts = {n: encoder(torch.zeros(1, n)).shape[1] for n in (24_000, 239_680, 240_319)}
        assert encoder(torch.zeros(1, 240_000)).shape == (1, 749, 32)
    assert counts == {24_000: 74, 239_680: 748, 240_319: 749}
    assert encode(encoder, wave(250_000)[0].numpy()).shape == (1_500, 32)  # two pieces


def test_normalisation_matches_golden():
    arrays = golden()
    assert_golden(normalize_frames(arrays["embnorm_in"]), arrays["embnorm_out"])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"encoder.layer_norm.weight": None}, "1 missing (encoder.layer_norm.weight)"),
        ({"lm_head.weight": (3, 4)}, "1 not known (lm_head.weight)"),
        ({"encoder.layers.3.final_layer_norm.bias": (5,)}, "final_layer_norm.bias 5 instead of 32"),
    ],
)
def test_weights_that_do_not_fit_are_refused(tmp_path, change, reason):
    _, state = tiny(tmp_path)
    for name, shape in change.items():
        if shape is None:
            del state[name]
        else:
            state[name] = torch.zeros(shape)
    write(tmp_path, state)
    with pytest.raises(UserError) as refused:
        MertEncoder(str(tmp_path), 2)  # in a layer that is dropped, too
    assert reason in str(refused.value)


def test_bad_files_and_layers_are_one_line(tmp_path):
    tiny(tmp_path)
    for layer in (0, LAYERS + 1):
        with pytest.raises(UserError, match="layers 1 to 4"):
            MertEncoder(str(tmp_path), layer)
    (tmp_path / "pytorch_model.bin").write_bytes(b"no tensors")
    with pytest.raises(UserError, match="not a file of torch tensors"):
        MertEncoder(str(tmp_path), 2)
    torch.save([1], tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match="not tensors by name"):
        MertEncoder(str(tmp_path), 2)
    (tmp_path / "pytorch_model.bin").unlink()
    with pytest.raises(UserError, match="holds no weights"):
        MertEncoder(str(tmp_path), 2)
    for text in ("{", "[]"):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(UserError, match="config.json"):
            MertEncoder(str(tmp_path), 2)


def test_it_reads_the_cache_and_never_the_network(tmp_path, monkeypatch):
    pytest.importorskip("transformers")

    def refuse(*arguments):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError) as absent:
        MertEncoder(REPO, 2)
    assert "fastsag checkpoint download mert" in str(absent.value)
    assert "CC-BY-NC-4.0" in str(absent.value)
    repository = tmp_path / "models--m-a-p--MERT-v1-95M"
    tiny(repository / "snapshots" / "abc")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    assert MertEncoder(REPO, 2).size == 32
    (repository / "snapshots" / "abc" / "pytorch_model.bin").unlink()
    with pytest.raises(UserError, match="checkpoint download mert"):
        MertEncoder(REPO, 2)
