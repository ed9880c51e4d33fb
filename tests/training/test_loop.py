"""The loop: it learns, it resumes to the bit, it stops at nonsense."""

from itertools import chain

import lightning.pytorch as lightning
import pytest
import torch
from torch.utils.data import Dataset

from fastsag.config import TrainingConfig
from fastsag.errors import UserError
from fastsag.training.batches import StepBatches
from fastsag.training.loop import averaged_weights, build_optimizer, fit, started


class Items(Dataset):
    """Pairs of a linear map; item i depends on i alone."""

    def __init__(self, length: int, poison: int = -1) -> None:
        self.length, self.poison = length, poison

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int):
        x = torch.randn(4, generator=torch.Generator().manual_seed(index))
        y = x.sum(0, keepdim=True)
        return {"x": x, "y": y * float("nan") if index == self.poison else y}


class Module(lightning.LightningModule):
    def __init__(self, training: TrainingConfig) -> None:
        super().__init__()
        self.training_config = training
        self.net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Linear(8, 1))

    def training_step(self, batch, index):
        noisy = batch["x"] + 0.1 * torch.randn_like(batch["x"])
        loss = (self.net(noisy) - batch["y"]).square().mean()
        self.log("train/loss", loss.detach())
        return loss

    def validation_step(self, batch, index):
        loss = (self.net(batch["x"]) - batch["y"]).square().mean()
        self.log("validation/loss", loss, batch_size=len(batch["x"]))

    def configure_optimizers(self):
        return build_optimizer(self.parameters(), self.training_config)


def settings(steps: int = 12, **changes) -> TrainingConfig:
    values = {
        "steps": 12,
        "batch_size": 4,
        "learning_rate": 0.05,
        "schedule": "cosine",
        "clip_norm": 1.0,
        "ema_decay": 0.9,
        "validate_every": 5,
        "save_every": 6,
    }
    return TrainingConfig(**(values | {"steps": steps} | changes))


def run(out, training: TrainingConfig, poison: int = -1) -> None:
    torch.manual_seed(0)
    items = Items(training.steps * training.batch_size, poison)
    fit(Module(training), items, Items(8), out, training, training)


class Killed(Exception):
    pass


@pytest.mark.parametrize("save_every", [3, 5, 6, 10])
def test_a_killed_run_ends_with_the_same_weights(tmp_path, monkeypatch, save_every):
    training = settings(save_every=save_every)
    run(tmp_path / "whole", training)

    original = Module.training_step

    def dies(self, batch, index):
        if self.trainer.global_step == save_every + 1:
            raise Killed
        return original(self, batch, index)

    monkeypatch.setattr(Module, "training_step", dies)
    with pytest.raises(Killed):
        run(tmp_path / "killed", training)
    monkeypatch.setattr(Module, "training_step", original)
    run(tmp_path / "killed", training)
    whole, killed = (averaged_weights(tmp_path / name) for name in ("whole", "killed"))
    assert all(torch.equal(whole[name], killed[name]) for name in whole)


def test_it_learns_and_averages(tmp_path):
    run(tmp_path, settings(300, validate_every=100, save_every=100))
    module = Module(settings())
    module.load_state_dict(averaged_weights(tmp_path))
    x = torch.randn(50, 4)
    assert (module.net(x) - x.sum(1, keepdim=True)).square().mean() < 0.1
    assert list(tmp_path.glob("logs/events*"))


def test_a_loss_that_is_not_finite_stops_and_keeps_the_batch(tmp_path):
    with pytest.raises(UserError, match="bad-batch"):
        run(tmp_path, settings(), poison=10)
    assert (tmp_path / "bad-batch.safetensors").exists()


def test_the_last_step_is_validated_with_the_averaged_weights(tmp_path, capsys):
    run(tmp_path, settings(validate_every=5))
    assert "step 12  validation" in capsys.readouterr().err


def test_a_file_that_is_no_checkpoint_is_named(tmp_path):
    with pytest.raises(UserError, match=r"last\.ckpt: no checkpoint"):
        averaged_weights(tmp_path)
    (tmp_path / "last.ckpt").write_bytes(b"nonsense")
    with pytest.raises(UserError, match=r"last\.ckpt: not a checkpoint"):
        averaged_weights(tmp_path)


def test_another_configuration_in_the_same_folder_is_refused(tmp_path):
    run(tmp_path, settings())
    with pytest.raises(UserError, match="another configuration"):
        run(tmp_path, settings(20))


def test_a_run_starts_from_another(tmp_path):
    training = settings()
    fit(Module(training), Items(48), Items(4), tmp_path, training, training)
    module = started(Module(training), tmp_path)
    weights = averaged_weights(tmp_path)
    assert all(torch.equal(value, weights[name]) for name, value in module.named_parameters())
    other = Module(training)
    other.net = torch.nn.Sequential(torch.nn.Linear(4, 9), torch.nn.Linear(9, 1))
    with pytest.raises(UserError, match=r"do not fit \(net\.0\.weight"):
        started(other, tmp_path)
    with pytest.raises(UserError, match="unknown checkpoint"):
        started(Module(training), tmp_path / "nowhere")


def test_a_layer_that_the_weights_do_not_have_begins_anew(tmp_path, capsys):
    training = settings()
    fit(Module(training), Items(48), Items(4), tmp_path, training, training)
    grown = Module(training)
    grown.more = torch.nn.Linear(1, 1)
    fresh = grown.more.weight.clone()
    started(grown, tmp_path)
    assert "has no more.weight, more.bias; these begin anew" in capsys.readouterr().err
    assert torch.equal(grown.more.weight, fresh)
    assert torch.equal(grown.net[0].weight, averaged_weights(tmp_path)["net.0.weight"])
    strange = Module(training)
    strange.net, strange.other = torch.nn.Identity(), strange.net
    with pytest.raises(UserError, match=r"do not fit \(other\.0\.weight"):
        started(strange, tmp_path)


class Plain(Module):
    """Without noise: what it learns depends on its items alone."""

    def training_step(self, batch, index):
        return (self.net(batch["x"]) - batch["y"]).square().mean()


@pytest.mark.parametrize("accumulate", [2, 4])
def test_a_step_in_parts_is_the_whole_step(tmp_path, accumulate):
    weights, steps = [], []
    for parts in (1, accumulate):
        training = settings(accumulate=parts)
        torch.manual_seed(0)
        out = tmp_path / str(parts)
        module = Plain(training)
        fit(module, Items(48), Items(8), out, training, training)
        weights.append(averaged_weights(out))
        steps.append(module.trainer.global_step)
    assert steps == [12, 12]
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, atol=1e-5, rtol=1e-4)


def test_a_gradient_that_is_not_finite_stops_before_the_weights_are_lost(tmp_path, monkeypatch):
    def root(self, batch, index):
        off = (self.net(batch["x"]) - batch["y"]).square().mean()
        return off + 0 * (off.detach() - off).sqrt()  # finite; its gradient is 0 times infinity

    monkeypatch.setattr(Module, "training_step", root)
    training = settings()
    torch.manual_seed(0)
    module = Module(training)
    before = module.net[0].weight.clone()
    with pytest.raises(UserError, match=r"no finite gradient.*net\.0\.weight"):
        fit(module, Items(48), Items(8), tmp_path, training, training)
    assert torch.equal(module.net[0].weight, before)
    from safetensors.torch import load_file

    kept = load_file(tmp_path / "bad-batch.safetensors")
    assert torch.equal(kept["x"], torch.stack([Items(4)[i]["x"] for i in range(4)]))


def test_batches_are_dealt_out_to_processes():
    whole = list(StepBatches(1, 3, 8))
    assert whole == [list(range(8, 16)), list(range(16, 24))]
    shares = [list(StepBatches(1, 3, 8, parts=2, rank=rank, world=2)) for rank in (0, 1)]
    assert shares[0] == [[8, 10], [12, 14], [16, 18], [20, 22]]
    assert sorted(chain(*shares[0], *shares[1])) == list(range(8, 24))
    assert len(StepBatches(1, 3, 8, parts=2)) == 6
    with pytest.raises(UserError, match="multiple of 6"):
        StepBatches(0, 3, 8, parts=2, world=3)


def test_an_error_in_the_data_ends_the_run(tmp_path):
    class Broken(Items):
        def __getitem__(self, index):
            if index == 9:
                raise UserError("songs.tar: broken")
            return super().__getitem__(index)

    training = settings()
    with pytest.raises(UserError, match=r"songs\.tar: broken"):
        fit(Module(training), Broken(48), Items(8), tmp_path, training, training)
