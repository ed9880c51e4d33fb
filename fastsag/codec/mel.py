"""A small codec that a command fits in minutes: residual k-means of the log spectrogram.

A frame of tokens is `patch` mel frames, quantised by one codebook after the other; a vocoder makes
the sound. It stands in for Encodec where no weights can be downloaded.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from fastsag.codec.contract import Codec
from fastsag.codec.kmeans import fit_centroids, nearest
from fastsag.config import MelConfig
from fastsag.mel import LogMel, denormalize, normalize

_DONE_SHARE = 1e-6  # of the spread: frames this near are not split further


class MelCodec(Codec):
    """Codes of a spectrogram (B, M, T) in patches of frames.

    Args:
        mel: the spectrogram, the vocoder's.
        vocoder: log mel (B, M, T) -> samples (B, T * hop), trained already.
        patch: mel frames a token frame.
        codebooks: Q.
        codebook_size: entries of each.
    """

    margin = 12
    embedding: Tensor

    def __init__(
        self, mel: MelConfig, vocoder: nn.Module, patch: int, codebooks: int, codebook_size: int
    ) -> None:
        super().__init__()
        self.mel_config, self.patch = mel, patch
        self.sample_rate, self.hop_length = mel.sample_rate, mel.hop_length * patch
        self.codebooks, self.codebook_size = codebooks, codebook_size
        self.spectrogram = LogMel(mel)
        self.vocoder = vocoder.eval().requires_grad_(False)
        shape = (codebooks, codebook_size, patch * mel.n_mels)
        self.register_buffer("embedding", torch.zeros(shape))

    @torch.no_grad()
    def patches(self, wave: Tensor) -> Tensor:
        """(B, N) -> normalised log mel in patches (B, L, patch * M)."""
        whole = wave[:, : wave.shape[1] // self.hop_length * self.hop_length]
        frames = normalize(self.spectrogram(whole), self.mel_config).transpose(1, 2)
        return frames.reshape(len(wave), -1, self.embedding.shape[2])

    def fit(self, patches: np.ndarray, seed: int = 0) -> list[float]:
        """Codebooks from patches (n, patch * M): k-means of what the books before leave over.

        Returns:
            The share of the variance that is left after 1, 2, ... Q codebooks.
        """
        rest = patches.astype(np.float32)
        spread, left = float(rest.var(0).sum()), []
        for book in range(self.codebooks):
            centroids = fit_centroids(rest, self.codebook_size, seed + book)
            self.embedding[book] = torch.from_numpy(centroids)
            index = nearest(torch.from_numpy(rest), self.embedding[book])
            rest = rest - centroids[index.numpy()]
            left.append(float(np.square(rest).sum(1).mean()) / max(spread, _DONE_SHARE))
        return left

    @torch.no_grad()
    def encode(self, wave: Tensor) -> Tensor:
        rest, codes = self.patches(wave), []
        for centroids in self.embedding:
            codes.append(nearest(rest, centroids))
            rest = rest - centroids[codes[-1]]
        return torch.stack(codes, dim=-1)

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        used = range(codes.shape[-1])
        frames = torch.stack([self.embedding[book][codes[..., book]] for book in used]).sum(0)
        mel = frames.reshape(len(codes), -1, self.mel_config.n_mels).transpose(1, 2)
        return self.vocoder(denormalize(mel, self.mel_config))
