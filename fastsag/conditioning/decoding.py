"""Frame-wise plan -> one steady lead sheet: beats, bars, key and one chord for each bar.

The beat phasor of a song at constant tempo is a complex exponential, so its tempo is a Fourier
peak and its phase the angle there; what remains after demodulation is how the singer drifts.
"""

from __future__ import annotations

import numpy as np

from fastsag.chords import CHORDS, NO_CHORD, chord_index, chord_tones, key_index, key_name, moved
from fastsag.conditioning.planner import METRES, PlanFrames
from fastsag.lead_sheet import Hints, LeadSheet

BPM_RANGE = (72.0, 190.0)  # slower songs are counted twice as fast, as the planner learned
_DRIFT_SECONDS = 6.0  # smoothing of the deviation from constant tempo
_LATE_SECONDS = 0.2  # by which a last note may sound over the bar line
_PROGRESSION_WEIGHT = 0.6  # of what usually follows against what is heard


def decode(
    frames: PlanFrames,
    rate_hz: float,
    duration: float,
    hints: Hints | None = None,
    progressions: np.ndarray | None = None,
    sung_until: float | None = None,
) -> LeadSheet:
    """The most likely lead sheet of a recording, as far as `hints` leave it open.

    Args:
        frames: planner output without batch axis, L tokens, token i centred at (i + 0.5) / rate.
        rate_hz: tokens per second.
        duration: seconds that the beats must cover.
        hints: what is known already.
        progressions: see `choose_chords`.
        sung_until: seconds at which the last note ends; the band ends with the bar behind it, on
            the tonic. None: it plays to the end.
    """
    hints = hints or Hints()
    times = (np.arange(len(frames.beat)) + 0.5) / rate_hz
    confidence: dict[str, float] = {}
    beats = _beats(_complex(frames.beat), rate_hz, duration, hints, confidence)
    metre, first = _bars(_complex(frames.bars), times, beats, hints, confidence)
    grid = LeadSheet(beats, metre, first, key_name(0), ("N",))
    bars = int(np.floor((len(beats) - 1 - first) / metre)) + 2  # with the pickup
    if hints.key is not None:
        key = key_index(hints.key)
    else:
        key, confidence["key"] = choose_key(_log_softmax(frames.keys.float().cpu().numpy()))
    bar_of = _bar_of(grid, times, bars)
    if hints.chords:
        loop = [hints.chords[bar % len(hints.chords)] for bar in range(bars - 1)]
        chords = [hints.pickup or hints.chords[0].split()[0], *loop]
    else:
        scores = _log_softmax(frames.chords.float().cpu().numpy())
        path, confidence["chords"] = choose_chords(scores, bar_of, bars, key, progressions)
        chords = [CHORDS[index] for index in path]
    if sung_until is not None and len(hints.chords or ()) < bars - 1:  # a whole song's are kept
        last = int(_bar_of(grid, np.array(sung_until - _LATE_SECONDS), bars))
        chords = _ended(chords, last, None if hints.chords else key)
    return LeadSheet(
        beats=beats,
        beats_per_bar=metre,
        first_downbeat=first,
        key=key_name(key),
        chords=tuple(chords),
        style=hints.style,
        confidence={name: round(value, 3) for name, value in confidence.items()},
    )


def _bar_of(grid: LeadSheet, times: np.ndarray, bars: int) -> np.ndarray:
    """The bar, counted as in `LeadSheet.chords`, of each of `times` in seconds."""
    position = (grid.beat_position(times) - grid.first_downbeat) / grid.beats_per_bar
    return np.clip(np.floor(position).astype(int) + 1, 0, bars - 1)


def _ended(chords: list[str], last: int, key: int | None) -> list[str]:
    """Chords of bars that end with one bar behind bar `last`, on the tonic where `key` is known.

    A song that has left its key stays on the chord of bar `last`.
    """
    final = chords[last + 1 : last + 2]
    if final and key is not None:
        inside = _in_key(chord_index(chords[last].split()[-1]), key)
        final = [CHORDS[key] if inside else chords[last]]
    return [*chords[: last + 1], *final, *(NO_CHORD for _ in chords[last + 2 :])]


def _in_key(chord: int, key: int) -> bool:
    """Whether a chord is made of the key's scale, in minor with both sevenths."""
    scale = {0, 2, 4, 5, 7, 9, 11} if key < 12 else {0, 2, 3, 5, 7, 8, 10, 11}
    return {(tone - key) % 12 for tone in chord_tones(chord)} <= scale


def _beats(
    phasor: np.ndarray,
    rate_hz: float,
    duration: float,
    hints: Hints,
    confidence: dict[str, float],
) -> np.ndarray:
    """Beat times as given or estimated, one of them at a given downbeat."""
    if hints.beats is not None:
        return covering(np.asarray(hints.beats, dtype=np.float64), duration)
    if hints.bpm is not None:
        start = hints.downbeat
        if start is None:
            start, confidence["beat"] = _phase_at(phasor, rate_hz, hints.bpm)
        return steady(start, 60 / hints.bpm, duration)
    beats, confidence["beat"] = beat_times(phasor, rate_hz, duration)
    if hints.downbeat is not None:
        shift = hints.downbeat - beats[np.argmin(np.abs(beats - hints.downbeat))]
        beats = covering(beats + shift, duration)
    return beats


def steady(time: float, step: float, duration: float) -> np.ndarray:
    """Beats every `step` seconds that cover 0..duration, one of them at `time`."""
    start = time - step * np.floor(time / step + 0.01)
    return start + step * np.arange(max(2, int(np.ceil((duration - start) / step)) + 1))


def covering(beats: np.ndarray, duration: float) -> np.ndarray:
    """Ascending beat times (two or more) continued at their ends to cover 0..duration."""
    first, last = beats[1] - beats[0], beats[-1] - beats[-2]
    before = np.arange(int(np.floor(max(0.0, beats[0]) / first + 0.01)), 0, -1)
    after = np.arange(1, max(0, int(np.ceil((duration - beats[-1]) / last))) + 1)
    return np.concatenate([beats[0] - first * before, beats, beats[-1] + last * after])


def _phase_at(phasor: np.ndarray, rate_hz: float, bpm: float) -> tuple[float, float]:
    """Time of a beat at a given tempo, and a confidence.

    The planner counts within an octave of tempo: slower and faster ones are looked up there.
    """
    counted = bpm
    while counted < BPM_RANGE[0]:
        counted *= 2
    while counted > BPM_RANGE[1]:
        counted /= 2
    times = (np.arange(len(phasor)) + 0.5) / rate_hz
    mean = (phasor * np.exp(-2j * np.pi * counted / 60 * times)).mean()
    turn = -float(np.angle(mean)) / (2 * np.pi) % 1
    return turn * 60 / counted, min(1.0, float(np.abs(mean)))


def _bars(
    bars: np.ndarray,
    times: np.ndarray,
    beats: np.ndarray,
    hints: Hints,
    confidence: dict[str, float],
) -> tuple[int, int]:
    """Metre and index of the first downbeat, as given or estimated."""
    metre, first, sure = bar_lines(bars, times, beats, hints.metre)
    if hints.metre is None or hints.downbeat is None:
        confidence["metre"] = sure
    if hints.downbeat is not None:
        first = int(np.argmin(np.abs(beats - hints.downbeat)))
    return metre, first


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
    from scipy.ndimage import gaussian_filter1d  # slow to import

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


def bar_lines(
    bars: np.ndarray, times: np.ndarray, beats: np.ndarray, metre: int | None = None
) -> tuple[int, int, float]:
    """Metre, index of the first downbeat and confidence from the bar phasors (L, metres)."""
    sheet = LeadSheet(beats, 4, 0, key_name(0), ("N",))
    position = sheet.beat_position(times)
    scores: dict[tuple[int, int], float] = {}
    for column, beats_per_bar in enumerate(METRES):
        if metre not in (None, beats_per_bar):
            continue
        for offset in range(beats_per_bar):
            expected = np.exp(-2j * np.pi * (position - offset) / beats_per_bar)
            scores[beats_per_bar, offset] = float((bars[:, column] * expected).real.mean())
    best = max(scores, key=lambda choice: scores[choice])
    return *best, float(np.clip(scores[best], 0, 1))


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
    progressions: np.ndarray | None = None,
) -> tuple[list[int], float]:
    """One chord for each bar by dynamic programming (Viterbi), and the mean probability of them.

    Args:
        scores: log probabilities of chords (L, 25).
        token_bars: bar of each token (L,).
        bars: number of bars.
        key: key index.
        progressions: log probabilities (2, 25, 25) of what follows what in C major and C minor.
    """
    emission = np.zeros((bars, len(CHORDS)))
    np.add.at(emission, token_bars, scores)
    # Frames within a bar are far from independent: a bar counts as two observations.
    count = np.bincount(token_bars, minlength=bars)[:, None]
    emission = 2.0 * emission / np.maximum(count, 1)
    transition = np.zeros((len(CHORDS), len(CHORDS)))
    if progressions is not None:
        in_c = [moved(index, -key) for index in range(len(CHORDS))]
        transition = _PROGRESSION_WEIGHT * progressions[key // 12][np.ix_(in_c, in_c)]
    return _viterbi(emission, transition)


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
