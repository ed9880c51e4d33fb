"""A Vocos-style vocoder: ConvNeXt blocks at frame rate and an inverse STFT (Siuzdak 2023).

The network does not invent the magnitude: it moves energy inside the bands that the mel prescribes.
Nor does it count time, which a convolution cannot do (a steady tone looks the same in every frame,
but its phase turns): it only rotates the phase that the magnitude's own frequencies add up to.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fastsag.config import MelConfig
from fastsag.nn.convnext import ConvNeXtBlock
from fastsag.vocoder.griffin_lim import griffin_lim
from fastsag.vocoder.spectral import PhaseClock, Spectral

_LARGEST_STEP = 6.0  # log units by which a magnitude may be corrected
_FIT_ROUNDS = 3  # after the correction, which then only moves energy inside a band


class Vocos(nn.Module):
    """Log mel (B, M, T), perhaps a piece of a longer one -> samples (B, T * hop).

    Args:
        mel: the spectrogram contract.
        width, hidden, depth: of the ConvNeXt backbone.
        griffin_lim_iterations: refinements of the predicted phase (0: none), of as many frames as
            overlap by three quarters.
    """

    bf16 = True  # may be computed in half precision
    clocked = True  # takes a `PhaseClock`

    def __init__(
        self,
        mel: MelConfig,
        width: int,
        hidden: int,
        depth: int,
        griffin_lim_iterations: int = 0,
    ) -> None:
        super().__init__()
        self.spectral = Spectral(mel)
        self.griffin_lim_iterations = griffin_lim_iterations
        self.stride = max(1, mel.n_fft // (4 * mel.hop_length))
        bins = mel.n_fft // 2 + 1
        self.embed = nn.Conv1d(mel.n_mels, width, 7, padding=3)
        self.norm = nn.LayerNorm(width)
        self.blocks = nn.Sequential(*(ConvNeXtBlock(width, hidden) for _ in range(depth)))
        self.last_norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 3 * bins)
        with torch.no_grad():
            self.head.weight.mul_(0.1)
            self.head.bias.zero_()
            self.head.bias[bins : 2 * bins] = 1.0  # no rotation

    def forward(self, log_mel: Tensor, clock: PhaseClock | None = None) -> Tensor:
        magnitude, phase = self.spectrum(log_mel, clock)
        return griffin_lim(
            self.spectral, magnitude, phase, self.griffin_lim_iterations, self.stride
        )

    def spectrum(self, log_mel: Tensor, clock: PhaseClock | None = None) -> tuple[Tensor, Tensor]:
        """Log mel (B, M, T) -> magnitude (B, F, T) and phase as unit complex numbers (B, F, T)."""
        x = self.embed((log_mel + 5) / 3).transpose(1, 2)
        x = self.blocks(self.norm(x).transpose(1, 2)).transpose(1, 2)
        step, real, imaginary = (
            part.transpose(1, 2) for part in self.head(self.last_norm(x)).float().chunk(3, dim=-1)
        )
        step = _LARGEST_STEP * torch.tanh(step / _LARGEST_STEP)
        magnitude = self.spectral.magnitude(log_mel) * step.exp()
        magnitude = self.spectral.fit(magnitude, log_mel, _FIT_ROUNDS)
        length = torch.sqrt(real.square() + imaginary.square() + 1e-6)
        rotation = torch.complex(real / length, imaginary / length)
        # Detached: through a sum over all frames before it, a gradient would be noise.
        return magnitude, rotation * self.spectral.integrated_phase(magnitude.detach(), clock)
