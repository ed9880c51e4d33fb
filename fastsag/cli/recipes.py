"""The configurations of the repository in one table, with the paper's figures."""

from __future__ import annotations

from pathlib import Path

# Table 1 of the paper (zero-shot MUSDB18): FAD with VGGish, MERT and CLAP-MUSIC, and the real-time
# factor.
_PAPER = {
    "no-norm": (3.6784, 1.7695, 0.1115, 0.3239),
    "semantic-mel": (1.5947, 1.9795, 0.1054, 0.3240),
    "mel": (1.4424, 2.0861, 0.1151, 0.3214),
    "interpolation": (0.7595, 1.5059, 0.0648, 0.3231),
    "paper": (0.8917, 1.3043, 0.0701, 0.3247),
}
_ROWS = (
    ("paper", "configs/paper.yaml", "the paper's model, as printed"),
    ("no-norm", "configs/ablations/no-norm.yaml", "logarithmic mel, not normalised"),
    ("semantic-mel", "configs/ablations/semantic-mel.yaml", "the voice's mel added"),
    ("mel", "configs/ablations/mel.yaml", "the voice's mel instead of semantics"),
    ("interpolation", "configs/ablations/interpolation.yaml", "bilinear resampling"),
    ("no-phase", "configs/ablations/no-phase.yaml", "the compact model without beat and bar phase"),
    ("paper-authors", "configs/paper-authors.yaml", "as the authors' code computes"),
    ("compact", "configs/compact.yaml", "the bundled model"),
    ("reproduction", "configs/reproduction.yaml", "the paper's parts, for one CPU core"),
    ("debug", "configs/debug.yaml", "seconds, for tests"),
    ("vocos", "configs/vocoder/vocos.yaml", "train-vocoder: the bundled vocoder"),
    ("vocos-gan", "configs/vocoder/vocos-gan.yaml", "train-vocoder: with discriminators"),
    (
        "vocos-paper",
        "configs/vocoder/vocos-paper.yaml",
        "train-vocoder: for the paper's spectrogram",
    ),
)


def table() -> str:
    """Name, file, purpose and the paper's figures, one configuration a line."""
    lines: list[tuple[str, ...]] = [("file", "what it is", "VGGish", "MERT", "CLAP", "RTF")]
    for name, file, purpose in _ROWS:
        figures = [f"{value:.4f}" for value in _PAPER.get(name, ())] or [""] * 4
        here = "" if Path(file).exists() else " (not here: run from a clone)"
        lines.append((file + here, purpose, *figures))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)
    return (
        f"{text}\n\nFigures: Fréchet audio distance (smaller is better) and real-time factor of "
        "Table 1 of the paper,\nMUSDB18 test set, trained for 500,000 steps on 3,000 hours.\n"
        "The ablations change any configuration: --base configs/compact.yaml"
    )
