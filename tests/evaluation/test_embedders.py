"""Embedders: front ends against other libraries, small or random weights through the real loaders.

What CLAP gives with `drawn` weights was computed with laion_clap 1.1.7 itself.
"""

import zlib

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fastsag.errors import UserError
from fastsag.evaluation.embedders import clap, mert, vggish
from tests.conditioning.test_mert import LAYERS, tiny

SECONDS = 10


def sound(seconds: float, rate: int, seed: int = 0) -> np.ndarray:
    """Noise under a swelling tone, float32, within -1..1."""
    time = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(seed).uniform(-0.2, 0.2, len(time))
    tone = 0.5 * np.sin(2 * np.pi * 220 * (seed + 1) * time)
    return (noise + tone * np.minimum(1.0, time / 3)).astype(np.float32)


def keeps_contract(embedder, name: str, size: int, frames: int, seconds: float = SECONDS) -> None:
    """Name, shape, type, determinism, and other embeddings for another sound."""
    assert (embedder.name, embedder.size) == (name, size)
    wave = sound(seconds, embedder.sample_rate)
    found, again = embedder(wave), embedder(wave.copy())
    assert found.shape == (frames, size) and found.dtype == np.float32
    assert np.isfinite(found).all() and np.array_equal(found, again)
    other = embedder(sound(seconds, embedder.sample_rate, seed=1))
    assert np.abs(found - other).max() > 1e-4
    with pytest.raises(ValueError, match="one channel"):
        embedder(np.zeros((2, embedder.sample_rate), np.float32))


# VGGish.


@pytest.fixture(scope="module")
def vggish_file(tmp_path_factory):
    """Random weights of full size, as a file."""
    generator = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        shapes = {name: part.shape for name, part in vggish.Network().state_dict().items()}
    state = {
        name: torch.randn(shape, generator=generator) * (2 / (shape[1:].numel() or 1)) ** 0.5
        if name.endswith("weight")
        else torch.full(shape, 0.01)
        for name, shape in shapes.items()
    }
    path = tmp_path_factory.mktemp("vggish") / vggish.WEIGHTS
    torch.save(state, path)
    return path


def test_vggish_from_the_file_that_the_environment_names(vggish_file, monkeypatch):
    monkeypatch.setenv(vggish.VARIABLE, str(vggish_file))
    embedder = vggish.build()
    assert embedder.sample_rate == 16_000
    keeps_contract(embedder, "vggish", 128, frames=3, seconds=3)
    wave = sound(1.2, 16_000)
    state = torch.load(vggish_file, mmap=True)
    np.testing.assert_allclose(embedder(wave), published_vggish(state, wave), rtol=1e-4, atol=1e-5)
    assert (embedder(wave) < 0).any()  # no activation at the end


def published_vggish(state, wave: np.ndarray) -> np.ndarray:
    """The published network step by step, but for its last activation."""
    x = torch.from_numpy(vggish.patches(wave))[:, None]
    for index in (0, 3, 6, 8, 11, 13):
        name = f"features.{index}"
        x = F.relu(F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=1))
        if index in (0, 3, 8, 13):
            x = F.max_pool2d(x, 2)
    assert x.shape[1:] == (512, 6, 4)
    x = x.transpose(1, 3).transpose(1, 2).reshape(len(x), -1)
    for index in (0, 2, 4):
        x = F.linear(x, state[f"embeddings.{index}.weight"], state[f"embeddings.{index}.bias"])
        x = F.relu(x) if index < 4 else x
    return x.numpy()


def test_vggish_patches_match_librosa_and_audiosets_filters():
    librosa = pytest.importorskip("librosa")
    wave = sound(SECONDS, 16_000)
    margin = (512 - 400) // 2  # librosa centres the window in the transform
    spectrum = librosa.stft(
        np.pad(wave.astype(np.float64), margin), n_fft=512, hop_length=160, win_length=400,
        center=False,
    )  # fmt: skip
    assert spectrum.shape[1] == 998
    mels = 2595 * np.log10(1 + np.linspace(0, 8_000, 257) / 700)
    edges = np.linspace(*(2595 * np.log10(1 + np.array([125, 7_500]) / 700)), 66)
    filters = np.stack([np.interp(mels, edges[i : i + 3], [0, 1, 0]) for i in range(64)])
    np.testing.assert_allclose(vggish.mel_filters(), filters, atol=1e-9)
    expected = np.log(filters @ np.abs(spectrum) + 0.01).T[:960].reshape(10, 96, 64)
    found = vggish.patches(wave)
    assert found.shape == (10, 96, 64)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("samples", "count"), [(0, 1), (8_000, 1), (16_000, 1), (30_959, 1), (30_960, 2)]
)
def test_vggish_counts_whole_patches(samples, count):
    wave = sound(samples / 16_000, 16_000)
    assert vggish.patches(wave).shape == (count, 96, 64)
    padded = np.pad(wave, (0, max(0, 16_000 - samples)))
    assert np.array_equal(vggish.patches(wave), vggish.patches(padded))


def test_vggish_says_what_is_missing_or_wrong(tmp_path, monkeypatch):
    monkeypatch.delenv(vggish.VARIABLE, raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(UserError) as absent:
        vggish.build()
    for part in (vggish.WEIGHTS, "289 MB", "Apache-2.0", str(tmp_path), vggish.VARIABLE):
        assert part in str(absent.value)
    with pytest.raises(UserError, match="nowhere.pth"):
        vggish.build(tmp_path / "nowhere.pth")
    torch.save({"features.0.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(UserError, match="not VGGish's weights: 17 missing"):
        vggish.build(tmp_path / "other.pth")


# MERT.


def test_mert_is_fadtks_layer_of_the_whole_model(tmp_path):
    transformers = pytest.importorskip("transformers")
    whole, _ = tiny(tmp_path / "MERT-v1-95M")
    model = str(tmp_path / "MERT-v1-95M")
    wave = sound(1.0, 24_000)[:23_900]
    extractor = transformers.Wav2Vec2FeatureExtractor(sampling_rate=24_000, do_normalize=True)
    inputs = extractor(wave, sampling_rate=24_000, return_tensors="pt").input_values
    with torch.no_grad():
        states = whole(inputs, output_hidden_states=True).hidden_states
    for layer, name in ((None, "mert"), (2, "mert-2"), (LAYERS, "mert")):
        embedder = mert.build(layer, model)
        assert (embedder.name, embedder.sample_rate) == (name, 24_000)
        expected = states[layer or LAYERS][0].numpy()
        np.testing.assert_allclose(embedder(wave), expected, atol=1e-5)
    with pytest.raises(UserError, match="layers 1 to 4"):
        mert.build(0, model)


def test_mert_has_749_frames_in_10_s_and_leaves_out_what_is_too_long(tmp_path, monkeypatch):
    tiny(tmp_path / "other")
    embedder = mert.build(1, str(tmp_path / "other"))
    keeps_contract(embedder, "other-1", 32, frames=749)
    with pytest.raises(ValueError, match="400 or more"):
        embedder(np.zeros(399, np.float32))
    assert mert.LONGEST == 8_640_000
    monkeypatch.setattr(mert, "LONGEST", 24_000)
    wave = sound(1.5, 24_000)
    assert np.array_equal(embedder(wave), embedder(wave[:24_000]))
    loud = embedder(0.1 * wave + 0.3)  # normalised as a whole
    np.testing.assert_allclose(loud, embedder(wave), atol=1e-3)


def test_mert_says_what_is_missing(tmp_path, monkeypatch):
    pytest.importorskip("transformers")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    for layer in (None, 7):
        with pytest.raises(UserError, match="checkpoint download mert"):
            mert.build(layer)


# CLAP.

SMALL = {
    "depths": [2, 1, 2, 1],
    "num_attention_heads": [1, 2, 2, 4],
    "hidden_size": 64,
    "patch_embeds_hidden_size": 8,
    "projection_dim": 16,
}
# `drawn` weights in laion_clap's own network, for `sound(2.5, 48_000)`: the first 4 of 16 numbers
# of each window.
LAION = [
    [-0.125689, -0.026371, -0.369835, -0.144536],
    [-0.127059, -0.028368, -0.372297, -0.145126],
    [-0.130609, -0.027855, -0.372911, -0.1463],
]


def drawn(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Random values that follow from the name alone."""
    values = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape)
    if name.endswith("running_var"):
        return torch.from_numpy(100 + 10 * np.abs(values)).float()
    if name.endswith("running_mean"):
        return torch.from_numpy(values - 30).float()
    fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else 4
    offset = 1.0 if "norm" in name and name.endswith("weight") else 0.0
    return torch.as_tensor(offset + values / fan_in**0.5).float()


def laion_state() -> dict[str, torch.Tensor]:
    """A small HTSAT by laion_clap's names."""
    dims = [8 * 2**stage for stage in range(4)]
    shapes: dict[str, tuple[int, ...]] = {
        **{f"bn0.{part}": (64,) for part in ("weight", "bias", "running_mean", "running_var")},
        "patch_embed.proj.weight": (8, 1, 4, 4),
        "patch_embed.proj.bias": (8,),
        **{f"patch_embed.norm.{part}": (8,) for part in ("weight", "bias")},
        **{f"norm.{part}": (64,) for part in ("weight", "bias")},
    }
    for stage, (dim, depth) in enumerate(zip(dims, SMALL["depths"])):
        for block in range(depth):
            base = f"layers.{stage}.blocks.{block}"
            table = (15 * 15, SMALL["num_attention_heads"][stage])
            shapes[f"{base}.attn.relative_position_bias_table"] = table
            for name, rows, columns in (
                ("attn.qkv", 3 * dim, dim),
                ("attn.proj", dim, dim),
                ("mlp.fc1", 4 * dim, dim),
                ("mlp.fc2", dim, 4 * dim),
            ):
                shapes |= {f"{base}.{name}.weight": (rows, columns), f"{base}.{name}.bias": (rows,)}
            for name in ("norm1", "norm2"):
                shapes |= {f"{base}.{name}.weight": (dim,), f"{base}.{name}.bias": (dim,)}
        if stage < 3:
            base = f"layers.{stage}.downsample"
            shapes |= {f"{base}.norm.weight": (4 * dim,), f"{base}.norm.bias": (4 * dim,)}
            shapes[f"{base}.reduction.weight"] = (2 * dim, 4 * dim)
    everything = {f"audio_branch.{name}": shape for name, shape in shapes.items()} | {
        "audio_projection.0.weight": (16, 64),
        "audio_projection.0.bias": (16,),
        "audio_projection.2.weight": (16, 16),
        "audio_projection.2.bias": (16,),
    }
    return {name: drawn(name, shape) for name, shape in everything.items()}


def write_laion(path, state) -> None:
    """As laion_clap's training writes it, with the text, the classifier and the optimiser."""
    others = {
        "logit_scale_a": torch.ones(()),
        "text_branch.embeddings.position_ids": torch.zeros(1, 514),
        "audio_transform.sequential.0.weight": torch.zeros(2, 2),
        "audio_branch.logmel_extractor.melW": torch.zeros(513, 64),
        "audio_branch.head.weight": torch.zeros(5, 5),
        "audio_branch.tscam_conv.weight": torch.zeros(5, 64, 2, 3),
        "audio_branch.bn0.num_batches_tracked": torch.tensor(3),
        "audio_branch.layers.0.blocks.1.attn_mask": torch.zeros(64, 64, 64),
        "audio_branch.layers.0.blocks.0.attn.relative_position_index": torch.zeros(64, 64),
    }
    named = {f"module.{name}": tensor for name, tensor in (state | others).items()}
    rate = {"param_groups": [{"lr": np.float64(1e-4)}]}
    torch.save({"epoch": 15, "name": "x", "state_dict": named, "optimizer": rate}, path)


def test_clap_embeds_as_laion_clap_does(tmp_path, monkeypatch):
    pytest.importorskip("transformers")
    monkeypatch.setattr(clap, "HTSAT_BASE", SMALL)
    state = laion_state()
    write_laion(tmp_path / "clap.pt", state)
    embedder = clap.build("clap", tmp_path / "clap.pt")
    found = embedder(sound(2.5, 48_000))
    assert embedder.name == "clap" and found.shape == (3, 16)
    np.testing.assert_allclose(found[:, :4], LAION, atol=1e-5)
    del state["audio_branch.norm.bias"]
    write_laion(tmp_path / "clap.pt", state)
    with pytest.raises(UserError, match="1 missing .audio_model.audio_encoder.norm.bias"):
        clap.build("clap", tmp_path / "clap.pt")


def test_clap_larger_is_transformers_model_and_extractor(tmp_path):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    text = {
        "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1,
        "vocab_size": 16,
    }  # fmt: skip
    config = transformers.ClapConfig(text_config=text, audio_config=SMALL, projection_dim=16)
    whole = transformers.ClapModel(config).eval()
    for name, parameter in whole.named_parameters():
        parameter.data = drawn(name, tuple(parameter.shape))
    whole.save_pretrained(tmp_path)
    embedder = clap.build("clap-larger", tmp_path)
    assert embedder.sample_rate == 48_000
    keeps_contract(embedder, "clap-larger", 16, frames=10)
    wave = sound(1.5, 48_000)
    found = embedder(wave)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, rtol=1e-5)
    extractor = transformers.ClapFeatureExtractor(
        frequency_min=50, truncation="rand_trunc", padding="pad"
    )
    features = extractor(clap.windows(wave), sampling_rate=48_000, return_tensors="pt")
    with torch.no_grad():
        audio = whole.audio_model(input_features=features.input_features.float()).pooler_output
        expected = F.normalize(whole.audio_projection(audio), dim=-1).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_clap_windows_start_at_each_second():
    wave = sound(SECONDS, 48_000)
    wave[5] = 3.0
    found = clap.windows(wave)
    assert len(found) == 10 and all(window.shape == (480_000,) for window in found)
    assert found[0][5] == 1.0
    for second, window in enumerate(found):
        rest = 480_000 - 48_000 * second
        assert np.array_equal(window[:rest], found[0][48_000 * second :])
        assert not window[rest:].any()
    steps = found[0] * 32_767
    np.testing.assert_allclose(steps, np.round(steps), atol=4e-3)
    assert np.abs(found[0]).max() <= 1.0 and (np.abs(found[0][6:]) <= np.abs(wave[6:])).all()
    assert [len(clap.windows(wave[:n])) for n in (1, 48_000, 48_001)] == [1, 1, 2]
    with pytest.raises(ValueError):
        clap.windows(wave[:0])


def test_clap_front_end_matches_librosa():
    librosa = pytest.importorskip("librosa")
    wave = sound(SECONDS, 48_000)
    power = librosa.feature.melspectrogram(
        y=wave, sr=48_000, n_fft=1024, hop_length=480, n_mels=64, fmin=50, fmax=14_000,
        pad_mode="reflect",
    )  # fmt: skip
    found = clap.log_mel(torch.from_numpy(wave)).numpy()
    assert found.shape == (1_001, 64)
    np.testing.assert_allclose(found, 10 * np.log10(np.maximum(power, 1e-10)).T, atol=1e-3)


def test_clap_says_what_is_missing(tmp_path, monkeypatch):
    pytest.importorskip("transformers")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="2,352 MB.*checkpoint download clap"):
        clap.build()
    with pytest.raises(UserError, match="checkpoint download larger_clap_music"):
        clap.build("clap-larger")
    with pytest.raises(UserError, match="choose clap or clap-larger"):
        clap.build("vggish")
    with pytest.raises(UserError, match="holds no weights"):
        clap.build("clap-larger", tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match="config.json"):
        clap.build("clap-larger", tmp_path)
    torch.save([1], tmp_path / "clap.pt")
    with pytest.raises(UserError, match="not a checkpoint of CLAP"):
        clap.build("clap", tmp_path / "clap.pt")
