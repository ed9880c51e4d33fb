"""The published implementation's way of computing, put together from this package's modules.

The baseline of `fastsag bench plans`: the same weights and results, but each operation as the
authors' code and BigVGAN's state it (Chen et al. 2024; Lee et al. 2023): plain layouts, Mish and
masks as separate passes, weight norm computed at every call, one depthwise convolution for each
filter, 51 evaluations with a draw of noise that is multiplied by zero.
"""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from fastsag.diffusion.samplers import Denoise
from fastsag.diffusion.unet import Block, ResnetBlock, UNet2d
from fastsag.model import FastSAG
from fastsag.nn.attention import LinearAttention
from fastsag.nn.snake import FILTER_TAPS, low_pass

PUBLISHED_LAYER, PUBLISHED_DEPTH = 7, 12  # MERT runs whole for the output of one layer


def published_model(model: FastSAG) -> FastSAG:
    """A copy of a model that computes as the published code does."""
    model = copy.deepcopy(model)
    network = model.denoiser.network
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, ResnetBlock):
                setattr(module, name, _Resnet(child))
            elif isinstance(child, LinearAttention):
                setattr(module, name, _Attention(child))
    if isinstance(network, UNet2d):
        network.final_block = _Block(network.final_block)  # type: ignore[assignment]
    network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return model


def published_euler(denoise: Denoise, x: Tensor, sigmas: Tensor) -> Tensor:
    """Euler's steps down to zero, the last of which changes nothing, with their unused draws.

    Args:
        x: standard normal (B, M, T).
        sigmas: (n + 1,) falling, the last 0; n evaluations.
    """
    x = x * sigmas[0]
    for level, following in pairwise(sigmas):
        x = x + 0.0 * torch.randn_like(x)
        slope = (x - denoise(x, level.expand(len(x)))) / level
        x = x + (following - level) * slope
    return x


class _Block(nn.Module):
    def __init__(self, ours: Block) -> None:
        super().__init__()
        self.block = ours.block

    def forward(self, x: Tensor) -> Tensor:
        h = self.block(x)
        return h * torch.tanh(F.softplus(h))


class _Resnet(nn.Module):
    def __init__(self, ours: ResnetBlock) -> None:
        super().__init__()
        self.mlp, self.res_conv = ours.mlp, ours.res_conv
        self.block1, self.block2 = _Block(ours.block1), _Block(ours.block2)

    def forward(self, x: Tensor, mask: Tensor | None, embedding: Tensor) -> Tensor:
        ones = torch.ones_like(x[:1, :1, :1]) if mask is None else mask
        h = self.block1(x * ones) * ones
        h = h + self.mlp(embedding)[:, :, None, None]
        h = self.block2(h * ones) * ones
        return h + self.res_conv(x * ones)


class _Attention(nn.Module):
    def __init__(self, ours: LinearAttention) -> None:
        super().__init__()
        self.heads, self.to_qkv, self.to_out = ours.heads, ours.to_qkv, ours.to_out

    def forward(self, x: Tensor) -> Tensor:
        pixels = self.to_qkv(x).flatten(2).unflatten(1, (3, self.heads, -1))
        query, key, value = pixels.unbind(1)
        summary = torch.einsum("bhdn,bhen->bhde", key.softmax(dim=-1), value)
        attended = torch.einsum("bhde,bhdn->bhen", summary, query)
        return self.to_out(attended.flatten(1, 2).unflatten(-1, x.shape[-2:]))


class PublishedBigVGAN(nn.Module):
    """A copy of a BigVGAN with weight norm, 1-D convolutions and whole-length activations."""

    def __init__(self, ours: Any) -> None:
        super().__init__()
        ours = copy.deepcopy(ours)
        self.version, self.ups = ours.version, ours.ups
        self.conv_pre, self.conv_post = ours.conv_pre, ours.conv_post
        self.resblocks = nn.ModuleList(_AMPBlock(block) for block in ours.resblocks)
        self.activation_post = _Activation(ours.activation_post)
        for layer in list(self.modules()):
            if isinstance(layer, nn.Conv1d | nn.ConvTranspose1d):
                layer.weight.data = layer.weight.data.contiguous()
                weight_norm(layer)

    def forward(self, log_mel: Tensor) -> Tensor:
        x = self.conv_pre(log_mel)
        blocks = len(self.resblocks) // len(self.ups)
        for stage, up in enumerate(self.ups):
            x = up(x)
            x = sum(block(x) for block in self.resblocks[stage * blocks :][:blocks]) / blocks
        wave = self.conv_post(self.activation_post(x)).squeeze(1)
        return torch.tanh(wave) if self.version == 1 else wave.clamp(-1, 1)


class _AMPBlock(nn.Module):
    def __init__(self, ours: Any) -> None:
        super().__init__()
        self.convs1, self.convs2 = ours.convs1, ours.convs2
        self.activations = nn.ModuleList(_Activation(each) for each in ours.activations)

    def forward(self, x: Tensor) -> Tensor:
        layers = zip(self.convs1, self.convs2, self.activations[0::2], self.activations[1::2])
        for dilated, plain, before, between in layers:
            x = plain(between(dilated(before(x)))) + x
        return x


class _Activation(nn.Module):
    """Pad, transposed depthwise filter, SnakeBeta, pad, depthwise filter (`fastsag.nn.snake`)."""

    taps: Tensor

    def __init__(self, ours: Any) -> None:
        super().__init__()
        self.act = ours.act
        self.register_buffer("taps", low_pass().view(1, 1, FILTER_TAPS))

    def forward(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        taps = self.taps.expand(channels, -1, -1)
        x = F.pad(x, (5, 5), mode="replicate")
        x = 2 * F.conv_transpose1d(x, taps, stride=2, groups=channels)[..., 15:-15]
        frequency, inverse = self.act.alpha.exp()[:, None], self.act.beta.exp()[:, None]
        x = x + (1 / (inverse + 1e-9)) * torch.sin(x * frequency).pow(2)
        return F.conv1d(F.pad(x, (5, 6), mode="replicate"), taps, stride=2, groups=channels)


class PublishedMert(nn.Module):
    """Hubert whole, with an explicit mask of ones, for one layer: (B, N) -> (B, S, D)."""

    def __init__(self, hubert: nn.Module, layer: int) -> None:
        super().__init__()
        self.hubert, self.layer = hubert, layer

    def forward(self, wave: Tensor) -> Tensor:
        mask = torch.ones(wave.shape, dtype=torch.long)
        states = self.hubert(wave, attention_mask=mask, output_hidden_states=True).hidden_states
        x = states[self.layer]
        centred = x - x.mean(-1, keepdim=True)
        return centred / torch.sqrt(centred.var(-1, keepdim=True) + 1e-7)
