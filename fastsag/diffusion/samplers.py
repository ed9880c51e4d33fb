"""Deterministic solvers of the probability-flow ODE dx = (x - D(x; sigma)) / sigma dsigma.

(Paper Eq. 2 and 6 with sigma(t) = t.) Each is a pure function
`sampler(denoise, x, sigmas, callback=None) -> x0`:

- `denoise(x (B, M, T), sigma (B,)) -> x0 (B, M, T)`;
- `x`: noise of standard deviation `sigmas[0]`;
- `sigmas`: falling noise levels that end in 0;
- `callback(i, sigma, x, x0)`: told of every step's level and of the input and output of its first
  denoiser call.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import pairwise

from torch import Tensor

Denoise = Callable[..., Tensor]
Callback = Callable[[int, float, Tensor, Tensor], None]
Sampler = Callable[..., Tensor]


def euler(denoise: Denoise, x: Tensor, sigmas: Tensor, callback: Callback | None = None) -> Tensor:
    """First order: one denoiser call a step."""
    for i, sigma, following in _steps(sigmas):
        x0 = _evaluate(denoise, x, sigma)
        if callback:
            callback(i, sigma, x, x0)
        x = _towards(x0, x, following / sigma)
    return x


def heun(denoise: Denoise, x: Tensor, sigmas: Tensor, callback: Callback | None = None) -> Tensor:
    """Second order (EDM Algorithm 1 without churn): two denoiser calls a step, one in the last."""
    for i, sigma, following in _steps(sigmas):
        x0 = _evaluate(denoise, x, sigma)
        if callback:
            callback(i, sigma, x, x0)
        predicted = _towards(x0, x, following / sigma)
        if following > 0:
            slope = (x - x0) / sigma
            slope_ahead = (predicted - _evaluate(denoise, predicted, following)) / following
            x = x + (following - sigma) * (slope + slope_ahead) / 2
        else:
            x = predicted
    return x


def dpmpp_2m(
    denoise: Denoise, x: Tensor, sigmas: Tensor, callback: Callback | None = None
) -> Tensor:
    """DPM-Solver++(2M) (Lu et al. 2022): second order for one call a step, from the call before.

    x0 is extrapolated linearly in -ln(sigma) to the middle of the step. The first step, and the
    last one to zero where that middle does not exist, are of first order.
    """
    previous, previous_step = None, 0.0
    for i, sigma, following in _steps(sigmas):
        x0 = _evaluate(denoise, x, sigma)
        if callback:
            callback(i, sigma, x, x0)
        step = math.log(sigma / following) if following > 0 else math.inf
        target = x0
        if previous is not None and following > 0:
            target = x0 + step / (2 * previous_step) * (x0 - previous)
        x = _towards(target, x, following / sigma)
        previous, previous_step = x0, step
    return x


def few_step(jump: Denoise, x: Tensor, sigmas: Tensor, callback: Callback | None = None) -> Tensor:
    """A distilled denoiser's steps: one call each, which knows the level that it leads to.

    Args:
        jump: (x (B, M, T), sigma (B,), the level that follows (B,)) -> x0 (B, M, T), of which the
            straight line from x passes the teacher's state at the level that follows.
    """
    for i, sigma, following in _steps(sigmas):
        x0 = jump(x, *(x.new_full((x.shape[0],), level) for level in (sigma, following)))
        if callback:
            callback(i, sigma, x, x0)
        x = _towards(x0, x, following / sigma)
    return x


DISTILLED = "distilled"  # the name of `few_step`, for what has a student to jump with
SAMPLERS: dict[str, Sampler] = {"euler": euler, "heun": heun, "dpmpp_2m": dpmpp_2m}


def _steps(sigmas: Tensor) -> Iterator[tuple[int, float, float]]:
    """(i, sigma_i, sigma_{i+1}) of every step, as Python numbers."""
    levels = sigmas.tolist()
    for i, (sigma, following) in enumerate(pairwise(levels)):
        yield i, sigma, following


def _evaluate(denoise: Denoise, x: Tensor, sigma: float) -> Tensor:
    return denoise(x, x.new_full((x.shape[0],), sigma))


def _towards(x0: Tensor, x: Tensor, ratio: float) -> Tensor:
    """The straight line from x to x0, followed until `ratio` of the noise is left."""
    return x0 + ratio * (x - x0)
