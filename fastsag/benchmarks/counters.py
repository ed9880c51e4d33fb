"""What a computation does and what the machine can do: FLOPs, bytes, peak memory, ceilings."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

_TRIALS = 5
_SQUARE = 2048  # of the matrices multiplied
_IMAGE = (1, 128, 100, 512)  # of the convolution: 3 x 3, channels last
_COPIED = 2**26  # float32 numbers, far more than a cache holds
_ATEN = torch.ops.aten
_SAME_FLOPS = {
    _ATEN._scaled_dot_product_flash_attention_for_cpu: _ATEN._scaled_dot_product_flash_attention
}
_FREE = {_ATEN.empty, _ATEN.empty_like, _ATEN.empty_strided, _ATEN.detach}


class Work(NamedTuple):
    """flops: of matrix products and convolutions. bytes: read and written by all operations."""

    flops: float
    bytes: float


class Ceilings(NamedTuple):
    """The machine's measured best: FLOP/s by precision and kind, bytes/s of copying."""

    gemm: dict[str, float]
    conv: dict[str, float]
    memory: float

    def compute(self, precision: str) -> float:
        """The higher FLOP/s of the two kinds."""
        return max(self.gemm[precision], self.conv[precision])

    def figures(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "gemm_flops": self.gemm,
            "conv_flops": self.conv,
            "memory_bytes": self.memory,
        }


def work(run: Callable[[], Any]) -> Work:
    """Count one run. Bytes are those that separate operations move, wherever they lie: what a
    cache keeps is counted too, so that a rate above the memory's means that it did.
    """
    # In inference mode a counter would see convolutions and products only from outside.
    with torch.inference_mode(False), torch.no_grad(), _Counter() as counter:
        run()
    return Work(float(counter.flops), float(counter.bytes))


class _Counter(TorchDispatchMode):
    """torch's own formulas for FLOPs, and the bytes of the tensors read and written.

    (Its `FlopCounterMode` follows modules as well, and fails on parametrised weights.)
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops = self.bytes = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        name = func._overloadpacket
        formula = flop_registry.get(_SAME_FLOPS.get(name, name))
        if formula:
            self.flops += formula(*args, **kwargs, out_val=out)
        if not func.is_view and name not in _FREE:
            for part in tree_leaves((args, kwargs, out)):
                if isinstance(part, Tensor):
                    self.bytes += part.numel() * part.element_size()
        return out


@torch.inference_mode()
def ceilings() -> Ceilings:
    """Measure the machine, on as many threads as torch uses."""
    gemm, conv = {}, {}
    for name, kind in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        a = torch.randn(_SQUARE, _SQUARE).to(kind)
        gemm[name] = 2 * _SQUARE**3 / _best(partial(torch.matmul, a, a))
        image = torch.randn(_IMAGE).to(kind).contiguous(memory_format=torch.channels_last)
        channels = _IMAGE[1]
        kernel = torch.randn(channels, channels, 3, 3).to(kind)
        kernel = kernel.contiguous(memory_format=torch.channels_last)
        flops = 2 * 9 * channels * image.numel()
        conv[name] = flops / _best(partial(F.conv2d, image, kernel, padding=1))
    source = torch.ones(_COPIED)
    target = torch.empty_like(source)
    return Ceilings(gemm, conv, 8 * _COPIED / _best(lambda: target.copy_(source)))


def _best(run: Callable[[], Any]) -> float:
    seconds = []
    for _ in range(1 + _TRIALS):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])


def peak_growth_mb(run: Callable[[], Any]) -> float | None:
    """How much more main memory a run needs at its peak than was held before, in MB.

    None where the system does not tell (it is asked of Linux alone).
    """
    reset, status = Path("/proc/self/clear_refs"), Path("/proc/self/status")
    try:
        reset.write_text("5", encoding="ascii")
        before = _status_kb(status, "VmRSS")
        run()
        return round((_status_kb(status, "VmHWM") - before) * 1024 / 1e6, 1)
    except OSError:
        return None


def _status_kb(status: Path, name: str) -> int:
    lines = status.read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
