"""Token sequences: ranges, order, round trips."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fastsag.baselines.singsong.config import STAGES
from fastsag.baselines.singsong.layout import Block, pack, prompt, sequence, stage_layout, unpack

SIZES = st.tuples(
    st.integers(1, 40), st.integers(2, 8), st.integers(1, 30), st.integers(1, 8)
).filter(lambda sizes: sizes[3] < sizes[1])


def drawn(block: Block, frames: int, seed: int = 0, batch: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, block.size, (batch, frames, block.codebooks), generator=generator)


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(STAGES), SIZES)
def test_ranges_cover_the_vocabulary_once(stage, sizes):
    layout = stage_layout(stage, *sizes)
    ids = [
        token
        for block in (layout.given, layout.wanted)
        for part in (*map(block.codes, range(block.codebooks)), (block.eos, block.start))
        for token in part
    ]
    assert sorted(ids) == list(range(layout.vocabulary))


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(STAGES), SIZES, st.integers(0, 9), st.integers(1, 9), st.integers(0, 99))
def test_a_sequence_can_be_read_back(stage, sizes, given_frames, wanted_frames, seed):
    layout = stage_layout(stage, *sizes)
    given_, wanted = drawn(layout.given, given_frames, seed), drawn(layout.wanted, wanted_frames)
    ids = sequence(layout, given_, wanted)
    assert ids.shape == (2, layout.positions(given_frames, wanted_frames))
    edge = given_frames * layout.given.codebooks
    assert (ids[:, 0] == layout.given.start).all()
    assert (ids[:, edge + 1] == layout.given.eos).all()
    assert (ids[:, edge + 2] == layout.wanted.start).all()
    assert (ids[:, -1] == layout.wanted.eos).all()
    assert torch.equal(unpack(layout.given, ids[:, 1 : edge + 1]), given_)
    assert torch.equal(unpack(layout.wanted, ids[:, edge + 3 : -1]), wanted)


def test_the_papers_stages():
    """1,024 semantic clusters, 3 coarse and 5 fine books of 1,024, at 75 Hz."""
    paper = (1024, 8, 1024, 3)
    semantic, coarse, fine = (stage_layout(stage, *paper) for stage in STAGES)
    assert (semantic.given.codebooks, semantic.wanted.codebooks) == (1, 1)
    assert (coarse.given.codebooks, coarse.wanted.codebooks) == (1, 3)
    assert (fine.given.codebooks, fine.wanted.codebooks) == (3, 5)
    assert coarse.wanted.codes(2)[0] - coarse.wanted.base == 2 * 1024
    assert coarse.positions(750, 750) == 750 + 2250 + 4
    # One stage's end is the next one's beginning.
    for one, other in ((semantic, coarse), (coarse, fine)):
        before, after = one.wanted, other.given
        assert (before.codebooks, before.size) == (after.codebooks, after.size)


def test_quantisers_take_turns_within_a_frame():
    block = Block(codebooks=3, size=10, base=100)
    codes = torch.tensor([[[1, 2, 3], [4, 5, 6]]])
    assert pack(block, codes).tolist() == [[101, 112, 123, 104, 115, 126]]


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 4), st.integers(1, 9), st.integers(0, 50), st.data())
def test_a_token_outside_its_range_is_refused(codebooks, size, base, data):
    block = Block(codebooks, size, base)
    ids = pack(block, drawn(block, 3, batch=1))
    place = data.draw(st.integers(0, ids.shape[1] - 1))
    right = block.codes(place % codebooks)
    wrong = data.draw(st.integers(0, block.stop + 3).filter(lambda token: token not in right))
    ids[0, place] = wrong
    with pytest.raises(ValueError, match="range"):
        unpack(block, ids)


def test_wrong_codes_are_refused():
    block = Block(2, 4)
    for codes in (torch.full((1, 1, 2), 4), torch.full((1, 1, 2), -1)):
        with pytest.raises(ValueError, match="codes from"):
            pack(block, codes)
    with pytest.raises(ValueError, match="3 quantisers"):
        pack(block, torch.zeros(1, 1, 3, dtype=torch.long))
    with pytest.raises(ValueError, match="whole frames"):
        unpack(block, torch.zeros(1, 3, dtype=torch.long))
    with pytest.raises(ValueError, match="4 of 4"):
        stage_layout("coarse", 8, 4, 8, 4)


def test_a_prompt_ends_with_what_is_known():
    layout = stage_layout("coarse", 8, 4, 8, 2)
    given_, wanted = drawn(layout.given, 5), drawn(layout.wanted, 6)
    whole = sequence(layout, given_, wanted)
    for known in range(7):
        start = prompt(layout, given_, wanted[:, :known] if known else None)
        assert torch.equal(start, whole[:, : 5 + 3 + 2 * known])
