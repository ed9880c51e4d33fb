"""The paper's tables and figure, through the command: what is there, beside, and kept."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from typer.testing import CliRunner

pytest.importorskip("librosa")
pytest.importorskip("matplotlib")

from fastsag.cli.main import app
from fastsag.errors import UserError
from fastsag.evaluation import config, fad, paper, tables
from fastsag.evaluation.mixes import mixture
from fastsag.evaluation.report import TRUE, plan
from fastsag.evaluation.sets import clips
from tests.evaluation.test_report import songs  # noqa: F401  (a fixture)

ROOT = Path(__file__).parents[2]
MEL = {"n_fft": 1024, "win_length": 1024}


def run(*words: object) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


def refused(*words: object) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert isinstance(done.exception, UserError), (done.output, done.exception)
    return str(done.exception)


@pytest.fixture(scope="module")
def griffin(tmp_path_factory) -> Path:
    """A checkpoint folder whose vocoder needs no weights."""
    folder = tmp_path_factory.mktemp("griffin")
    values = yaml.safe_load((ROOT / "configs" / "debug.yaml").read_text())
    values["vocoder"] = {"kind": "griffin_lim", "iterations": 2}
    (folder / "config.yaml").write_text(yaml.safe_dump(values))
    return folder


@pytest.fixture(scope="module")
def made(songs, griffin, tmp_path_factory) -> tuple[Path, str]:  # noqa: F811
    """Table 1 of two systems, one beside the paper's FastSAG and with a degraded reference."""
    root = tmp_path_factory.mktemp("tables")
    rtf = {"paper": {"rtf": 0.25}}
    (root / "rtf.json").write_text(json.dumps(rtf))
    values = {
        "output": str(root / "out"),
        "cache": str(root / "cache"),
        "zero_shot": str(songs / "set"),
        "systems": [
            {
                "name": "ours",
                "paper": "FastSAG",
                "zero_shot": str(songs / "off"),
                "rtf": str(root / "rtf.json"),
                "degrade": {"vocoder": str(griffin)},
            },
            {"name": "copy", "zero_shot": str(songs / "set")},
        ],
        "embedders": ["offline-v1", "vggish"],
        "coherence": False,
        "adherence": "offline-v1",
    }
    (root / "eval.yaml").write_text(yaml.safe_dump(values))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASTSAG_VGGISH", str(root / "absent.pth"))
        return root, run("evaluate", "table1", "--config", root / "eval.yaml")


def test_table1_has_systems_anchors_and_the_papers_rows(made):
    root, text = made
    assert text.startswith("Table 1: zero-shot, 2 clips")
    assert "| system | offline-v1 | vggish | paper | apa (offline-v1) | rtf | paper |" in text
    lines = {line.split(" | ")[0].strip("| "): line for line in text.splitlines() if "|" in line}
    assert "0.2500 | 0.3247" in lines["ours"] and " 0.8917 " in lines["ours"]
    assert lines["copy"].startswith("| copy | 0.0000 |")
    assert lines["SingSong s+c"].startswith("| SingSong s+c | - | - | 0.8632 |")
    assert "FastSAG" not in lines  # it is `ours`
    assert set(tables.ANCHORS) <= set(lines)
    assert "vggish: not computed." in text and "absent.pth" in text and "about 289 MB" in text

    record = json.loads((root / "out" / "table1.json").read_text())
    by_name = {row["system"]: row for row in record["rows"]}
    distance = {name: row["ours"].get("offline-v1") for name, row in by_name.items()}
    assert distance[TRUE] == pytest.approx(0, abs=1e-3) == distance["copy"]
    assert min(distance["silence"], distance["white noise"]) > distance["ours"] > 0.1
    assert record["config"]["systems"][0]["degrade"]["bandwidth"] == 6.0
    with (root / "out" / "table1.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    (cell,) = [row for row in rows if row["system"] == "ours" and row["metric"] == "rtf"]
    assert (cell["ours"], cell["paper"], cell["anchor"]) == ("0.25", "0.3247", "0")
    assert (root / "out" / "table1.png").read_bytes()[:4] == b"\x89PNG"


def test_the_same_command_again_computes_nothing(made, monkeypatch):
    root, text = made
    monkeypatch.setenv("FASTSAG_VGGISH", str(root / "absent.pth"))
    monkeypatch.setattr(fad, "prepared", None)
    monkeypatch.setattr("fastsag.evaluation.mixes.mixture", None)
    monkeypatch.setattr("fastsag.evaluation.embedders.offline.Offline.__call__", None)
    assert run("evaluate", "table1", "--config", root / "eval.yaml") == text


def test_mixtures_are_the_sum_and_can_be_matched(songs):  # noqa: F811
    known = clips(songs / "set")
    (job,) = plan(known[:1], [("off", songs / "off")], ())
    mix, rate = mixture(job, None, False, False)
    parts = [soundfile.read(path)[0] for path in (known[0].voice, job.source)]
    assert rate == 22_050
    np.testing.assert_allclose(mix, parts[0] + parts[1], atol=1e-6)
    matched, _ = mixture(job, None, False, True)
    gain = (matched - parts[0]) @ parts[1] / (parts[1] @ parts[1])
    assert gain == pytest.approx(1, abs=0.1)  # a semitone higher, nearly as loud


def test_the_papers_figures_are_the_papers():
    assert paper.row(paper.TABLE1, "fastsag (W/O norm)")["vggish"] == 3.6784
    assert paper.row(paper.TABLE2, "SingSong s+c")["clap"] == 0.0406
    assert paper.row(paper.TABLE2, "SingSong s+c+f") == {}
    assert [len(table) for table in (paper.TABLE1, paper.TABLE2, paper.TABLE3)] == [7, 3, 5]


def test_a_wrong_config_is_refused_with_its_key(tmp_path):
    path = tmp_path / "eval.yaml"

    def complaint(**values) -> str:
        path.write_text(yaml.safe_dump({"output": "out", **values}))
        with pytest.raises(UserError) as error:
            config.load(path)
        return str(error.value)

    assert "eval.yaml: not an evaluation (sistems" in complaint(sistems=[])
    assert "systems: x is there twice" in complaint(systems=[{"name": "x"}, {"name": "x"}])
    both = {"name": "x", "degrade": {"vocoder": "a", "codec": "encodec"}}
    assert "either a vocoder or a codec" in complaint(systems=[both])
    assert "give prior and generated, or a checkpoint" in complaint(
        figure3={"voice": "a", "accompaniment": "b"}
    )
    path.write_text("- 1")
    with pytest.raises(UserError, match="see configs/eval/small.yaml"):
        config.load(path)


@pytest.mark.parametrize("name", ["small", "paper"])
def test_the_examples_are_valid(name):
    assert config.load(ROOT / "configs" / "eval" / f"{name}.yaml").systems


def test_what_a_config_does_not_name_is_said(tmp_path):
    path = tmp_path / "eval.yaml"
    path.write_text(yaml.safe_dump({"output": str(tmp_path / "out")}))
    assert "add in_domain: FOLDER" in refused("evaluate", "table2", "--config", path)
    assert "add listening" in refused("evaluate", "table3", "--config", path)
    assert "add figure3" in refused("evaluate", "figure3", "--config", path)


def test_table3_from_ratings(tmp_path):
    from tests.evaluation.test_listening import COLUMNS, write_mixtures

    folders = write_mixtures(tmp_path / "mixes")
    named = [f"{name}={folder}" for name, folder in folders.items()]
    numbers = ["--clips", 6, "--listeners", 4, "--trials", 3]
    run("listen", "make", *named, "-o", tmp_path / "test", *numbers)
    key = json.loads((tmp_path / "test.key.json").read_text())
    files = []
    for listener, trials in enumerate(key["listeners"], start=1):
        files.append(tmp_path / f"{listener}.csv")
        with files[-1].open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(COLUMNS)
            for index, trial in enumerate(trials, start=1):
                rating = 5 if key["systems"][trial["system"]] == "Human" else 2
                cells = [listener, "s", index, trial["clip"], trial["subset"], trial["system"]]
                writer.writerow([*cells, rating, 1, 900, "2024-05-01T09:30:00Z"])
    values = {
        "output": str(tmp_path / "out"),
        "listening": {"key": str(tmp_path / "test.key.json"), "ratings": list(map(str, files))},
    }
    (tmp_path / "eval.yaml").write_text(yaml.safe_dump(values))
    text = run("evaluate", "table3", "--config", tmp_path / "eval.yaml")
    assert "| Human | 5.00 | 5.00 to 5.00 | 4 | 4 | 4.15 |" in text and "p (Holm)" in text
    with (tmp_path / "out" / "table3.csv").open() as stream:
        rows = {row["system"]: row for row in csv.DictReader(stream)}
    assert float(rows["RandSong"]["mos"]) == 2 and float(rows["RandSong"]["paper"]) == 1.48
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {
        ".md", ".csv", ".json", ".png",
    }  # fmt: skip


def test_figure3_from_files_and_from_a_checkpoint(tmp_path, songs):  # noqa: F811
    voice, band = (songs / "set" / f"one.{part}.wav" for part in ("vocals", "accompaniment"))
    np.save(tmp_path / "prior.npy", np.zeros((100, 50)))
    files = {"voice": str(voice), "accompaniment": str(band), "seconds": 2.0}
    given = files | {"prior": str(tmp_path / "prior.npy"), "generated": str(band)}

    def draw(figure) -> list[object]:
        values = {"output": str(tmp_path / "out"), "figure3": figure}
        (tmp_path / "eval.yaml").write_text(yaml.safe_dump(values))
        return ["evaluate", "figure3", "--config", tmp_path / "eval.yaml"]

    run(*draw(given))
    picture = tmp_path / "out" / "figure3.png"
    first = picture.read_bytes()
    assert first[:4] == b"\x89PNG"
    np.save(tmp_path / "prior.npy", np.zeros((80, 50)))
    assert r"shape (80, 50), not (100, frames)" in refused(*draw(given))
