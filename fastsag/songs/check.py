"""Is a corpus what its truth says? Voices in tune, chords and beats audible, and how it is spread.

Everything is measured from the audio of the records by methods that did not make it.
"""

from __future__ import annotations

import multiprocessing
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np

from fastsag.chords import NO_CHORD, chord_index, chord_tones
from fastsag.data.shards import Record, read_shard, shard_paths
from fastsag.errors import require
from fastsag.kernels import compile_kernels
from fastsag.songs.tracking import beat_agreement, tempo_agrees, track

# What a corpus should reach (name, statistic, least), over songs.
GOALS = (
    ("in_tune", "median", 0.99),
    ("chords", "median", 0.9),
    ("chords", "p10", 0.6),
    ("beats", "median", 0.95),
    ("beats", "p10", 0.6),
    ("tempo", "mean", 0.97),
)
_RATE = 22_050  # Hz, of the harmonic analysis
_HOP = 1_024
_WINDOW, _POINTS = 0.08, 16_384  # s and points of the spectra that pitch is read from
_EDGE = 0.06  # s after a note's start that belong to the consonant and the glide


def check(
    folder: Path,
    most: int = 200,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> list[dict[str, Any]]:
    """Measures of up to `most` songs (one record each), evenly from all shards.

    Args:
        progress: told of (shards done, shards in all).

    Raises:
        UserError: no shards in the folder.
    """
    paths = shard_paths(folder)
    rows: list[dict[str, Any]] = []
    compile_kernels()
    context = multiprocessing.get_context("spawn")
    share = [most * (place + 1) // len(paths) - most * place // len(paths) for place in
             range(len(paths))]  # fmt: skip
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        futures = [pool.submit(check_shard, *pair) for pair in zip(paths, share, strict=True)]
        for done, future in enumerate(as_completed(futures), 1):
            rows += future.result()
            if progress:
                progress(done, len(paths))
    return sorted(rows, key=lambda row: str(row["song"]))


def check_shard(path: Path, most: int) -> list[dict[str, Any]]:
    """Measures of the first `most` songs of a shard."""
    rows: list[dict[str, Any]] = []
    for record in read_shard(path):
        if len(rows) >= most:
            break
        if not any(row["song"] == record.meta["song"] for row in rows):
            rows.append(measures(record))
    return rows


def measures(record: Record) -> dict[str, Any]:
    """What is heard in a record, beside what describes it."""
    meta, rate = record.meta, record.meta["sample_rate"]
    beats = np.asarray(meta["beats"])
    # The mix, as a listener would have it: voice and band at their recorded levels.
    heard, tracked = track(record.accompaniment + record.vocals, rate)
    if len(tracked) > 8:
        heard = 60 / float(np.polyfit(np.arange(len(tracked)), tracked, 1)[0])
    pitches = [note["pitch"] for note in meta["notes"]]
    names = ("song", "split", "style", "family", "meter", "mode", "language", "voice_type",
             "free_tempo", "duration", "tempo")  # fmt: skip
    return {
        **{name: meta.get(name) for name in names},
        "key": meta["key"],
        "source": meta["voice"]["source"],
        "groove": meta["groove"],
        "conditions": sorted(meta.get("conditions", ())),
        "lowest": min(pitches),
        "highest": max(pitches),
        "notes_a_second": len(pitches) / meta["duration"],
        "harte": len({chord.get("harte", chord["label"]) for chord in meta["chords"]}),
        "in_tune": in_tune(record.vocals, rate, meta["notes"]),
        **chords_heard(record.accompaniment, rate, meta["chords"]),
        "beats": beat_agreement(tracked, beats, str(meta.get("meter"))),
        "tempo_heard": heard,
        "tempo_right": tempo_agrees(heard, meta["tempo"]),
    }


def in_tune(voice: np.ndarray, rate: int, notes: list[dict[str, Any]]) -> float:
    """Share of notes whose median pitch is within 50 cents of the score, octaves aside.

    Pitch is the best harmonic sum of short spectra over the range of the song, which survives
    noise and codecs; octaves are aside because second voices sing there, and the sum confuses
    them. Notes are looked for where they were sung.
    """
    pitches = [note["pitch"] for note in notes]
    candidates = np.arange(min(pitches) - 4, max(pitches) + 4, 0.1)
    close = []
    for note in notes:
        start, end = note.get("sung", (note["start"], note["end"]))
        heard = _harmonic_pitch(voice, rate, min(start + _EDGE, (start + end) / 2), end, candidates)
        away = (heard - note["pitch"] + 6) % 12 - 6
        close.append(abs(away) < 0.5)
    return float(np.mean(close))


def _harmonic_pitch(
    voice: np.ndarray, rate: int, start: float, end: float, candidates: np.ndarray
) -> float:
    """Median MIDI pitch in start..end by harmonic sums less what lies between the harmonics."""
    width, hop = int(_WINDOW * rate), int(_WINDOW * rate / 4)
    first = int(start * rate)
    starts = np.arange(first, max(first + 1, int(end * rate) - width), hop)
    frames = np.stack([np.pad(part := voice[at : at + width], (0, width - len(part)))
                       for at in starts])  # fmt: skip
    spectrum = np.sqrt(np.abs(np.fft.rfft(frames * np.hanning(width), _POINTS)))
    hz = 440 * 2 ** ((candidates - 69) / 12)
    score = np.zeros((len(frames), len(candidates)))
    for harmonic in range(1, 9):
        for place, weight in ((harmonic, 1.0), (harmonic - 0.5, -0.5)):
            bins = np.rint(place * hz * _POINTS / rate).astype(int)
            inside = bins < spectrum.shape[1]
            heard = spectrum[:, np.minimum(bins, spectrum.shape[1] - 1)]
            score += 0.8 ** (harmonic - 1) * weight * np.where(inside, heard, 0)
    return float(np.median(candidates[score.argmax(1)]))


def chords_heard(band: np.ndarray, rate: int, chords: list[dict[str, Any]]) -> dict[str, float]:
    """Share of chords whose triad is among the best three, and is the best, of 24 templates."""
    librosa = require("librosa", extra="eval")
    sound = librosa.resample(band, orig_sr=rate, target_sr=_RATE, res_type="soxr_mq")
    spectrum = librosa.stft(sound, hop_length=_HOP)
    harmonic = librosa.istft(
        librosa.decompose.hpss(spectrum, margin=2.0)[0], hop_length=_HOP, length=len(sound)
    )
    low = librosa.note_to_hz("C2")
    bins = np.abs(
        librosa.cqt(harmonic, sr=_RATE, hop_length=_HOP, fmin=low, n_bins=144, bins_per_octave=36,
                    tuning=0.0)
    )[::3]  # fmt: skip
    chroma = (bins.reshape(4, 12, -1) ** 2).sum(0)
    times = np.arange(chroma.shape[1]) * _HOP / _RATE
    templates = np.zeros((24, 12))
    for index in range(24):
        templates[index, list(chord_tones(index))] = 1
    ranks = []
    for chord in chords:
        inside = (times >= chord["start"]) & (times < chord["end"])
        if chord["label"] == NO_CHORD or not inside.any():
            continue
        heard = np.sqrt(chroma[:, inside]).mean(1)
        if heard.std() < 1e-9:
            ranks.append(24)
            continue
        fits = np.array([np.corrcoef(heard, template)[0, 1] for template in templates])
        ranks.append(int((fits > fits[chord_index(chord["label"])]).sum()))
    place = np.array(ranks)
    return {"chords": float(np.mean(place < 3)), "chords_first": float(np.mean(place == 0))}


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Statistics over songs; beats and tempo of songs in free tempo stand apart."""
    steady = [row for row in rows if not row["free_tempo"]]
    free = [row for row in rows if row["free_tempo"]]
    measured = {
        "in_tune": _statistics([row["in_tune"] for row in rows]),
        "chords": _statistics([row["chords"] for row in rows]),
        "chords_first": _statistics([row["chords_first"] for row in rows]),
        "beats": _statistics([row["beats"] for row in steady]),
        "beats_free": _statistics([row["beats"] for row in free]),
        "tempo": _statistics([float(row["tempo_right"]) for row in steady]),
    }
    reached = [
        {"measure": name, "statistic": statistic, "least": least,
         "value": measured[name][statistic], "reached": measured[name][statistic] >= least}
        for name, statistic, least in GOALS
    ]  # fmt: skip
    counted = ("key", "mode", "meter", "style", "family", "language", "voice_type", "split")
    spread: dict[str, Any] = {
        name: dict(sorted(Counter(str(row[name]) for row in rows).items())) for name in counted
    }
    spread["conditions"] = dict(
        sorted(Counter(name for row in rows for name in row["conditions"]).items())
    )
    for name in ("tempo", "duration", "lowest", "highest", "notes_a_second"):
        spread[name] = _statistics([row[name] for row in rows])
    spread["sources"] = len({row["source"] for row in rows})
    spread["grooves"] = len({row["groove"] for row in rows})
    return {"songs": len(rows), "measured": measured, "goals": reached, "spread": spread}


def _statistics(values: list[float]) -> dict[str, float]:
    if not values:
        return {"count": 0, "mean": 0.0, "median": 0.0, "p10": 0.0, "least": 0.0, "most": 0.0}
    array = np.asarray(values, dtype=np.float64)
    found = {
        "mean": array.mean(),
        "median": np.median(array),
        "p10": np.percentile(array, 10),
        "least": array.min(),
        "most": array.max(),
    }
    return {"count": len(values), **{name: round(float(value), 4) for name, value in found.items()}}


def table(result: dict[str, Any]) -> str:
    """The summary as text for a terminal."""
    labels = {
        "in_tune": "sung notes within 50 cents",
        "chords": "chords among the best three of 24",
        "chords_first": "chords heard as written",
        "beats": "beats within 70 ms",
        "beats_free": "the same, songs in free tempo",
        "tempo": "tempo within 4 % up to octaves",
    }
    lines = [f"{result['songs']} songs", f"{'':38}{'mean':>8}{'median':>8}{'p10':>8}{'worst':>8}"]
    for name, label in labels.items():
        row = result["measured"][name]
        numbers = "".join(f"{row[key]:8.3f}" for key in ("mean", "median", "p10", "least"))
        lines.append(f"{label:38}{numbers}   ({row['count']} songs)")
    for goal in result["goals"]:
        word = "reached" if goal["reached"] else "MISSED"
        lines.append(
            f"{word:8} {goal['measure']} {goal['statistic']} {goal['value']:.3f}"
            f" (at least {goal['least']})"
        )
    for name, counts in result["spread"].items():
        if isinstance(counts, dict) and "median" not in counts:
            lines.append(f"{name}: " + ", ".join(f"{key} {count}" for key, count in counts.items()))
        elif isinstance(counts, dict):
            lines.append(f"{name}: {counts['least']:g} to {counts['most']:g}, "
                         f"median {counts['median']:g}")  # fmt: skip
        else:
            lines.append(f"{name}: {counts}")
    return "\n".join(lines)
