"""The planner: what the voice's semantics say about beat, bar, key and chords.

`Planner` is the network, frame by frame; `conditioning/decoding.py` turns its output into one
steady `LeadSheet`. Planning before rendering is what lets a small model keep harmony and time.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastsag.chords import CHORDS, MODES
from fastsag.conditioning.pulse import BAR_PULSES, BEAT_PULSES, PulseBank
from fastsag.lead_sheet import STYLES
from fastsag.nn.transformer import Transformer

KEYS = 12 * len(MODES)
METRES = (3, 4)  # beats a bar that the planner knows


class PlanFrames(NamedTuple):
    """Planner output at token rate, L tokens.

    beat: (B, L, 2) cosine and sine of the beat phase; the length of the vector is the confidence.
    bars: (B, L, metres, 2) the same for the bar phase under each metre of `METRES`.
    chords: (B, L, 25) logits over `CHORDS`.
    keys: (B, L, 24) logits over keys.
    styles: (B, L, styles) logits over `lead_sheet.STYLES`.
    """

    beat: Tensor
    bars: Tensor
    chords: Tensor
    keys: Tensor
    styles: Tensor


class Planner(nn.Module):
    """Semantics (B, S, D) -> `PlanFrames` at S // patch tokens.

    One transformer reads the harmony; a second, which knows what the first found, the rhythm. It
    does not draw beat and bar phases but steers the candidates of the `PulseBank`: each phase is a
    sum of them with complex weights of its own at every token. Knowing where bars begin, it also
    corrects the first one's chords and keys, and says which style would suit.

    `progressions` (2, 25, 25) holds counted, not trained, log probabilities of the next bar's chord
    given this bar's, in C major and in C minor: decoding reads it.
    """

    progressions: Tensor

    def __init__(
        self, *, dim: int, rate_hz: float, width: int, depth: int, heads: int, patch: int
    ) -> None:
        super().__init__()
        self.patch = patch
        self.register_buffer("progressions", torch.zeros(len(MODES), len(CHORDS), len(CHORDS)))
        self.pulses = PulseBank(rate_hz, patch)
        self.embed = nn.Sequential(
            nn.Conv1d(dim, width, 5, padding=2),
            nn.GELU(),
            nn.Conv1d(width, width, patch, stride=patch),
        )
        self.harmony = Transformer(width=width, depth=depth, heads=heads)
        self.chords = nn.Linear(width, len(CHORDS) + KEYS)
        self.embed_pulses = nn.Conv1d(3 * (BEAT_PULSES + BAR_PULSES), width, 1)
        self.rhythm = Transformer(width=width, depth=depth, heads=heads)
        self.steering = nn.Linear(width, 2 * BEAT_PULSES + 2 * len(METRES) * BAR_PULSES)
        self.correction = nn.Linear(width, len(CHORDS) + KEYS + len(STYLES))
        nn.init.zeros_(self.correction.weight)
        nn.init.zeros_(self.correction.bias)

    def forward(self, semantics: Tensor) -> PlanFrames:
        harmony = self.harmony(self.embed(semantics.transpose(1, 2)).transpose(1, 2))
        beats, bars = self.pulses(semantics)  # (B, K, 2, L)
        pulses = torch.cat([beats, bars], dim=1)
        strength = pulses.square().sum(2).add(1e-6).sqrt()
        heard = self.embed_pulses(torch.cat([pulses.flatten(1, 2), strength], dim=1))
        rhythm = self.rhythm(harmony + heard.transpose(1, 2))
        heard_chords = F.pad(self.chords(harmony).float(), (0, len(STYLES)))
        chords, keys, styles = (heard_chords + self.correction(rhythm).float()).split(
            (len(CHORDS), KEYS, len(STYLES)), dim=-1
        )
        weights = self.steering(rhythm).float()
        beat_weights, bar_weights = weights.tensor_split([2 * BEAT_PULSES], dim=-1)
        return PlanFrames(
            steer(beat_weights.unflatten(-1, (1, BEAT_PULSES, 2)), _unit(beats)).squeeze(2),
            steer(bar_weights.unflatten(-1, (len(METRES), BAR_PULSES, 2)), _unit(bars)),
            chords,
            keys,
            styles,
        )

    @torch.no_grad()
    def plan_frames(self, semantics: Tensor, window: int) -> PlanFrames:
        """`forward` for a recording (S, D) of any length: half-overlapped windows, blended.

        `window` is in tokens. Returns tensors without the batch axis.
        """
        length = semantics.shape[0] // self.patch
        if length <= window:
            return PlanFrames(*(part.squeeze(0) for part in self(semantics.unsqueeze(0))))
        starts = [*range(0, length - window, window // 2), length - window]
        weight = torch.bartlett_window(window + 2)[1:-1].to(semantics)
        sums: list[Tensor] | None = None
        total = torch.zeros(length).to(semantics)
        for start in starts:
            crop = semantics[start * self.patch : (start + window) * self.patch]
            parts = [part.squeeze(0) for part in self(crop.unsqueeze(0))]
            if sums is None:
                sums = [part.new_zeros(length, *part.shape[1:]) for part in parts]
            for full, part in zip(sums, parts, strict=True):
                full[start : start + window] += part * _expand(weight, part)
            total[start : start + window] += weight
        assert sums is not None
        return PlanFrames(*(full / _expand(total, full) for full in sums))


def steer(weights: Tensor, pulses: Tensor) -> Tensor:
    """Complex weights (B, L, C, K, 2) on pulses (B, L, 1, K, 2), summed over K: (B, L, C, 2)."""
    (a, b), (x, y) = weights.unbind(-1), pulses.unbind(-1)
    return torch.stack([(a * x - b * y).sum(-1), (a * y + b * x).sum(-1)], dim=-1)


def _unit(pulses: Tensor) -> Tensor:
    """Pulses (B, K, 2, L) -> (B, L, 1, K, 2), of length near 1 but where nothing is heard."""
    length = pulses.square().sum(2, keepdim=True).add(1e-6).sqrt()
    return (pulses / (length + 0.03)).permute(0, 3, 1, 2).unsqueeze(2)


def planner_losses(
    frames: PlanFrames,
    *,
    beat: Tensor,
    bar: Tensor,
    metre: Tensor,
    chord: Tensor,
    key: Tensor,
    style: Tensor,
) -> dict[str, Tensor]:
    """Named training losses.

    Args:
        frames: planner output, L tokens.
        beat: true beat phase (B, L) in turns.
        bar: true bar phase (B, L) in turns.
        metre: index in `METRES` (B,).
        chord: index in `CHORDS` (B, L), -1 where nothing is to be learned.
        key: key index (B,).
        style: index in `STYLES` (B,), -1 where it is not known.
    """
    frames = PlanFrames(*(part.float() for part in frames))
    true_bars = torch.zeros_like(frames.bars)
    rows = torch.arange(len(metre), device=metre.device)
    true_bars[rows, :, metre] = phasor(bar)
    keys, styles = frames.keys.mean(1), frames.styles.mean(1)
    return {
        "beat": F.mse_loss(frames.beat, phasor(beat)) * 2,
        "bar": F.mse_loss(frames.bars, true_bars) * 2 * len(METRES),
        "chord": F.cross_entropy(frames.chords.flatten(0, 1), chord.flatten(), ignore_index=-1),
        "key": 0.3 * F.cross_entropy(keys, key),
        "style": 0.3
        * F.cross_entropy(styles, style, ignore_index=-1, reduction="sum")
        / (style >= 0).sum().clamp(min=1),
    }


def phasor(turns: Tensor) -> Tensor:
    """Turns (...) -> (cosine, sine) (..., 2)."""
    angle = 2 * torch.pi * turns
    return torch.stack([angle.cos(), angle.sin()], dim=-1)


def _expand(weight: Tensor, like: Tensor) -> Tensor:
    return weight.reshape(-1, *[1] * (like.dim() - 1))
