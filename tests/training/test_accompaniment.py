"""What the accompaniment training does with its settings."""

import lightning.pytorch as lightning
import pytest
import torch
from torch.utils.data import DataLoader

from fastsag.config import Config, TrainingConfig
from fastsag.training.accompaniment import AccompanimentTraining
from tests.test_rollout import small


class Items(torch.utils.data.Dataset):
    def __len__(self):
        return 2

    def __getitem__(self, index):
        torch.manual_seed(index)
        semantics = torch.rand(2, 32, 39)
        mel, item = torch.rand(20, 64), torch.tensor(index)
        return {"voice": semantics[0], "accompaniment": semantics[1], "mel": mel, "item": item}


def config(**training) -> Config:
    plain = TrainingConfig(steps=1, batch_size=2, crop_frames=64, **training)
    return small().model_copy(update={"training": plain})


@pytest.mark.parametrize(("parts", "clipped"), [((), "all"), (("prior", "denoiser"), "parts")])
def test_gradients_are_clipped_together_or_part_by_part(parts, clipped):
    settings = config(clip_norm=1e-3, clip_parts=parts)
    module = AccompanimentTraining(settings)
    norms = {}

    trainer = lightning.Trainer(
        max_steps=1,
        gradient_clip_val=settings.training.clip_norm,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
    )
    trainer.fit(module, DataLoader(Items(), 2))
    for name, part in module.model.named_children():
        grads = [p.grad.norm() for p in part.parameters() if p.grad is not None]
        norms[name] = float(torch.stack(grads).norm()) if grads else 0.0
    if clipped == "all":
        assert sum(norm**2 for norm in norms.values()) ** 0.5 == pytest.approx(1e-3, rel=1e-2)
    else:
        assert norms["prior"] == pytest.approx(1e-3, rel=1e-2)
        assert norms["denoiser"] == pytest.approx(1e-3, rel=1e-2)
        assert norms["projection"] > 1e-3


def test_padding_counts_in_the_authors_diffusion_loss():
    batch = {name: value[None] for name, value in Items()[0].items()}
    losses = {}
    for count_padding in (False, True):
        settings = config()
        loss = settings.loss.model_copy(update={"count_padding": count_padding})
        torch.manual_seed(0)
        module = AccompanimentTraining(settings.model_copy(update={"loss": loss}))
        terms = module.terms(batch, module.estimate(batch, seed=0))
        losses[count_padding] = terms["diffusion"].item()
    assert losses[True] == pytest.approx(losses[False] * 64 / 72, rel=1e-5)
