"""The authors' released `fastsag.pt` as one of our checkpoint folders.

Their file is one state dict of everything: the trained core, and with it the frozen BigVGAN
(`vocoder.generator.*`) and MERT (`wav2vec.hubert.*`). Each goes where our parts look for it; names
and shapes are compared with `assets/authors-state-dict.json`, values are kept in float32.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from fastsag import checkpoint, hub, published
from fastsag import config as configuration
from fastsag.config import Config
from fastsag.errors import UserError
from fastsag.vocoder.bigvgan import folded

CORE_NAMES = {  # theirs -> ours
    "decoder.estimator.": "denoiser.network.",
    "mixed_encoder.": "prior.wavenet.",
    "semantic_encoder.0.": "projection.wavenet.",
    "semantic_encoder.1.": "resampler.perceiver.",
}
_ASSETS = resources.files("fastsag") / "assets"
VOCODER, MERT = "vocoder.generator.", "wav2vec.hubert."
MERT_FOLDER, CARD = "mert", "MODEL_CARD.md"
MERT_CONFIG: dict[str, Any] = {  # MERT-v1-95M is laid out as HuBERT-base
    "model_type": "hubert",
    "architectures": ["HubertModel"],
    "conv_bias": False,
    "conv_dim": [512] * 7,
    "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
    "conv_stride": [5, 2, 2, 2, 2, 2, 2],
    "feat_extract_norm": "group",
    "feat_extract_activation": "gelu",
    "feat_proj_layer_norm": True,
    "do_stable_layer_norm": False,
    "hidden_act": "gelu",
    "hidden_size": 768,
    "intermediate_size": 3072,
    "layer_norm_eps": 1e-5,
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "num_conv_pos_embeddings": 128,
    "num_conv_pos_embedding_groups": 16,
}

Progress = Callable[[str], None]
State = dict[str, Tensor]


class Layout(NamedTuple):
    """Shapes by the authors' names, weight norm in its older spelling."""

    core: dict[str, tuple[int, ...]]
    vocoder: dict[str, tuple[int, ...]]
    mert: dict[str, tuple[int, ...]]


class Parts(NamedTuple):
    """The tensors of a file by our names; `vocoder` and `mert` are empty where it has none.

    core: of `FastSAG`. vocoder: of `BigVGAN`, weight norm folded away. mert: of transformers'
    `HubertModel`, weight norm in its older spelling.
    """

    core: State
    vocoder: State
    mert: State


def layout() -> Layout:
    """The layout of the authors' file (694, 784 and 211 tensors)."""
    listed = json.loads(_asset("authors-state-dict.json"))
    groups = (listed[group] for group in Layout._fields)
    return Layout(*({name: tuple(shape) for name, shape in group.items()} for group in groups))


def default_config() -> Config:
    """The configuration of the authors' weights: that of configs/paper-authors.yaml."""
    with resources.as_file(_ASSETS / "paper-authors.yaml") as path:
        return configuration.load(path)


def import_authors(
    source: Path,
    folder: Path,
    *,
    overwrite: bool = False,
    core_only: bool = False,
    progress: Progress = lambda line: None,
) -> Parts:
    """Write the authors' checkpoint as a folder that `checkpoint.load` reads.

    The folder appears when it is complete. Without vocoder or MERT in the file its configuration
    names the published ones.

    Args:
        source: `fastsag.pt` or any file with its state dict inside.
        folder: the new checkpoint.
        overwrite: replace a checkpoint that is already there.
        core_only: leave out the vocoder and MERT.
        progress: told of each step, a line each.

    Returns:
        What was written.

    Raises:
        UserError: the file is absent, refused or of another layout; the folder is in the way or
            cannot be written. Nothing is left behind.
    """
    _check_target(source, folder, overwrite)
    progress(f"reading {source}")
    parts = split(state_dict(published.read(source), source), source, core_only)
    progress("computing its checksum")
    config, card = default_config(), _model_card(source, parts)
    with _replaced(folder) as temporary:
        if parts.mert:
            progress(f"writing {MERT_FOLDER}/ ({_megabytes(parts.mert)} MB)")
            _write_mert(temporary / MERT_FOLDER, parts.mert)
            encoder = config.encoder.model_copy(update={"model": f"./{MERT_FOLDER}"})
            config = config.model_copy(update={"encoder": encoder})
        progress(f"writing weights ({_megabytes(parts.core | parts.vocoder)} MB)")
        checkpoint.export(temporary, config, parts.core, parts.vocoder, torch.float32)
        (temporary / CARD).write_text(card, encoding="utf-8")
    return parts


# Reading their names.


def state_dict(content: Any, source: Path) -> State:
    """The authors' state dict in whatever a file holds, without `module.` prefixes.

    Raises:
        UserError: there is none in it.
    """
    found = _find(content)
    if found is None:
        keys = list(map(str, content)) if isinstance(content, Mapping) else []
        raise UserError(
            f"{source}: not the authors' checkpoint: it has no tensor of their model, only "
            f"{published.listed(keys) or type(content).__name__}"
        )
    return found


def split(state: State, source: Path, core_only: bool = False) -> Parts:
    """Their tensors by our names, after every name and shape was compared with the layout.

    Raises:
        UserError: a tensor is missing, unknown or of another shape; the first few are named.
    """
    expected, groups = layout(), (tuple(CORE_NAMES), (VOCODER,), (MERT,))
    if core_only:
        state = {name: part for name, part in state.items() if not name.startswith((VOCODER, MERT))}
    plain = {published.plain_name(name): tensor for name, tensor in state.items()}
    wanted: dict[str, tuple[int, ...]] = {}
    for prefixes, group in zip(groups, expected, strict=True):
        if group is expected.core or any(name.startswith(prefixes) for name in plain):
            wanted |= group
    wrong = published.misfits(
        published.shapes(plain), wanted, optional=[f"{MERT}masked_spec_embed"]
    )
    if wrong:
        raise UserError(
            f"{source}: not the authors' checkpoint: {'; '.join(wrong)}{_way_out(plain)}"
        )
    try:
        vocoder = folded(_below(plain, VOCODER))
    except ValueError as error:
        raise UserError(
            f"{source}: its vocoder cannot be used ({error}){_way_out(plain)}"
        ) from None
    core = {
        ours + name: tensor
        for theirs, ours in CORE_NAMES.items()
        for name, tensor in _below(plain, theirs).items()
    }
    return Parts(core, vocoder, _below(plain, MERT))


def _way_out(state: Mapping[str, Tensor]) -> str:
    """Said where the published vocoder and MERT could stand in for those of the file."""
    return "; try --core-only" if any(name.startswith((VOCODER, MERT)) for name in state) else ""


def _find(content: Any) -> State | None:
    """The first mapping, at any depth, that names a tensor of the core."""
    if not isinstance(content, Mapping):
        return None
    named = {
        str(name).removeprefix("module."): value
        for name, value in content.items()
        if isinstance(value, Tensor)
    }
    if any(name.startswith(tuple(CORE_NAMES)) for name in named):
        return named
    return next(filter(None, map(_find, content.values())), None)


def _below(state: Mapping[str, Tensor], prefix: str) -> State:
    """The tensors under a prefix, without it."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in state.items()
        if name.startswith(prefix)
    }


# Writing the folder.


def _check_target(source: Path, folder: Path, overwrite: bool) -> None:
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not overwrite:
        raise UserError(f"{folder}: already there; choose another folder or add --overwrite")
    if not (folder / checkpoint.CONFIG).is_file():
        raise UserError(f"{folder}: not a checkpoint, not replaced; choose another folder")
    if folder.resolve() in source.resolve().parents:
        raise UserError(f"{folder}: holds {source.name} itself; choose another folder")


@contextmanager
def _replaced(folder: Path) -> Iterator[Path]:
    """A folder to fill, which takes the place of `folder` if all goes well and vanishes if not."""
    temporary: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        yield temporary
        temporary.chmod(0o755)
        old = temporary.with_name(f"{temporary.name}.old")
        if folder.exists():
            os.replace(folder, old)
        try:
            os.replace(temporary, folder)
        except OSError:
            if old.exists():
                os.replace(old, folder)
            raise
        shutil.rmtree(old, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"{folder}: cannot be written ({reason}); make room or choose another"
        ) from None
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _write_mert(folder: Path, state: State) -> None:
    """MERT in transformers' layout: config.json and model.safetensors."""
    folder.mkdir()
    text = json.dumps(MERT_CONFIG, indent=2) + "\n"
    (folder / "config.json").write_text(text, encoding="utf-8")
    tensors = {name: tensor.float().contiguous() for name, tensor in state.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)


def _megabytes(state: State) -> str:
    """Size in single precision."""
    return f"{sum(tensor.numel() for tensor in state.values()) * 4 / 1e6:,.0f}"


def _model_card(source: Path, parts: Parts) -> str:
    vocoder = f"in it, {_megabytes(parts.vocoder)} MB" if parts.vocoder else "not in it: NVIDIA's"
    mert = f"in it, {_megabytes(parts.mert)} MB" if parts.mert else "not in it: m-a-p/MERT-v1-95M"
    return _asset("authors-model-card.md").format(
        name=source.name,
        size=source.stat().st_size,
        sha256=hub.file_sha256(source),
        core=_megabytes(parts.core),
        vocoder=vocoder,
        mert=mert,
    )


def _asset(name: str) -> str:
    return (_ASSETS / name).read_text(encoding="utf-8")
