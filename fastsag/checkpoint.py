"""A checkpoint is a folder: config.yaml, model.safetensors, vocoder.safetensors, MODEL_CARD.md.

Beside them lies distilled.safetensors where a student plays the model in a few steps.

Weights are safetensors, so that loading one never runs code; they are stored in half precision
unless told otherwise, and computed in single precision. The semantic encoder's and a published
vocoder's weights may lie elsewhere; a path in config.yaml that begins with "./" is inside the
folder.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from importlib import resources
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fastsag import config as configuration
from fastsag.config import BigVGANConfig, Config
from fastsag.diffusion.precond import EDMDenoiser
from fastsag.errors import UserError
from fastsag.model import FastSAG, build, build_student
from fastsag.vocoder import build_vocoder, load_published

CONFIG, MODEL, VOCODER = "config.yaml", "model.safetensors", "vocoder.safetensors"
STUDENT = "distilled.safetensors"


def available() -> list[str]:
    """Names of the checkpoints inside the package."""
    bundled = resources.files("fastsag") / "pretrained"
    if not bundled.is_dir():
        return []
    return sorted(entry.name for entry in bundled.iterdir() if (entry / CONFIG).is_file())


def resolve(name_or_path: str | Path) -> Path:
    """The folder of a checkpoint, by name or path.

    Raises:
        UserError: no such checkpoint; the message lists the known names.
    """
    path = Path(name_or_path)
    if (path / CONFIG).is_file():
        return path
    if str(name_or_path) in available():
        return Path(str(resources.files("fastsag") / "pretrained" / str(name_or_path)))
    known = ", ".join(available()) or "none bundled"
    raise UserError(
        f"{name_or_path}: unknown checkpoint; give a folder with {CONFIG} or a name ({known})"
    )


def load(name_or_path: str | Path) -> tuple[Config, FastSAG, nn.Module]:
    """Configuration, model and vocoder of a checkpoint, in eval mode on the CPU.

    Raises:
        UserError: unknown checkpoint, or weights that do not fit its configuration.
    """
    folder = resolve(name_or_path)
    config = _inside(configuration.load(folder / CONFIG), folder)
    model = build(config)
    load_weights(model, folder / MODEL)
    vocoder = build_vocoder(config.vocoder, config.mel)
    if any(True for _ in vocoder.parameters()):
        if isinstance(config.vocoder, BigVGANConfig) and not (folder / VOCODER).exists():
            load_published(vocoder, config.vocoder)
        else:
            load_weights(vocoder, folder / VOCODER)
    return config, model.eval(), vocoder.eval()


def load_student(name_or_path: str | Path, model: FastSAG) -> EDMDenoiser | None:
    """The distilled student of a checkpoint whose `model` is loaded; None where it has none.

    Raises:
        UserError: unknown checkpoint, or weights that do not fit its configuration.
    """
    folder = resolve(name_or_path)
    config = configuration.load(folder / CONFIG)
    if config.distilled is None:
        return None
    path, student = folder / STUDENT, build_student(config)
    difference = read_weights(path)
    check_shapes({k: v for k, v in difference.items() if not k.endswith(_SCALE)}, student, path)
    student.load_state_dict(_added(difference, model.denoiser.state_dict()))
    return student.eval()


_SCALE = ":scale"


def difference_of(
    student: dict[str, Tensor], teacher: dict[str, Tensor], dtype: torch.dtype
) -> dict[str, Tensor]:
    """What is stored of a student: how its weights differ from those of the denoiser it came from.

    The differences are small, so that 8 bits a weight are enough, with a scale for each row of a
    matrix (`NAME:scale`). What the teacher does not have is stored as it is.
    """
    stored = {}
    for name, tensor in student.items():
        if name not in teacher:
            stored[name] = tensor
            continue
        change = tensor.float() - teacher[name].to(dtype).float()
        if change.ndim < 2:
            stored[name] = change
            continue
        # Rounded as it is stored; half precision knows nothing smaller.
        scale = (change.flatten(1).abs().amax(1) / 127).clamp(min=1e-7).to(dtype).float()
        shape = (-1, *(1,) * (change.ndim - 1))
        stored[name] = (change / scale.view(shape)).round().clamp(-127, 127).to(torch.int8)
        stored[name + _SCALE] = scale
    return stored


def _added(difference: dict[str, Tensor], teacher: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a student: the inverse of `difference_of`."""
    weights = {}
    for name, tensor in difference.items():
        if name.endswith(_SCALE):
            continue
        change = tensor.float()
        if name + _SCALE in difference:
            scale = difference[name + _SCALE].float()
            change = change * scale.view(-1, *(1,) * (change.ndim - 1))
        weights[name] = change + teacher[name] if name in teacher else change
    return weights


def _inside(config: Config, folder: Path) -> Config:
    """`config` with its "./" paths resolved against the checkpoint's folder."""
    values = config.model_dump()
    for part, key in (("encoder", "model"), ("vocoder", "source")):
        path = values[part].get(key)
        if path and path.startswith("./"):
            values[part][key] = str(folder / path)
    return Config.model_validate(values)


def load_weights(module: nn.Module, path: Path) -> None:
    """Fill `module` strictly from a safetensors file.

    Raises:
        UserError: the file is absent or unreadable, or its tensors do not fit.
    """
    state = read_weights(path)
    check_shapes(state, module, path)
    module.load_state_dict({name: tensor.float() for name, tensor in state.items()})


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        UserError: the file is absent or unreadable.
    """
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: weights cannot be read ({error}); export them again") from None


def check_shapes(state: dict[str, Tensor], module: nn.Module, path: Path) -> None:
    """Refuse tensors that are not exactly those of `module`.

    Raises:
        UserError: names or shapes differ.
    """
    expected = {name: tensor.shape for name, tensor in module.state_dict().items()}
    found = {name: tensor.shape for name, tensor in state.items()}
    if expected != found:
        wrong = sorted(set(expected.items()) ^ set(found.items()), key=lambda item: item[0])
        names = ", ".join(dict.fromkeys(name for name, _ in wrong[:6]))
        raise UserError(
            f"{path}: weights do not fit the configuration beside them ({names}); "
            "use the config.yaml they were exported with"
        )


def save_weights(state: dict[str, Tensor], path: Path, dtype: torch.dtype = torch.float16) -> None:
    """Write tensors, those of real numbers as `dtype`, atomically."""
    stored = {}
    for name, tensor in state.items():
        kept = tensor.detach().cpu()
        stored[name] = (kept.to(dtype) if kept.is_floating_point() else kept).contiguous()
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".tmp", delete=False) as handle:
        temporary = Path(handle.name)
    try:
        save_file(stored, temporary)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def export(
    folder: Path,
    config: Config,
    model: dict[str, Tensor],
    vocoder: dict[str, Tensor],
    dtype: torch.dtype = torch.float16,
    student: dict[str, Tensor] | Path | None = None,
) -> None:
    """Write a checkpoint folder from state dicts; a model card already there is kept.

    A `student` may be the file of another checkpoint with the same denoiser, which is then copied:
    what is stored of one is rounded. Without it the configuration that is written has none either.
    """
    check = build(config)
    check.load_state_dict(model)
    save_weights(model, folder / MODEL, dtype)
    if student is None:
        config = config.model_copy(update={"distilled": None})
        (folder / STUDENT).unlink(missing_ok=True)
    elif isinstance(student, Path):
        if student.resolve() != (folder / STUDENT).resolve():
            shutil.copyfile(student, folder / STUDENT)
    else:
        build_student(config).load_state_dict(student)
        teacher = check.denoiser.state_dict()
        save_weights(difference_of(student, teacher, dtype), folder / STUDENT, dtype)
    if vocoder:
        save_weights(vocoder, folder / VOCODER, dtype)
    (folder / CONFIG).write_text(configuration.dump(config), encoding="utf-8")


def device_of(name: str) -> torch.device:
    """ "auto", "cpu", "cuda" or "mps" -> a device that exists.

    Raises:
        UserError: the device is not there.
    """
    present = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if name == "auto":
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if present[kind]))
    if not present.get(name):
        there = ", ".join(kind for kind, here in present.items() if here)
        raise UserError(f"--device {name}: not available on this machine; available: {there}")
    return torch.device(name)


def precision_of(name: str, device: torch.device, config: Config) -> str:
    """ "auto", "fp32" or "bf16" -> one of the last two.

    Half precision where it was measured to be faster: on a GPU, and for transformers on a processor
    that multiplies such numbers itself.

    Raises:
        UserError: another name.
    """
    if name in ("fp32", "bf16"):
        return name
    if name != "auto":
        raise UserError(f"--precision {name}: unknown; choose auto, fp32 or bf16")
    if device.type == "cpu":
        can = torch.cpu.get_capabilities()
        native = can.get("amx_bf16") or can.get("avx512_bf16")
        return "bf16" if native and config.denoiser.kind == "dit" else "fp32"
    return "bf16" if device.type == "cuda" else "fp32"
