"""Phase without weights: fast Griffin-Lim (Perraudin et al. 2013)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fastsag.config import MelConfig
from fastsag.vocoder.spectral import PhaseClock, Spectral

_MOMENTUM = 0.99


class GriffinLim(nn.Module):
    """Log mel (B, M, T), perhaps a piece of a longer one -> samples (B, T * hop), deterministic;
    the fallback vocoder."""

    clocked = True  # takes a `PhaseClock`

    def __init__(self, mel: MelConfig, iterations: int) -> None:
        super().__init__()
        self.spectral, self.iterations = Spectral(mel), iterations

    def forward(self, log_mel: Tensor, clock: PhaseClock | None = None) -> Tensor:
        magnitude = self.spectral.magnitude(log_mel)
        phase = self.spectral.integrated_phase(magnitude, clock)
        return griffin_lim(self.spectral, magnitude, phase, self.iterations)


def griffin_lim(
    spectral: Spectral, magnitude: Tensor, phase: Tensor, iterations: int, stride: int = 1
) -> Tensor:
    """Samples (B, T * hop) whose spectrum comes near `magnitude` (B, F, T).

    Args:
        phase: unit complex numbers (B, F, T) to start from.
        iterations: how often the spectrum is made consistent; 0 only inverts.
        stride: only every so many frames take part, at that share of the time; all of them in the
            end. Windows must still overlap by three quarters.
    """
    if stride == 1 or iterations == 0:
        return spectral.inverse(_rounds(spectral, magnitude, phase, iterations))
    rough = _rounds(spectral, magnitude[..., ::stride], phase[..., ::stride], iterations, stride)
    whole = spectral(spectral.inverse(rough, stride, magnitude.shape[-1]))
    return spectral.inverse(_with_magnitude(torch.view_as_real(whole), magnitude))


def _rounds(
    spectral: Spectral, magnitude: Tensor, phase: Tensor, iterations: int, stride: int = 1
) -> Tensor:
    """The spectrum (B, F, T) after so many rounds, of every `stride`-th frame."""
    spectrum = magnitude * phase
    # As pairs of real numbers: torch is many times slower with complex ones.
    previous = torch.zeros_like(torch.view_as_real(spectrum))
    for _ in range(iterations):
        consistent = torch.view_as_real(spectral(spectral.inverse(spectrum, stride), stride))
        ahead = previous.lerp(consistent, 1 + _MOMENTUM)
        spectrum = _with_magnitude(ahead, magnitude)
        previous = consistent
    return spectrum


def _with_magnitude(spectrum: Tensor, magnitude: Tensor) -> Tensor:
    """Pairs (B, F, T, 2) -> complex numbers (B, F, T) of the same phase and this magnitude."""
    power = spectrum[..., 0].square() + spectrum[..., 1].square()
    return torch.view_as_complex(spectrum) * (magnitude * power.clamp(min=1e-18).rsqrt())
