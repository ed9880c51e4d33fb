"""Windows cover everything once and join without a trace."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastsag.windows import join, spans, tiles


@given(total=st.integers(1, 5_000), size=st.integers(2, 600), overlap=st.integers(0, 599))
def test_windows_cover_and_overlap(total, size, overlap):
    if overlap >= size:
        with pytest.raises(ValueError, match=str(overlap)):
            spans(total, size, overlap)
        return
    windows = spans(total, size, overlap)
    assert windows[0].start == 0 and windows[0].known == 0 and windows[-1].stop == total
    for before, after in pairwise(windows):
        assert after.start == before.stop - overlap and after.known == overlap
        assert after.stop - after.start <= size and after.stop > before.stop


@given(total=st.integers(1, 3_000), fade=st.integers(0, 64))
def test_joining_agreeing_windows_is_the_identity(total, fade):
    truth = np.random.default_rng(total).standard_normal((2, total))
    out = np.zeros_like(truth)
    for window in spans(total, 400, 100):
        join(out, truth[:, window.start : window.stop], window, fade)
    np.testing.assert_allclose(out, truth, atol=1e-12)


def test_disagreeing_windows_fade_without_a_jump():
    out = np.zeros((1, 700))
    for value, window in zip((0.0, 1.0), spans(700, 400, 100), strict=True):
        join(out, np.full((1, window.stop - window.start), value), window, fade=50)
    assert np.abs(np.diff(out)).max() <= 1 / 50 + 1e-9


@given(total=st.integers(1, 5_000), size=st.integers(2, 600), overlap=st.integers(0, 599))
def test_tiles_have_one_size_and_cover(total, size, overlap):
    if overlap >= size:
        with pytest.raises(ValueError, match=str(overlap)):
            tiles(total, size, overlap)
        return
    windows = tiles(total, size, overlap)
    assert windows[0].start == 0 and windows[-1].stop == max(total, size)
    assert all(window.stop - window.start == size for window in windows)
    for before, after in pairwise(windows):
        assert after.start > before.start and before.stop - after.start >= min(overlap, 1)
        assert after.known == before.stop - after.start >= overlap
