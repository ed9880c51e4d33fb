"""Cutting and the two readings of the gate, against formulas."""

import numpy as np
import pytest

from fastsag.data.clips import AUTHORS_DBFS, FLOOR_DB, cut, gates, levels
from tests.data.songs import RATE, tone


def at(rms_db: float, seconds: float = 2.0) -> np.ndarray:
    """A sine of this level over all its length."""
    return tone(441, seconds, 10 ** (rms_db / 20) * np.sqrt(2))


def test_levels_of_a_sine() -> None:
    found = levels(at(-20), RATE)
    assert found.rms_db == pytest.approx(-20, abs=0.01)
    assert found.peak_rms_db == pytest.approx(-20, abs=0.01)
    assert found.natural_db == pytest.approx(10 * np.log(0.1), abs=0.01)


def test_a_short_loud_part_counts_for_the_peak_alone() -> None:
    samples = np.concatenate([at(-10, 0.1), np.zeros(RATE, np.float32)])
    found = levels(samples, RATE)
    assert found.peak_rms_db == pytest.approx(-10, abs=0.1)
    assert found.rms_db == pytest.approx(-10 + 10 * np.log10(0.1 / 1.1), abs=0.1)


def test_silence_has_a_floor_and_passes_no_gate() -> None:
    found = levels(np.zeros(RATE, np.float32), RATE)
    assert found.peak_rms_db == found.rms_db == FLOOR_DB
    assert found.passes == {"paper": False, "authors": False, "none": True}


@pytest.mark.parametrize(
    ("level", "paper", "authors"),
    [(-25.1, False, False), (-24.9, True, False), (-21.8, True, False), (-21.6, True, True)],
)
def test_thresholds_of_both_readings(level: float, paper: bool, authors: bool) -> None:
    """-25 dBFS in the paper's words; 10 ln(rms) >= -25, at e^-2.5 = -21.71 dBFS, in the code."""
    assert pytest.approx(20 * np.log10(np.exp(-2.5))) == AUTHORS_DBFS
    passed = levels(at(level), RATE).passes
    assert (passed["paper"], passed["authors"]) == (paper, authors)


def test_both_stems_must_pass() -> None:
    loud, soft = levels(at(-10), RATE), levels(at(-40), RATE)
    assert gates(loud, loud)["paper"] and gates(loud, loud)["authors"]
    for pair in ((loud, soft), (soft, loud)):
        assert gates(*pair) == {"paper": False, "authors": False, "none": True}


def test_clips_follow_each_other_and_the_tail_goes() -> None:
    spans = cut(35 * RATE + 7, RATE, 10.0)
    assert [(span.start, span.stop) for span in spans] == [
        (0, 10 * RATE),
        (10 * RATE, 20 * RATE),
        (20 * RATE, 30 * RATE),
    ]
    assert cut(10 * RATE - 1, RATE, 10.0) == [] and len(cut(10 * RATE, RATE, 10.0)) == 1
