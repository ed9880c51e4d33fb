"""Compare this package with a file of outputs of the authors' published implementation.

    python tests/golden/check.py FILE.npz

Rebuilds every module with deterministic weights, computes every output of the file and prints a
row for each: name, shape, largest absolute error, verdict. Exit status: 0 all pass, 1 a row fails,
2 the file cannot be used. Any file of the format of golden.npz will do: its sizes, lengths, noise
levels and inputs are its own.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

if not __package__:  # run as a script: the repository is not on the path
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from torch import Tensor

from tests.golden import audio_families as audio
from tests.golden import families as model
from tests.golden.archive import Archive, UnreadableArchive, read


class Family(NamedTuple):
    """Arrays that are computed together; `inputs` and `outputs` match their whole names."""

    compute: Callable[[Archive], dict[str, Tensor]]
    inputs: str
    outputs: str

    @property
    def name(self) -> str:
        return self.compute.__name__


FAMILIES = (
    Family(model.time_embedding, r"temb_t", r"temb_(sin|mlp)"),
    Family(model.unet, r"est_(x|mu|len|t)", r"est_out"),
    Family(model.preconditioning, r"edm_(y|n|mu|sigma|len)", r"edm_out_\d+"),
    Family(model.sampler, r"samp_(latent|mu|len)", r"samp\d+_(out|sigmas|x|denoised)"),
    Family(model.guidance, r"samp_(latent|mu|len)", r"sampcfg3_out"),
    Family(
        model.edm_loss,
        r"loss_(mel_y|rnd_normal)|edmloss\d+_len",
        r"edmloss\d+(_D|_gradnorm|_gradnorm_total)?",
    ),
    Family(model.prior_wavenet, r"mix_in", r"mix_out"),
    Family(model.perceiver_io, r"perc_(in|rows)", r"perc_out_rows|perc\d+_out"),
    Family(model.semantic_wavenet, r"sem_in", r"sem_out"),
    Family(model.interpolated_condition, r"full_frames", r"full\d+_interp_cond"),
    Family(
        model.full,
        r"full_(sem|frames)",
        r"full_(interp|perceiver)_(enc|dec)|full\d+_interp_(enc|dec)",
    ),
    Family(
        model.losses,
        r"loss_(sem_x|sem_y|mel_y|rnd_normal)",
        r"loss_semantic_prior_diff_interp",
    ),
    Family(audio.mel, r"mel_wav", r"mel_(out|fb_rowsum|fb_argmax|len\d+_shape|shape_\d+)"),
    Family(audio.activation, r"act_in", r"act_out|aa_filter"),
    Family(audio.bigvgan, r"voc[12]_mel", r"voc[12]_out"),
    Family(
        audio.normalisations,
        r"norm_in|wavnorm_in|embnorm_in",
        r"norm_out|denorm_of_norm_in|wavnorm_out|embnorm_out|rms_db_code",
    ),
)


class Tolerance(NamedTuple):
    names: str
    absolute: float
    relative: float


TOLERANCES = (
    Tolerance(r"mel_fb_argmax|mel_.*shape.*", 0.0, 0.0),
    Tolerance(r"mel_out", 1e-4, 0.0),
    Tolerance(r"loss_.*|edmloss\d+|edmloss\d+_gradnorm.*", 0.0, 1e-4),
    Tolerance(r".*", 5e-5, 1e-4),
)


class Row(NamedTuple):
    """One array's verdict. error: largest absolute difference, None where nothing was compared."""

    name: str
    shape: tuple[int, ...]
    error: float | None
    passed: bool
    note: str = ""

    def __str__(self) -> str:
        error = "-" if self.error is None else f"{self.error:.2e}"
        shape = "x".join(map(str, self.shape))
        row = f"{self.name:32} {shape:>14} {error:>9}  {'pass' if self.passed else 'FAIL'}"
        return f"{row}  {self.note}" if self.note else row


def check(file: Archive, families: Sequence[Family] = FAMILIES) -> Iterator[Row]:
    """Rows of the outputs that the families claim."""
    for family in families:
        expected = {
            name: array for name, array in file.arrays.items() if re.fullmatch(family.outputs, name)
        }
        if not expected:
            continue
        computed, note = {}, "not computed"
        try:
            with torch.no_grad():
                computed = family.compute(file)
        except KeyError as error:
            note = f"the file lacks {error}"
        except Exception as error:  # arrays that do not fit together are this row's failure
            note = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        for name, array in expected.items():
            if name in computed:
                yield compare(name, array, computed[name])
            else:
                yield Row(name, tuple(array.shape), None, False, note)


def unknown(file: Archive) -> Iterator[Row]:
    """A failing row for every array that is no family's input or output."""
    claimed = "|".join(f"{family.inputs}|{family.outputs}" for family in FAMILIES)
    for name, array in file.arrays.items():
        if not re.fullmatch(claimed, name):
            yield Row(name, tuple(array.shape), None, False, "unknown array")


def compare(name: str, expected: Tensor, actual: Tensor) -> Row:
    shape = tuple(expected.shape)
    if actual.shape != expected.shape:
        return Row(name, shape, None, False, f"ours is {'x'.join(map(str, actual.shape))}")
    a, b = actual.double(), expected.double()
    error = float((a - b).abs().max()) if b.numel() else 0.0
    tolerance = next(each for each in TOLERANCES if re.fullmatch(each.names, name))
    passed = torch.allclose(a, b, rtol=tolerance.relative, atol=tolerance.absolute)
    if name == "mel_out" and not passed and audio.same_up_to_rounding(a, b):
        quiet = int(((a - b).abs() > tolerance.absolute).sum())
        note = f"{quiet} quiet values as magnitudes: this processor's FFT rounds otherwise"
        return Row(name, shape, error, True, note)
    return Row(name, shape, error, passed)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Compare this package with a golden file.")
    parser.add_argument("file", type=Path, metavar="FILE.npz")
    start = time.monotonic()
    try:
        file = read(parser.parse_args(arguments).file)
    except UnreadableArchive as error:
        print(error, file=sys.stderr)
        return 2
    count = failed = 0
    for rows in (check(file), unknown(file)):
        for row in rows:
            print(row, flush=True)
            count, failed = count + 1, failed + (not row.passed)
    print(f"{count - failed} of {count} arrays pass ({time.monotonic() - start:.0f} s)")
    return 1 if failed or not count else 0


if __name__ == "__main__":
    sys.exit(main())
