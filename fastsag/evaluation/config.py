"""eval.yaml: which systems are judged, on which sets, by which metrics.

Paths are taken from the folder in which the command runs. An unknown key is an error.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from fastsag import config
from fastsag.config import Strict
from fastsag.errors import UserError
from fastsag.evaluation.paper import EMBEDDERS


class RoundTripConfig(Strict):
    """What the true recordings pass before they are compared: one of the two."""

    vocoder: str | None = None  # a checkpoint with a vocoder: bundled name or folder
    codec: Literal["encodec"] | None = None
    bandwidth: float = 6.0  # kbit/s, of the codec

    @model_validator(mode="after")
    def _one(self) -> RoundTripConfig:
        if (self.vocoder is None) == (self.codec is None):
            raise ValueError("name either a vocoder or a codec")
        return self


class SystemConfig(Strict):
    """One system: a folder of KEY*.accompaniment.* for each set."""

    name: str
    zero_shot: Path | None = None
    in_domain: Path | None = None
    paper: str | None = None  # its row in the paper's tables; by default the row of its name
    degrade: RoundTripConfig | None = None  # "ground truth mixtures may be degraded" (section 5.3)
    rtf: Path | None = None  # JSON of `fastsag bench rtf`

    @property
    def paper_name(self) -> str:
        return self.paper or self.name


class ListeningConfig(Strict):
    """The ratings of a listening test, for Table 3."""

    key: Path
    ratings: tuple[Path, ...] = Field(min_length=1)


class Figure3Config(Strict):
    """Files of one take. prior, generated: audio, or a log mel (M, T) as .npy.

    With a checkpoint both are made from the voice.
    """

    voice: Path
    accompaniment: Path
    prior: Path | None = None
    generated: Path | None = None
    checkpoint: str | None = None
    seed: int = 0
    seconds: float = 10.0  # of each, from the beginning

    @model_validator(mode="after")
    def _made_or_given(self) -> Figure3Config:
        given = self.prior is not None and self.generated is not None
        if given == (self.checkpoint is not None):
            raise ValueError("give prior and generated, or a checkpoint that makes them")
        return self


class EvalConfig(Strict):
    """A whole evaluation. Sets are folders of KEY.vocals.* and KEY.accompaniment.*."""

    output: Path
    zero_shot: Path | None = None  # Table 1: MUSDB18's test songs in the paper
    in_domain: Path | None = None  # Table 2
    systems: tuple[SystemConfig, ...] = ()
    embedders: tuple[str, ...] = EMBEDDERS
    adherence: str | None = None  # embedder of the accompaniment prompt adherence; None: left out
    coherence: bool = True
    anchors: bool = True  # true bands, random pairing (RandSong), noise, silence, the voice itself
    level: Literal["files", "matched"] = "files"  # matched: every band as loud as the true one
    seed: int = 0
    workers: int = Field(default=1, ge=1)
    cache: Path | None = None
    listening: ListeningConfig | None = None  # Table 3
    figure3: Figure3Config | None = None

    @model_validator(mode="after")
    def _names_differ(self) -> EvalConfig:
        names = [system.name for system in self.systems]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"systems: {', '.join(twice)} is there twice")
        return self


def load(path: Path) -> EvalConfig:
    """Read eval.yaml.

    Raises:
        UserError: absent, not YAML, or unknown or wrong keys (each is named).
    """
    try:
        return config.parse(config.read_yaml(path), str(path), EvalConfig)
    except UserError as error:
        text = str(error).replace("not a FastSAG configuration", "not an evaluation")
        example = "see configs/eval/small.yaml for an example"
        raise UserError(text.replace("see configs/compact.yaml for an example", example)) from None
