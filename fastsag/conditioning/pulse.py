"""A bank of pulses: how the voice's note starts line up with every tempo.

A windowed Fourier coefficient of the novelty curve at a tempo has the phase of the beat that would
explain the note starts around it (Grosche and Müller's predominant local pulse, kept complex). The
planner then has to choose among candidate beats instead of finding periodicity by itself.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastsag.conditioning.encoders.melodic import CHROMA, ENERGY, ONSET

BEAT_PULSES, BAR_PULSES = 36, 28
# (lowest BPM, highest BPM, pulses, window's standard deviation in seconds): beats, then bars.
_BANKS = ((45.0, 200.0, BEAT_PULSES, 2.5), (12.0, 60.0, BAR_PULSES, 5.0))


class PulseBank(nn.Module):
    """Melodic semantics (B, S, 39) -> candidate phasors of beats and of bars.

    Two tensors (B, K, 2, S // patch): cosine and sine of the phase at pulse k's tempo, 0 at note
    starts; their length, 0..1, says how well the note starts around fit that tempo.

    Args:
        rate_hz: semantic frames a second.
        patch: frames a token; phases are those of token centres.
    """

    def __init__(self, rate_hz: float, patch: int) -> None:
        super().__init__()
        self.patch = patch
        for number, (low, high, count, spread) in enumerate(_BANKS):
            half = int(2.5 * spread * rate_hz)
            # Time of each tap from the centre of the token, which lies between frames.
            time = (torch.arange(-half, half + 1) - (patch - 1) / 2) / rate_hz
            window = torch.exp(-0.5 * (time / spread) ** 2)
            ratio = torch.linspace(math.log(low), math.log(high), count).exp() / 60
            angle = 2 * torch.pi * ratio[:, None] * time
            waves = torch.stack([angle.cos(), -angle.sin()], dim=1).flatten(0, 1) * window
            kernel = torch.cat([waves, window[None]]).unsqueeze(1)
            self.register_buffer(f"kernel{number}", kernel, persistent=False)

    def forward(self, semantics: Tensor) -> tuple[Tensor, Tensor]:
        curve = novelty(semantics.float())
        length = curve.shape[-1] // self.patch
        parts = []
        for number in range(len(_BANKS)):
            kernel: Tensor = getattr(self, f"kernel{number}")
            padded = F.pad(curve, (kernel.shape[-1] // 2, kernel.shape[-1] // 2))
            with torch.autocast(curve.device.type, enabled=False):
                sums = F.conv1d(padded, kernel, stride=self.patch)[..., :length]
            parts.append((sums[:, :-1] / (sums[:, -1:] + 1.0)).unflatten(1, (-1, 2)))
        return parts[0], parts[1]


def novelty(semantics: Tensor) -> Tensor:
    """How much begins at each frame: onset, rise, change of pitch. (B, S, D) -> (B, 1, S)."""
    earlier = F.pad(semantics, (0, 0, 2, 0), mode="replicate")[:, :-2]
    rise = (semantics[..., ENERGY] - earlier[..., ENERGY]).clamp(min=0)
    change = (semantics[..., CHROMA] - earlier[..., CHROMA]).clamp(min=0).sum(-1)
    return (semantics[..., ONSET] + 2 * rise + 0.5 * change).unsqueeze(1)
