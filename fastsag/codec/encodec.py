"""Encodec (Défossez et al. 2022) through transformers: the paper's acoustic tokens.

24 kHz at 6 kbit/s: 8 codebooks of 1,024, 75 frames a second. The weights are read from a folder or
from the Hugging Face cache, never from the network.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fastsag import hub
from fastsag.codec.contract import Codec
from fastsag.errors import UserError, require

CONFIG, WEIGHTS = "config.json", "model.safetensors"


class EncodecCodec(Codec):
    """transformers' `EncodecModel` of one channel, frozen.

    Args:
        model: an `EncodecModel` without chunks, such as the 24 kHz one.
        bandwidth: kbit/s; sets how many codebooks are used.

    Raises:
        UserError: the model has no such bandwidth, or works in chunks or stereo.
    """

    margin = 75  # the decoder is causal, and its recurrent layers forget within a second

    def __init__(self, model: Any, bandwidth: float = 6.0) -> None:
        super().__init__()
        config = model.config
        if config.audio_channels != 1 or config.chunk_length_s is not None:
            raise UserError("codec.model: only Encodec's mono model without chunks (24 kHz) fits")
        if bandwidth not in config.target_bandwidths:
            there = ", ".join(str(value) for value in config.target_bandwidths)
            raise UserError(f"codec.bandwidth {bandwidth}: Encodec has {there} kbit/s")
        self.model = model.eval().requires_grad_(False)
        self.bandwidth = bandwidth
        self.sample_rate = int(config.sampling_rate)
        self.hop_length = int(torch.tensor(config.upsampling_ratios).prod())
        self.codebooks = model.quantizer.get_num_quantizers_for_bandwidth(bandwidth)
        self.codebook_size = int(config.codebook_size)

    @classmethod
    def from_pretrained(cls, model: str, bandwidth: float = 6.0) -> EncodecCodec:
        """Load a folder in transformers' layout or a name of `fastsag.hub`.

        Raises:
            UserError: the weights are not on this machine (the message says how to get them), or
                do not fit their configuration.
            MissingExtra: transformers is not installed.
        """
        transformers = require("transformers", extra="singsong")
        folder = Path(model)
        if not (folder / CONFIG).is_file():
            folder = hub.local(model, CONFIG).parent
            hub.local(model, WEIGHTS)
        try:
            loaded, report = transformers.EncodecModel.from_pretrained(
                folder, local_files_only=True, output_loading_info=True
            )
        except (OSError, ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(
                f"{folder}: not an Encodec model ({reason}); download it again"
            ) from None
        wrong = [*report["missing_keys"], *report["unexpected_keys"]]
        if wrong:
            names = ", ".join(sorted(wrong)[:4])
            raise UserError(f"{folder}: its weights do not fit its {CONFIG} ({names})")
        return cls(loaded, bandwidth)

    @torch.no_grad()
    def encode(self, wave: Tensor) -> Tensor:
        whole = wave[:, : wave.shape[1] // self.hop_length * self.hop_length]
        codes = self.model.encode(whole.unsqueeze(1), bandwidth=self.bandwidth).audio_codes
        return codes[0].transpose(1, 2)

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        frames = codes.transpose(1, 2).unsqueeze(0)
        return self.model.decode(frames, [None]).audio_values[:, 0]
