"""`fastsag checkpoint`: what the commands print, ask, refuse and leave."""

import io
import subprocess
import sys

import pytest
import torch

from fastsag import authors, hub
from fastsag.cli.main import main
from fastsag.errors import UserError
from tests.test_hub import REPO, Client


@pytest.fixture
def run(monkeypatch, capsys):
    """The command in this process: (exit status, stdout, stderr)."""

    def command(*words: object, answer: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["fastsag", "checkpoint", *map(str, words)])
        monkeypatch.setattr(sys, "stdin", io.StringIO(answer))
        with pytest.raises(SystemExit) as done:
            main()
        printed = capsys.readouterr()
        return int(done.value.code or 0), printed.out, printed.err

    return command


@pytest.fixture
def client(tmp_path, monkeypatch) -> Client:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    fake = Client(tmp_path / "cache", REPO, dict.fromkeys(hub.entry("mert").files, b"{}"))
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake)
    return fake


def test_the_listing_says_what_there_is_and_what_is_here(run, client):
    status, out, _ = run("download")
    lines = out.splitlines()
    assert status == 0 and len(lines) == 1 + len(hub.ENTRIES) and client.fetched == []
    (mert,) = (line for line in lines if line.startswith("mert "))
    assert " no " in mert and "378" in mert and "CC-BY-NC-4.0" in mert and "semantics" in mert
    assert run("download", "mert", "--yes")[0] == 0
    (mert,) = (line for line in run("download")[1].splitlines() if line.startswith("mert "))
    assert " yes " in mert


def test_licence_size_and_checksum_come_before_the_question(run, client):
    status, out, _ = run("download", "mert", answer="y\n")
    assert status == 0 and client.fetched == list(hub.entry("mert").files)
    order = ["licence: CC-BY-NC-4.0", "pytorch_model.bin  2 bytes  sha256 44136fa3", "Download?"]
    places = [out.index(text) for text in [*order, "verified "]]
    assert places == sorted(places)
    assert "today: cc-by-nc-4.0" in out


@pytest.mark.parametrize("answer", ["n\n", "", "\n"])
def test_without_a_yes_nothing_is_fetched(run, client, answer):
    status, _, err = run("download", "mert", answer=answer)
    assert status == 2 and "mert: not downloaded; agree, or add --yes" in err
    assert client.fetched == []


def test_unknown_weights_are_one_line_with_the_names(run, client):
    status, _, err = run("download", "nonesuch")
    assert status == 2 and err.count("\n") == 1
    assert "nonesuch: unknown weights; choose one of mert" in err


def test_an_import_says_what_it_wrote_and_what_is_still_needed(run, client, tmp_path, monkeypatch):
    asked = {}

    def stand_in(source, folder, *, overwrite, core_only, progress):
        asked.update(source=source, folder=folder, overwrite=overwrite, core_only=core_only)
        progress("reading")
        return authors.Parts({}, {"conv": torch.ones(1)}, {})

    monkeypatch.setattr(authors, "import_authors", stand_in)
    words = ("import-authors", "x.pt", "-o", tmp_path / "out", "--overwrite", "--core-only")
    status, out, err = run(*words)
    assert status == 0 and out.startswith(f"wrote {tmp_path / 'out'}\n") and err == "reading ...\n"
    assert "run: fastsag checkpoint download mert" in out and "bigvgan" not in out
    assert (str(asked["source"]), asked["overwrite"], asked["core_only"]) == ("x.pt", True, True)

    def refuse(*arguments, **keywords):
        raise UserError("x.pt: refused")

    monkeypatch.setattr(authors, "import_authors", refuse)
    assert run(*words) == (2, "", "fastsag: x.pt: refused\n")


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["list"], 0, "compact"),
        (["import-authors", "junk.pt", "-o", "out"], 2, "junk.pt: not a file of torch tensors"),
        (["import-authors", "absent.pt", "-o", "out"], 2, "absent.pt: cannot be read (No such"),
        (["import-authors", "--help"], 0, "Example"),
        (["download", "--help"], 0, "Example"),
    ],
)
def test_the_real_command(tmp_path, words, status, said):
    (tmp_path / "junk.pt").write_bytes(b"junk")
    command = [sys.executable, "-m", "fastsag.cli.main", "checkpoint", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == status, done.stderr
    assert said in done.stdout + done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["junk.pt"]
    assert "Traceback" not in done.stderr
