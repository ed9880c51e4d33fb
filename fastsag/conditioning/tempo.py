"""How many beats have passed at each moment, from the planner's beat phasor.

The phasor of a song at constant tempo is a complex exponential: its tempo is a Fourier peak, its
phase the angle there, and what remains after demodulation is how the singer drifts. A singer who
breathes with time bends it. Then the peaks of short stretches form a path, found by dynamic
programming, along which the phasor is demodulated instead.
"""

from __future__ import annotations

import numpy as np

from fastsag.conditioning.viterbi import best_path

BPM_RANGE = (72.0, 190.0)  # slower songs are counted twice as fast, as the planner learned
_STEADY_SECONDS, _BENDING_SECONDS = 14.0, 4.0  # smoothing of what remains after demodulation
_CLEARLY = 0.15  # by how much better a bending tempo must fit, of 1
_TEMPOS = 300  # within the range, a third of a per cent apart
_STRETCH_SECONDS = 4.0  # spread of the window in which a tempo is heard
_STIFFNESS = 3e3  # cost of a tempo's change by all its value within a second


def count_beats(phasor: np.ndarray, rate_hz: float) -> tuple[np.ndarray, float]:
    """Beats passed at each token (L,), a beat where it is an integer, and how well they fit (0..1).

    One tempo explains the song, unless one that bends explains it clearly better.
    """
    steady = _followed(phasor, rate_hz, steady_tempo(phasor, rate_hz), _STEADY_SECONDS)
    bending = _followed(phasor, rate_hz, bending_tempo(phasor, rate_hz), _BENDING_SECONDS)
    fits = [float((phasor * _wave(turns)).real.mean()) for turns in (steady, bending)]
    turns, fit = (bending, fits[1]) if fits[1] > fits[0] + _CLEARLY else (steady, fits[0])
    return turns, float(np.clip(fit, 0, 1))


def steady_tempo(phasor: np.ndarray, rate_hz: float) -> np.ndarray:
    """The tempo (L,) in Hz that explains most of the phasor, the same at every token."""
    size = 1 << int(np.ceil(np.log2(max(len(phasor) * 32, rate_hz * 600))))
    spectrum = np.abs(np.fft.fft(phasor, size))
    frequency = np.fft.fftfreq(size, 1 / rate_hz)
    allowed = (frequency * 60 >= BPM_RANGE[0]) & (frequency * 60 <= BPM_RANGE[1])
    return np.full(len(phasor), frequency[np.argmax(np.where(allowed, spectrum, -1))])


def bending_tempo(phasor: np.ndarray, rate_hz: float) -> np.ndarray:
    """The tempo (L,) in Hz at each token, on a stiff path through what is heard around it."""
    from scipy.ndimage import gaussian_filter1d  # slow to import

    tempos = np.geomspace(*BPM_RANGE, _TEMPOS) / 60
    hop = max(1, round(rate_hz))  # about a second
    reach = round(3 * _STRETCH_SECONDS * rate_hz)
    offsets = np.arange(-reach, reach + 1) / rate_hz
    window = np.exp(-0.5 * (offsets / _STRETCH_SECONDS) ** 2)
    kernel = window * np.exp(-2j * np.pi * np.outer(tempos, offsets))
    centres = np.arange(hop // 2, max(len(phasor), hop // 2 + 1), hop)
    padded, inside = (np.pad(part, reach) for part in (phasor, np.ones(len(phasor))))
    strength = np.empty((len(centres), _TEMPOS))
    for row, centre in enumerate(centres):
        around = slice(centre, centre + 2 * reach + 1)
        heard = padded[around]
        shape = kernel[:, : len(heard)]
        strength[row] = np.abs(shape @ heard) / (window[: len(heard)] @ inside[around] + 1e-9)
    seconds, places = hop / rate_hz, np.log(tempos)
    change = (places[:, None] - places[None]) / seconds
    path = places[best_path(strength, -_STIFFNESS * change**2 * seconds)]
    everywhere = np.interp(np.arange(len(phasor)), centres, path)
    return np.exp(gaussian_filter1d(everywhere, 2 * rate_hz, mode="nearest"))


def _followed(
    phasor: np.ndarray, rate_hz: float, tempo_hz: np.ndarray, seconds: float
) -> np.ndarray:
    """Beats passed (L,) at a tempo and by the phase that remains, smoothed over `seconds`."""
    from scipy.ndimage import gaussian_filter1d  # slow to import

    turns = np.cumsum(tempo_hz) / rate_hz
    rest = phasor * _wave(turns)
    # Nothing beyond the ends: to repeat the last token would let one noisy phase move whole bars.
    real, imaginary = (
        gaussian_filter1d(part, seconds * rate_hz, mode="constant")
        for part in (rest.real, rest.imag)
    )
    smooth = real + 1j * imaginary
    return turns + np.unwrap(np.angle(smooth)) / (2 * np.pi)


def _wave(turns: np.ndarray) -> np.ndarray:
    return np.exp(-2j * np.pi * turns)
