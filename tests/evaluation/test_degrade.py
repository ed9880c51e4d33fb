"""Round trips: the vocoder's own spectrogram comes back, the codec's own tokens, lengths stay."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml
from typer.testing import CliRunner

from fastsag import config as configuration
from fastsag.checkpoint import save_weights
from fastsag.cli.main import app
from fastsag.errors import UserError
from fastsag.evaluation import degrade
from fastsag.vocoder import build_vocoder

ROOT = Path(__file__).parents[2]
RATE = 24_000


def tone(seconds: float = 1.0) -> np.ndarray:
    time = np.arange(int(seconds * RATE)) / RATE
    return (0.2 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A checkpoint of which only the vocoder is there, tiny and untrained."""
    path = tmp_path_factory.mktemp("checkpoint")
    values = yaml.safe_load((ROOT / "configs" / "debug.yaml").read_text())
    values["vocoder"] = {"kind": "vocos", "width": 16, "hidden": 32, "depth": 1}
    (path / "config.yaml").write_text(yaml.safe_dump(values))
    known = configuration.load(path / "config.yaml")
    torch.manual_seed(0)
    network = build_vocoder(known.vocoder, known.mel)
    save_weights(network.state_dict(), path / degrade.WEIGHTS)
    return path


def test_a_vocoder_gets_the_mel_of_its_checkpoint_and_its_weights(folder):
    trip = degrade.vocoder(str(folder))
    assert trip.sample_rate == RATE and trip.name == f"vocoder {folder}"
    known = configuration.load(folder / "config.yaml")
    torch.manual_seed(0)
    network = build_vocoder(known.vocoder, known.mel).eval()
    network.load_state_dict({k: v.half().float() for k, v in network.state_dict().items()})
    mel = degrade.LogMel(known.mel)
    wave = tone()[:23_900]
    with torch.no_grad():
        expected = network(mel(torch.from_numpy(wave)[None]))[0].numpy()
    found = trip(wave)
    assert found.shape == wave.shape
    np.testing.assert_allclose(found[: len(expected)], expected[: len(found)], atol=1e-5)


def test_the_bundled_vocoder_keeps_a_tone():
    trip = degrade.vocoder("compact")
    wave = tone(2.0)
    spectrum = np.abs(np.fft.rfft(trip(wave)))
    assert abs(spectrum.argmax() * RATE / len(wave) - 440) < 2


def test_encodec_at_its_bandwidth(tmp_path):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    sizes = transformers.EncodecConfig(
        num_filters=2, hidden_size=8, codebook_dim=8, codebook_size=16, num_lstm_layers=1
    )
    model = transformers.EncodecModel(sizes)
    for name, tensor in model.state_dict().items():
        if name.endswith("codebook.embed"):  # zeros before training
            tensor.copy_(torch.randn(tensor.shape))
    model.save_pretrained(tmp_path)
    low, high = degrade.encodec(1.5, str(tmp_path)), degrade.encodec(24.0, str(tmp_path))
    wave = tone(0.2)[:4_799]
    assert low(wave).shape == wave.shape
    assert low.name == "encodec 1.5 kbit/s" and low.sample_rate == RATE
    assert not np.allclose(low(wave), high(wave))
    with pytest.raises(UserError, match=r"bandwidth 5.0: Encodec has 1\.5, 3.0, 6.0, 12.0, 24.0"):
        degrade.encodec(5.0, str(tmp_path))


def test_a_folder_passes_and_goes_on_where_it_stopped(folder, tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("a", "b"):
        stereo = np.stack([tone(), tone()], 1)
        soundfile.write(tmp_path / "in" / f"{name}.wav", stereo[::2], RATE // 2)
    words = ["evaluate", "degrade", tmp_path / "in", "-o", tmp_path / "out", "--vocoder", folder]
    run = CliRunner().invoke(app, [str(word) for word in words])
    assert run.exit_code == 0 and "2 files through vocoder" in run.output, run.output
    found = soundfile.info(tmp_path / "out" / "a.flac")
    assert (found.samplerate, found.channels, found.frames) == (RATE, 1, RATE)
    stamp = (tmp_path / "out" / "a.flac").stat().st_mtime_ns
    (tmp_path / "out" / "b.flac").unlink()
    CliRunner().invoke(app, [str(word) for word in words])
    assert (tmp_path / "out" / "a.flac").stat().st_mtime_ns == stamp
    assert (tmp_path / "out" / "b.flac").exists()


def test_what_is_missing_or_wrong_is_named(folder, tmp_path, monkeypatch):
    pytest.importorskip("transformers")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="run: fastsag checkpoint download encodec"):
        degrade.encodec()
    with pytest.raises(UserError, match="nowhere: no checkpoint"):
        degrade.vocoder("nowhere")
    shutil.copy(folder / "config.yaml", tmp_path)
    with pytest.raises(UserError, match="vocoder.safetensors"):
        degrade.vocoder(str(tmp_path))
    save_weights({"a": torch.zeros(2)}, tmp_path / degrade.WEIGHTS)
    with pytest.raises(UserError, match="not the vocoder of the config.yaml beside it"):
        degrade.vocoder(str(tmp_path))
    with pytest.raises(UserError, match="no audio file here"):
        degrade.folder(tmp_path, tmp_path / "out", degrade.vocoder(str(folder)))
