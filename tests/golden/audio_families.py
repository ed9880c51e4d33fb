"""What the golden arrays of audio are computed from, one function per family."""

from __future__ import annotations

import torch
from torch import Tensor

from fastsag.conditioning.encoders.mert import normalize_frames
from fastsag.levels import min_max, rms_db_natural
from fastsag.mel import LogMel, denormalize, normalize
from fastsag.nn.snake import AntiAliasedSnake, low_pass
from fastsag.vocoder.bigvgan import VARIANTS, BigVGAN, folded
from tests.golden.archive import Archive
from tests.golden.parts import authors
from tests.golden.weights import fill, golden_weight

Arrays = dict[str, Tensor]

_GENERATORS = {1: "bigvgan_24khz_100band", 2: "bigvgan_v2_24khz_100band_256x"}


def mel(file: Archive) -> Arrays:
    transform, out = LogMel(authors().mel), {}
    out["mel_fb_rowsum"] = transform.filters.sum(1)
    out["mel_fb_argmax"] = transform.filters.argmax(1)
    if "mel_out" in file.arrays:
        out["mel_out"] = transform(file["mel_wav"])
    for samples in file.numbers(r"mel_len(\d+)_shape"):
        out[f"mel_len{samples}_shape"] = _shape(transform, samples)
    for samples in file.numbers(r"mel_shape_(\d+)"):
        out[f"mel_shape_{samples}"] = _shape(transform, samples)
    return out


def _shape(transform: LogMel, samples: int) -> Tensor:
    return torch.tensor(transform(torch.zeros(1, samples)).shape)


def normalisations(file: Archive) -> Arrays:
    out, config = {}, authors().mel
    if "norm_in" in file.arrays:
        out["norm_out"] = normalize(file["norm_in"], config)
        out["denorm_of_norm_in"] = denormalize(file["norm_in"], config)
    if "wavnorm_in" in file.arrays:
        wave = file["wavnorm_in"].numpy()
        out["wavnorm_out"] = torch.from_numpy(min_max(wave))
        out["rms_db_code"] = torch.tensor([rms_db_natural(wave)])
    if "embnorm_in" in file.arrays:
        out["embnorm_out"] = normalize_frames(file["embnorm_in"])
    return out


def same_up_to_rounding(log_mel: Tensor, expected: Tensor) -> bool:
    """Whether two log mels are equal where the rounding of a float32 FFT does not decide.

    Between loud partials a band holds nothing else, and the code that MKL has for different
    processors rounds differently. There magnitudes are compared; above -6 log units and in silent
    frames, logarithms.
    """
    silent = (expected == expected.min()).all(1, keepdim=True)
    error = (log_mel - expected).abs()[(expected > -6) | silent]
    magnitudes = torch.allclose(log_mel.exp(), expected.exp(), rtol=1e-4, atol=5e-7)
    return magnitudes and bool((error <= 1e-4).all())


def activation(file: Archive) -> Arrays:
    """The anti-aliased activation alone; up and down have one filter."""
    out = {"aa_filter": low_pass()}
    if "act_in" in file.arrays:
        x = file["act_in"]
        out["act_out"] = fill(AntiAliasedSnake(x.shape[1]), "toy_act.")(x.unsqueeze(2))[:, :, 0]
    return out


def bigvgan(file: Archive) -> Arrays:
    """Both published generators at 128 channels."""
    out = {}
    for number in file.numbers(r"voc([12])_out"):
        generator = BigVGAN(**VARIANTS[_GENERATORS[number]] | {"channels": 128}).eval()
        generator.load_state_dict(folded(_weight_normed(generator)))
        out[f"voc{number}_out"] = generator(file[f"voc{number}_mel"])[:, None]
    return out


def _weight_normed(generator: BigVGAN) -> Arrays:
    """Golden weights by the published names: convolutions as magnitude and direction."""
    state = {}
    for key, plain in generator.state_dict().items():
        shape = tuple(plain.shape)
        if key.endswith(".weight"):
            state[key + "_g"] = golden_weight(key + "_g", (shape[0], 1, 1))
            state[key + "_v"] = golden_weight(key + "_v", shape)
        else:
            state[key] = golden_weight(key, shape)
    return state
