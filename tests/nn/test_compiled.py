"""What cannot be compiled is computed as it is."""

import pytest
import torch
from torch import nn

from fastsag.nn.compiled import Compiled


def test_without_a_compiler_it_computes_as_before(monkeypatch):
    def refuse(network, **_):
        def run(*_):
            raise torch._dynamo.exc.TorchDynamoException("no working C++ compiler")

        return run

    monkeypatch.setattr(torch, "compile", refuse)
    network, x = nn.Linear(3, 2), torch.randn(4, 3)
    compiled = Compiled(network)
    with pytest.warns(UserWarning, match="no working C"):
        assert torch.equal(compiled(x), network(x))
    assert torch.equal(compiled(x), network(x))  # and asks no second time
    assert compiled.state_dict().keys() == {"network.weight", "network.bias"}


@pytest.mark.slow
def test_compiled_is_the_same_function():
    network, x = nn.Sequential(nn.Linear(8, 8), nn.SiLU()), torch.randn(4, 8)
    with torch.inference_mode():
        torch.testing.assert_close(Compiled(network)(x), network(x))
