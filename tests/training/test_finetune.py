"""Fine-tuning: a folder of songs in, a checkpoint that plays out."""

import numpy as np
import pytest
import soundfile
import torch

from fastsag import checkpoint
from fastsag import config as configuration
from fastsag.cli.finetune import finetune
from fastsag.data.shards import read_shard
from fastsag.errors import UserError
from fastsag.lead_sheet import LeadSheet, from_record
from fastsag.model import build
from fastsag.pipeline import Accompanist
from fastsag.training.finetune import truth_of
from tests.test_pipeline import voice
from tests.training.corpus import RATE, record
from tests.training.test_command import DEBUG

QUICK = ["training.steps=4", "training.validate_every=4", "training.previews=1"]


@pytest.fixture
def start(tmp_path) -> str:
    """A checkpoint of debug.yaml with random weights."""
    torch.manual_seed(0)
    config = configuration.load(DEBUG)
    checkpoint.export(tmp_path / "start", config, build(config).state_dict(), {})
    return str(tmp_path / "start")


def test_a_folder_of_songs_becomes_a_checkpoint(start, tmp_path):
    for number in range(3):
        folder = tmp_path / "songs" / f"song {number}"
        folder.mkdir(parents=True)
        one = record(number)
        soundfile.write(folder / "vocals.wav", one.vocals, RATE)
        band = "no_vocals.flac" if number else "accompaniment.wav"
        soundfile.write(folder / band, np.tile(one.accompaniment[:, None], (1, 2)), RATE)
    out = tmp_path / "run"
    finetune(start, QUICK, data=tmp_path / "songs", out=out)
    records = [next(read_shard(path)) for path in sorted((out / "pairs").glob("*.tar"))]
    assert [one.meta["split"] for one in records] == ["validation", "train", "train"]
    assert all(one.meta["chords"] and len(one.meta["beats"]) > 1 for one in records)
    before, after = (checkpoint.load(path)[1].state_dict() for path in (start, out / "checkpoint"))
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert any(name.startswith("denoiser.") for name in moved)
    assert not any(name.startswith("planner.") for name in moved)
    assert (out / "previews" / "0000004-0.png").exists()
    source = voice(2.0)
    made = Accompanist.from_pretrained(out / "checkpoint", "cpu").accompany(source)
    assert made.accompaniment.shape == source.samples.shape
    stamp = (out / "pairs" / "0000.tar").stat().st_mtime_ns
    finetune(start, QUICK, data=tmp_path / "songs", out=out)  # again: nothing is done twice
    assert (out / "pairs" / "0000.tar").stat().st_mtime_ns == stamp


def test_too_few_songs_are_refused(start, tmp_path):
    (tmp_path / "songs" / "empty").mkdir(parents=True)
    with pytest.raises(UserError, match=r"0 songs here.*vocals\.wav"):
        finetune(start, QUICK, data=tmp_path / "songs", out=tmp_path / "run")
    with pytest.raises(UserError, match="no such folder"):
        finetune(start, QUICK, data=tmp_path / "nowhere", out=tmp_path / "run")


def test_a_lead_sheet_survives_a_training_record():
    beats = 0.5 + 0.5 * np.arange(33)
    chords = ("C:maj", "C:maj", "A:min", "F:maj", "G:maj", "C:maj", "C:maj", "F:maj", "G:maj")
    sheet = LeadSheet(beats, 4, 1, "C major", chords)
    again = from_record(truth_of(sheet, 17.0))
    times = np.arange(0.9, 16, 0.05)
    np.testing.assert_allclose(again.features(times), sheet.features(times), atol=1e-5)
