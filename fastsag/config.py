"""Frozen, strict configuration models <-> YAML; an unknown key is an error.

One `Config` describes a whole system: the spectrogram contract, the frozen semantic encoder, the
trained parts and how they are sampled. The paper's size and the compact size are two YAML files
of this one model. A file with `base: OTHER.yaml` holds only what it changes in the other.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from fastsag.errors import UserError

# A model that continues its own windows is wild at their end, where nothing follows: so many mel
# frames more are generated and thrown away.
EDGE_FRAMES = 24


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
    guidance_ceiling: float | None = None  # log units, where guided levels are cut; None: nowhere
    guidance_interval: tuple[float, float] | None = None  # noise levels that are guided; None: all


class DistilledConfig(Strict):
    """A student that plays in a few steps what the solver plays in many (`fastsag distill`)."""

    steps: int = 4  # where nobody says how many
    preferred: bool = False  # it plays where nobody names a sampler
    schedules: tuple[tuple[float, ...], ...]  # noise levels of its 1, 2, ... steps; 0 comes last
    guidance: float = 1.0  # of its teacher: what it has learned
    crops: int = 800  # solved by the teacher, that it learned from

    @model_validator(mode="after")
    def _schedules_fit(self) -> DistilledConfig:
        for steps, levels in enumerate(self.schedules, 1):
            falling = all(high > low for high, low in pairwise((*levels, 0.0)))
            if len(levels) != steps or not falling:
                raise ValueError(f"schedules: number {steps} needs {steps} falling levels above 0")
        if not 1 <= self.steps <= len(self.schedules):
            raise ValueError(f"steps: 1 to {len(self.schedules)}, as many as there are schedules")
        return self


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
    bass: float = 1.0  # weight of the bands up to 150 Hz against the others'


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


NOISE_PRESETS: dict[str, dict[str, float]] = {
    "none": {},
    "paper": {"std": 0.01},  # "slight white Gaussian noise"
    "authors": {"std": 0.01, "chance": 0.3, "share": 0.1},  # as their training code adds it
}


class VoiceNoise(Strict):
    """White noise on the training voices (paper section 4.1), full scale 1.

    In YAML also one of `NOISE_PRESETS`: `noise: paper`, `noise: authors`.
    """

    std: float = 0.0
    chance: float = 0.0  # share of voices with more of it
    share: float = 0.0  # whose standard deviation is up to this share of the peak

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if value not in NOISE_PRESETS:
            raise ValueError(f"unknown noise {value!r}; choose {', '.join(NOISE_PRESETS)}")
        return NOISE_PRESETS[value]


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
    previews: int = 2  # held-out crops that each validation generates, draws and sounds
    save_every: int = 500  # steps
    shards_in_memory: int = 128  # of each source; more pass through
    crops_per_shard: int = 64  # drawn for each shard that enters memory
    lanes: int = 8  # parts of a source that load by themselves; a multiple of the processes


class MelAugmentation(Strict):
    """What is done to the mels of vocoder training, so that errors of a made mel are forgiven."""

    noise: float = 0.1  # log units, largest standard deviation of white noise
    blur: float = 0.0  # share of crops whose mel is smoothed over neighbouring bands and frames
    tilt: float = 0.0  # log units, largest drift of the level over the bands


class AdversarialConfig(Strict):
    """Discriminators, and how much their opinion counts against the spectral losses."""

    periods: tuple[int, ...] = (2, 3, 5, 7, 11)  # samples
    resolutions: tuple[int, ...] = (512, 1024, 2048)  # n_fft
    channels: int = 16
    every: int = 2  # steps of the vocoder to one of the discriminators
    start: int = 0  # step from which the vocoder listens to them
    learning_rate: float = 2e-4
    weight: float = 1.0
    feature_weight: float = 2.0
    mel_weight: float = 1.0  # of the multi-resolution mel loss


class VocoderTraining(Strict):
    """A vocoder and how it is trained (`configs/vocoder/*.yaml`)."""

    name: str
    mel: MelConfig
    vocoder: VocosConfig
    training: TrainingConfig
    augmentation: MelAugmentation = MelAugmentation()
    adversarial: AdversarialConfig | None = None  # None: spectral losses alone

    @model_validator(mode="after")
    def _adversarial_steps_are_whole(self) -> VocoderTraining:
        if self.adversarial is not None and self.training.accumulate != 1:
            raise ValueError("training.accumulate: must be 1 with adversarial losses")
        return self


class Config(Strict):
    """A whole accompaniment system."""

    name: str
    mel: MelConfig = MelConfig()
    encoder: MelodicConfig | MertConfig = MelodicConfig()
    condition: Literal["semantics", "mel", "semantics+mel"] = "semantics"  # what the prior reads
    projection: WaveNetConfig | None  # None where the condition is the mel alone
    resampler: PerceiverConfig | InterpolationConfig | None  # likewise
    prior: WaveNetConfig
    planner: PlannerConfig | None = None
    plan: tuple[Literal["phase", "harmony", "style"], ...] = (
        "phase",
        "harmony",
        "style",
    )  # is told
    denoiser: UNetConfig | DiTConfig
    edm: EDMConfig = EDMConfig()
    loss: LossConfig = LossConfig()
    sampler: SamplerConfig = SamplerConfig()
    distilled: DistilledConfig | None = None
    window: WindowConfig = WindowConfig()
    vocoder: VocosConfig | BigVGANConfig | GriffinLimConfig = GriffinLimConfig()
    training: TrainingConfig = TrainingConfig()

    @model_validator(mode="after")
    def _condition_has_its_parts(self) -> Config:
        reads_semantics = self.condition != "mel"
        for part in ("projection", "resampler"):
            if (getattr(self, part) is not None) != reads_semantics:
                wanted = "settings" if reads_semantics else "null"
                raise ValueError(f"condition: {self.condition} needs {wanted} for {part}")
        if not reads_semantics and self.loss.semantic:
            raise ValueError("condition: mel predicts no semantics; set loss.semantic to 0")
        return self

    @model_validator(mode="after")
    def _student_can_be_built(self) -> Config:
        if self.distilled and (self.denoiser.kind != "dit" or self.window.overlap):
            raise ValueError("distilled: needs denoiser.kind dit and window.overlap 0")
        return self

    @model_validator(mode="after")
    def _windows_join_one_way(self) -> Config:
        if self.window.context and self.window.overlap:
            raise ValueError("window: context and overlap exclude each other; set one to 0")
        if self.window.context and self.window.frames - self.window.context <= EDGE_FRAMES:
            raise ValueError(f"window: frames must be over {EDGE_FRAMES} more than context")
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


def read_yaml(path: Path | str, base: Path | str | None = None) -> dict[str, Any]:
    """Read a YAML mapping; with a key `base`, as changes to that file (relative to this one).

    Args:
        base: stands in for the file's own `base`.

    Raises:
        UserError: a file is absent or not a YAML mapping, has no `base` to be replaced, or is its
            own base.
    """
    values = _mapping(path)
    named = values.pop("base", None)
    if base is not None and named is None:
        raise UserError(f"{path}: has no base to replace; it is a whole configuration")
    seen = {Path(path).resolve()}
    below = base or (Path(path).parent / str(named) if named else None)
    while below is not None:
        if Path(below).resolve() in seen:
            raise UserError(f"{path}: is its own base; remove one of the `base` lines")
        seen.add(Path(below).resolve())
        under = _mapping(below)
        named = under.pop("base", None)
        values = merged(under, values)
        below = Path(below).parent / str(named) if named else None
    return values


def merged(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`values` with `changes` put over them, section by section.

    A section of another `kind` replaces the old one whole: its settings mean something else.
    """
    result = dict(values)
    for key, change in changes.items():
        old = result.get(key)
        if isinstance(old, dict) and isinstance(change, dict):
            same = change.get("kind", old.get("kind")) == old.get("kind")
            change = merged(old, change) if same else change
        result[key] = change
    return result


def _mapping(path: Path | str) -> dict[str, Any]:
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
