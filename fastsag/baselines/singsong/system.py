"""A SingSong system: voice -> semantic tokens -> band's semantics -> coarse -> fine codes -> band.

    RUN/tokens     fitted clusters and codebooks     fastsag singsong fit-tokens
    RUN/semantic   language model of each stage      fastsag singsong train STAGE
    RUN/coarse
    RUN/fine       only for three-stage inference

A recording longer than a stage's window is made in windows of exactly that length, evenly spread.
With an overlap, each goes on from the tokens that the one before made; without, windows do not
know each other and are sampled as one batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from fastsag import audio
from fastsag.audio import Recording
from fastsag.baselines.result import Result, finish
from fastsag.baselines.singsong.config import STAGES, SingSongConfig, StageConfig, StageName
from fastsag.baselines.singsong.tokens import CONFIG, Tokenizer, check_same_tokens
from fastsag.baselines.singsong.transformer import StageModel
from fastsag.checkpoint import device_of, load_weights
from fastsag.codec import sound
from fastsag.config import parse, read_yaml
from fastsag.errors import UserError
from fastsag.take import Stopwatch
from fastsag.windows import Window, tiles

WEIGHTS, CHECKPOINT, TOKENS = "model.safetensors", "last.ckpt", "tokens"
Progress = Callable[[str, int, int], None]  # stage, tokens done, tokens in all

_BATCH = 16  # windows sampled together


@dataclass
class Stage:
    """A language model and its window, in frames of what it reads and writes."""

    name: StageName
    model: StageModel
    settings: StageConfig
    given_frames: int
    wanted_frames: int
    top_k: float

    @classmethod
    def build(cls, config: SingSongConfig, name: StageName, tokenizer: Tokenizer) -> Stage:
        """A stage with fresh weights."""
        settings = config.stages[name]
        given, wanted = (
            max(1, round(settings.window_seconds * tokenizer.rate_hz(name, part)))
            for part in (False, True)
        )
        layout = tokenizer.layout(name)
        model = StageModel(config.transformer, layout, layout.positions(given, wanted))
        return cls(name, model, settings, given, wanted, config.top_k)

    def windows(self, frames: int) -> list[Window]:
        """The windows of `frames` wanted frames."""
        overlap = int(self.settings.overlap * self.wanted_frames)
        return tiles(frames, self.wanted_frames, overlap)

    def __call__(
        self,
        given: Tensor,
        frames: int,
        seed: int,
        *,
        cache: bool = True,
        progress: Progress | None = None,
    ) -> Tensor:
        """Codes (L, Q) of a whole recording -> `frames` codes (L', Q')."""
        windows = self.windows(frames)
        quantisers = self.model.layout.wanted.codebooks
        out = torch.zeros(max(frames, windows[-1].stop), quantisers, dtype=torch.long)
        out = out.to(given.device)
        alone = self.settings.overlap == 0
        size = _BATCH if alone else 1
        done, total = 0, sum(self._tokens(window, alone) for window in windows)
        for first in range(0, len(windows), size):
            batch = windows[first : first + size]

            def tick(made: int, done: int = done, width: int = len(batch)) -> None:
                if progress:
                    progress(self.name, done + made * width, total)

            known = None if alone or not batch[0].known else self._known(out, batch[0])
            made = self.model.generate(
                torch.stack([self._given(given, window) for window in batch]),
                self.wanted_frames,
                known=known,
                temperature=self.settings.temperature,
                top_k=self.top_k,
                seed=seed + first,
                cache=cache,
                tick=tick,
            )
            for window, codes in zip(batch, made, strict=True):
                out[window.start + window.known : window.stop] = codes[window.known :]
            done += sum(self._tokens(window, alone) for window in batch)
        return out[:frames]

    def _tokens(self, window: Window, alone: bool) -> int:
        frames = self.wanted_frames - (0 if alone else window.known)
        return frames * self.model.layout.wanted.codebooks

    def _known(self, out: Tensor, window: Window) -> Tensor:
        return out[None, window.start : window.start + window.known]

    def _given(self, given: Tensor, window: Window) -> Tensor:
        """The window's part of what is read, always `given_frames` long."""
        start = round(window.start * self.given_frames / self.wanted_frames)
        start = max(0, min(start, len(given) - self.given_frames))
        part = given[start : start + self.given_frames]
        short = self.given_frames - len(part)
        return torch.cat([part, part[-1:].expand(short, -1)]) if short else part


class SingSong:
    """A trained system, ready to accompany.

    Args:
        tokenizer: voice and band <-> tokens.
        stages: two (semantic, coarse) or all three.
        name: for the record.
        device: of the networks.
        precision: "fp32" or "bf16", of the language models.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        stages: Sequence[Stage],
        *,
        name: str = "unnamed",
        device: torch.device | str = "cpu",
        precision: str = "fp32",
    ) -> None:
        self.device, self.precision, self.name = torch.device(device), precision, name
        self.tokenizer = tokenizer.to(self.device)
        self.stages = list(stages)
        kind = torch.bfloat16 if precision == "bf16" else torch.float32
        for stage in self.stages:
            stage.model.to(self.device, kind).eval()

    @classmethod
    def from_pretrained(
        cls, run: str | Path, stages: int = 2, device: str = "auto", precision: str = "auto"
    ) -> SingSong:
        """Load what `fastsag singsong fit-tokens` and `train` wrote into `run`.

        Raises:
            UserError: a part is missing or does not fit, absent device, unknown precision.
        """
        where = device_of(device)
        if precision not in ("auto", "fp32", "bf16"):
            raise UserError(f"--precision {precision}: unknown; choose auto, fp32 or bf16")
        if precision == "auto":
            precision = "bf16" if where.type == "cuda" else "fp32"
        tokenizer = Tokenizer.load(Path(run) / TOKENS)
        loaded = [load_stage(Path(run) / name, name, tokenizer) for name in STAGES[:stages]]
        return cls(tokenizer, loaded, name=str(run), device=where, precision=precision)

    @torch.inference_mode()
    def accompany(
        self,
        source: str | Path | Recording,
        *,
        seed: int = 0,
        level_db: float = -3.0,
        progress: Progress | None = None,
    ) -> Result:
        """Accompany a voice of any sample rate, channel count and length.

        Args:
            source: a file, or samples already read.
            seed: of the sampling.
            level_db: loudness of the band against the voice (LU, BS.1770).
            progress: told of (stage, tokens done, tokens in all).

        Raises:
            UserError: the input cannot be used.
        """
        watch = Stopwatch()
        recording = source if isinstance(source, Recording) else audio.read(source)
        watch.lap("read")
        longest = max(stage.settings.window_seconds for stage in self.stages)
        samples = self.tokenizer.prepare(recording, longest)
        codes = self.tokenizer.voice(samples)[:, None]
        watch.lap("listen")
        codec, counts = self.tokenizer.codec, {}
        acoustic = -(-len(samples) // codec.hop_length)
        coarse: Tensor | None = None
        for stage in self.stages:
            frames = len(codes) if stage.name == "semantic" else acoustic
            codes = stage(codes, frames, seed, progress=progress)
            if stage.name == "coarse":
                coarse = codes
            counts[stage.name] = len(stage.windows(frames))
            watch.lap(stage.name)
        if self.stages[-1].name == "fine":
            assert coarse is not None
            codes = torch.cat([coarse, codes], dim=1)
        band = sound(codec, codes)
        watch.lap("decode")
        about = {
            "checkpoint": self.name,
            "device": str(self.device),
            "precision": self.precision,
            "system": "SingSong " + "+".join(stage.name[0] for stage in self.stages),
            "temperatures": {stage.name: stage.settings.temperature for stage in self.stages},
            "windows": counts,
        }
        return finish(recording, band, codec.sample_rate, level_db, seed, watch, about)


def load_stage(folder: Path, name: StageName, tokenizer: Tokenizer) -> Stage:
    """A trained stage; of a run that has not ended, its averaged weights so far.

    Raises:
        UserError: not trained, or trained on other tokens.
    """
    path = folder / CONFIG
    if not path.exists():
        raise UserError(f"{folder}: no {name} stage; run: fastsag singsong train {name}")
    config = parse(read_yaml(path), str(path), SingSongConfig)
    check_same_tokens(config, tokenizer.config, str(path))
    stage = Stage.build(config, name, tokenizer)
    if (folder / WEIGHTS).exists():
        load_weights(stage.model, folder / WEIGHTS)
        return stage
    from fastsag.training.loop import averaged_weights

    stage.model.load_state_dict(averaged_weights(folder, "model"))
    return stage
