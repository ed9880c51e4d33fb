"""Frame-wise plan -> one steady lead sheet: beats, bars, key and one chord for each bar.

The beat phasor of a song at constant tempo is a complex exponential, so its tempo is a Fourier
peak and its phase the angle there; what remains after demodulation is how the singer drifts.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d

from fastsag.conditioning.planner import METRES, PlanFrames
from fastsag.lead_sheet import CHORDS, LeadSheet, chord_tones, key_name

BPM_RANGE = (72.0, 190.0)  # slower songs are counted twice as fast, as the planner learned
_DRIFT_SECONDS = 6.0  # smoothing of the deviation from constant tempo
_SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10, 11))  # major; natural + harmonic minor


def decode(frames: PlanFrames, rate_hz: float, duration: float) -> LeadSheet:
    """The most likely lead sheet of a recording.

    Args:
        frames: planner output without batch axis, L tokens, token i centred at (i + 0.5) / rate.
        rate_hz: tokens per second.
        duration: seconds that the beats must cover.
    """
    beat = _complex(frames.beat)
    bars = _complex(frames.bars)
    chord_scores = _log_softmax(frames.chords.float().cpu().numpy())
    beats, beat_confidence = beat_times(beat, rate_hz, duration)
    token_beats = (np.arange(len(beat)) + 0.5) / rate_hz
    metre, first, metre_confidence = bar_lines(bars, token_beats, beats)
    sheet = LeadSheet(beats, metre, first, key_name(0), ("N",))
    last_bar = int(np.floor((len(beats) - 1 - first) / metre)) + 1
    position = sheet.beat_position(token_beats)
    token_bars = np.clip(np.floor((position - first) / metre).astype(int) + 1, 0, last_bar)
    key, key_confidence = choose_key(_log_softmax(frames.keys.float().cpu().numpy()))
    chords, chord_confidence = choose_chords(chord_scores, token_bars, last_bar + 1, key)
    return LeadSheet(
        beats=beats,
        beats_per_bar=metre,
        first_downbeat=first,
        key=key_name(key),
        chords=tuple(CHORDS[index] for index in chords),
        confidence={
            "beat": round(beat_confidence, 3),
            "metre": round(metre_confidence, 3),
            "key": round(key_confidence, 3),
            "chords": round(chord_confidence, 3),
        },
    )


def beat_times(phasor: np.ndarray, rate_hz: float, duration: float) -> tuple[np.ndarray, float]:
    """Beat times covering 0..duration from the beat phasor (L,), and a confidence in 0..1.

    One tempo explains the whole; the smoothed phase left over bends it where the singer drifts.
    """
    size = 1 << int(np.ceil(np.log2(max(len(phasor) * 4, rate_hz * 600))))
    spectrum = np.abs(np.fft.fft(phasor, size))
    frequency = np.fft.fftfreq(size, 1 / rate_hz)
    allowed = (frequency * 60 >= BPM_RANGE[0]) & (frequency * 60 <= BPM_RANGE[1])
    tempo_hz = frequency[np.argmax(np.where(allowed, spectrum, -1))]
    times = (np.arange(len(phasor)) + 0.5) / rate_hz
    residual = phasor * np.exp(-2j * np.pi * tempo_hz * times)
    drift = gaussian_filter1d(residual.real, _DRIFT_SECONDS * rate_hz, mode="nearest")
    drift = drift + 1j * gaussian_filter1d(residual.imag, _DRIFT_SECONDS * rate_hz, mode="nearest")
    phase = np.unwrap(np.angle(drift)) / (2 * np.pi)
    confidence = float(np.abs(drift).mean())
    return _invert(times, tempo_hz, phase, duration), min(1.0, confidence)


def _invert(times: np.ndarray, tempo_hz: float, phase: np.ndarray, duration: float) -> np.ndarray:
    """Times from 0 to just past `duration` at which tempo_hz * t + phase(t) is an integer."""
    grid = np.arange(0.0, duration + 2 / tempo_hz, 0.01)
    turns = tempo_hz * grid + np.interp(grid, times, phase)
    turns = np.maximum.accumulate(turns + 1e-9 * np.arange(len(turns)))
    numbers = np.arange(np.ceil(turns[0]), np.ceil(turns[-1]))
    beats = np.interp(numbers, turns, grid)
    return beats[: max(2, int(np.searchsorted(beats, duration)) + 1)]


def bar_lines(bars: np.ndarray, times: np.ndarray, beats: np.ndarray) -> tuple[int, int, float]:
    """Metre, index of the first downbeat and confidence from the bar phasors (L, metres)."""
    sheet = LeadSheet(beats, 4, 0, key_name(0), ("N",))
    position = sheet.beat_position(times)
    scores: dict[tuple[int, int], float] = {}
    for column, metre in enumerate(METRES):
        for offset in range(metre):
            expected = np.exp(-2j * np.pi * (position - offset) / metre)
            scores[metre, offset] = float((bars[:, column] * expected).real.mean())
    metre, first = max(scores, key=lambda choice: scores[choice])
    return metre, first, float(np.clip(scores[metre, first], 0, 1))


def choose_key(log_probabilities: np.ndarray) -> tuple[int, float]:
    """Key index and its probability from frame-wise log probabilities (L, 24)."""
    mean = log_probabilities.mean(0)
    probabilities = np.exp(mean - mean.max())
    probabilities /= probabilities.sum()
    best = int(probabilities.argmax())
    return best, float(probabilities[best])


def choose_chords(
    scores: np.ndarray,
    token_bars: np.ndarray,
    bars: int,
    key: int,
    diatonic_bonus: float = 0.5,
    stay_cost: float = 0.5,
) -> tuple[list[int], float]:
    """One chord for each bar by dynamic programming (Viterbi).

    Args:
        scores: log probabilities of chords (L, 25).
        token_bars: bar of each token (L,).
        bars: number of bars.
        key: key index; chords outside its scale lose `diatonic_bonus`.
        stay_cost: what it costs to repeat the chord of the bar before.
    """
    emission = np.zeros((bars, len(CHORDS)))
    np.add.at(emission, token_bars, scores)
    # Frames within a bar are far from independent: a bar counts as two observations.
    count = np.bincount(token_bars, minlength=bars)[:, None]
    emission = 2.0 * emission / np.maximum(count, 1)
    scale = {(key + step) % 12 for step in _SCALES[key // 12]}
    outside = [not set(chord_tones(index)) <= scale for index in range(len(CHORDS))]
    emission -= diatonic_bonus * np.array(outside)
    emission[:, -1] -= 2.0  # a band that rests is the exception
    transition = -stay_cost * np.eye(len(CHORDS))
    path, posterior = _viterbi(emission, transition)
    return path, posterior


def _viterbi(emission: np.ndarray, transition: np.ndarray) -> tuple[list[int], float]:
    """Best path, and the mean emission probability along it."""
    score = emission[0]
    back = np.zeros(emission.shape, dtype=int)
    for step in range(1, len(emission)):
        options = score[:, None] + transition
        back[step] = options.argmax(0)
        score = options.max(0) + emission[step]
    path = [int(score.argmax())]
    for step in range(len(emission) - 1, 0, -1):
        path.append(int(back[step, path[-1]]))
    path.reverse()
    probabilities = np.exp(emission - emission.max(1, keepdims=True))
    probabilities /= probabilities.sum(1, keepdims=True)
    return path, float(probabilities[np.arange(len(path)), path].mean())


def _complex(pairs: object) -> np.ndarray:
    array = pairs.float().cpu().numpy()  # type: ignore[attr-defined]
    return array[..., 0] + 1j * array[..., 1]


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
