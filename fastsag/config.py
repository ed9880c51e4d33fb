"""Frozen, strict configuration models <-> YAML; an unknown key is an error.

One `Config` describes a whole system: the spectrogram contract, the frozen semantic encoder, the
trained parts and how they are sampled. The paper's size and the compact size are two YAML files
of this one model.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from fastsag.errors import UserError


class Strict(BaseModel):
    """Base of every configuration model: immutable, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class MelConfig(Strict):
    """The spectrogram contract between model and vocoder (paper section 5.2, Eq. 13-14)."""

    sample_rate: int = 24_000  # Hz
    n_fft: int = 1024  # samples
    win_length: int = 1024  # samples
    hop_length: int = 256  # samples; 93.75 frames a second at 24 kHz
    n_mels: int = 100
    scale: Literal["slaney", "low_linear"] = "slaney"
    linear_until_hz: float = 500.0  # low_linear only: one band per FFT bin below
    f_min: float = 0.0  # Hz
    f_max: float = 12_000.0  # Hz
    log_floor: float = 1e-5  # magnitude under which the logarithm is clamped
    normalize: bool = True  # Eq. 13; false is the paper's "w/o norm" ablation
    norm_min: float = -12.0  # X_min, log units
    norm_max: float = 2.0  # X_max, log units

    @property
    def frame_rate(self) -> float:
        """Frames per second."""
        return self.sample_rate / self.hop_length


class MelodicConfig(Strict):
    """The melodic encoder: chroma, onsets and energy of the voice, no trained weights."""

    kind: Literal["melodic"] = "melodic"
    sample_rate: int = 24_000  # Hz
    hop_length: int = 512  # samples; 46.875 frames a second

    @property
    def size(self) -> int:
        """D."""
        return 39

    @property
    def rate_hz(self) -> float:
        """Semantic frames per second."""
        return self.sample_rate / self.hop_length


class MertConfig(Strict):
    """MERT-v1-95M through transformers' Hubert (weights: CC-BY-NC-4.0, non-commercial)."""

    kind: Literal["mert"] = "mert"
    model: str = "m-a-p/MERT-v1-95M"  # hub name or folder
    layer: int = 7  # of 12; the output of this transformer layer
    sample_rate: int = 24_000  # Hz
    hop_length: int = 320  # samples; 75 frames a second
    size: int = 768  # D
    wave: Literal["plain", "min_max"] = "plain"  # paper | authors: scaled to -0.8..0.8 first

    @property
    def rate_hz(self) -> float:
        """Semantic frames per second."""
        return self.sample_rate / self.hop_length


class WaveNetConfig(Strict):
    """Size of a parallel-chain WaveNet."""

    channels: int
    layers: int = 8
    stacks: int


class PerceiverConfig(Strict):
    """Perceiver-IO resampler (paper: N = 32 latents of D = 256)."""

    kind: Literal["perceiver"] = "perceiver"
    frames: int = 937  # output queries: the only length it can produce
    latents: int = 32
    latent_dim: int = 256
    depth: int = 6
    heads: int = 8
    head_dim: int = 128


class InterpolationConfig(Strict):
    """Bilinear interpolation of the (feature, time) image."""

    kind: Literal["interpolation"] = "interpolation"


class PlannerConfig(Strict):
    """Transformer from the voice's semantics to beat phase, bar phase, key and chords."""

    width: int = 192
    depth: int = 5
    heads: int = 6
    patch: int = 2  # semantic frames a token
    window: int = 512  # tokens seen at once


class UNetConfig(Strict):
    """2-D U-Net over (mel, time), the paper's denoiser network."""

    kind: Literal["unet"] = "unet"
    dim: int = 64
    mults: tuple[int, ...] = (1, 2, 4)
    time_scale: float = 1_000.0  # of the noise level before its sinusoidal embedding
    padded_frames: int | None = None  # shorter input is padded to it; None: to a multiple of 4


class DiTConfig(Strict):
    """Transformer over groups of frames with a convolutional head at frame rate."""

    kind: Literal["dit"] = "dit"
    width: int = 320
    depth: int = 6
    heads: int = 5
    patch: int = 4  # frames a token
    head_blocks: int = 2  # ConvNeXt blocks at frame rate


class EDMConfig(Strict):
    """EDM diffusion (Karras et al. 2022; paper section 3)."""

    P_mean: float = -1.2
    P_std: float = 1.2
    sigma_data: float = 0.5
    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float = 7.0
    boundary: Literal["consistency", "edm"] = "consistency"  # Eq. 8 | Karras et al.
    levels: Literal["paper", "authors"] = "paper"  # Eq. 4 with N-1 | N in the denominator
    noise_input: Literal["log", "quarter_log"] = "quarter_log"  # ln(sigma) | ln(sigma) / 4


class SamplerConfig(Strict):
    """Defaults of generation."""

    name: Literal["euler", "heun", "dpmpp_2m"] = "euler"
    steps: int = 50
    guidance: float = 1.0
    guidance_rescale: float = 0.0  # 0..1: how far the spread of levels is brought back


class WindowConfig(Strict):
    """How a long recording is cut for the denoiser, in mel frames."""

    frames: int = 937
    context: int = 0  # frames of the previous window given as context; 0 = none
    overlap: int = 0  # frames shared by windows that are denoised together; 0 = one by one


class LossConfig(Strict):
    """Weights of Eq. 12 and the readings of Eq. 10-11."""

    semantic: float = 1.0  # lambda_s
    prior: float = 1.0  # lambda_p
    diffusion: float = 1.0  # lambda_d
    prior_kind: Literal["l2", "gaussian"] = "l2"
    diffusion_weighting: Literal["edm", "none"] = "edm"
    count_padding: bool = False  # the diffusion loss divides by padded frames too


class VocosConfig(Strict):
    """Vocos-style ISTFT vocoder."""

    kind: Literal["vocos"] = "vocos"
    width: int = 256
    hidden: int = 768
    depth: int = 8
    griffin_lim_iterations: int = 0  # refinement of the predicted phase


class BigVGANConfig(Strict):
    """NVIDIA's BigVGAN; its weights lie beside the model's or in the hub cache."""

    kind: Literal["bigvgan"] = "bigvgan"
    variant: Literal[
        "bigvgan_24khz_100band", "bigvgan_v2_24khz_100band_256x", "bigvgan_v2_44khz_128band_512x"
    ] = "bigvgan_24khz_100band"
    channels: int = 1536  # of the first layer
    source: str | None = None  # folder or file with the weights; None: the variant's hub name


class GriffinLimConfig(Strict):
    """Griffin-Lim phase reconstruction: no weights, the measured fallback."""

    kind: Literal["griffin_lim"] = "griffin_lim"
    iterations: int = 32


class VoiceNoise(Strict):
    """White noise on the training voices (paper section 4.1), full scale 1."""

    std: float = 0.0
    chance: float = 0.0  # share of voices with more of it
    share: float = 0.0  # whose standard deviation is up to this share of the peak


class TrainingConfig(Strict):
    """How a run is trained; the same settings serve model, planner and vocoder."""

    steps: int = 500_000
    batch_size: int = 28  # items of a step, over all processes
    accumulate: int = 1  # parts a process computes its share of a step in; saves memory
    crop_frames: int = 937  # mel frames of one training crop
    learning_rate: float = 1e-4
    warmup_steps: int = 0
    schedule: Literal["constant", "cosine"] = "constant"  # cosine decays to zero at `steps`
    optimizer: Literal["adam", "adamw"] = "adam"
    weight_decay: float = 0.0
    clip_norm: float | None = None  # of gradients; none in the paper
    clip_parts: tuple[str, ...] = ()  # parts clipped each by itself, the rest not; (): all as one
    noise: VoiceNoise = VoiceNoise()
    ema_decay: float | None = None
    precision: Literal["fp32", "bf16"] = "fp32"
    seed: int = 0
    validate_every: int = 1_000  # steps
    save_every: int = 500  # steps


class VocoderTraining(Strict):
    """A vocoder and how it is trained (`configs/vocoder/*.yaml`)."""

    name: str
    mel: MelConfig
    vocoder: VocosConfig
    training: TrainingConfig


class Config(Strict):
    """A whole accompaniment system."""

    name: str
    mel: MelConfig = MelConfig()
    encoder: MelodicConfig | MertConfig = MelodicConfig()
    projection: WaveNetConfig
    resampler: PerceiverConfig | InterpolationConfig
    prior: WaveNetConfig
    planner: PlannerConfig | None = None
    denoiser: UNetConfig | DiTConfig
    edm: EDMConfig = EDMConfig()
    loss: LossConfig = LossConfig()
    sampler: SamplerConfig = SamplerConfig()
    window: WindowConfig = WindowConfig()
    vocoder: VocosConfig | BigVGANConfig | GriffinLimConfig = GriffinLimConfig()
    training: TrainingConfig = TrainingConfig()

    @model_validator(mode="after")
    def _windows_join_one_way(self) -> Config:
        if self.window.context and self.window.overlap:
            raise ValueError("window: context and overlap exclude each other; set one to 0")
        return self


Kind = TypeVar("Kind", bound=Strict)


def load(path: Path | str) -> Config:
    """Read a `Config` from YAML.

    Raises:
        UserError: the file is absent, not YAML, or has unknown or wrong keys (each is named).
    """
    return parse(read_yaml(path), str(path), Config)


def parse(values: dict[str, Any], origin: str, kind: type[Kind]) -> Kind:
    """Check a mapping against a configuration model; `origin` names it in errors."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}"
            for fault in error.errors()
        )
        raise UserError(f"{origin}: not a FastSAG configuration ({faults})") from None


def read_yaml(path: Path | str) -> dict[str, Any]:
    """Read a YAML mapping; a `UserError` names the file otherwise."""
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML ({error})") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: not a YAML mapping; see configs/compact.yaml for an example")
    return values


def dump(config: Strict) -> str:
    """The YAML text of a configuration, in declaration order."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
