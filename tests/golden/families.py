"""What the golden arrays of the model are computed from, one function per family.

Every size comes from the file or from configs/paper-authors.yaml; the numbers written here are
those of the rule (which frames are kept, which gradients are measured).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fastsag.diffusion.precond import guided
from fastsag.diffusion.samplers import euler
from fastsag.diffusion.schedule import karras_sigmas
from fastsag.diffusion.unet import UNet2d
from fastsag.losses import diffusion_loss, prior_loss, semantic_loss
from fastsag.model import FastSAG
from fastsag.nn.embeddings import sinusoidal
from tests.golden.archive import Archive
from tests.golden.parts import (
    authors,
    denoiser,
    full_model,
    interpolation,
    padded_frames,
    perceiver,
    prior,
    projection,
)
from tests.golden.weights import mask_of

Arrays = dict[str, Tensor]

_FULL_STEPS = 4
_GRADIENTS = (
    "final_conv.weight",
    "mlp.0.weight",
    "mid_attn.fn.fn.to_qkv.weight",
    "downs.0.0.block1.block.0.weight",
    "downs.0.2.fn.g",
)


def _levels(steps: int) -> Tensor:
    return karras_sigmas(steps, levels=authors().edm.levels)


# Diffusion.


def time_embedding(file: Archive) -> Arrays:
    network = denoiser().network
    assert isinstance(network, UNet2d)
    features = sinusoidal(file["temb_t"], network.dim, network.time_scale)
    return {"temb_sin": features, "temb_mlp": network.mlp(features)}


def unet(file: Archive) -> Arrays:
    mask = file.mask("est_len", "est_x")
    return {"est_out": denoiser().network(file["est_x"], mask, file["est_mu"], file["est_t"])}


def preconditioning(file: Archive) -> Arrays:
    clean, noise, condition = file["edm_y"], file["edm_n"], file["edm_mu"]
    mask, out = file.mask("edm_len", "edm_y"), {}
    for i in file.numbers(r"edm_out_(\d+)"):
        sigma = file["edm_sigma"][i].expand(len(clean))
        noisy = clean + sigma[:, None, None] * noise
        out[f"edm_out_{i}"] = denoiser()(noisy, sigma, condition, mask)
    return out


def sampler(file: Archive) -> Arrays:
    out = {}
    for steps in file.numbers(r"samp(\d+)_.*"):
        run, sigmas = f"samp{steps}_", _levels(steps)
        calls: list[tuple[Tensor, Tensor]] = []
        out[run + "out"] = _sample(file, sigmas, 1.0, calls)
        out[run + "sigmas"] = sigmas[:-1]
        for part, seen in zip(("x", "denoised"), zip(*calls, strict=True), strict=True):
            if run + part in file.arrays:
                out[run + part] = torch.stack(seen)[..., : file[run + part].shape[-1]]
    return out


def guidance(file: Archive) -> Arrays:
    """Three steps at scale 3."""
    return {"sampcfg3_out": _sample(file, _levels(3), 3.0, [])}


def _sample(
    file: Archive, sigmas: Tensor, scale: float, calls: list[tuple[Tensor, Tensor]]
) -> Tensor:
    condition = file["samp_mu"]
    denoise = guided(
        denoiser(),
        scale,
        condition=condition,
        null=torch.zeros_like(condition),
        mask=file.mask("samp_len", "samp_mu"),
    )
    start = file["samp_latent"] * sigmas[0]
    return euler(denoise, start, sigmas, lambda i, sigma, x, x0: calls.append((x, x0)))


# Conditioning.


def semantic_wavenet(file: Archive) -> Arrays:
    return {"sem_out": projection()(file["sem_in"])}


def prior_wavenet(file: Archive) -> Arrays:
    return {"mix_out": prior()(file["mix_in"])}


def perceiver_io(file: Archive) -> Arrays:
    semantics, out = file["perc_in"], {}
    if "perc_out_rows" in file.arrays:
        resampled = perceiver()(semantics, perceiver().frames).mT
        out["perc_out_rows"] = resampled[:, file["perc_rows"]]
    for queries in file.numbers(r"perc(\d+)_out"):
        out[f"perc{queries}_out"] = perceiver(queries)(semantics, queries).mT
    return out


def interpolated_condition(file: Archive) -> Arrays:
    """The number in the name is S, semantic frames; the mel frames are those of 10 s."""
    out = {}
    for frames in file.numbers(r"full(\d+)_interp_cond"):
        semantics = file.recipe(f"full{frames}_sem", (1, frames, authors().encoder.size))
        mixed = projection()(semantics) + semantics
        condition = interpolation()(mixed, perceiver().frames)
        out[f"full{frames}_interp_cond"] = condition[..., file["full_frames"]]
    return out


# The whole model.


def full(file: Archive) -> Arrays:
    out: Arrays = {}
    if any(name.startswith("full_interp") for name in file.arrays):
        model = full_model(interpolation())
        out |= _full(file, "full_interp", model, perceiver().frames, file["full_frames"])
    if any(name.startswith("full_perceiver") for name in file.arrays):
        model = full_model(perceiver())
        out |= _full(file, "full_perceiver", model, perceiver().frames, file["full_frames"])
    for frames in file.numbers(r"full(\d+)_interp_(?:enc|dec)"):
        name, kept = f"full{frames}_interp", torch.arange(0, frames, 8)
        out |= _full(file, name, full_model(interpolation()), frames, kept)
    return out


def _full(file: Archive, name: str, model: FastSAG, frames: int, kept: Tensor) -> Arrays:
    semantics = file["full_sem"]
    noise = file.recipe("full_z", (len(semantics), authors().mel.n_mels, padded_frames()))
    conditions = model.condition(semantics, frames)
    mel = model.generate(
        model.denoise(conditions), noise[..., :frames], _levels(_FULL_STEPS), euler
    )
    return {name + "_enc": conditions.prior[..., kept], name + "_dec": mel[..., kept]}


def losses(file: Archive) -> Arrays:
    """The three terms, with targets and noise over the padding too."""
    target, settings = file["loss_mel_y"], authors().loss
    model = full_model(interpolation())
    conditions = model.condition(file["loss_sem_x"], target.shape[-1])
    noise = file.recipe("loss_noise", tuple(conditions.prior.shape))
    target = F.pad(target, (0, noise.shape[-1] - target.shape[-1]))
    sigma = _training_levels(file)
    noisy = target + sigma[:, None, None] * noise
    denoised = model.denoiser(noisy, sigma, conditions.channels, conditions.mask)
    terms = [
        semantic_loss(conditions.semantics, file["loss_sem_y"]),
        prior_loss(conditions.prior, target, conditions.mask, settings.prior_kind),
        _diffusion_loss(denoised, target, sigma, conditions.mask),
    ]
    return {"loss_semantic_prior_diff_interp": torch.stack(terms)}


def edm_loss(file: Archive) -> Arrays:
    """Of the first F frames, conditioned on the next F; the second example is shorter."""
    out = {}
    network = denoiser().network
    parameters = dict(network.named_parameters())
    for frames in file.numbers(r"edmloss(\d+).*"):
        name = f"edmloss{frames}"
        target, condition = file["loss_mel_y"][..., : 2 * frames].split(frames, dim=-1)
        lengths = torch.full((len(target),), 50)
        lengths[0] = frames
        shape = (*target.shape[:2], padded_frames())
        noise, sigma = file.recipe("loss_noise", shape)[..., :frames], _training_levels(file)
        mask = mask_of(file.arrays.get(name + "_len", lengths), frames)
        with torch.enable_grad():
            noisy = target + sigma[:, None, None] * noise
            denoised = denoiser()(noisy, sigma, condition, mask)
            loss = _diffusion_loss(denoised, target, sigma, mask)
            found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
        norms = {
            key: grad.norm()
            for key, grad in zip(parameters, found, strict=True)
            if grad is not None
        }
        out[name] = loss.detach()[None]
        out[name + "_D"] = denoised.detach()[..., ::4]
        out[name + "_gradnorm"] = torch.stack([norms[key] for key in _GRADIENTS])
        out[name + "_gradnorm_total"] = torch.stack(list(norms.values())).norm()[None]
    return out


def _training_levels(file: Archive) -> Tensor:
    edm = authors().edm
    return (edm.P_mean + edm.P_std * file["loss_rnd_normal"]).exp().flatten()


def _diffusion_loss(denoised: Tensor, target: Tensor, sigma: Tensor, mask: Tensor | None) -> Tensor:
    edm, settings = authors().edm, authors().loss
    return diffusion_loss(
        denoised,
        target,
        sigma,
        edm.sigma_data,
        mask,
        settings.diffusion_weighting,
        settings.count_padding,
    )
