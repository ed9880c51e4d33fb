"""Encoder of the prior projection: resampled semantics -> rough mel (paper section 4.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fastsag.nn.wavenet import WaveNet


class Prior(nn.Module):
    """P_prior = WaveNet(R'_nv): a rough mel (B, M, T) in normalised units.

    The paper's size is n_mels = channels = 100, 8 layers, 4 stacks, no plan: 1,407,400 parameters.

    Args:
        plan_features: P rows of frame-level plan that the network reads beside the semantics.
    """

    def __init__(
        self, n_mels: int, plan_features: int = 0, *, channels: int, layers: int, stacks: int
    ) -> None:
        super().__init__()
        self.plan_features = plan_features
        self.wavenet = WaveNet(n_mels + plan_features, channels, n_mels, layers, stacks)

    def forward(self, resampled: Tensor, plan: Tensor | None = None) -> Tensor:
        """Resampled semantics (B, M, T), and a plan (B, P, T) if it was built for one -> (B, M, T).

        Raises:
            ValueError: the plan does not have the P features the prior was built for.
        """
        given = 0 if plan is None else plan.shape[1]
        if given != self.plan_features:
            raise ValueError(f"the prior reads {self.plan_features} plan features, {given} given")
        if plan is not None:
            resampled = torch.cat([resampled, plan], dim=1)
        return self.wavenet(resampled)
