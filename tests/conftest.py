"""Fixtures shared by all tests."""

from pathlib import Path

import numpy as np
import pytest
import torch

torch.set_num_threads(2)


@pytest.fixture(scope="session")
def golden() -> dict[str, np.ndarray]:
    """Outputs of the published implementation (tests/golden/golden.npz)."""
    with np.load(Path(__file__).parent / "golden" / "golden.npz") as arrays:
        return {name: arrays[name] for name in arrays.files}
