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


def griffin_lim(spectral: Spectral, magnitude: Tensor, phase: Tensor, iterations: int) -> Tensor:
    """Samples (B, T * hop) whose spectrum comes near `magnitude` (B, F, T).

    Args:
        phase: unit complex numbers (B, F, T) to start from.
        iterations: how often the spectrum is made consistent; 0 only inverts.
    """
    spectrum = magnitude * phase
    # As pairs of real numbers: torch is many times slower with complex ones.
    previous = torch.zeros_like(torch.view_as_real(spectrum))
    for _ in range(iterations):
        consistent = torch.view_as_real(spectral(spectral.inverse(spectrum)))
        ahead = previous.lerp(consistent, 1 + _MOMENTUM)
        power = ahead[..., 0].square() + ahead[..., 1].square()
        scale = magnitude * power.clamp(min=1e-18).rsqrt()
        spectrum = torch.view_as_complex(ahead) * scale
        previous = consistent
    return spectral.inverse(spectrum)
