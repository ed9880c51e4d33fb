"""A network compiled by torch where that is possible, and as it is where not."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import nn


class Compiled(nn.Module):
    """Calls `torch.compile`d `network`; on a GPU through CUDA graphs, one for each shape.

    The first call takes a minute or more. A machine without a C++ compiler, or whose device
    inductor does not know, computes as before after one warning.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        device = next(network.parameters()).device.type
        mode = "reduce-overhead" if device == "cuda" else "default"
        # Kept out of the modules: it shares the parameters.
        self._run: list[Any] = [torch.compile(network, mode=mode, dynamic=False)]

    def forward(self, *inputs: Any) -> Any:
        if not self._run:
            return self.network(*inputs)
        try:
            return self._run[0](*inputs)
        except torch._dynamo.exc.TorchDynamoException as error:
            self._run.clear()
            reason = (str(error).strip().splitlines() or ["no reason given"])[0]
            warnings.warn(f"cannot compile ({reason}); computing without", stacklevel=2)
            return self.network(*inputs)
