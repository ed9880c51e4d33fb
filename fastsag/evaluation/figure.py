"""The paper's Figure 3: voice, true accompaniment, prior and generated accompaniment."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from fastsag import audio
from fastsag.audio import Recording
from fastsag.config import MelConfig
from fastsag.errors import UserError
from fastsag.evaluation.config import Figure3Config
from fastsag.mel import LogMel, band_centres
from fastsag.plots import mel_panels


def draw(
    wanted: Figure3Config,
    path: Path,
    made: tuple[np.ndarray, np.ndarray, MelConfig] | None = None,
) -> Path:
    """Draw the four panels as PNG.

    Args:
        wanted: the files.
        made: prior and generated log mel (M, T) and their settings, where the files are not given;
            sound is then drawn in the same spectrogram, otherwise in the paper's.

    Raises:
        UserError: a file cannot be read, or a mel has other bands than the rest.
    """
    mel = made[2] if made else MelConfig()
    frames = round(wanted.seconds * mel.frame_rate)
    panels = {
        "(a) voice": _panel(wanted.voice, mel, wanted.seconds),
        "(b) true accompaniment": _panel(wanted.accompaniment, mel, wanted.seconds),
    }
    names = ("(c) prior", "(d) generated accompaniment")
    if made:
        panels |= {name: part[:, :frames] for name, part in zip(names, made[:2])}
    else:
        for name, file in zip(names, (wanted.prior, wanted.generated)):
            assert file is not None
            panels[name] = _panel(file, mel, wanted.seconds)
    mel_panels(
        path,
        panels,
        hop_seconds=1 / mel.frame_rate,
        title=wanted.voice.name,
        band_hz=band_centres(mel),
    )
    return path


def beginning(path: Path, seconds: float) -> Recording:
    """The first seconds of a file."""
    recording = audio.read(path)
    count = round(seconds * recording.sample_rate)
    return Recording(recording.samples[:, :count], recording.sample_rate)


def _panel(path: Path, mel: MelConfig, seconds: float) -> np.ndarray:
    """Log mel (M, T) of audio, or a .npy file that holds one."""
    if path.suffix == ".npy":
        try:
            values = np.load(path, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: not an array ({error}); save one with numpy.save") from None
        if values.ndim != 2 or len(values) != mel.n_mels:
            raise UserError(f"{path}: shape {values.shape}, not ({mel.n_mels}, frames)")
        return values[:, : round(seconds * mel.frame_rate)]
    recording = beginning(path, seconds)
    mono = audio.to_mono(recording.samples)
    wave = audio.resample(mono, recording.sample_rate, mel.sample_rate)
    with torch.no_grad():
        return LogMel(mel)(torch.from_numpy(wave))[0].numpy()
