"""The BigVGAN generator: mel -> waveform by upsampling convolutions (Lee et al. 2023, ICLR).

Our own code with the tensor names of NVIDIA's published state dicts, weight norm folded away:
`BigVGAN(**VARIANTS[name]).load_state_dict(folded(torch.load(path, weights_only=True)))`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, Literal

import torch
from torch import Tensor, nn

from fastsag.nn import sequence
from fastsag.nn.snake import FILTER_TAPS, AntiAliasedSnake, low_pass

VARIANTS: dict[str, dict[str, Any]] = {
    "bigvgan_24khz_100band": {"n_mels": 100, "rates": (4, 4, 2, 2, 2, 2), "version": 1},
    "bigvgan_v2_24khz_100band_256x": {"n_mels": 100, "rates": (4, 4, 2, 2, 2, 2), "version": 2},
    "bigvgan_v2_44khz_128band_512x": {"n_mels": 128, "rates": (8, 4, 2, 2, 2, 2), "version": 2},
}
"""Constructor arguments of the published generators."""

_KERNELS = (3, 7, 11)  # of the parallel AMP blocks of a stage
_DILATIONS = (1, 3, 5)  # of the layers of a block
_FILTER_TOLERANCE = 1e-4


class BigVGAN(nn.Module):
    """Log mel (B, M, T) -> samples (B, T * hop) in [-1, 1], with hop the product of `rates`.

    Each stage upsamples, halves the channels and takes the mean of three AMP blocks. It may be
    computed under autocast: the convolutions in half precision, the activations in single.

    Args:
        n_mels: M; natural logarithm of mel magnitudes (`fastsag.mel`).
        rates: upsampling factor of each stage; its kernel is twice as long.
        version: 1 ends with a bias and tanh, 2 clamps.
        channels: before the first stage (`upsample_initial_channel`).

    Raises:
        ValueError: `rates` has an odd factor, or `channels` cannot be halved once per stage.
    """

    bf16 = True

    def __init__(
        self,
        n_mels: int = 100,
        rates: Sequence[int] = (4, 4, 2, 2, 2, 2),
        version: Literal[1, 2] = 2,
        channels: int = 1536,
    ) -> None:
        super().__init__()
        if any(rate < 2 or rate % 2 for rate in rates):
            raise ValueError(f"rates: every factor must be even, got {list(rates)}")
        if channels < 1 or channels % 2 ** len(rates):
            raise ValueError(
                f"channels: {channels} is not a multiple of {2 ** len(rates)} "
                f"(halved by each of {len(rates)} stages)"
            )
        self.n_mels, self.hop, self.version = n_mels, prod(rates), version
        self.conv_pre = nn.Conv1d(n_mels, channels, 7, padding=3)
        self.ups, self.resblocks = nn.ModuleList(), nn.ModuleList()
        for rate in rates:
            up = nn.ConvTranspose1d(channels, channels // 2, 2 * rate, rate, padding=rate // 2)
            channels //= 2
            self.ups.append(nn.Sequential(up))
            self.resblocks.extend(AMPBlock(channels, kernel) for kernel in _KERNELS)
        self.activation_post = AntiAliasedSnake(channels)
        self.conv_post = nn.Conv1d(channels, 1, 7, padding=3, bias=version == 1)
        sequence.store_by_frame(self)

    def forward(self, log_mel: Tensor) -> Tensor:
        if log_mel.ndim != 3 or log_mel.shape[1] != self.n_mels:
            raise ValueError(f"log mel: expected (B, {self.n_mels}, T), got {tuple(log_mel.shape)}")
        x = sequence.conv(self.conv_pre, sequence.by_frame(log_mel))
        for stage, up in enumerate(self.ups.children()):
            (layer,) = up.children()
            x = sequence.conv_transpose(layer, x)
            first = stage * len(_KERNELS)
            blocks = self.resblocks[first : first + len(_KERNELS)]
            x = sum(block(x) for block in blocks) / len(_KERNELS)
        wave = sequence.conv(self.conv_post, self.activation_post(x))[:, 0, 0]
        return torch.tanh(wave) if self.version == 1 else wave.clamp(-1, 1)


class AMPBlock(nn.Module):
    """Anti-aliased multi-periodicity block: (B, C, 1, T) -> the same, three residual layers.

    Layer k is activation, dilated convolution, activation, convolution; `activations` holds the
    two of layer k at 2k and 2k + 1.
    """

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()

        def conv(dilation: int) -> nn.Conv1d:
            padding = dilation * (kernel - 1) // 2
            return nn.Conv1d(channels, channels, kernel, padding=padding, dilation=dilation)

        self.convs1 = nn.ModuleList(conv(dilation) for dilation in _DILATIONS)
        self.convs2 = nn.ModuleList(conv(1) for _ in _DILATIONS)
        self.activations = nn.ModuleList(
            AntiAliasedSnake(channels) for _ in range(2 * len(_DILATIONS))
        )

    def forward(self, x: Tensor) -> Tensor:
        layers = zip(self.convs1, self.convs2, self.activations[0::2], self.activations[1::2])
        for dilated, plain, before, between in layers:
            h = between(sequence.conv(dilated, before(x)))
            x = sequence.conv(plain, h).add_(x)
        return x


@torch.no_grad()
def folded(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors for `BigVGAN.load_state_dict` from a published state dict.

    Args:
        state: tensors by NVIDIA's names, or {"generator": such a dict} as in
            `bigvgan_generator.pt`. Convolutions may be weight-normed in either spelling of torch
            (`weight_g` and `weight_v`, or `parametrizations.weight.original0` and `1`) or plain.

    Returns:
        Plain convolution weights g v / |v|, the norm over all axes but the first (Salimans and
        Kingma 2016); every other tensor as it is, without the fixed filters of the activations.

    Raises:
        ValueError: a filter is not ours, or a weight-normed pair is incomplete or does not fit;
            the message names the tensor.
    """
    nested = state.get("generator")
    tensors = {
        _older_spelling(key): tensor
        for key, tensor in (nested if isinstance(nested, Mapping) else state).items()
    }
    plain: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        module, _, kind = key.rpartition(".")
        if kind == "filter":
            _check_filter(key, tensor)
        elif kind in ("weight_g", "weight_v"):
            plain[f"{module}.weight"] = _folded_weight(module, tensors)
        else:
            plain[key] = tensor
    return plain


def _older_spelling(key: str) -> str:
    key = key.replace(".parametrizations.weight.original0", ".weight_g")
    return key.replace(".parametrizations.weight.original1", ".weight_v")


def _folded_weight(module: str, tensors: Mapping[str, Tensor]) -> Tensor:
    for key in (f"{module}.weight_g", f"{module}.weight_v"):
        if key not in tensors:
            raise ValueError(f"{key}: missing, the weight norm of {module} is incomplete")
    g, v = tensors[f"{module}.weight_g"], tensors[f"{module}.weight_v"]
    if g.shape != (len(v), *[1] * (v.ndim - 1)):
        raise ValueError(
            f"{module}.weight_g: shape {tuple(g.shape)} does not fit weight_v {tuple(v.shape)}"
        )
    return v * (g / torch.linalg.vector_norm(v, dim=tuple(range(1, v.ndim)), keepdim=True))


def _check_filter(key: str, tensor: Tensor) -> None:
    ours = low_pass()
    if tensor.numel() != FILTER_TAPS or not torch.allclose(
        tensor.flatten().float().cpu(), ours, rtol=0, atol=_FILTER_TOLERANCE
    ):
        raise ValueError(f"{key}: not the {FILTER_TAPS}-tap filter that this package computes")
