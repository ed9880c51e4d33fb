"""The ladder from a voice to a band; every rung can be used alone.

    voice file -> semantics -> lead sheet -> mel -> waveform -> accompaniment and mix

`Accompanist` owns the frozen encoder, the trained model and the vocoder. Long recordings pass in
windows: each sees the end of the one before as context, so that the band stays the same band.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fastsag import audio, checkpoint, spool
from fastsag.audio import Recording
from fastsag.conditioning.beats import Onsets
from fastsag.conditioning.decoding import decode
from fastsag.conditioning.encoders import build_encoder, encode
from fastsag.conditioning.encoders.melodic import ONSET, MelodicEncoder, last_note, tuning
from fastsag.config import Config
from fastsag.diffusion.precond import EDMDenoiser
from fastsag.errors import UserError
from fastsag.lead_sheet import STYLES, Hints, LeadSheet
from fastsag.levels import mix, without_rumble
from fastsag.mel import LogMel, denormalize, normalize
from fastsag.model import FastSAG
from fastsag.nn.compiled import Compiled
from fastsag.rollout import Rollout
from fastsag.spool import Array, Memory, Store
from fastsag.take import Accompaniment, Settings, Stopwatch, describe
from fastsag.vocoder import pieces

Progress = Callable[[str, int, int], None]  # stage, steps done, steps in all

DEFAULT_LEVEL_DB = -3.0  # the band against the voice, in LU
_PICTURE_SECONDS = 60
_HEARD_CENTS = 4.0  # a band that is less out of tune sounds in tune
_SURE_TUNING = 0.15  # below, a voice has no tuning: it speaks, or slides
_ENDING_SECONDS = 12.0  # at most, behind a recording, for the bars in which a band ends
_RING_SECONDS = 1.5  # that its last chord rings
_GPU_BATCH = 4  # windows denoised at once


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
        compile: bool = False,
        student: EDMDenoiser | None = None,
    ) -> None:
        self.config, self.name = config, name
        self.device, self.precision = torch.device(device), precision
        self.encoder = build_encoder(config.encoder)
        self.spectrogram = LogMel(config.mel).to(self.device)
        self.encoder.to(self.device)
        self.model = model.to(self.device).eval()
        self.vocoder = vocoder.to(self.device).eval()
        self.student = None if student is None else student.to(self.device).eval()
        if compile:
            for denoiser in filter(None, (self.model.denoiser, self.student)):
                denoiser.network = Compiled(denoiser.network)

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path = "compact",
        device: str = "auto",
        precision: str = "auto",
        compile: bool = False,
    ) -> Accompanist:
        """Load a checkpoint by name or folder.

        Args:
            precision: "fp32", "bf16", or "auto", see `checkpoint.precision_of`.
            compile: the denoiser, by `torch.compile`; pays on a GPU and for many recordings.

        Raises:
            UserError: unknown checkpoint, absent device, unknown precision.
        """
        where = checkpoint.device_of(device)
        config, model, vocoder = checkpoint.load(name_or_path)
        precision = checkpoint.precision_of(precision, where, config)
        return cls(
            config,
            model,
            vocoder,
            name=str(name_or_path),
            device=where,
            precision=precision,
            compile=compile,
            student=checkpoint.load_student(name_or_path, model),
        )

    def _half(self, part: nn.Module) -> AbstractContextManager[object]:
        """Half precision where it was asked for and `part` bears it."""
        if self.precision == "bf16" and getattr(part, "bf16", False):
            return torch.autocast(self.device.type, torch.bfloat16)
        return nullcontext()

    def prepare(
        self, recording: Recording, tuning: float = 0.0, store: Store | None = None
    ) -> Array:
        """A recording -> mono samples (1, N) at the model's rate and its encoder's level.

        A singer who is `tuning` cents sharp is played as much slower, which brings A to 440 Hz.
        """
        rate = recording.sample_rate / _stretch(tuning)
        mono = map(audio.to_mono, spool.pieces(recording.samples))
        parts = audio.resampled(mono, rate, self.config.mel.sample_rate)
        voice = (store or Memory()).keep(parts)
        gain, offset = self.encoder.level(voice)
        for part in spool.slices(voice):
            voice[:, part] = voice[:, part] * np.float32(gain) + np.float32(offset)
        return voice

    def semantics(self, voice: Array) -> Tensor:
        """Prepared samples (1, N) -> semantics (S, D)."""
        with self._half(self.encoder):
            return encode(self.encoder, voice, self.device)

    def tuning(self, semantics: Tensor) -> float:
        """How many cents the singer is sharp, from semantics (S, D); 0 where that is not clear."""
        if not isinstance(self.encoder, MelodicEncoder):
            return 0.0
        cents, sure = tuning(semantics)
        return round(cents, 1) if sure > _SURE_TUNING else 0.0

    @torch.inference_mode()
    def plan(
        self,
        semantics: Tensor,
        hints: Hints | None = None,
        seed: int = 0,
        ending: bool = False,
    ) -> LeadSheet | None:
        """Semantics (S, D) -> the lead sheet that the band will play; None without a planner.

        What `hints` say is kept, the rest is estimated; of the styles that suit, `seed` takes one.
        With `ending` it may be longer than the semantics, by a few bars.

        Raises:
            UserError: unknown style.
        """
        hints = hints or Hints()
        if hints.style is not None and hints.style not in STYLES:
            raise UserError(f"--style {hints.style}: unknown; choose one of {', '.join(STYLES)}")
        planner = self.model.planner
        if planner is None or self.config.planner is None:
            return None
        short = planner.patch * 16 - len(semantics)
        padded = torch.nn.functional.pad(semantics, (0, 0, 0, max(0, short)))
        frames = planner.plan_frames(padded, self.config.planner.window)
        duration = len(semantics) / self.encoder.rate_hz
        rate_hz = self.encoder.rate_hz / planner.patch
        last = onsets = None
        if isinstance(self.encoder, MelodicEncoder):
            last = last_note(semantics, self.encoder.rate_hz)
            onsets = Onsets(semantics[:, ONSET].cpu().numpy(), self.encoder.rate_hz)
        progressions = planner.progressions.cpu().numpy()
        beyond = _ENDING_SECONDS if ending and last else 0.0
        return decode(frames, rate_hz, duration, hints, progressions, last, seed, onsets, beyond)

    def listen(
        self,
        recording: Recording,
        hints: Hints | None = None,
        seed: int = 0,
        store: Store | None = None,
        ending: bool = False,
    ) -> tuple[Tensor, LeadSheet | None, float]:
        """A recording -> semantics, lead sheet (see `plan`) and tuning in cents.

        The semantics are those of the singer brought to A440; the lead sheet's times are those of
        the recording.
        """
        hints = hints or Hints()
        semantics = self.semantics(self.prepare(recording, store=store))
        cents = self.tuning(semantics) if hints.tuning is None else hints.tuning
        if abs(cents) < _HEARD_CENTS:
            cents = 0.0
        if cents:
            del semantics
            semantics = self.semantics(self.prepare(recording, cents, store))
        stretch = _stretch(cents)
        sheet = self.plan(semantics, hints.stretched(stretch), seed, ending)
        if sheet is not None:
            sheet = dataclasses.replace(sheet.stretched(1 / stretch), tuning=cents)
        return semantics, sheet, cents

    @torch.inference_mode()
    def mel(
        self,
        semantics: Tensor,
        lead_sheet: LeadSheet | None,
        settings: Settings,
        progress: Progress | None = None,
        frames: int | None = None,
        vocal_mel: np.ndarray | None = None,
        store: Store | None = None,
    ) -> tuple[Array, Array]:
        """Semantics (S, D) and plan -> prior and mel, both (M, T) in log units.

        Args:
            semantics: of the whole recording.
            lead_sheet: what to play; None for models without a planner.
            settings: sampler, steps, guidance and seed.
            progress: told of ("playing", done, total).
            frames: T; None is what the semantics cover.
            vocal_mel: the voice's log mel (M, T), for models that read it.
            store: makes the arrays, if the windows continue each other; None: `Memory`.
        """
        config, encoder = self.config, self.encoder

        def frames_of(count: int) -> int:
            """Semantic frames that begin within `count` mel frames."""
            return round(count / config.mel.frame_rate * encoder.rate_hz)

        take = Rollout(
            model=self.model,
            config=config,
            way=settings.way(config),
            seed=settings.seed,
            device=self.device,
            bf16=self.precision == "bf16",
            frames_of=frames_of,
            lost=encoder.lost,
            student=self.student,
            batch=_GPU_BATCH if self.device.type == "cuda" else 1,
            store=store or Memory(),
        )
        total = frames or round(len(semantics) / encoder.rate_hz * config.mel.frame_rate)

        def tick(done: int, expected: int) -> None:
            if progress:
                progress("playing", done, expected)

        heard = None
        if vocal_mel is not None:
            heard = normalize(torch.from_numpy(vocal_mel), config.mel)
        prior, mel = take(semantics, lead_sheet, total, tick, heard)
        for whole in (prior, mel):
            for part in spool.slices(whole):
                piece = torch.from_numpy(whole[:, part])
                whole[:, part] = denormalize(piece, config.mel).numpy()
        return prior, mel

    @torch.inference_mode()
    def waveform(
        self, mel: Array, progress: Progress | None = None, store: Store | None = None
    ) -> Array:
        """Log-unit mel (M, T) -> samples (1, T * hop) at the model's rate, piece by piece."""

        def sound(part: Tensor, **clock: Any) -> Tensor:
            with self._half(self.vocoder):
                samples: Tensor = self.vocoder(part.to(self.device), **clock)
            return samples

        def tick(done: int, expected: int) -> None:
            if progress:
                progress("sounding", done, expected)

        clocked = getattr(self.vocoder, "clocked", False)
        return pieces.waveform(sound, mel, self.config.mel, clocked, tick, store)

    def accompany(
        self,
        source: str | Path | Recording,
        *,
        lead_sheet: LeadSheet | Hints | None = None,
        settings: Settings | None = None,
        level_db: float = DEFAULT_LEVEL_DB,
        progress: Progress | None = None,
        store: Store | None = None,
    ) -> Accompaniment:
        """Accompany a voice of any sample rate, channel count and length (0.5 s to an hour).

        Args:
            source: a file, or samples already read.
            lead_sheet: what to play, or what is known of it; the rest is estimated.
            settings: sampler, steps, guidance, seed, style.
            level_db: loudness of the band against the voice (LU, BS.1770).
            progress: told of (stage, done, total).
            store: makes whatever grows with the recording. None: `Memory`, numpy arrays;
                `spool.Files(folder)` keeps it on disk, and memory the same at any length.

        Raises:
            UserError: the input cannot be used, or a setting is unknown; a file cannot be written.
        """
        settings, store = settings or Settings(), store or Memory()
        settings.way(self.config)  # what cannot be done is said before any work
        watch = Stopwatch()
        recording = source if isinstance(source, Recording) else audio.read(source, store=store)
        watch.lap("read")
        if isinstance(lead_sheet, LeadSheet):
            sheet: LeadSheet | None = lead_sheet
            cents = lead_sheet.tuning
            semantics = self.semantics(self.prepare(recording, cents, store))
        else:
            chosen = Hints(style=settings.style).over(lead_sheet or Hints())
            semantics, sheet, cents = self.listen(
                recording, chosen, settings.seed, store, settings.ending
            )
        watch.lap("plan")
        rate, count = recording.sample_rate, recording.samples.shape[1]
        if settings.ending and sheet and sheet.ending:
            silent = math.ceil((sheet.ending + _RING_SECONDS) * rate) - count
            count += max(0, silent)
            lasting = math.ceil(max(0, silent) / rate * _stretch(cents) * self.encoder.rate_hz)
            semantics = torch.nn.functional.pad(semantics, (0, 0, 0, lasting))
        frames = math.ceil(count / rate * _stretch(cents) * self.config.mel.frame_rate)
        played = sheet and sheet.stretched(_stretch(cents))
        heard = None
        if self.model.vocal_mel:
            heard = self.log_mel(self.prepare(recording, cents, store))
        prior, mel = self.mel(semantics, played, settings, progress, frames, heard, store)
        watch.lap("denoise")
        # Nobody but the mix holds the band, and so can free it.
        mixed = mix(
            recording.samples,
            self._band(mel, rate / _stretch(cents), count, watch, progress, store),
            rate,
            level_db,
            store,
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
            voice_mel=self.log_mel(self.prepare(self._shown(recording), cents)),
            prior=prior,
            mel=mel,
            lead_sheet=sheet,
        )

    def _band(
        self,
        mel: Array,
        rate: float,
        count: int,
        watch: Stopwatch,
        progress: Progress | None,
        store: Store,
    ) -> Array:
        """Log-unit mel (M, T) -> the band (1, count) at `rate` Hz."""
        own = self.config.mel.sample_rate
        band = self.waveform(mel, progress, store)
        watch.lap("vocode")
        heard = without_rumble(spool.pieces(band), own)
        return store.keep(audio.fitted(audio.resampled(heard, own, rate), count))

    def _shown(self, recording: Recording) -> Recording:
        """As much of a recording as a picture shows."""
        return Recording(
            recording.samples[:, : _PICTURE_SECONDS * recording.sample_rate], recording.sample_rate
        )

    @torch.inference_mode()
    def log_mel(self, voice: Array) -> np.ndarray:
        """Log mel (M, T) of prepared samples (1, N), piece by piece."""
        hop, margin = self.config.mel.hop_length, pieces.MARGIN_FRAMES
        total = voice.shape[1] // hop
        piece = int(pieces.PIECE_SECONDS * self.config.mel.frame_rate)
        parts = []
        for first in range(0, max(total, 1), piece):
            start = max(0, first - margin)
            stop = None if first + piece >= total else (first + piece + margin) * hop
            wave = torch.from_numpy(voice[:, start * hop : stop]).to(self.device)
            part = self.spectrogram(wave)[0].cpu().numpy()
            parts.append(part[:, first - start : first - start + piece])
        return np.concatenate(parts, axis=1)


def _stretch(cents: float) -> float:
    """How much slower a recording must be played to be lower by `cents`."""
    return float(2 ** (cents / 1200))
