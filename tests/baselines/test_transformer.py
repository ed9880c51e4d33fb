"""The language model: size, loss, and sampling that stays where it must."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from fastsag.baselines.singsong.config import (
    STAGES,
    SingSongConfig,
    StageName,
    TransformerConfig,
)
from fastsag.baselines.singsong.layout import sequence, stage_layout
from fastsag.baselines.singsong.transformer import StageModel
from fastsag.config import parse, read_yaml

pytest.importorskip("transformers")
CONFIGS = Path(__file__).parents[2] / "configs" / "singsong"
TINY = {"width": 32, "depth": 2, "heads": 4, "head_size": 8, "hidden": 48}
SIZES = (12, 4, 10, 2)  # clusters, books, codes, coarse books


def model(stage: StageName = "coarse", **changes) -> StageModel:
    torch.manual_seed(0)
    config = TransformerConfig(**(TINY | changes))
    return StageModel(config, stage_layout(stage, *SIZES), 200).eval()


def read(made: StageModel, frames: int = 6, batch: int = 2) -> torch.Tensor:
    block = made.layout.given
    generator = torch.Generator().manual_seed(3)
    return torch.randint(0, block.size, (batch, frames, block.codebooks), generator=generator)


@pytest.mark.parametrize(("name", "millions"), [("large", 255), ("small", 57)])
def test_parameters_of_a_stage(name, millions):
    path = CONFIGS / f"{name}.yaml"
    config = parse(read_yaml(path), str(path), SingSongConfig)
    for stage in STAGES:
        with torch.device("meta"):
            made = StageModel(config.transformer, stage_layout(stage, 1024, 8, 1024, 3), 4_000)
        assert made.core_parameters == pytest.approx(millions * 1e6, rel=0.01)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("temperature", [0.01, 1.0, 1000.0])
def test_tokens_never_leave_their_range(stage, temperature):
    """`unpack` inside `generate` would raise; every output matrix is made to prefer other ids."""
    made = model(stage)
    with torch.no_grad():
        for token in (made.layout.wanted.eos, made.layout.wanted.start, 0):
            made.llama.lm_head.weight[token] *= 100
    codes = made.generate(read(made), 8, temperature=temperature, top_k=1.0, seed=1)
    assert codes.shape == (2, 8, made.layout.wanted.codebooks)
    assert codes.min() >= 0 and codes.max() < made.layout.wanted.size


@given(st.integers(0, 5), st.integers(0, 2**31))
@settings(max_examples=4, deadline=None)
def test_the_cache_changes_nothing(known, seed):
    made = model()
    start = torch.randint(0, 10, (2, known, 2)) if known else None
    options = {"known": start, "seed": seed, "top_k": 0.5}
    cached = made.generate(read(made), 7, **options)
    assert torch.equal(cached, made.generate(read(made), 7, cache=False, **options))
    assert cached.shape == (2, 7, 2)
    if known:
        assert torch.equal(cached[:, :known], start)


def test_all_known_is_returned():
    made, known = model(), torch.ones(1, 4, 2, dtype=torch.long)
    assert torch.equal(made.generate(read(made, batch=1), 4, known=known), known)


def test_seeds_and_the_global_generator():
    made = model()
    before = torch.random.get_rng_state()
    one, same, other = (made.generate(read(made), 30, seed=seed, top_k=1.0) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_the_filter_keeps_a_tenth_of_a_books_outputs():
    """Of 30 codes and eos, the best 3; their order in the whole vocabulary does not matter."""
    torch.manual_seed(0)
    made = StageModel(TransformerConfig(**TINY), stage_layout("coarse", 12, 4, 30, 2), 200).eval()
    given_ = read(made, 6, 1)
    block = made.layout.wanted
    ids = sequence(made.layout, given_, torch.zeros(1, 1, 2, dtype=torch.long))[:, : 6 + 3]
    with torch.no_grad():
        logits = made.llama(ids).logits[0, -1, block.base : block.base + 30]
    best = set(logits.topk(3).indices.tolist())
    drawn = {
        int(made.generate(given_, 1, seed=seed, temperature=100.0)[0, 0, 0]) for seed in range(40)
    }
    assert drawn == best


def test_the_loss_is_the_mean_over_the_wanted_block_alone():
    made = model()
    given_ = read(made)
    wanted = torch.randint(0, 10, (2, 5, 2), generator=torch.Generator().manual_seed(5))
    ids = sequence(made.layout, given_, wanted)
    loss = made.loss(ids, 6)
    with torch.no_grad():
        logits = made.llama(ids).logits
    block, total = made.layout.wanted, []
    for place in range(6 + 3, ids.shape[1]):
        quantiser = (place - 9) % 2
        allowed = list(block.codes(quantiser)) + ([block.eos] if quantiser == 0 else [])
        scores = logits[:, place - 1, allowed]
        target = torch.tensor([allowed.index(int(token)) for token in ids[:, place]])
        total.append(F.cross_entropy(scores, target, reduction="none"))
    assert loss.item() == pytest.approx(torch.stack(total).mean().item(), rel=1e-5)
    loss.backward()
    gradient = made.llama.lm_head.weight.grad
    assert gradient[: block.base].abs().max() == 0 and gradient[block.start].abs().max() == 0
    assert gradient[block.base : block.start].abs().max() > 0


def test_gradients_of_embeddings_are_shrunk():
    wanted = torch.zeros(2, 5, 2, dtype=torch.long)
    grads = []
    for shrink in (1.0, 0.1):
        made = model(grad_shrink=shrink)
        made.loss(sequence(made.layout, read(made), wanted), 6).backward()
        grads.append(made.llama.model.embed_tokens.weight.grad)
    assert torch.allclose(grads[1], 0.1 * grads[0], atol=1e-8)


def test_training_hides_tokens_and_drops_and_evaluation_does_not():
    wanted = torch.zeros(2, 5, 2, dtype=torch.long)
    for changes in ({"forget": 0.5, "ff_dropout": 0.0}, {"forget": 0.0, "ff_dropout": 0.5}):
        made = model(**changes)
        ids = sequence(made.layout, read(made), wanted)
        assert made.loss(ids, 6) == made.loss(ids, 6)
        made.train()
        assert made.loss(ids, 6) != made.loss(ids, 6)
    plain = model(forget=0.0, ff_dropout=0.0)
    evaluated = plain.loss(ids, 6)
    assert plain.train().loss(ids, 6) == evaluated


def test_it_learns_to_copy():
    """A map from what is read to what is written, seen in no other way."""
    torch.manual_seed(1)
    plain = {"ff_dropout": 0.0, "forget": 0.0, "grad_shrink": 1.0}
    sizes = TINY | {"width": 64, "hidden": 128} | plain
    made = StageModel(TransformerConfig(**sizes), stage_layout("semantic", *SIZES), 64)
    optimizer = torch.optim.AdamW(made.parameters(), 3e-3)
    for _ in range(150):
        given_ = torch.randint(0, 12, (16, 6, 1))
        loss = made.loss(sequence(made.layout, given_, (given_ + 5) % 12), 6)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    made.eval()
    given_ = torch.randint(0, 12, (4, 6, 1))
    copied = made.generate(given_, 6, temperature=0.4)
    assert ((given_ + 5) % 12 == copied).float().mean() > 0.9
