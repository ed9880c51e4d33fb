"""A folder with the listening test: one page that works offline, and sounds under opaque names."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from fastsag import audio
from fastsag.audio import SUFFIXES
from fastsag.errors import UserError
from fastsag.evaluation.listening.plan import ALL, Trial, choose, plan
from fastsag.levels import PEAK_DBFS, loudness
from fastsag.version import __version__

LEVEL_LUFS = -23.0  # of every clip (EBU R128), so that nobody rates loudness
_PLAN = "/*PLAN*/"  # where the template takes the plan
_MIX = (".vocals.mix", ".mix")  # what `fastsag accompany` puts after the clip's name
_NOISE_SECONDS, _NOISE_HZ = 8, 44_100


def gather(folders: dict[str, Path]) -> dict[str, dict[str, Path]]:
    """Mixtures by clip and system, of the clips that every system has.

    A clip's name is the file's, less the extension and the .mix of `fastsag accompany`; in a folder
    with .mix files, others are not taken.

    Raises:
        UserError: no folder, two files for one clip, or no clip common to all.
    """
    by_system = {system: _mixtures(folder) for system, folder in folders.items()}
    common = sorted(set.intersection(*(set(found) for found in by_system.values())))
    if not common:
        raise UserError(
            f"{', '.join(str(folder) for folder in folders.values())}: no clip common to all; "
            "name the mixtures of one clip alike, as CLIP.wav or CLIP.mix.wav"
        )
    return {clip: {system: found[clip] for system, found in by_system.items()} for clip in common}


def _mixtures(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give SYSTEM=FOLDER")
    sounds = sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES)
    sounds = [file for file in sounds if file.stem.endswith(".mix")] or sounds
    found: dict[str, Path] = {}
    for file in sounds:
        suffix = next((end for end in _MIX if file.stem.endswith(end)), "")
        clip = file.stem.removesuffix(suffix)
        if clip in found:
            raise UserError(f"{file}: {found[clip].name} is of the same clip; delete one")
        found[clip] = file
    return found


def make(
    folders: dict[str, Path],
    output: Path,
    *,
    clips: int = 100,
    listeners: int = 15,
    trials: int = 20,
    seed: int = 0,
    subsets: dict[str, str] | None = None,
    kind: str = "flac",
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write the page folder `output` and, beside it, the key that tells who made what.

    Args:
        folders: of mixtures, by system.
        clips: number taken at random from those common to all systems.
        subsets: by clip, in-domain or zero-shot; clips that it does not name are left out.
        kind: format of the sounds, of `fastsag.audio.FORMATS`.
        progress: told of (sounds done, sounds in all).

    Returns:
        The key file, OUTPUT.key.json. It must not reach listeners.

    Raises:
        UserError: too few clips, unreadable audio, or `output` or its key exist.
    """
    key_file = output.with_name(output.name + ".key.json")
    for path in (output, key_file):
        if path.exists():
            raise UserError(f"{path}: exists already; choose another folder or delete it")
    sources = gather(folders)
    known = subsets if subsets is not None else dict.fromkeys(sources, ALL)
    chosen = choose({clip: known[clip] for clip in sources if clip in known}, clips, seed)
    key = blind(plan(chosen, list(folders), listeners, trials, seed), kind, seed)
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=output.parent, prefix=f".{output.name}."))
    try:
        (temporary / "audio").mkdir()
        digest = hashlib.sha256(json.dumps(key).encode())
        for sound in _write_sounds(temporary, key, sources, kind, progress):
            digest.update(sound.read_bytes())
        key["test"] = digest.hexdigest()[:12]
        _write_noise(temporary / key["volume"], kind)
        audio.write_text(temporary / "index.html", render(key))
        audio.write_text(key_file, json.dumps(key, indent=1) + "\n")
        temporary.chmod(0o755)
        temporary.replace(output)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return key_file


def blind(assigned: list[list[Trial]], kind: str, seed: int) -> dict[str, Any]:
    """The plan under opaque names, with what they stand for.

    Returns:
        {"version", "seed", "volume", "clips": {id: {"name", "subset"}}, "systems": {id: name},
        "listeners": [[{"file", "clip", "subset", "system"}]]}
    """
    rng = np.random.default_rng([seed, 2])
    heard = [trial for trials in assigned for trial in trials]
    clips = _opaque(rng, "c", {trial.clip for trial in heard})
    systems = _opaque(rng, "s", {trial.system for trial in heard})
    names = _opaque(rng, "", {(trial.clip, trial.system) for trial in heard})
    subsets = {trial.clip: trial.subset for trial in heard}
    return {
        "version": __version__,
        "seed": seed,
        "volume": f"audio/volume.{kind}",
        "clips": {own: {"name": clip, "subset": subsets[clip]} for clip, own in clips.items()},
        "systems": {own: system for system, own in systems.items()},
        "listeners": [
            [
                {
                    "file": f"audio/{names[trial.clip, trial.system]}.{kind}",
                    "clip": clips[trial.clip],
                    "subset": trial.subset,
                    "system": systems[trial.system],
                }
                for trial in trials
            ]
            for trials in assigned
        ],
    }


def _opaque(rng: np.random.Generator, prefix: str, names: Iterable[Any]) -> dict[Any, str]:
    """A random identifier for each name."""
    ordered = sorted(names)
    numbers = rng.choice(0x10000, size=len(ordered), replace=False)
    return {name: f"{prefix}{number:04x}" for name, number in zip(ordered, numbers)}


def render(key: dict[str, Any]) -> str:
    """The page with its plan: what listeners may know of the key."""
    shown = {name: key[name] for name in ("test", "volume", "listeners")}
    text = json.dumps(shown, separators=(",", ":")).replace("<", "\\u003c")
    return template().replace(_PLAN, text)


def template() -> str:
    """page.html without a plan."""
    return files(__package__).joinpath("page.html").read_text(encoding="utf-8")


def _write_sounds(
    folder: Path,
    key: dict[str, Any],
    sources: dict[str, dict[str, Path]],
    kind: str,
    progress: Callable[[int, int], None] | None,
) -> list[Path]:
    """Every sound of the plan once: same loudness, length and format for all systems, no tags."""
    trials = {trial["file"]: trial for own in key["listeners"] for trial in own}
    by_clip: dict[str, list[dict[str, str]]] = {}
    for trial in trials.values():
        by_clip.setdefault(trial["clip"], []).append(trial)
    written: list[Path] = []
    for clip, wanted in by_clip.items():
        own = sources[key["clips"][clip]["name"]]
        recordings = {system: audio.read(file) for system, file in own.items()}
        seconds = min(r.samples.shape[1] / r.sample_rate for r in recordings.values())
        for trial in wanted:
            recording = recordings[key["systems"][trial["system"]]]
            samples = recording.samples[:, : round(seconds * recording.sample_rate)]
            written.append(folder / trial["file"])
            levelled = level(samples, recording.sample_rate)
            audio.write(written[-1], levelled, recording.sample_rate, kind)
            if progress:
                progress(len(written), len(trials))
    return written


def level(samples: np.ndarray, rate: int) -> np.ndarray:
    """(C, N) brought to LEVEL_LUFS, or as near as peaks of PEAK_DBFS let it."""
    gain_db = LEVEL_LUFS - loudness(samples, rate, gate_lufs=-150.0)
    peak_db = 20 * np.log10(max(float(np.abs(samples).max()), 1e-9))
    gain_db = min(gain_db, PEAK_DBFS - peak_db)
    return samples * np.float32(10 ** (gain_db / 20))


def _write_noise(path: Path, kind: str) -> None:
    """Pink noise at the level of the clips, faded at both ends."""
    count = _NOISE_SECONDS * _NOISE_HZ
    spectrum = np.fft.rfft(np.random.default_rng(0).standard_normal(count))
    hz = np.fft.rfftfreq(count, 1 / _NOISE_HZ)
    spectrum[hz < 40] = 0
    noise = np.fft.irfft(spectrum / np.sqrt(np.maximum(hz, 40)), count)
    fade = np.minimum(1, np.minimum(np.arange(count), np.arange(count)[::-1]) / (_NOISE_HZ / 5))
    samples = (noise * fade / np.abs(noise).max())[None].astype(np.float32)
    audio.write(path, level(samples, _NOISE_HZ), _NOISE_HZ, kind)
