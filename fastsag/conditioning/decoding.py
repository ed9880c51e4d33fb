"""Frame-wise plan -> one steady lead sheet: beats, bars, key, style and a chord for each bar."""

from __future__ import annotations

import numpy as np

from fastsag.chords import CHORDS, NO_CHORD, chord_index, chord_tones, key_index, key_name, moved
from fastsag.conditioning.beats import Onsets, bar_lines, find_beats
from fastsag.conditioning.planner import PlanFrames
from fastsag.conditioning.viterbi import best_path
from fastsag.lead_sheet import STYLES, Hints, LeadSheet

_LATE_SECONDS = 0.2  # by which a last note may sound over the bar line
_ON_THE_BEAT = 0.5  # beats behind the bar line, within which a note fills the bar
_PROGRESSION_WEIGHT = 0.6  # of what usually follows against what is heard
_SUITS = 0.25  # how probable a style must be against the best one, to be played by some seed
_STYLE_OF_THREE = "waltz"  # the one style of songs with three beats a bar


def decode(
    frames: PlanFrames,
    rate_hz: float,
    duration: float,
    hints: Hints | None = None,
    progressions: np.ndarray | None = None,
    last_note: tuple[float, float] | None = None,
    seed: int = 0,
    onsets: Onsets | None = None,
    beyond: float = 0.0,
) -> LeadSheet:
    """The most likely lead sheet of a recording, as far as `hints` leave it open.

    Args:
        frames: planner output without batch axis, L tokens, token i centred at (i + 0.5) / rate.
        rate_hz: tokens per second.
        duration: seconds that the beats must cover.
        hints: what is known already.
        progressions: see `choose_chords`.
        last_note: seconds at which it begins and ends. The band ends with the bar of a note that
            is held from its first beat on the tonic, else one bar behind, on the tonic. None: it
            plays to the end.
        seed: which of the styles that suit; 0 is the most probable.
        onsets: of the voice, see `nudge`; None: beats stay where the planner has them.
        beyond: seconds behind `duration` within which the band may still end.
    """
    hints = hints or Hints()
    times = (np.arange(len(frames.beat)) + 0.5) / rate_hz
    confidence: dict[str, float] = {}
    until = duration + beyond
    beats = find_beats(_complex(frames.beat), rate_hz, until, hints, confidence, onsets)
    metre, first = _bars(_complex(frames.bars), times, beats, hints, confidence)
    grid = LeadSheet(beats, metre, first, key_name(0), ("N",))
    bars = int(np.floor((len(beats) - 1 - first) / metre)) + 2  # with the pickup
    if hints.key is not None:
        key = key_index(hints.key)
    else:
        key, confidence["key"] = choose_key(_log_softmax(frames.keys.float().cpu().numpy()))
    bar_of = _bar_of(grid, times, bars)
    whole = False  # whether the chords are those of a whole song, which say its end
    if hints.chords:
        whole = len(hints.chords) >= _lasting(grid, duration) - 1
        chords = _given(hints.chords, hints.pickup, bars, whole)
    else:
        scores = _log_softmax(frames.chords.float().cpu().numpy())
        path, confidence["chords"] = choose_chords(scores, bar_of, bars, key, progressions)
        chords = [CHORDS[index] for index in path]
    if last_note is not None and not whole:
        begins, ends = last_note
        last = int(_bar_of(grid, np.array(ends - _LATE_SECONDS), bars))
        bar_line = first + (last - 1) * metre
        held = bool(grid.beat_position(np.array(begins)) <= bar_line + _ON_THE_BEAT)
        chords = _ended(chords, last, None if hints.chords else key, held)
    if beyond:
        beats, chords = _trimmed(grid, chords, duration)
    style = hints.style
    if style is None:
        logits = frames.styles.float().cpu().numpy().mean(0)
        style, confidence["style"] = choose_style(logits, metre, seed)
    return LeadSheet(
        beats=beats,
        beats_per_bar=metre,
        first_downbeat=first,
        key=key_name(key),
        chords=tuple(chords),
        style=style,
        confidence={name: round(value, 3) for name, value in confidence.items()},
    )


def _bar_of(grid: LeadSheet, times: np.ndarray, bars: int) -> np.ndarray:
    """The bar, counted as in `LeadSheet.chords`, of each of `times` in seconds."""
    position = (grid.beat_position(times) - grid.first_downbeat) / grid.beats_per_bar
    return np.clip(np.floor(position).astype(int) + 1, 0, bars - 1)


def _lasting(grid: LeadSheet, seconds: float) -> int:
    """Bars, the pickup among them, that begin before `seconds`."""
    starts = grid.beats[grid.first_downbeat :: grid.beats_per_bar]
    return int(np.searchsorted(starts, seconds)) + 1


def _given(given: tuple[str, ...], pickup: str | None, bars: int, whole: bool) -> list[str]:
    """Chords of all bars: those that are given, and behind them nothing or the same again."""
    count = bars - 1
    played = [*given, *(NO_CHORD for _ in range(count))] if whole else given * count
    return [pickup or given[0].split()[0], *played[:count]]


def _ended(chords: list[str], last: int, key: int | None, held: bool) -> list[str]:
    """Chords of bars that end with bar `last` or, on the tonic where `key` is known, one behind it.

    A song that has left its key stays on the chord of bar `last`. held: whether one note fills
    that bar: on the tonic, this is the end.
    """
    final = chords[last + 1 : last + 2]
    if key is not None:
        chord = chords[last].split()[-1]
        home = CHORDS[key] if _in_key(chord_index(chord), key) else chord
        final = [] if held and chord == home else [home] * len(final)
    return [*chords[: last + 1], *final, *(NO_CHORD for _ in chords[last + 1 + len(final) :])]


def _trimmed(grid: LeadSheet, chords: list[str], duration: float) -> tuple[np.ndarray, list[str]]:
    """Beats and chords to the end of the bar behind the last chord, and at least for `duration`."""
    sounding = [bar for bar, chord in enumerate(chords) if chord != NO_CHORD]
    kept = max(max(sounding, default=0) + 2, _lasting(grid, duration))
    end = grid.first_downbeat + (kept - 1) * grid.beats_per_bar
    return grid.beats[: end + 1], chords[:kept]


def _in_key(chord: int, key: int) -> bool:
    """Whether a chord is made of the key's scale, in minor with both sevenths."""
    scale = {0, 2, 4, 5, 7, 9, 11} if key < 12 else {0, 2, 3, 5, 7, 8, 10, 11}
    return {(tone - key) % 12 for tone in chord_tones(chord)} <= scale


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


def choose_key(log_probabilities: np.ndarray) -> tuple[int, float]:
    """Key index and its probability from frame-wise log probabilities (L, 24)."""
    mean = log_probabilities.mean(0)
    probabilities = np.exp(mean - mean.max())
    probabilities /= probabilities.sum()
    best = int(probabilities.argmax())
    return best, float(probabilities[best])


def choose_style(logits: np.ndarray, metre: int, seed: int) -> tuple[str, float]:
    """A style that suits a song by `logits` (styles,) and its metre, and its probability.

    Seeds go through those that are not much less probable than the best, best first.
    """
    three = np.array([style == _STYLE_OF_THREE for style in STYLES])
    allowed = three if metre == 3 else ~three
    probabilities = np.exp(_log_softmax(np.where(allowed, logits, -np.inf)))
    ranked = np.argsort(-probabilities, kind="stable")
    suits = ranked[: int((probabilities >= _SUITS * probabilities.max()).sum())]
    best = int(suits[seed % len(suits)])
    return STYLES[best], float(probabilities[best])


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
    path = best_path(emission, transition)
    probabilities = np.exp(emission - emission.max(1, keepdims=True))
    probabilities /= probabilities.sum(1, keepdims=True)
    heard = count[:, 0] > 0
    return path.tolist(), float(probabilities[np.arange(len(path)), path][heard].mean())


def _complex(pairs: object) -> np.ndarray:
    array = pairs.float().cpu().numpy()  # type: ignore[attr-defined]
    return array[..., 0] + 1j * array[..., 1]


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
