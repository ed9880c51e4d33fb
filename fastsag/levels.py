"""Levels: loudness, the mix of voice and band, and the normalisations of published systems.

Samples are float32 arrays (C, N), full scale 1, handled in pieces, so that they may be `Spool`s and
no step holds copies in double precision.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from fastsag.spool import Array, Memory, Store, pieces, slices

PEAK_DBFS = -1.0  # nothing that is mixed is louder
RUMBLE_HZ = 25.0  # below, a band is felt by loudspeakers alone
_GATE_LUFS = -70.0  # BS.1770: quieter blocks do not count


def without_rumble(parts: Iterable[np.ndarray], rate: int) -> Iterator[np.ndarray]:
    """Parts (C, n), one after the other, without what is below `RUMBLE_HZ`.

    A Butterworth filter of fourth order. A generated spectrogram is free to hold there what nobody
    hears; it would cost headroom.
    """
    from scipy.signal import butter, sosfilt  # most of a second to import

    sections = butter(4, RUMBLE_HZ, "highpass", fs=rate, output="sos")
    state = None
    for part in parts:
        state = np.zeros((len(sections), len(part), 2)) if state is None else state
        filtered, state = sosfilt(sections, part, zi=state)
        yield filtered.astype(part.dtype, copy=False)


def loudness(samples: Array, rate: int, gate_lufs: float = _GATE_LUFS) -> float:
    """Integrated loudness of (C, N) in LUFS (ITU-R BS.1770-4); -inf for silence.

    The filters and gates are pyloudnorm's, run in pieces. A clip shorter than one 0.4 s block
    counts as one block. `gate_lufs` is the absolute gate.
    """
    total = _channel_weights(len(samples)) @ _block_power(samples, rate)
    level = -0.691 + 10 * np.log10(np.maximum(total, 1e-20))
    gated = total[level > gate_lufs]
    if len(gated) == 0:
        return -math.inf
    relative = -0.691 + 10 * np.log10(gated.mean()) - 10
    gated = total[(level > gate_lufs) & (level > relative)]
    return float(-0.691 + 10 * np.log10(gated.mean()))


def _channel_weights(channels: int) -> np.ndarray:
    """How much each channel counts: left, right, centre, then surround (BS.1770-4, table 4)."""
    if channels == 6:  # 5.1: the fourth channel is the subwoofer, which does not count
        return np.array([1.0, 1.0, 1.0, 0.0, 1.41, 1.41])
    weights = np.ones(channels)
    weights[3:5] = 1.41
    return weights


def _block_power(samples: Array, rate: int) -> np.ndarray:
    """Mean square of the K-weighted signal (C, blocks): 0.4 s blocks every 0.1 s."""
    from pyloudnorm import Meter  # with scipy.signal most of a second to import
    from scipy.signal import lfilter

    # A shelf above half the sample rate would be unstable and has nothing to weight.
    filters = [stage for stage in Meter(rate)._filters.values() if stage.fc < rate / 2]
    states = [np.zeros((len(samples), 2)) for _ in filters]
    step = 0.1 * rate
    count = samples.shape[1]
    blocks = max(1, int(np.round((count / rate - 0.4) / 0.1)) + 1)
    # Cumulative energy at the block edges; blocks are differences of it.
    edges = np.unique([min(int(step * k), count) for k in range(blocks + 4)])
    energy = np.zeros((len(samples), len(edges)))
    total, start = np.zeros(len(samples)), 0
    for piece in pieces(samples):
        weighted = piece.astype(np.float64)
        for index, stage in enumerate(filters):
            weighted, states[index] = lfilter(stage.b, stage.a, weighted, zi=states[index])
            weighted = stage.passband_gain * weighted
        running = total[:, None] + np.cumsum(np.square(weighted), axis=1)
        inside = (edges > start) & (edges <= start + piece.shape[1])
        energy[:, inside] = running[:, edges[inside] - start - 1]
        total, start = running[:, -1], start + piece.shape[1]
    at = {int(edge): column for column, edge in enumerate(edges)}
    power = [
        energy[:, at[min(int(step * (k + 4)), count)]] - energy[:, at[min(int(step * k), count)]]
        for k in range(blocks)
    ]
    return np.stack(power, axis=1) / (0.4 * rate)


@dataclass(frozen=True)
class Mix:
    """samples: voice and band (C, N). accompaniment: the band as it sounds there (1, N).

    Loudness in LUFS of the parts as they sound in the mix; gains in dB.
    """

    samples: Array
    accompaniment: Array
    voice_lufs: float
    accompaniment_lufs: float
    mix_lufs: float
    peak_dbfs: float
    accompaniment_gain_db: float
    common_gain_db: float

    def figures(self) -> dict[str, float | None]:
        """The numbers for JSON; None stands for silence."""
        values = {
            "voice_lufs": self.voice_lufs,
            "accompaniment_lufs": self.accompaniment_lufs,
            "mix_lufs": self.mix_lufs,
            "peak_dbfs": self.peak_dbfs,
            "accompaniment_gain_db": self.accompaniment_gain_db,
            "common_gain_db": self.common_gain_db,
        }
        return {
            name: round(value, 2) if math.isfinite(value) else None
            for name, value in values.items()
        }


def mix(
    voice: Array, accompaniment: Array, rate: int, level_db: float, store: Store | None = None
) -> Mix:
    """The voice with a band at `level_db` LU against it; never clips.

    Args:
        voice: (C, N), kept in all its channels up to one gain common to voice and band.
        accompaniment: (1, N) or longer, goes to every channel alike.
        rate: Hz.
        level_db: loudness of the band minus that of the voice.
        store: makes the arrays of the result; None: `Memory`.
    """
    store = store or Memory()
    voice_lufs, band_lufs = loudness(voice, rate), loudness(accompaniment, rate)
    if voice_lufs == -math.inf:  # a faint recording still sets the level of its band
        voice_lufs = loudness(voice, rate, gate_lufs=-150.0)
    # The mono band plays from every channel, which adds up to more than one channel does.
    spread_db = 10 * math.log10(_channel_weights(len(voice)).sum())
    gain_db = 0.0
    if math.isfinite(voice_lufs) and math.isfinite(band_lufs):
        gain_db = voice_lufs + level_db - band_lufs - spread_db
    band = _scale(accompaniment, 10 ** (gain_db / 20), store.zeros(*accompaniment.shape))
    del accompaniment  # an hour of audio: free it before the mix is made, if nobody else holds it
    samples = store.zeros(len(voice), band.shape[1])
    for part in slices(samples):
        samples[:, part] = band[:, part]
    for part in slices(voice):
        samples[:, part] = voice[:, part] + band[:, part]
    peak = max(_peak(samples), _peak(band))
    common = min(1.0, 10 ** (PEAK_DBFS / 20) / max(peak, 1e-9))
    if common < 1:
        _scale(samples, common, out=samples)
        _scale(band, common, out=band)
    common_db = 20 * math.log10(common)
    return Mix(
        samples=samples,
        accompaniment=band,
        voice_lufs=voice_lufs + common_db,
        accompaniment_lufs=band_lufs + gain_db + spread_db + common_db,
        mix_lufs=loudness(samples, rate),
        peak_dbfs=20 * math.log10(max(_peak(samples), 1e-9)),
        accompaniment_gain_db=gain_db,
        common_gain_db=common_db,
    )


def _scale(samples: Array, gain: float, out: Array) -> Array:
    for part in slices(samples):
        out[:, part] = samples[:, part] * np.float32(gain)
    return out


def _peak(samples: Array) -> float:
    return max(float(np.abs(piece).max()) for piece in pieces(samples))


def min_max(samples: np.ndarray, peak: float = 0.8) -> np.ndarray:
    """The authors' waveform normalisation: the lowest sample becomes -peak, the highest +peak.

    Over all channels together. It adds an offset where a waveform is not symmetric; a constant one
    becomes silence (the published code divides by zero there).
    """
    gain, offset = min_max_level(samples, peak)
    return samples * np.float32(gain) + np.float32(offset)


def min_max_level(samples: Array, peak: float = 0.8) -> tuple[float, float]:
    """Gain and offset of `min_max`."""
    low = min(float(piece.min()) for piece in pieces(samples))
    high = max(float(piece.max()) for piece in pieces(samples))
    if high <= low:
        return 0.0, 0.0
    gain = 2 * peak / (high - low)
    return gain, -peak - low * gain


def rms_db_natural(samples: np.ndarray) -> float:
    """The authors' level: 10 ln(rms) over all samples, so that -25 is -21.7 dBFS; -inf: silence."""
    rms = math.sqrt(float(np.mean(np.square(samples, dtype=np.float64))))
    return 10 * math.log(rms) if rms > 0 else -math.inf
