"""Distillation: solutions, jumps along them, the student, and its way into a checkpoint."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner

from fastsag import checkpoint
from fastsag import config as configuration
from fastsag.cli.distill import distill
from fastsag.cli.main import app
from fastsag.config import Config
from fastsag.diffusion.samplers import euler
from fastsag.errors import UserError
from fastsag.model import build, build_student
from fastsag.pipeline import Accompanist
from fastsag.take import Settings
from fastsag.training import distillation as part
from fastsag.training import solutions
from fastsag.training.loop import averaged_weights
from tests.test_pipeline import voice
from tests.training.test_command import DEBUG

QUICK = [
    *("distilled.crops=6", "training.steps=30", "training.validate_every=15"),
    *("training.previews=1", "training.learning_rate=3e-3", "training.save_every=10"),
]
KILLED_AT_17 = """
import os, signal
from fastsag.training.distillation import Distillation as Training
step = Training.training_step
def dies(self, batch, index):
    if self.trainer.global_step == 17:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, batch, index)
Training.training_step = dies
from fastsag.cli.main import main
main()
"""


def trained_looking(config: Config) -> dict[str, torch.Tensor]:
    """Weights of a model whose denoiser does something: layers that begin silent are woken."""
    torch.manual_seed(0)
    state = build(config).state_dict()
    return {
        name: value if value.any() else 0.05 * torch.randn_like(value)
        for name, value in state.items()
    }


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("teacher")
    config = configuration.load(DEBUG)
    values = config.model_dump() | {"sampler": {"steps": 12, "guidance": 3.0}}
    config = Config.model_validate(values)
    checkpoint.export(folder, config, trained_looking(config), {})
    return str(folder)


@pytest.fixture(scope="module")
def run(teacher, corpus, tmp_path_factory) -> Path:
    """A whole run of the command."""
    out = tmp_path_factory.mktemp("distilled")
    torch.set_num_threads(1)
    distill(teacher, QUICK, data=[str(corpus)], out=out)
    return out


def distances(run: Path) -> dict[str, list[float]]:
    """Validation of a run: distance from the teacher by number of steps."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(run / "logs"))
    board.Reload()
    return {
        f"{n}-step": [event.value for event in board.Scalars(f"validation/{n}-step")]
        for n in (1, 2, 3, 4)
    }


def test_states_are_those_of_the_solver(run, teacher):
    """From noise and estimates the solver's own path comes back, and its end."""
    config, model, _ = checkpoint.load(teacher)
    sigmas = solutions.levels_of(config)
    solution = solutions.read_solution(run / part.SOLUTIONS, 3)
    states = list(solutions.states_of(solution, sigmas))
    assert len(states) == len(sigmas)
    channels = solution["channels"].float()[None]
    null = channels.clone()
    null[:, : config.mel.n_mels + 40] = 0  # prior and plan; the context stays

    def denoise(x, sigma):
        with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
            one, none = (model.denoiser(x, sigma, told) for told in (channels, null))
        return none + 3.0 * (one - none)

    noise = solution["noise"].float()[None]
    end = euler(denoise, noise * sigmas[0], sigmas)
    assert (states[-1] - end[0]).abs().mean() < 0.02 * end.abs().mean()


def test_jumps_lead_from_state_to_state(run, teacher):
    config = configuration.load(run / "config.yaml")
    jumps = part.Jumps(run / part.SOLUTIONS, 6, config, 60, seed=1)
    assert len(jumps.jumps) == 9  # 1 + 2 + 3 + 4, and one that two schedules share
    seen = set()
    for item in (jumps[index] for index in range(60)):
        ratio = item["following"] / item["sigma"]
        landed = item["estimate"] + ratio * (item["x"] - item["estimate"])
        assert landed.isfinite().all() and 0 <= ratio < 1
        if item["following"] == 0:  # the end of the path is the mel itself
            assert landed.abs().max() < 20
        seen.add((float(item["sigma"]), float(item["following"])))
    assert len(seen) == 9
    again = part.Jumps(run / part.SOLUTIONS, 6, config, 60, seed=1)
    assert torch.equal(again[37]["x"], jumps[37]["x"])


def test_a_fresh_student_answers_as_its_teacher(run, teacher):
    config = configuration.load(run / "config.yaml")
    _, model, _ = checkpoint.load(teacher)
    student = part.started(config, model.denoiser.state_dict()).student
    x, channels = torch.randn(2, 100, 64), torch.randn(2, 241, 64)
    sigma, following = torch.tensor([3.0, 0.2]), torch.tensor([0.5, 0.0])
    own = model.denoiser(x, sigma, channels)
    assert own.std() > 0.01
    torch.testing.assert_close(student(x, sigma, channels, None, following), own)


def test_the_student_comes_nearer(run):
    for steps, (first, last) in distances(run).items():
        assert last < first, steps
    before = part.started(
        configuration.load(run / "config.yaml"), checkpoint.load(run / "checkpoint")[1]
        .denoiser.state_dict(),
    )  # fmt: skip
    held_out = part.HeldOut(run / part.HELD_OUT, 4, before.config)
    item = torch.utils.data.default_collate([held_out[index] for index in range(4)])
    with torch.no_grad():
        fresh = (before.play(item["channels"], item["noise"], 4) - item["mel"]).square().mean()
        before.load_state_dict(averaged_weights(run))
        taught = (before.play(item["channels"], item["noise"], 4) - item["mel"]).square().mean()
    assert taught < 0.8 * fresh


def test_killed_at_17_of_30_it_ends_with_the_same_weights(run, teacher, corpus, tmp_path):
    unseen = [*QUICK, "training.previews=0"]
    arguments = ["distill", teacher, *unseen, "--data", str(corpus), "--out", str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_AT_17, *arguments], capture_output=True, env=environment
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    stamp = (tmp_path / part.SOLUTIONS / "000000.safetensors").stat().st_mtime_ns
    distill(teacher, unseen, data=[str(corpus)], out=tmp_path)
    assert (tmp_path / part.SOLUTIONS / "000000.safetensors").stat().st_mtime_ns == stamp
    whole, resumed = averaged_weights(run), averaged_weights(tmp_path)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_the_checkpoint_plays_both_ways(run, teacher):
    _, model, _ = checkpoint.load(run / "checkpoint")
    for name, tensor in checkpoint.load(teacher)[1].state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name
    assert (run / "checkpoint" / checkpoint.STUDENT).stat().st_size < 300_000  # a byte a weight
    student = checkpoint.load_student(run / "checkpoint", model)
    taught = averaged_weights(run)
    for name, tensor in student.state_dict().items():
        assert (tensor - taught[f"student.{name}"]).abs().max() < 3e-3, name
    player = Accompanist.from_pretrained(run / "checkpoint", "cpu", "fp32")
    source = voice(4.0)
    made = {
        steps: player.accompany(source, settings=Settings("distilled", steps)) for steps in (1, 4)
    }
    assert made[4].record["sampler"] == "distilled" and made[4].record["steps"] == 4
    assert not np.array_equal(made[1].accompaniment, made[4].accompaniment)
    solved = player.accompany(source, settings=Settings("euler", 12))
    assert solved.accompaniment.shape == source.samples.shape == made[1].accompaniment.shape


def test_previews_show_and_sound_every_number_of_steps(run):
    names = {path.name for path in (run / "previews").iterdir()}
    assert "0000030-0.png" in names
    assert {f"0000030-0.{n}-step.wav" for n in (1, 2, 3, 4)} <= names


def test_a_checkpoint_without_a_student_says_so(teacher, tmp_path):
    soundfile.write(tmp_path / "voice.wav", voice(2.0).samples[0], 24_000)
    arguments = [str(tmp_path / "voice.wav"), "--checkpoint", teacher, "-o", str(tmp_path)]
    result = CliRunner().invoke(app, ["accompany", *arguments, "--sampler", "distilled"])
    assert result.exit_code == 2
    assert "has no student" in result.output and "fastsag distill" in result.output


def test_a_student_that_does_not_fit_is_refused(run, tmp_path):
    import shutil

    folder = tmp_path / "broken"
    shutil.copytree(run / "checkpoint", folder)
    _, model, _ = checkpoint.load(folder)
    state = checkpoint.read_weights(folder / checkpoint.STUDENT)
    state.pop("network.embed.weight")
    checkpoint.save_weights(state, folder / checkpoint.STUDENT)
    with pytest.raises(UserError, match=r"distilled\.safetensors.*embed\.weight"):
        checkpoint.load_student(folder, model)
    (folder / checkpoint.STUDENT).unlink()
    with pytest.raises(UserError, match="export them again"):
        checkpoint.load_student(folder, model)


def test_exports_of_other_runs_have_no_student(run, tmp_path):
    """A fine-tuned model is another teacher: the old student is not its own."""
    config, model, _ = checkpoint.load(run / "checkpoint")
    checkpoint.export(tmp_path, config, model.state_dict(), {})
    again, model, _ = checkpoint.load(tmp_path)
    assert again.distilled is None and checkpoint.load_student(tmp_path, model) is None


def test_a_checkpoint_is_exported_with_its_student_and_another_planner(run, tmp_path):
    """What no option replaces is kept, to the bit."""
    start, made = run / "checkpoint", tmp_path / "made"
    _, model, _ = checkpoint.load(start)
    other = {f"planner.{k}": torch.rand_like(v) for k, v in model.planner.state_dict().items()}
    planner = tmp_path / "planner"
    planner.mkdir()
    torch.save({"state_dict": other}, planner / "last.ckpt")
    words = ["checkpoint", "export", str(start / "config.yaml"), "--model", str(start)]
    result = CliRunner().invoke(app, [*words, "--planner", str(planner), "-o", str(made)])
    assert result.exit_code == 0, result.output
    assert (made / "config.yaml").read_text() == (start / "config.yaml").read_text()
    for file in (checkpoint.STUDENT, checkpoint.MODEL):
        old, new = checkpoint.read_weights(start / file), checkpoint.read_weights(made / file)
        assert old.keys() == new.keys()
        for name, tensor in new.items():
            expected = other[name].half() if name.startswith("planner.") else old[name]
            assert torch.equal(tensor, expected), name


def test_only_levels_of_the_solver_can_be_stops(run):
    config = configuration.load(run / "config.yaml")
    wrong = config.distilled.model_copy(update={"schedules": ((50.0,),)})
    with pytest.raises(UserError, match="50 is no level of the solver"):
        part.jumps_of(wrong, solutions.levels_of(config))
    with pytest.raises(UserError, match=r"takes 3 steps.*sampler\.steps=12"):
        part.settings_of(configuration.load(DEBUG), {})
    unet = configuration.load(Path(DEBUG).parent / "paper.yaml")
    with pytest.raises(UserError, match="only transformers"):
        part.settings_of(unet, {})


def test_the_student_is_sized_as_its_teacher():
    config = part.settings_of(configuration.load(DEBUG), {"sampler": {"steps": 12}})
    student, teacher = build_student(config), build(config).denoiser
    extra = set(student.state_dict()) - set(teacher.state_dict())
    assert {name.split(".")[1] for name in extra} == {"target"}
    assert config.distilled.guidance == 2.0 and config.distilled.schedules[1][0] == 80.0
