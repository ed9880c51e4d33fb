"""The melodic encoder: what is sung, without who sings it.

A deterministic module without trained weights. It keeps the pitch class at a third of a semitone,
voicing, onsets and energy, and drops timbre and register, so that a network trained on synthetic
voices meets familiar features in a real one.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fastsag.conditioning.encoders.contract import SemanticEncoder
from fastsag.spool import Array

BINS_PER_OCTAVE = 36
CHROMA = slice(0, BINS_PER_OCTAVE)
ENERGY, ONSET, VOICING = BINS_PER_OCTAVE, BINS_PER_OCTAVE + 1, BINS_PER_OCTAVE + 2
SIZE = BINS_PER_OCTAVE + 3  # D
REFERENCE_DBFS = -20.0  # level of the sung parts that the features assume

_LOWEST_HZ = 65.406  # C2
_PITCH_OCTAVES = 4  # fundamentals up to C6
_HARMONICS = 8
_HARMONIC_DECAY = 0.8
_FLOOR_DB = -60.0
_SHORTEST_NOTE_SECONDS = 0.12
_FRAMES = 256  # of a level, measured at once
_N_FFT_PITCH = 4096  # 5.9 Hz bins: semitones of a bass voice stay apart with their harmonics
_N_FFT_ONSET = 1024
_ONSET_BANDS = 24


class MelodicEncoder(SemanticEncoder):
    """Waveform (B, N) -> (B, N // hop, 39): 36 chroma bins, energy, onset, voicing, all in 0..1.

    Chroma bin 0 is C at A440, bin 3 is C sharp. The level of the input should be
    `REFERENCE_DBFS` over its sounding parts (`level_gain`).
    """

    size = SIZE
    piece = 1875  # 40 s
    margin = 8  # more than the longest analysis window
    log_bins: Tensor
    onset_bands: Tensor
    pitch_window: Tensor
    onset_window: Tensor

    def __init__(self, sample_rate: int = 24_000, hop_length: int = 512) -> None:
        super().__init__()
        self.sample_rate, self.hop_length = sample_rate, hop_length
        octaves = _PITCH_OCTAVES + np.log2(_HARMONICS)
        bins = int(BINS_PER_OCTAVE * octaves)
        log_hz = _LOWEST_HZ * 2 ** (np.arange(bins) / BINS_PER_OCTAVE)
        constants = {
            "log_bins": _interpolation(log_hz, sample_rate, _N_FFT_PITCH),
            "onset_bands": _log_bands(_ONSET_BANDS, 80.0, 8_000.0, sample_rate, _N_FFT_ONSET),
            "pitch_window": torch.hann_window(_N_FFT_PITCH),
            "onset_window": torch.hann_window(_N_FFT_ONSET),
        }
        for name, value in constants.items():
            self.register_buffer(name, value, persistent=False)

    def level(self, samples: Array) -> tuple[float, float]:
        """What brings samples (1, N) to `REFERENCE_DBFS` over their sounding parts."""
        return level_gain(samples, self.sample_rate), 0.0

    @torch.no_grad()
    def forward(self, wave: Tensor) -> Tensor:
        spectrum = self._magnitude(wave, self.pitch_window)
        level_db = _level_db(wave, self.hop_length, spectrum.shape[-1])
        chroma, clarity = self._chroma(spectrum)
        gate = torch.sigmoid((level_db - (REFERENCE_DBFS - 28)) / 2)
        voicing = gate * clarity
        energy = ((level_db - _FLOOR_DB) / -_FLOOR_DB).clamp(0, 1)
        onset = self._onsets(wave)
        scalars = torch.stack([energy, onset, voicing], dim=1)
        return torch.cat([chroma * voicing.unsqueeze(1), scalars], dim=1).transpose(1, 2)

    def _magnitude(self, wave: Tensor, window: Tensor) -> Tensor:
        """Magnitude spectrum (B, F, S) with the amplitude of a sine as unit."""
        n_fft = len(window)
        pad = (n_fft - self.hop_length) // 2
        padded = F.pad(wave, (pad, pad))
        spectrum = torch.stft(
            padded, n_fft, self.hop_length, window=window, center=False, return_complex=True
        )
        return spectrum.abs() * (2 / window.sum())

    def _chroma(self, spectrum: Tensor) -> tuple[Tensor, Tensor]:
        """Harmonic-sum chroma (B, 36, S), its peak 1, and how clear the peak is (B, S)."""
        log_spectrum = self.log_bins @ torch.log1p(1_000 * spectrum)
        partials = (log_spectrum - _local_mean(log_spectrum, 19)).clamp(min=0)
        pitches = BINS_PER_OCTAVE * _PITCH_OCTAVES
        salience = torch.zeros_like(partials[:, :pitches])
        for harmonic in range(1, _HARMONICS + 1):
            shift = round(BINS_PER_OCTAVE * np.log2(harmonic))
            weight = _HARMONIC_DECAY ** (harmonic - 1)
            part = partials[:, shift : shift + pitches]
            salience[:, : part.shape[1]] += weight * part
        folded = salience.unflatten(1, (_PITCH_OCTAVES, BINS_PER_OCTAVE)).amax(1)
        peak = folded.amax(1, keepdim=True)
        chroma = (folded / peak.clamp(min=1e-3)).pow(4)
        # A flat chroma (noise, breath, silence) spreads over many bins, a sung note over three.
        spread = chroma.sum(1)
        clarity = torch.sigmoid((9.0 - spread) / 1.5) * torch.sigmoid((peak.squeeze(1) - 3.5) * 2)
        return chroma, clarity

    def _onsets(self, wave: Tensor) -> Tensor:
        """Half-wave rectified spectral flux (B, S), squashed to 0..1."""
        bands = torch.log1p(1_000 * (self.onset_bands @ self._magnitude(wave, self.onset_window)))
        earlier = F.pad(bands, (2, 0), mode="replicate")[..., :-2]
        flux = (bands - earlier).clamp(min=0).mean(1)
        return torch.tanh(flux)


def tuning(semantics: Tensor) -> tuple[float, float]:
    """How sharp the singer is against A440, in cents (-50..50), and how sure that is (0..1).

    The circular mean of where energy lies within a semitone, over semantics (S, 39).
    """
    chroma = semantics[:, CHROMA].sum(0).double().cpu().numpy()
    fine = BINS_PER_OCTAVE // 12
    turns = chroma @ np.exp(2j * np.pi * np.arange(BINS_PER_OCTAVE) / fine)
    return float(100 * np.angle(turns) / (2 * np.pi)), float(abs(turns) / max(chroma.sum(), 1e-9))


def last_note(semantics: Tensor, rate_hz: float) -> tuple[float, float] | None:
    """Seconds at which the last sung note begins and ends, from semantics (S, 39); None: no notes.

    It begins where the pitch class comes to stay; short gaps are consonants and breath.
    """
    voiced = (semantics[:, VOICING] > 0.5).cpu().numpy()
    shortest = max(1, round(_SHORTEST_NOTE_SECONDS * rate_hz))
    inside = np.flatnonzero(np.convolve(voiced, np.ones(shortest), "valid") == shortest)
    if len(inside) == 0:
        return None
    end = int(inside[-1]) + shortest
    bins = semantics[:end, CHROMA].argmax(1).cpu().numpy()
    final = np.bincount(bins[-2 * shortest :]).argmax()
    away = (bins - final + BINS_PER_OCTAVE // 2) % BINS_PER_OCTAVE - BINS_PER_OCTAVE // 2
    held = np.flatnonzero(voiced[:end] & (abs(away) < BINS_PER_OCTAVE // 12))
    breaks = np.flatnonzero(np.diff(held) > shortest)
    start = held[breaks[-1] + 1] if len(breaks) else held[0]
    return float(start / rate_hz), float(end / rate_hz)


def level_gain(samples: Array, sample_rate: int) -> float:
    """Gain that brings the sounding parts of `samples`, (N,) or (1, N), to `REFERENCE_DBFS`.

    Frames of 50 ms within 30 dB of the 95th percentile count as sounding.
    """
    frame = max(1, int(0.05 * sample_rate))
    frame = min(frame, max(1, samples.shape[-1]))
    whole = samples.shape[-1] // frame * frame
    powers = []
    for start in range(0, whole, _FRAMES * frame):
        framed = samples[..., start : min(start + _FRAMES * frame, whole)].reshape(-1, frame)
        powers.append(np.einsum("ij,ij->i", framed, framed, dtype=np.float64) / frame)
    power = np.concatenate(powers)
    loud = power[power >= 1e-3 * np.percentile(power, 95)]
    return float(10 ** (REFERENCE_DBFS / 20) / np.sqrt(max(loud.mean(), 1e-12)))


def _level_db(wave: Tensor, hop: int, frames: int) -> Tensor:
    """RMS level (B, S) in dBFS over four hops around each frame's centre."""
    power = F.avg_pool1d(wave.square().unsqueeze(1), hop, hop).squeeze(1)[:, :frames]
    smooth = F.avg_pool1d(F.pad(power.unsqueeze(1), (1, 1), mode="replicate"), 3, 1).squeeze(1)
    return 10 * torch.log10(smooth + 1e-10)


def _local_mean(values: Tensor, width: int) -> Tensor:
    """Moving average over axis 1 of (B, bins, S)."""
    kernel = torch.ones(1, 1, width, 1, device=values.device, dtype=values.dtype) / width
    padded = F.pad(values.unsqueeze(1), (0, 0, width // 2, width // 2), mode="replicate")
    return F.conv2d(padded, kernel).squeeze(1)


def _interpolation(hz: np.ndarray, sample_rate: int, n_fft: int) -> Tensor:
    """Matrix (len(hz), n_fft // 2 + 1) that reads a spectrum at `hz` by linear interpolation."""
    position = hz / (sample_rate / n_fft)
    low = np.floor(position).astype(int)
    matrix = np.zeros((len(hz), n_fft // 2 + 1), dtype=np.float32)
    rows = np.arange(len(hz))
    matrix[rows, low] = 1 - (position - low)
    matrix[rows, low + 1] = position - low
    return torch.from_numpy(matrix)


def _log_bands(count: int, low: float, high: float, sample_rate: int, n_fft: int) -> Tensor:
    """Rectangular log-spaced bands (count, n_fft // 2 + 1), each row a mean."""
    edges = np.geomspace(low, high, count + 1) / (sample_rate / n_fft)
    bins = np.arange(n_fft // 2 + 1)[None]
    first = np.floor(edges[:-1])[:, None]
    last = np.maximum(np.ceil(edges[1:])[:, None], first + 1)
    inside = ((bins >= first) & (bins < last)).astype(np.float32)
    return torch.from_numpy(inside / inside.sum(1, keepdims=True))
