"""A mix -> voice and accompaniment: Demucs, or any function that is named.

The accompaniment is the sum of Demucs' other stems, in floating point; no stem is rescaled on its
own, so that voice and accompaniment keep their balance (the demucs command rescales each).

A separator is a function (mix (2, N) float32 at `RATE`, seed) -> (voice, accompaniment), each
(2, N). `module:function` names one of your own; it must give the same for the same arguments.
"""

from __future__ import annotations

import hashlib
import importlib
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from fastsag import hub
from fastsag.audio import Recording, resample
from fastsag.errors import UserError, require

RATE = 44_100  # Hz; of mixes and stems
SEPARATORS = ("htdemucs", "htdemucs_ft")  # published weights, see `fastsag checkpoint download`
_DEFINITION, _WEIGHTS = ".yaml", ".safetensors"
_VOICE = "vocals"

Separate = Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]


class Demucs:
    """A bag of Demucs models as a separator.

    Args:
        name: one of `SEPARATORS`, the YAML file of a bag with its weights beside it, or a folder
            with one such file.
        shifts: random shifts of up to half a second over which predictions are averaged.
        overlap: share of a segment that the next one covers too.
        device: cpu or cuda.

    Raises:
        UserError: the weights are not on this machine (the message says how to get them), or are
            not those of Demucs.
        MissingExtra: demucs is not installed.
    """

    def __init__(
        self, name: str, shifts: int = 1, overlap: float = 0.25, device: str = "cpu"
    ) -> None:
        self.shifts, self.overlap, self.device = shifts, overlap, device
        self.bag = load_bag(*weight_files(name))
        if _VOICE not in self.bag.sources or self.bag.samplerate != RATE:
            raise UserError(
                f"{name}: separates {', '.join(self.bag.sources)} at {self.bag.samplerate} Hz; "
                f"needed is a model with {_VOICE} at {RATE} Hz"
            )

    def __call__(self, mix: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Separate a mix (2, N); the seed chooses the shifts."""
        import torch

        apply = require("demucs.apply", extra="separate")
        # Zero mean and unit variance as in Demucs' training; undone below.
        reference = mix.mean(0)
        mean, std = float(reference.mean()), float(reference.std()) + 1e-8
        wave = torch.from_numpy((mix - mean) / std).float().unsqueeze(0)
        state = random.getstate()
        random.seed(seed)  # Demucs draws its shifts from Python's own generator
        try:
            stems = apply.apply_model(
                self.bag, wave, shifts=self.shifts, overlap=self.overlap, device=self.device
            )[0]
        finally:
            random.setstate(state)
        stems = (stems * std + mean).cpu().numpy()
        voice = self.bag.sources.index(_VOICE)
        rest = [index for index in range(len(stems)) if index != voice]
        return stems[voice], stems[rest].sum(0, dtype=np.float32)


def build_separator(
    name: str, shifts: int = 1, overlap: float = 0.25, device: str = "cpu"
) -> Separate:
    """The separator of a name: `module:function`, or what `Demucs` takes.

    Raises:
        UserError: as `Demucs`; or there is no such function.
    """
    if not _is_function(name):
        return Demucs(name, shifts, overlap, device)
    module, _, function = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise UserError(f"{name}: no such separator ({error}); check PYTHONPATH") from None
    separate: Separate = found
    return separate


def fingerprint(name: str) -> str:
    """What the output of a separator depends on: a hash of its weights, or its name.

    Raises:
        UserError: as `Demucs`.
    """
    if _is_function(name):
        return name
    definition, weights = weight_files(name)
    digest = hashlib.sha256()
    for path in (definition, *weights):
        digest.update(bytes.fromhex(hub.file_sha256(path)))
    return digest.hexdigest()[:16]


def separate(recording: Recording, separator: Separate, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Voice and accompaniment (2, N) at `RATE` of a recording of any rate and channel count.

    Raises:
        UserError: the separator gave something else.
    """
    mix = resample(stereo(np.asarray(recording.samples)), recording.sample_rate, RATE)
    voice, band = separator(mix, seed)
    for part in (voice, band):
        if part.shape != mix.shape or not np.isfinite(part).all():
            raise UserError(
                f"the separator gave {part.shape}, or samples that are not finite; "
                f"expected {mix.shape}"
            )
    return voice, band


def stereo(samples: np.ndarray) -> np.ndarray:
    """(C, N) -> (2, N): mono on both sides; of more than two channels the mean on both.

    The mean, because surround mixes keep the voice in a channel that a pair would leave out.
    """
    if len(samples) == 2:
        return samples
    return np.repeat(samples.mean(0, keepdims=True, dtype=np.float32), 2, axis=0)


def weight_files(name: str) -> tuple[Path, list[Path]]:
    """The YAML file of a bag and the weights that it lists.

    Raises:
        UserError: one of them is not on this machine.
    """
    if name in SEPARATORS:
        definition = hub.local(name, f"{name}{_DEFINITION}")
        return definition, [hub.local(name, file) for file in _listed(definition)]
    definition = _definition(Path(name))
    weights = [definition.with_name(file) for file in _listed(definition)]
    absent = [path for path in weights if not path.is_file()]
    if absent:
        raise UserError(f"{absent[0]}: no such file, but {definition} names it")
    return definition, weights


def load_bag(definition: Path, weights: list[Path]) -> Any:
    """Demucs' `BagOfModels` from files in the layout of its repositories on the hub.

    Raises:
        UserError: the files do not hold Demucs models.
        MissingExtra: demucs is not installed.
    """
    demucs = require("demucs.hf", extra="separate")
    bag = yaml.safe_load(definition.read_text(encoding="utf-8"))
    try:
        models = [demucs.load_safetensors_model(path) for path in weights]
        return demucs.BagOfModels(models, bag.get("weights"), bag.get("segment")).eval()
    except Exception as error:  # whatever a damaged file leads to
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{definition}: not a Demucs model that can be loaded ({reason}); download it again"
        ) from None


def _is_function(name: str) -> bool:
    return ":" in name and not Path(name).exists()


def _definition(path: Path) -> Path:
    if path.is_file() and path.suffix == _DEFINITION:
        return path
    found = sorted(path.glob(f"*{_DEFINITION}")) if path.is_dir() else []
    if len(found) != 1:
        raise UserError(
            f"{path}: no separator; choose {', '.join(SEPARATORS)}, a folder with one bag of "
            f"Demucs models (NAME{_DEFINITION} and SIGNATURE{_WEIGHTS}), or MODULE:FUNCTION"
        )
    return found[0]


def _listed(definition: Path) -> list[str]:
    """The weight files that a bag's definition names."""
    try:
        bag = yaml.safe_load(definition.read_text(encoding="utf-8"))
        return [f"{signature}{_WEIGHTS}" for signature in bag["models"]]
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise UserError(f"{definition}: not the definition of a bag ({error})") from None
