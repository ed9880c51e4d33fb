"""Encodec's wrapper on a small model of the published layout."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from fastsag.codec import EncodecCodec, sound
from fastsag.errors import UserError

transformers = pytest.importorskip("transformers")


def small(**changes):
    """1/8 of the width; codebooks drawn at random: fresh ones are all zero."""
    torch.manual_seed(0)
    sizes = {"num_filters": 4, "hidden_size": 16, "codebook_size": 1024} | changes
    model = transformers.EncodecModel(transformers.EncodecConfig(**sizes))
    for layer in model.quantizer.layers:
        layer.codebook.embed.normal_(std=0.1)
    return model


@pytest.fixture(scope="module")
def codec():
    return EncodecCodec(small())


def wave(samples, batch=1):
    return 0.3 * torch.randn(batch, samples, generator=torch.Generator().manual_seed(1))


def test_the_24_khz_model_at_6_kbit_has_8_books_of_1024_at_75_hz(codec):
    assert (codec.sample_rate, codec.rate_hz) == (24_000, 75.0)
    assert (codec.codebooks, codec.codebook_size) == (8, 1024)


@pytest.mark.parametrize("samples", [320, 6_400, 6_719])
def test_a_frame_is_320_samples(codec, samples):
    codes = codec.encode(wave(samples, 2))
    assert codes.shape == (2, samples // 320, 8)
    assert codes.min() >= 0 and codes.max() < 1024 and len(codes.unique()) > 8
    assert codec.decode(codes).shape == (2, samples // 320 * 320)


def test_codes_are_those_of_transformers(codec):
    whole = codec.model.encode(wave(6_400).unsqueeze(1), bandwidth=6.0)
    assert torch.equal(codec.encode(wave(6_400))[0].T, whole.audio_codes[0, 0])
    expected = codec.model.decode(whole.audio_codes, whole.audio_scales).audio_values[:, 0]
    assert torch.allclose(codec.decode(codec.encode(wave(6_400))), expected, atol=1e-6)


def test_fewer_books_are_a_coarser_sound(codec):
    codes = codec.encode(wave(6_400))
    rough, fine = codec.decode(codes[..., :3]), codec.decode(codes)
    assert rough.shape == fine.shape and not torch.equal(rough, fine)
    # Three books are what the sum of three embeddings decodes to.
    books = codec.model.quantizer.layers
    summed = sum(books[q].codebook.embed[codes[..., q]] for q in range(3))
    with torch.no_grad():
        expected = codec.model.decoder(summed.transpose(1, 2))[:, 0]
    assert torch.allclose(rough, expected, atol=1e-6)


def test_a_long_sound_in_pieces_is_the_whole(codec, monkeypatch):
    codes = torch.randint(0, 1024, (400, 3), generator=torch.Generator().manual_seed(2))
    whole = codec.decode(codes[None])[0].numpy()
    monkeypatch.setattr("fastsag.codec._PIECE_SECONDS", 3)
    told = []
    parts = sound(codec, codes, lambda done, total: told.append((done, total)))
    assert parts.shape == whole.shape and told[-1][0] == told[-1][1] > 1
    assert abs(parts - whole).max() < 1e-3 * abs(whole).max()


def test_it_loads_what_transformers_saves_and_the_published_spelling(tmp_path):
    model = small()
    model.save_pretrained(tmp_path / "own")
    expected = EncodecCodec(model).encode(wave(6_400))
    again = EncodecCodec.from_pretrained(str(tmp_path / "own"))
    assert torch.equal(again.encode(wave(6_400)), expected)
    # The published file spells weight norm in the older way.
    (tmp_path / "old").mkdir()
    config = (tmp_path / "own" / "config.json").read_text()
    (tmp_path / "old" / "config.json").write_text(config)
    state = {
        name.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): part
        for name, part in load_file(tmp_path / "own" / "model.safetensors").items()
    }
    assert any(name.endswith("weight_g") for name in state)
    save_file(state, tmp_path / "old" / "model.safetensors", metadata={"format": "pt"})
    again = EncodecCodec.from_pretrained(str(tmp_path / "old"))
    assert torch.equal(again.encode(wave(6_400)), expected)


def test_weights_that_do_not_fit_are_refused(tmp_path):
    small().save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    state.pop("quantizer.layers.3.codebook.embed")
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match="quantizer.layers.3"):
        EncodecCodec.from_pretrained(str(tmp_path))


def test_absent_weights_say_how_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="checkpoint download encodec"):
        EncodecCodec.from_pretrained("encodec")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "config.json").write_text(json.dumps({"model_type": "encodec"}))
    with pytest.raises(UserError, match="not an Encodec model"):
        EncodecCodec.from_pretrained(str(tmp_path / "folder"))


def test_other_bandwidths_and_models(tmp_path):
    assert EncodecCodec(small(), 1.5).codebooks == 2
    with pytest.raises(UserError, match="5.0.*6.0"):
        EncodecCodec(small(), 5.0)
    with pytest.raises(UserError, match="mono"):
        EncodecCodec(small(audio_channels=2))
