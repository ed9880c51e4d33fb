"""The authors' checkpoint: the full layout without values, and a small one with all of them."""

import os
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fastsag import authors, checkpoint, published
from fastsag import config as configuration
from fastsag.config import Config
from fastsag.errors import UserError
from fastsag.model import build
from fastsag.nn.snake import low_pass
from fastsag.vocoder import build_vocoder
from fastsag.vocoder.bigvgan import folded
from tests.small_authors import MERT_CHANGES, SMALL, newer, saved, small_layout, their_name, value

ROOT = Path(__file__).parents[1]
SOURCE = Path("fastsag.pt")


@pytest.fixture
def small(monkeypatch) -> dict[str, Tensor]:
    """A state dict of the small layout; the importer believes that it is the authors'."""
    config = Config.model_validate(SMALL)
    layout = small_layout(config, authors.layout())
    monkeypatch.setattr(authors, "layout", lambda: layout)
    monkeypatch.setattr(authors, "default_config", lambda: config)
    monkeypatch.setattr(authors, "MERT_CONFIG", authors.MERT_CONFIG | MERT_CHANGES)
    return {name: value(name, shape) for group in layout for name, shape in group.items()}


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


# The full layout, without values.


def full_state(*groups: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    return {
        name: low_pass().view(shape)
        if name.endswith("filter")
        else torch.empty(shape, device="meta")
        for group in groups
        for name, shape in group.items()
    }


def test_the_layout_is_the_published_one():
    layout = authors.layout()
    assert [len(group) for group in layout] == [694, 784, 211]
    counts = [sum(torch.Size(shape).numel() for shape in group.values()) for group in layout]
    filters = 12 * sum(name.endswith("filter") for name in layout.vocoder)
    assert counts[0] == 182_464_979
    assert counts[1] - filters == 112_446_290
    assert counts[2] == 94_371_712


@pytest.mark.parametrize("spelling", [dict, newer])
def test_the_full_state_dict_fits_our_modules(spelling):
    parts = authors.split(spelling(full_state(*authors.layout())), SOURCE)
    config = authors.default_config()
    with torch.device("meta"):
        model, vocoder = build(config), build_vocoder(config.vocoder, config.mel)
    for module, state in ((model, parts.core), (vocoder, parts.vocoder)):
        assert published.shapes(state) == published.shapes(module.state_dict())


def test_the_full_mert_fits_transformers():
    transformers = pytest.importorskip("transformers")
    with torch.device("meta"):
        hubert = transformers.HubertModel(transformers.HubertConfig(**authors.MERT_CONFIG))
    ours = {
        published.plain_name(name): tuple(part.shape) for name, part in hubert.state_dict().items()
    }
    parts = authors.split(full_state(*authors.layout()), SOURCE)
    assert published.misfits(published.shapes(parts.mert), ours) == []


def test_its_parts_may_be_absent():
    core, vocoder, mert = authors.layout()
    alone = authors.split(full_state(core), SOURCE)
    assert len(alone.core) == 694 and not alone.vocoder and not alone.mert
    assert len(authors.split(full_state(core, vocoder), SOURCE).vocoder) == 450  # without filters
    unmasked = full_state(core, mert)
    del unmasked["wav2vec.hubert.masked_spec_embed"]
    assert len(authors.split(unmasked, SOURCE).mert) == 210
    everything = full_state(core, vocoder, mert)
    assert not any(authors.split(everything, SOURCE, core_only=True)[1:])


def test_the_packaged_configuration_is_the_one_in_configs():
    packaged = ROOT / "fastsag" / "assets" / "paper-authors.yaml"
    assert packaged.read_bytes() == (ROOT / "configs" / "paper-authors.yaml").read_bytes()
    assert authors.default_config() == configuration.load(ROOT / "configs" / "paper-authors.yaml")


# The whole way, small.


def with_module(state):
    return {f"module.{name}": tensor for name, tensor in state.items()}


def nested(state):
    return {"iteration": 7, "optimizer": {"state": {0: torch.ones(2)}}, "state_dict": state}


def beside_others(state):
    return {"epoch": 3, **state}


@pytest.mark.parametrize("form", [dict, newer, with_module, nested, beside_others])
def test_every_tensor_arrives(small, form, tmp_path):
    source, folder = saved(form(small), tmp_path / "fastsag.pt"), tmp_path / "new" / "imported"
    lines: list[str] = []
    authors.import_authors(source, folder, progress=lines.append)
    assert tree(folder) == {
        "config.yaml",
        "model.safetensors",
        "vocoder.safetensors",
        "MODEL_CARD.md",
        "mert/config.json",
        "mert/model.safetensors",
    }
    assert [path.name for path in folder.parent.iterdir()] == ["imported"]
    assert any("reading" in line for line in lines) and len(lines) == 4
    config, model, vocoder = checkpoint.load(folder)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, small[their_name(name)]), name
    prefix = "vocoder.generator."
    theirs = {k.removeprefix(prefix): v for k, v in small.items() if k.startswith(prefix)}
    expected = folded(theirs)
    assert expected.keys() == vocoder.state_dict().keys()
    assert all(torch.equal(part, expected[name]) for name, part in vocoder.state_dict().items())
    mert = published.read(folder / "mert" / "model.safetensors")
    prefix = "wav2vec.hubert."
    assert mert.keys() == {k.removeprefix(prefix) for k in small if k.startswith(prefix)}
    assert all(torch.equal(tensor, small[prefix + name]) for name, tensor in mert.items())
    assert config.encoder.model == str(folder / "mert")
    assert "model: ./mert" in (folder / "config.yaml").read_text()


def test_mert_of_the_folder_is_theirs(small, tmp_path):
    transformers = pytest.importorskip("transformers")
    from fastsag.conditioning.encoders import build_encoder

    folder = tmp_path / "imported"
    authors.import_authors(saved(small, tmp_path / "fastsag.pt"), folder)
    encoder = build_encoder(checkpoint.load(folder)[0].encoder)
    plain = transformers.HubertModel.from_pretrained(folder / "mert").eval()
    spelled = {published.plain_name(name): part for name, part in plain.state_dict().items()}
    for name, tensor in spelled.items():
        assert torch.equal(tensor, small[f"wav2vec.hubert.{name}"]), name
    wave = torch.randn(1, 6_400)
    with torch.no_grad():
        states = plain(wave, output_hidden_states=True).hidden_states
        features = states[2] - states[2].mean(-1, keepdim=True)
        expected = features / torch.sqrt(features.var(-1, keepdim=True) + 1e-7)
        torch.testing.assert_close(encoder(wave), expected)


def test_the_card_says_whose_it_is_and_under_which_licence(small, tmp_path):
    source = saved(small, tmp_path / "fastsag.pt")
    authors.import_authors(source, tmp_path / "imported")
    card = (tmp_path / "imported" / "MODEL_CARD.md").read_text()
    assert f"fastsag.pt, {source.stat().st_size} bytes" in card
    assert "states no licence" in card and "CC-BY-NC-4.0" in card and "{" not in card


def test_without_vocoder_and_mert_the_published_ones_are_named(small, tmp_path):
    source, folder = saved(small, tmp_path / "fastsag.pt"), tmp_path / "imported"
    parts = authors.import_authors(source, folder, core_only=True)
    assert tree(folder) == {"config.yaml", "model.safetensors", "MODEL_CARD.md"}
    assert not parts.vocoder and not parts.mert
    config = configuration.load(folder / "config.yaml")
    assert config.encoder.model == "m-a-p/MERT-v1-95M"
    assert config.vocoder.variant == "bigvgan_24khz_100band" and config.vocoder.source is None


def test_half_precision_and_old_files_are_read(small, tmp_path):
    half = {name: tensor.half() for name, tensor in small.items() if "vocoder" not in name}
    torch.save(half, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    authors.import_authors(tmp_path / "old.pt", tmp_path / "imported")
    weights = published.read(tmp_path / "imported" / "model.safetensors")
    name = "denoiser.network.final_conv.weight"
    assert torch.equal(weights[name], half[their_name(name)].float())
    assert weights[name].dtype == torch.float32


# What does not fit.


def change(state, **edits):
    """Without the tensors whose edit is None, with the others replaced by zeros of a shape."""
    edited = dict(state)
    for name, shape in edits.items():
        if shape is None:
            del edited[name]
        else:
            edited[name] = torch.zeros(shape)
    return edited


@pytest.mark.parametrize(
    ("edits", "reasons"),
    [
        ({"mixed_encoder.init_conv.bias": None}, ["1 missing (mixed_encoder.init_conv.bias)"]),
        (
            {"ema.decay": (1,), "decoder.estimator.more": (2,)},
            ["2 not known (ema.decay, decoder.estimator.more)"],
        ),
        (
            {"semantic_encoder.1.latents": (3, 9)},
            ["1 of another shape (semantic_encoder.1.latents 3x9 instead of 3x8)"],
        ),
        (
            {
                "wav2vec.hubert.encoder.layer_norm.bias": None,
                "vocoder.generator.conv_post.bias": (2,),
                "x": (1,),
            },
            ["1 missing (wav2vec.", "1 not known (x)", "1 of another", "try --core-only"],
        ),
        (
            {"vocoder.generator.activation_post.upsample.filter": (1, 1, 12)},
            ["its vocoder cannot be used (activation_post.upsample.filter: not the", "--core-only"],
        ),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_left(small, edits, reasons, tmp_path):
    source = saved(change(small, **edits), tmp_path / "fastsag.pt")
    with pytest.raises(UserError) as refused:
        authors.import_authors(source, tmp_path / "imported")
    message = str(refused.value)
    assert message.startswith(f"{source}: ") and "\n" not in message
    for reason in reasons:
        assert reason in message
    assert [path.name for path in tmp_path.iterdir()] == ["fastsag.pt"]


def test_long_lists_are_cut(small):
    half = dict(list(small.items())[::2])
    with pytest.raises(UserError) as refused:
        authors.split(half, SOURCE)
    assert " missing (" in str(refused.value) and ", ...)" in str(refused.value)
    assert len(str(refused.value)) < 600


class Malice:
    def __reduce__(self):
        return os.system, ("touch stolen",)


@pytest.mark.parametrize("zipped", [True, False])
def test_pickled_objects_are_refused_and_not_run(zipped, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = {"decoder.estimator.x": torch.zeros(1), "evil": Malice()}
    torch.save(content, "fastsag.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match="refused, it holds more than tensors .*system"):
        authors.import_authors(SOURCE, tmp_path / "imported")
    assert [path.name for path in tmp_path.iterdir()] == ["fastsag.pt"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not a file of torch tensors"),
        (b"<html>404</html>", "not a file of torch tensors"),
        (b"PK\x03\x04 cut short", "not a file of torch tensors"),
        ([1, 2], "no tensor of their model, only list"),
        ({"epoch": 3, "model": {"weight": torch.zeros(1)}}, "their model, only epoch, model"),
        (None, "cannot be read (No such file or directory)"),
    ],
)
def test_other_files_are_refused(content, reason, tmp_path):
    source = tmp_path / "fastsag.pt"
    if isinstance(content, bytes):
        source.write_bytes(content)
    elif content is not None:
        torch.save(content, source)
    with pytest.raises(UserError) as refused:
        authors.import_authors(source, tmp_path / "imported")
    assert reason in str(refused.value) and not (tmp_path / "imported").exists()


def test_a_truncated_file_is_refused(small, tmp_path):
    source = saved(small, tmp_path / "fastsag.pt")
    source.write_bytes(source.read_bytes()[:-10_000])
    with pytest.raises(UserError, match="not a file of torch tensors; download it again"):
        authors.import_authors(source, tmp_path / "imported")


# What is in the way.


def test_a_checkpoint_is_replaced_only_when_told(small, tmp_path):
    source, folder = saved(small, tmp_path / "fastsag.pt"), tmp_path / "imported"
    folder.mkdir()  # empty: not in the way
    authors.import_authors(source, folder)
    before = (folder / "model.safetensors").read_bytes()
    source = saved(
        {name: 2 * part if "filter" not in name else part for name, part in small.items()}, source
    )
    with pytest.raises(UserError, match="--overwrite"):
        authors.import_authors(source, folder)
    assert (folder / "model.safetensors").read_bytes() == before
    authors.import_authors(source, folder, overwrite=True, core_only=True)
    assert (folder / "model.safetensors").read_bytes() != before
    assert not (folder / "mert").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"fastsag.pt", "imported"}


def test_other_folders_are_never_replaced(small, tmp_path):
    precious, source = tmp_path / "home", saved(small, tmp_path / "fastsag.pt")
    precious.mkdir()
    (precious / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match="not a checkpoint, not replaced"):
        authors.import_authors(source, precious, overwrite=True)
    (precious / "config.yaml").write_text("")
    inside = saved(small, precious / "fastsag.pt")
    with pytest.raises(UserError, match="holds fastsag.pt itself"):
        authors.import_authors(inside, precious, overwrite=True)
    assert (precious / "letter.txt").read_text() == "dear"


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_while_writing_leaves_nothing(small, failure, tmp_path, monkeypatch):
    source = saved(small, tmp_path / "fastsag.pt")
    folder = tmp_path / "imported"
    authors.import_authors(source, folder, core_only=True)
    before = tree(folder)

    def fail(*arguments):
        raise failure

    monkeypatch.setattr(checkpoint, "export", fail)
    with pytest.raises((UserError, KeyboardInterrupt)) as stopped:
        authors.import_authors(source, folder, overwrite=True)
    assert "No space left" in str(stopped.value) or stopped.type is KeyboardInterrupt
    assert tree(folder) == before
    assert {path.name for path in tmp_path.iterdir()} == {"fastsag.pt", "imported"}
