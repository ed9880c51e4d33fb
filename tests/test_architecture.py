"""The import rule, the banned packages and the weight of `import fastsag`, read from the source."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "fastsag"

# A part may import parts of lower levels; parts of its own level only where SIDEWAYS says so.
LEVELS = {
    0: {
        "errors",
        "version",
        "hub",
        "published",
        "windows",
        "nn",
        "mel",
        "audio",
        "spool",
        "levels",
        "config",
        "chords",
        "lead_sheet",
        "notation",
        "kernels",
    },
    1: {"conditioning", "diffusion", "vocoder", "codec"},
    2: {"model", "losses", "checkpoint", "authors"},
    3: {
        "pipeline",
        "rollout",
        "take",
        "data",
        "songs",
        "plots",
        "fastsag",
    },  # fastsag: the public API
    4: {"training", "evaluation", "baselines", "benchmarks"},
    5: {"cli", "app"},
}
LEVEL = {part: level for level, parts in LEVELS.items() for part in parts}
SIDEWAYS = {
    *((one, other) for one in LEVELS[0] - {"nn", "errors", "version"} for other in LEVELS[0]),
    ("nn", "errors"),
    ("model", "losses"),
    ("checkpoint", "model"),
    ("authors", "checkpoint"),
    ("songs", "data"),  # the generator writes training records
    ("fastsag", "pipeline"),
    ("fastsag", "take"),
    ("pipeline", "take"),
    ("pipeline", "rollout"),
    ("baselines", "training"),
    ("benchmarks", "baselines"),
    ("cli", "app"),
}
# Downward imports that are nevertheless forbidden.
NEVER = {
    **{part: {"model", "checkpoint", "losses"} for part in ("data", "songs", "plots")},
    "evaluation": {"model", "checkpoint", "losses", "pipeline", "take"},
}
# Parts that may import these parts alone.
ONLY = {
    "losses": {"errors"},
    # The pipeline, and what its inputs and outputs are made of: recordings, lead sheets, pictures.
    "app": {
        *("pipeline", "take", "fastsag", "errors", "version"),
        *("audio", "spool", "lead_sheet", "notation", "chords", "plots", "mel"),
    },
}
LOSSES_THIRD_PARTIES = {"torch"}

BANNED = {
    "torchaudio": "does not import beside a CPU torch",
    "torchvision": "does not import beside a CPU torch",
    "torchcodec": "does not import beside a CPU torch",
    "vocos": "needs torchaudio",
    "encodec": "needs torchaudio; transformers has the model",
    "dac": "needs torchaudio; transformers has the model",
    "openunmix": "needs torchaudio",
    "beat_this": "needs torchaudio",
    "torchcrepe": "needs torchaudio",
    "fadtk": "needs torchaudio",
    "frechet_audio_distance": "needs torchaudio",
    "pedalboard": "is GPL-3",
    "hydra": "keeps the configuration in globals",
    "omegaconf": "keeps the configuration in globals",
}

# Optional third parties: imported inside functions, but for the parts named here.
HEAVY: dict[str, set[str]] = {
    "lightning": {"training", "baselines"},
    "fastapi": {"app"},  # its routes are read from annotations
    "starlette": {"app"},
    "uvicorn": {"app"},
    **{
        name: set()
        for name in (
            "av",
            "demucs",
            "fluidsynth",
            "gradio",
            "huggingface_hub",
            "librosa",
            "matplotlib",
            "mir_eval",
            "pretty_midi",
            "pyworld",
            "ray",
            "tensorboard",
            "transformers",
            "webdataset",
        )
    },
}


@dataclass(frozen=True)
class Import:
    """One imported name. part: of the importer. lazy: inside a function."""

    file: str
    line: int
    part: str
    target: str
    lazy: bool

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.part} imports {self.target}"


def part_of(path: Path) -> str:
    """fastsag/nn/wavenet.py -> nn, fastsag/mel.py -> mel, fastsag/__init__.py -> fastsag."""
    first = path.parts[1].removesuffix(".py")
    return "fastsag" if first == "__init__" else first


def imports(source: str, file: str) -> list[Import]:
    """Every import in `source`, lazy ones and `require("module", ...)` included."""
    tree, path = ast.parse(source), Path(file)
    lazy = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
        for child in ast.walk(node)
    }
    return [
        Import(file, node.lineno, part_of(path), target, id(node) in lazy)
        for node in ast.walk(tree)
        for target in targets(node, path)
    ]


def targets(node: ast.AST, path: Path) -> Iterator[str]:
    """Dotted names that a node imports; `from fastsag import audio` is fastsag.audio."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            base = ".".join([*path.parts[: len(path.parts) - node.level], *filter(None, [base])])
        if base == "fastsag":
            yield from (f"fastsag.{alias.name}" for alias in node.names)
        else:
            yield base
    elif isinstance(node, ast.Call) and node.args:
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if name in {"require", "import_module", "__import__"}:
            argument = node.args[0]
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                yield argument.value


def broken_rules(found: Import) -> list[str]:
    """What is wrong with one import."""
    top, _, rest = found.target.partition(".")
    if top == "fastsag":
        name = rest.partition(".")[0]
        reason = inner_rule(found.part, name if name in LEVEL else "fastsag")
        return [f"{found}: {reason}"] if reason else []
    reasons = []
    if top in BANNED:
        reasons.append(f"{found}: banned, it {BANNED[top]}")
    if top in HEAVY and not found.lazy and found.part not in HEAVY[top]:
        reasons.append(f"{found}: import it inside a function, with require()")
    third_party = top not in sys.stdlib_module_names
    if found.part == "losses" and third_party and top not in LOSSES_THIRD_PARTIES:
        reasons.append(f"{found}: losses take tensors only")
    return reasons


def inner_rule(part: str, target: str) -> str | None:
    """Why `part` may not import `target`, or None if it may."""
    if part == target:
        return None
    if part in ONLY:
        return None if target in ONLY[part] else f"may import {sorted(ONLY[part])} alone"
    if target in NEVER.get(part, ()):
        return "never"
    if LEVEL[target] > LEVEL[part]:
        return f"upwards, from level {LEVEL[part]} to {LEVEL[target]}"
    if LEVEL[target] == LEVEL[part] and (part, target) not in SIDEWAYS:
        return f"blind to each other, both on level {LEVEL[part]}"
    return None


def package_files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def package_imports() -> list[Import]:
    return [
        found
        for path in package_files()
        for found in imports(path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix())
    ]


def test_every_part_has_a_level() -> None:
    parts = {part_of(path.relative_to(ROOT)) for path in package_files()}
    assert parts <= set(LEVEL)


def test_imports_go_downwards_and_nothing_banned_comes_in() -> None:
    found = package_imports()
    assert any(item.lazy for item in found) and len(found) > 100
    assert [reason for item in found for reason in broken_rules(item)] == []


def test_extras_named_in_messages_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = {
        keyword.value.value
        for path in package_files()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "require"
        for keyword in node.keywords
        if keyword.arg == "extra" and isinstance(keyword.value, ast.Constant)
    }
    assert named and named <= set(project["optional-dependencies"])


@pytest.mark.parametrize(
    ("file", "source", "reason"),
    [
        ("fastsag/nn/wavenet.py", "import fastsag.mel", "blind"),
        ("fastsag/mel.py", "from fastsag.vocoder import vocos", "upwards"),
        ("fastsag/conditioning/prior.py", "from fastsag.diffusion.unet import UNet", "blind"),
        ("fastsag/conditioning/prior.py", "from ..vocoder import vocos", "blind"),
        ("fastsag/diffusion/unet.py", "def f():\n    from fastsag import model", "upwards"),
        ("fastsag/codec/encodec.py", "from fastsag.vocoder.bigvgan import BigVGAN", "blind"),
        ("fastsag/losses.py", "import numpy", "tensors only"),
        ("fastsag/losses.py", "from fastsag.config import Config", "alone"),
        ("fastsag/data/clips.py", "from fastsag.model import FastSAG", "never"),
        ("fastsag/songs/voice.py", "from fastsag.training.loop import fit", "upwards"),
        ("fastsag/songs/voice.py", "from fastsag import FastSAG", "blind"),
        ("fastsag/evaluation/fad.py", "from fastsag import model", "never"),
        ("fastsag/evaluation/fad.py", "from fastsag.training import loop", "blind"),
        ("fastsag/training/loop.py", "from fastsag.evaluation import fad", "blind"),
        ("fastsag/app/page.py", "from fastsag.model import FastSAG", "alone"),
        ("fastsag/__init__.py", "from fastsag.training import loop", "upwards"),
        ("fastsag/audio.py", "import torchaudio.functional", "banned"),
        ("fastsag/audio.py", "def f():\n    require('pedalboard', extra='x')", "banned"),
        ("fastsag/audio.py", "import librosa", "inside a function"),
        ("fastsag/cli/train.py", "import lightning.pytorch", "inside a function"),
        ("fastsag/cli/train.py", "try:\n    import ray\nexcept ImportError: pass", "inside"),
    ],
)
def test_a_violation_is_caught(file: str, source: str, reason: str) -> None:
    (reasons,) = [broken_rules(found) for found in imports(source, file)]
    assert len(reasons) == 1 and reason in reasons[0]


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("fastsag/mel.py", "from fastsag.config import MelConfig"),
        ("fastsag/training/loop.py", "import lightning.pytorch"),
        ("fastsag/evaluation/fad.py", "def f():\n    require('librosa', extra='eval')"),
        ("fastsag/audio.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import av"),
        ("fastsag/songs/generator.py", "from fastsag.data.shards import Record"),
        ("fastsag/app/page.py", "from fastsag import Accompanist"),
        ("fastsag/conditioning/prior.py", "from . import resampler"),
    ],
)
def test_what_is_allowed_passes(file: str, source: str) -> None:
    assert [reason for found in imports(source, file) for reason in broken_rules(found)] == []


@pytest.mark.parametrize("module", ["fastsag", "fastsag.cli.main"])
def test_inference_imports_nothing_optional(module: str) -> None:
    code = f"import {module}, sys; print('\\n'.join(sys.modules))"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    loaded = {name.partition(".")[0] for name in run.stdout.split()}
    assert "torch" in loaded or module != "fastsag"
    assert loaded & (set(HEAVY) | set(BANNED)) == set()
