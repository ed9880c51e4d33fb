"""The small codec: what its codebooks leave, and that codes are its inverse."""

import numpy as np
import pytest
import torch

from fastsag.codec import MelCodec
from fastsag.config import MelConfig
from fastsag.vocoder.griffin_lim import GriffinLim

MEL = MelConfig(n_mels=40)
BOOKS, SIZE, PATCH = 3, 16, 2


def music(seconds: float, seed: int) -> torch.Tensor:
    """Notes of two partials, each with an attack."""
    rng, rate = np.random.default_rng(seed), MEL.sample_rate
    time = np.arange(int(0.25 * rate)) / rate
    notes = []
    for _ in range(int(seconds / 0.25)):
        hz = 110 * 2 ** (rng.integers(24) / 12)
        tone = np.sin(2 * np.pi * hz * time) + 0.5 * np.sin(4 * np.pi * hz * time)
        notes.append(0.2 * tone * np.exp(-6 * time))
    return torch.from_numpy(np.concatenate(notes)).float().unsqueeze(0)


@pytest.fixture(scope="module")
def fitted():
    codec = MelCodec(MEL, GriffinLim(MEL, 2), PATCH, BOOKS, SIZE)
    left = codec.fit(codec.patches(music(20, 0))[0].numpy())
    return codec, left


def test_each_book_leaves_less(fitted):
    _, left = fitted
    assert len(left) == BOOKS and 0 < left[2] < left[1] < left[0] < 0.7


def test_shapes_ranges_and_rates(fitted):
    codec, _ = fitted
    assert codec.hop_length == PATCH * MEL.hop_length and codec.rate_hz == 24_000 / 512
    codes = codec.encode(music(2, 1))
    assert codes.shape == (1, 48_000 // 512, BOOKS)
    assert codes.min() >= 0 and codes.max() < SIZE
    assert codec.decode(codes).shape == (1, 48_000 // 512 * 512)
    assert codec.decode(codes[..., :1]).shape == (1, 48_000 // 512 * 512)


def test_more_books_are_nearer_in_new_music(fitted):
    codec, _ = fitted
    patches = codec.patches(music(4, 2))
    codes = codec.encode(music(4, 2))
    errors = []
    for used in range(1, BOOKS + 1):
        made = sum(codec.embedding[book][codes[..., book]] for book in range(used))
        errors.append(float((patches - made).square().mean()))
    assert errors == sorted(errors, reverse=True) and errors[-1] < 0.6 * float(patches.var())


def test_codes_survive_their_own_spectrogram(fitted):
    """What a book stands for has its own code."""
    codec, _ = fitted
    rest = codec.embedding[0].clone()[None]
    from fastsag.codec.kmeans import nearest

    assert torch.equal(nearest(rest, codec.embedding[0])[0], torch.arange(SIZE))
    sounds = codec.decode(codec.encode(music(4, 3)))
    again = codec.patches(sounds)
    far = float((again - codec.patches(music(4, 5))).square().mean())
    assert float((again - codec.patches(music(4, 3))).square().mean()) < 0.5 * far
