"""The ladder from a voice to a band; every rung can be used alone.

    voice file -> semantics -> lead sheet -> mel -> waveform -> accompaniment and mix

`Accompanist` owns the frozen encoder, the trained model and the vocoder. Long recordings pass in
windows: each sees the end of the one before as context, so that the band stays the same band.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from fastsag import audio, checkpoint
from fastsag.audio import Recording
from fastsag.conditioning.decoding import decode
from fastsag.conditioning.encoders import build_encoder, encode
from fastsag.config import Config
from fastsag.diffusion.samplers import SAMPLERS
from fastsag.errors import UserError
from fastsag.lead_sheet import STYLES, LeadSheet
from fastsag.levels import mix
from fastsag.mel import LogMel, denormalize
from fastsag.model import FastSAG
from fastsag.rollout import Rollout
from fastsag.take import Accompaniment, Settings, Stopwatch, describe
from fastsag.windows import join, spans

Progress = Callable[[str, int, int], None]  # stage, steps done, steps in all

DEFAULT_LEVEL_DB = -3.0  # the band against the voice, in LU
_CHUNK_SECONDS = 40  # the vocoder works through long audio in pieces of this length
_PICTURE_SECONDS = 120
_MARGIN_FRAMES = 48  # vocoder context on both sides of a piece


class Accompanist:
    """A checkpoint, ready to accompany.

    Example:
        >>> from fastsag import Accompanist
        >>> result = Accompanist.from_pretrained("compact").accompany("vocals.wav")
        >>> result.mix.shape, result.record["lead_sheet"]["key"]
    """

    def __init__(
        self,
        config: Config,
        model: FastSAG,
        vocoder: nn.Module,
        *,
        name: str = "unnamed",
        device: torch.device | str = "cpu",
        precision: str = "fp32",
    ) -> None:
        self.config, self.name = config, name
        self.device, self.precision = torch.device(device), precision
        self.encoder = build_encoder(config.encoder)
        self.spectrogram = LogMel(config.mel).to(self.device)
        self.encoder.to(self.device)
        self.model = model.to(self.device).eval()
        self.vocoder = vocoder.to(self.device).eval()

    @classmethod
    def from_pretrained(
        cls, name_or_path: str | Path = "compact", device: str = "auto", precision: str = "auto"
    ) -> Accompanist:
        """Load a checkpoint by name or folder.

        Raises:
            UserError: unknown checkpoint, absent device, unknown precision.
        """
        where = checkpoint.device_of(device)
        if precision not in ("auto", "fp32", "bf16"):
            raise UserError(f"--precision {precision}: unknown; choose auto, fp32 or bf16")
        if precision == "auto":
            precision = "bf16" if where.type == "cuda" else "fp32"
        config, model, vocoder = checkpoint.load(name_or_path)
        return cls(
            config, model, vocoder, name=str(name_or_path), device=where, precision=precision
        )

    def prepare(self, recording: Recording) -> np.ndarray:
        """A recording -> mono samples (N,) at the model's rate and its encoder's level."""
        rate = self.config.mel.sample_rate
        mono = audio.to_mono(recording.samples)
        return self.encoder.prepare(audio.resample(mono, recording.sample_rate, rate)[0])

    def semantics(self, voice: np.ndarray) -> Tensor:
        """Prepared samples (N,) -> semantics (S, D)."""
        return encode(self.encoder, voice, self.device)

    @torch.inference_mode()
    def plan(self, semantics: Tensor, style: str | None = None) -> LeadSheet | None:
        """Semantics (S, D) -> the lead sheet that the band will play; None without a planner.

        Raises:
            UserError: unknown style.
        """
        if style is not None and style not in STYLES:
            raise UserError(f"--style {style}: unknown; choose one of {', '.join(STYLES)}")
        planner = self.model.planner
        if planner is None or self.config.planner is None:
            return None
        short = planner.patch * 16 - len(semantics)
        padded = torch.nn.functional.pad(semantics, (0, 0, 0, max(0, short)))
        frames = planner.plan_frames(padded, self.config.planner.window)
        duration = len(semantics) / self.encoder.rate_hz
        sheet = decode(frames, self.encoder.rate_hz / planner.patch, duration)
        return dataclasses.replace(sheet, style=style)

    @torch.inference_mode()
    def mel(
        self,
        semantics: Tensor,
        lead_sheet: LeadSheet | None,
        settings: Settings,
        progress: Progress | None = None,
        frames: int | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Semantics (S, D) and plan -> prior and mel, both (M, T) in log units.

        Args:
            semantics: of the whole recording.
            lead_sheet: what to play; None for models without a planner.
            settings: sampler, steps, guidance and seed.
            progress: told of ("playing", done, total).
            frames: T; None is what the semantics cover.
        """
        config, encoder = self.config, self.encoder

        def frames_of(count: int) -> int:
            """Semantic frames that begin within `count` mel frames."""
            return round(count / config.mel.frame_rate * encoder.rate_hz)

        take = Rollout(
            model=self.model,
            config=config,
            sampler=settings.sampler or config.sampler.name,
            steps=settings.steps or config.sampler.steps,
            guidance=config.sampler.guidance if settings.guidance is None else settings.guidance,
            seed=settings.seed,
            device=self.device,
            bf16=self.precision == "bf16",
            frames_of=frames_of,
            lost=encoder.lost,
        )
        total = frames or round(len(semantics) / encoder.rate_hz * config.mel.frame_rate)

        def tick(done: int, expected: int) -> None:
            if progress:
                progress("playing", done, expected)

        normalized = take(semantics, lead_sheet, total, tick)
        prior, mel = (denormalize(torch.from_numpy(part), config.mel) for part in normalized)
        return prior.numpy(), mel.numpy()

    @torch.inference_mode()
    def waveform(self, mel: np.ndarray, progress: Progress | None = None) -> np.ndarray:
        """Log-unit mel (M, T) -> samples (T * hop,) at the model's rate, piece by piece."""
        hop, total = self.config.mel.hop_length, mel.shape[1]
        out = np.zeros(total * hop, dtype=np.float32)
        piece = int(_CHUNK_SECONDS * self.config.mel.frame_rate)
        windows = spans(total, piece, 2 * _MARGIN_FRAMES)
        for index, window in enumerate(windows):
            part = torch.from_numpy(mel[:, window.start : window.stop]).unsqueeze(0)
            samples = self.vocoder(part.to(self.device))[0].float().cpu().numpy()
            half = _MARGIN_FRAMES if window.known else 0
            trimmed = window._replace(start=window.start + half, known=window.known - half)
            in_samples = type(window)(*(edge * hop for edge in trimmed))
            join(out, samples[half * hop :], in_samples, 8 * hop)
            if progress:
                progress("sounding", index + 1, len(windows))
        return out

    def accompany(
        self,
        source: str | Path | Recording,
        *,
        lead_sheet: LeadSheet | None = None,
        settings: Settings | None = None,
        level_db: float = DEFAULT_LEVEL_DB,
        progress: Progress | None = None,
    ) -> Accompaniment:
        """Accompany a voice of any sample rate, channel count and length (0.5 s to an hour).

        Args:
            source: a file, or samples already read.
            lead_sheet: what to play; estimated from the voice if None.
            settings: sampler, steps, guidance, seed, style.
            level_db: loudness of the band against the voice (LU, BS.1770).
            progress: told of (stage, done, total).

        Raises:
            UserError: the input cannot be used, or a setting is unknown.
        """
        settings = settings or Settings()
        if settings.sampler is not None and settings.sampler not in SAMPLERS:
            raise UserError(
                f"--sampler {settings.sampler}: unknown; choose one of {', '.join(SAMPLERS)}"
            )
        watch = Stopwatch()
        recording = source if isinstance(source, Recording) else audio.read(source)
        voice = self.prepare(recording)
        watch.lap("read")
        semantics = self.semantics(voice)
        sheet = lead_sheet or self.plan(semantics, settings.style or self._style(settings.seed))
        voice_mel, length = self.log_mel(voice), len(voice)
        del voice  # long recordings: no copy that is not needed any more
        watch.lap("plan")
        frames = -(-length // self.config.mel.hop_length)
        prior, mel = self.mel(semantics, sheet, settings, progress, frames)
        watch.lap("denoise")
        band = self.waveform(mel, progress)
        watch.lap("vocode")
        mixed = mix(
            recording.samples,
            audio.resample(
                band[None, :length],
                self.config.mel.sample_rate,
                recording.sample_rate,
                recording.samples.shape[1],
            ),
            recording.sample_rate,
            level_db,
        )
        watch.lap("mix")
        record = {
            "checkpoint": self.name,
            "device": str(self.device),
            "precision": self.precision,
            **describe(self.config, recording, sheet, settings, watch.seconds, mixed, mel.shape[1]),
        }
        return Accompaniment(
            accompaniment=mixed.accompaniment,
            mix=mixed.samples,
            sample_rate=recording.sample_rate,
            record=record,
            voice_mel=voice_mel,
            prior=prior,
            mel=mel,
            lead_sheet=sheet,
        )

    def _style(self, seed: int) -> str:
        return STYLES[int(np.random.default_rng(seed).integers(len(STYLES)))]

    @torch.inference_mode()
    def log_mel(self, voice: np.ndarray) -> np.ndarray:
        """Log mel (M, T) of prepared samples (N,), for pictures; at most two minutes."""
        voice = voice[: _PICTURE_SECONDS * self.config.mel.sample_rate]
        wave = torch.from_numpy(voice).unsqueeze(0).to(self.device)
        return self.spectrogram(wave)[0].cpu().numpy()
