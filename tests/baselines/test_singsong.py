"""SingSong whole: fit, train, generate on a corpus of seconds; windows; crops."""

import json

import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner

from fastsag.audio import Recording
from fastsag.baselines.singsong.config import STAGES, SingSongConfig, StageConfig
from fastsag.baselines.singsong.corpus import SongTokens, TokenCrops, load_tokens
from fastsag.baselines.singsong.layout import stage_layout
from fastsag.baselines.singsong.system import SingSong, Stage
from fastsag.baselines.singsong.tokens import Tokenizer
from fastsag.cli.main import app
from fastsag.cli.singsong import _records
from fastsag.config import TrainingConfig, dump
from fastsag.errors import UserError

pytest.importorskip("transformers")
pytest.importorskip("lightning")


def settings(window: float, overlap: float) -> dict:
    training = {"steps": 3, "batch_size": 2, "precision": "fp32", "optimizer": "adamw"}
    return {"window_seconds": window, "overlap": overlap, "training": training}


def config(**changes) -> SingSongConfig:
    values = {
        "name": "test",
        "encoder": {"kind": "melodic", "hop_length": 1024},
        "clusters": 12,
        "codec": {"kind": "mel", "patch": 8, "codebooks": 3, "codebook_size": 8},
        "coarse_codebooks": 2,
        "top_k": 0.5,
        "transformer": {"width": 16, "depth": 1, "heads": 2, "head_size": 8, "hidden": 16},
        "noise": {"std": 0.01},
        "stages": {
            "semantic": settings(2.0, 0.5),
            "coarse": settings(1.5, 0.5),
            "fine": settings(1.0, 0.0),
        },
    }
    return SingSongConfig.model_validate(values | changes)


@pytest.fixture(scope="module")
def run(corpus, tmp_path_factory):
    """A whole system, made by the commands."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "config.yaml").write_text(dump(config()))
    tail = [str(folder / "config.yaml"), "--data", str(corpus), "--out", str(folder / "made")]
    for verb in (["fit-tokens"], *(["train", stage] for stage in STAGES)):
        result = CliRunner().invoke(app, ["singsong", *verb, *tail], catch_exceptions=False)
        assert result.exit_code == 0, result.output
    return folder / "made"


def test_the_commands_write_what_accompany_writes(run, voice, tmp_path):
    arguments = ["singsong", "generate", str(voice), "-o", str(tmp_path), "--model", str(run)]
    result = CliRunner().invoke(app, [*arguments, "--stages", "3"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    band, rate = soundfile.read(tmp_path / "sung.accompaniment.wav")
    mix, _ = soundfile.read(tmp_path / "sung.mix.wav")
    assert rate == 16_000 and band.shape == (67_200,) and mix.shape == (67_200, 2)
    assert np.isfinite(band).all() and np.abs(band).max() > 0
    record = json.loads((tmp_path / "sung.json").read_text())
    assert record["system"] == "SingSong s+c+f" and list(record["windows"]) == list(STAGES)
    assert record["windows"]["semantic"] == 4  # 4.2 s in windows of 2 s, half of it known
    assert record["duration_seconds"] == 4.2 and record["real_time_factor"] > 0
    assert record["loudness"]["peak_dbfs"] <= -0.9
    assert record["outputs"] == ["sung.accompaniment.wav", "sung.mix.wav", "sung.json"]


def test_seeds_decide_and_short_voices_are_played(run):
    samples = 0.1 * np.sin(np.arange(11_025) / 7)[None].astype(np.float32)
    short, told = Recording(samples, 22_050), []
    system = SingSong.from_pretrained(run, 2, "cpu")
    one, same, other = (
        system.accompany(short, seed=seed, progress=lambda *step: told.append(step))
        for seed in (1, 1, 2)
    )
    assert one.accompaniment.shape == one.mix.shape == (1, 11_025)
    assert np.array_equal(one.accompaniment, same.accompaniment)
    assert not np.array_equal(one.accompaniment, other.accompaniment)
    assert one.record["system"] == "SingSong s+c" and one.record["precision"] == "fp32"
    assert {name for name, _, _ in told} == {"semantic", "coarse"}
    assert all(done <= total for _, done, total in told)
    halved = SingSong.from_pretrained(run, 2, "cpu", "bf16")
    assert halved.stages[0].model.llama.dtype == torch.bfloat16
    codes = halved.stages[1](torch.zeros(40, 1, dtype=torch.long), 3, seed=0)
    assert codes.shape == (3, 2) and codes.max() < 8


def test_a_run_that_ended_stays_and_other_settings_are_refused(run, corpus):
    before = (run / "semantic" / "model.safetensors").read_bytes()
    tail = [str(run.parent / "config.yaml"), "--data", str(corpus), "--out", str(run)]
    again = CliRunner().invoke(app, ["singsong", "train", "semantic", *tail])
    assert again.exit_code == 0 and "already trained" in again.output
    assert (run / "semantic" / "model.safetensors").read_bytes() == before
    changed = [tail[0], "clusters=11", *tail[1:]]
    with pytest.raises(UserError, match="clusters"):
        CliRunner().invoke(app, ["singsong", "train", "fine", *changed], catch_exceptions=False)


def test_missing_parts_are_named(run, tmp_path):
    with pytest.raises(UserError, match="fit-tokens"):
        SingSong.from_pretrained(tmp_path)
    (tmp_path / "tokens").mkdir()
    for name in ("config.yaml", "tokens.safetensors"):
        (tmp_path / "tokens" / name).write_bytes((run / "tokens" / name).read_bytes())
    with pytest.raises(UserError, match="train semantic"):
        SingSong.from_pretrained(tmp_path)


def test_tokens_are_cached_and_depend_on_the_noise(run, corpus):
    tokenizer = Tokenizer.load(run / "tokens")
    told: list[tuple[int, int]] = []
    songs = load_tokens(corpus, tokenizer, lambda *step: told.append(step))
    assert told == []  # the commands computed them
    assert [song.split for song in songs] == ["train", "train", "train", "validation"]
    first = songs[0]
    assert first.voice.shape == (72_000 // 1024,) and first.codes.shape == (72_000 // 2048, 3)
    for part, size in ((first.voice, 12), (first.band, 12), (first.codes, 8)):
        assert part.min() >= 0 and part.max() < size
    record = next(_records(corpus))
    again, codes = tokenizer.band(record.accompaniment)
    assert np.array_equal(again, first.band) and np.array_equal(codes, first.codes)
    quieter, _ = tokenizer.band(0.1 * record.accompaniment)
    assert np.array_equal(quieter, again)  # a band's level says nothing
    digest = tokenizer.digest
    tokenizer.config = config(noise={"std": 0.02})
    assert tokenizer.digest != digest


def song(frames: int) -> SongTokens:
    """Semantic tokens count up; two acoustic frames a semantic one."""
    voice = np.arange(frames, dtype=np.int16)
    codes = np.stack([np.arange(2 * frames)] * 3, 1).astype(np.int16) + 1000 * np.arange(3)
    return SongTokens("train", voice, voice + 500, codes.astype(np.int16))


def test_crops_are_aligned_and_depend_on_their_number_alone():
    crops = TokenCrops([song(50), song(5)], "coarse", 2, (8, 16), 2.0, 40, seed=3)
    starts = set()
    for index in range(40):
        item = crops[index]
        assert item["given"].shape == (8, 1) and item["wanted"].shape == (16, 2)
        first = int(item["given"][0, 0]) - 500
        assert item["wanted"][:, 0].tolist() == list(range(2 * first, 2 * first + 16))
        assert item["wanted"][0, 1] == 2 * first + 1000
        starts.add(first)
    assert len(starts) > 10
    again = TokenCrops([song(50), song(5)], "coarse", 2, (8, 16), 2.0, 40, seed=3)
    assert torch.equal(again[17]["wanted"], crops[17]["wanted"])
    with pytest.raises(ValueError, match="none of 1"):
        TokenCrops([song(5)], "coarse", 2, (8, 16), 2.0, 1, 0)


class Echo(torch.nn.Module):
    """Writes what it reads, and counts how often each frame was made."""

    def __init__(self) -> None:
        super().__init__()
        self.layout = stage_layout("semantic", 1000, 2, 4, 1)
        self.calls: list[tuple[int, int]] = []

    def generate(self, given, frames, *, known=None, **_):
        self.calls.append((len(given), 0 if known is None else known.shape[1]))
        if known is not None:
            assert torch.equal(known, given[:, : known.shape[1]])
        return given


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5])
@pytest.mark.parametrize("frames", [6, 20, 21, 57, 400])
def test_windows_join_without_a_seam(overlap, frames):
    """With a model that copies, the whole is copied: windows lie where they belong."""
    settings = StageConfig(window_seconds=2.0, overlap=overlap, training=TrainingConfig())
    echo = Echo()
    stage = Stage("semantic", echo, settings, 20, 20, 0.1)
    given = torch.arange(max(frames, 20))[:, None]
    told = []
    made = stage(given, frames, 0, progress=lambda *step: told.append(step))
    assert torch.equal(made, given[:frames])
    if overlap == 0:
        assert all(known == 0 for _, known in echo.calls)
        assert len(echo.calls) == -(-len(stage.windows(frames)) // 16)
    else:
        assert all(batch == 1 for batch, _ in echo.calls)
        assert all(known >= int(20 * overlap) for _, known in echo.calls[1:])
