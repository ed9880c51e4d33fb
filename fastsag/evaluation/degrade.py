"""Degraded references: recordings passed through a system's own vocoder or codec.

The paper (section 5.3) degrades the true mixtures so, that a system is not charged for the sample
rate and the vocoder or codec it speaks through. As in the authors' export, both stems pass, and the
voice of the system's mixture does too.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from fastsag import audio, config, published
from fastsag.codec.encodec import EncodecCodec
from fastsag.config import BigVGANConfig, Config, GriffinLimConfig
from fastsag.errors import UserError
from fastsag.evaluation.config import RoundTripConfig
from fastsag.evaluation.sets import audio_files
from fastsag.mel import LogMel
from fastsag.vocoder import build_vocoder, load_published

WEIGHTS = "vocoder.safetensors"


class RoundTrip:
    """Samples (N,) at `sample_rate` Hz -> the same through a vocoder or codec (N,).

    name: what it is, for records. stamp: changes when its weights do.
    """

    def __init__(
        self,
        name: str,
        sample_rate: int,
        through: Callable[[torch.Tensor], torch.Tensor],
        weights: Path | None = None,
    ) -> None:
        self.name, self.sample_rate, self._through = name, sample_rate, through
        known = weights.stat() if weights is not None and weights.is_file() else None
        self.stamp = [known.st_size, known.st_mtime_ns] if known else []

    @torch.inference_mode()
    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """(N,) float32 -> (N,) float32, cut or zero-padded to the same length."""
        wave = torch.from_numpy(np.ascontiguousarray(samples, dtype=np.float32))[None]
        out = self._through(wave)[0].float().numpy()[: len(samples)]
        return np.pad(out, (0, len(samples) - len(out)))


def build(wanted: RoundTripConfig) -> RoundTrip:
    """The round trip that a configuration names.

    Raises:
        UserError: unknown checkpoint, or weights that are not on this machine or do not fit.
    """
    if wanted.vocoder is not None:
        return vocoder(wanted.vocoder)
    return encodec(wanted.bandwidth)


def vocoder(name_or_path: str) -> RoundTrip:
    """Waveform -> log mel -> waveform, by the contract and vocoder of a checkpoint folder.

    Raises:
        UserError: as `build`.
    """
    folder, known = _checkpoint(name_or_path)
    network = build_vocoder(known.vocoder, known.mel)
    if any(True for _ in network.parameters()):
        if isinstance(known.vocoder, BigVGANConfig) and not (folder / WEIGHTS).exists():
            load_published(network, known.vocoder)
        else:
            _fill(network, folder / WEIGHTS)
    mel = LogMel(known.mel)
    network.eval()
    return RoundTrip(
        f"vocoder {name_or_path}",
        known.mel.sample_rate,
        lambda wave: network(mel(wave)),
        folder / WEIGHTS,
    )


def griffin_lim(name_or_path: str, iterations: int) -> RoundTrip:
    """Waveform -> log mel of a checkpoint's contract -> waveform by Griffin-Lim, no weights.

    Raises:
        UserError: unknown checkpoint.
    """
    known = _checkpoint(name_or_path)[1].mel
    mel, network = LogMel(known), build_vocoder(GriffinLimConfig(iterations=iterations), known)
    return RoundTrip(
        f"{iterations} rounds of Griffin-Lim", known.sample_rate, lambda wave: network(mel(wave))
    )


def _checkpoint(name_or_path: str) -> tuple[Path, Config]:
    folder = Path(name_or_path)
    if not (folder / "config.yaml").is_file():
        folder = Path(str(resources.files("fastsag") / "pretrained" / name_or_path))
    if not (folder / "config.yaml").is_file():
        raise UserError(
            f"{name_or_path}: no checkpoint; give a folder with config.yaml or a bundled name"
        )
    return folder, config.load(folder / "config.yaml")


def _fill(network: nn.Module, path: Path) -> None:
    state = {name: tensor.float() for name, tensor in published.tensors(path).items()}
    wrong = published.misfits(published.shapes(state), published.shapes(network.state_dict()))
    if wrong:
        raise UserError(f"{path}: not the vocoder of the config.yaml beside it: {'; '.join(wrong)}")
    network.load_state_dict(state)


def encodec(bandwidth: float = 6.0, model: str = "encodec") -> RoundTrip:
    """Waveform -> Encodec's tokens -> waveform, 24 kHz.

    Args:
        bandwidth: kbit/s; 6 is 8 codebooks, SingSong's.
        model: a folder in transformers' layout, or a name of `fastsag.hub`.

    Raises:
        UserError: as `build`.
        MissingExtra: transformers is not installed.
    """
    codec = EncodecCodec.from_pretrained(model, bandwidth)

    def through(wave: torch.Tensor) -> torch.Tensor:
        whole = F.pad(wave, (0, -wave.shape[1] % codec.hop_length))
        return codec.decode(codec.encode(whole))

    return RoundTrip(f"encodec {bandwidth:g} kbit/s", codec.sample_rate, through)


def folder(
    source: Path,
    output: Path,
    trip: RoundTrip,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Every audio file of a folder through the round trip, as NAME.flac in mono.

    Files already there are kept, so that an interrupted run goes on.

    Raises:
        UserError: no such folder, nothing in it, or a file that cannot be read.
    """
    paths = audio_files(source)
    output.mkdir(parents=True, exist_ok=True)
    for index, path in enumerate(paths):
        target = output / f"{path.stem}.flac"
        if not target.exists():
            recording = audio.read(path)
            mono = audio.to_mono(recording.samples)
            wave = audio.resample(mono, recording.sample_rate, trip.sample_rate)[0]
            audio.write(target, trip(wave)[None], trip.sample_rate, "flac")
        if progress:
            progress(index + 1, len(paths))
    return len(paths)
