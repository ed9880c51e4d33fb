"""The hub without a network: a cache folder in the real layout, and a stand-in for its client."""

import hashlib
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from fastsag import hub
from fastsag.config import BigVGANConfig, MertConfig
from fastsag.errors import MissingExtra, UserError
from fastsag.vocoder import PUBLISHED
from fastsag.vocoder.bigvgan import VARIANTS

REPO = "m-a-p/MERT-v1-95M"


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def place(cache: Path, repo: str, filename: str, data: bytes, revision: str = "0a1b") -> Path:
    """A file as the hub's client leaves it: a blob, a link in a snapshot, a reference."""
    repository = cache / f"models--{repo.replace('/', '--')}"
    blob = repository / "blobs" / hashlib.sha256(data).hexdigest()
    link = repository / "snapshots" / revision / filename
    for path in (blob, link, repository / "refs" / "main"):
        path.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(data)
    link.unlink(missing_ok=True)
    link.symlink_to(blob)
    (repository / "refs" / "main").write_text(revision)
    return link


class Client:
    """Stands in for huggingface_hub: serves `contents` and counts downloads."""

    def __init__(self, cache: Path, repo: str, contents: dict[str, bytes], licence="cc-by-nc-4.0"):
        self.cache, self.repo, self.contents, self.licence = cache, repo, contents, licence
        self.offered = dict(contents)  # what the checksums are of
        self.fetched: list[str] = []
        self.HfApi = lambda: self

    def model_info(self, repo, files_metadata):
        assert repo == self.repo and files_metadata
        siblings = [self.sibling(name, data) for name, data in self.offered.items()]
        return SimpleNamespace(
            sha="0a1b", siblings=siblings, card_data=SimpleNamespace(license=self.licence)
        )

    @staticmethod
    def sibling(name: str, data: bytes) -> SimpleNamespace:
        large = not name.endswith(".json")
        lfs = SimpleNamespace(sha256=hashlib.sha256(data).hexdigest()) if large else None
        blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        return SimpleNamespace(rfilename=name, size=len(data), lfs=lfs, blob_id=blob)

    def hf_hub_download(self, repo, filename, cache_dir):
        assert repo == self.repo and Path(cache_dir) == self.cache
        self.fetched.append(filename)
        return str(place(self.cache, repo, filename, self.contents[filename]))


@pytest.fixture
def client(cache, monkeypatch) -> Client:
    contents = {"config.json": b"{}", "preprocessor_config.json": b"{ }"}
    contents["pytorch_model.bin"] = b"weights"
    fake = Client(cache, REPO, contents)
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake)
    return fake


def test_entries_are_complete_and_cover_what_configurations_name():
    names = [entry.name for entry in hub.ENTRIES]
    assert len(set(names)) == len(names) == 10
    for entry in hub.ENTRIES:
        assert hub.entry(entry.name) is hub.entry(entry.repo) is entry
        assert entry.licence and entry.purpose and entry.megabytes > 0 and entry.files
    assert hub.entry(MertConfig().model).name == "mert"
    assert hub.entry(f"nvidia/{BigVGANConfig().variant}").name == "bigvgan"
    for variant in VARIANTS:
        assert PUBLISHED in hub.entry(f"nvidia/{variant}").files
    with pytest.raises(UserError, match="unknown weights; choose one of mert, "):
        hub.entry("nonesuch")


def test_a_file_is_found_in_the_cache_by_name_and_repository(cache):
    assert hub.find(REPO, "config.json") is None
    path = place(cache, REPO, "config.json", b"{}")
    assert hub.find(REPO, "config.json") == path
    assert hub.local("mert", "config.json") == hub.local(REPO, "config.json") == path
    assert not hub.present(hub.entry("mert"))
    for filename in hub.entry("mert").files:
        place(cache, REPO, filename, b"{}")
    assert hub.present(hub.entry("mert"))
    place(cache, REPO, "config.json", b"newer", revision="2c3d")
    assert hub.local("mert", "config.json").read_bytes() == b"newer"
    assert not hub.present(hub.entry("mert"))
    other = place(cache, "someone/fine-tuned", "config.json", b"{}")
    assert hub.local("someone/fine-tuned", "config.json") == other


def test_what_is_not_here_is_said_with_size_licence_and_command(cache):
    with pytest.raises(UserError) as absent:
        hub.local(REPO, "pytorch_model.bin")
    assert str(absent.value) == (
        "m-a-p/MERT-v1-95M (about 378 MB, licence CC-BY-NC-4.0, non-commercial) is not on this "
        "machine; run: fastsag checkpoint download mert"
    )
    with pytest.raises(UserError, match="some/thing: neither a folder with x.bin nor in"):
        hub.local("some/thing", "x.bin")


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "home/.cache/huggingface/hub"),
        ({"XDG_CACHE_HOME": "xdg"}, "xdg/huggingface/hub"),
        ({"XDG_CACHE_HOME": "xdg", "HF_HOME": "hf"}, "hf/hub"),
        ({"HF_HOME": "hf", "HUGGINGFACE_HUB_CACHE": "old"}, "old"),
        ({"HUGGINGFACE_HUB_CACHE": "old", "HF_HUB_CACHE": "new"}, "new"),
        ({"HF_HUB_CACHE": "$HOME/x"}, "home/x"),
    ],
)
def test_the_cache_is_where_its_own_tools_look(settings, expected, tmp_path, monkeypatch):
    for name in ("XDG_CACHE_HOME", "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name, value in settings.items():
        monkeypatch.setenv(name, value if "$" in value else str(tmp_path / value))
    assert hub.cache() == tmp_path / expected


def test_the_real_client_agrees(cache):
    client = pytest.importorskip("huggingface_hub")
    path = place(cache, REPO, "config.json", b"{}")
    for filename in ("config.json", "absent.bin"):
        theirs = client.try_to_load_from_cache(REPO, filename, cache_dir=cache)
        assert theirs == (str(path) if filename == "config.json" else None)
        assert hub.find(REPO, filename) == (path if theirs else None)
    assert hasattr(client.HfApi, "model_info") and hasattr(client, "hf_hub_download")


def test_an_offer_states_sizes_and_checksums_and_fetches_nothing(client):
    offer = hub.offer("mert")
    assert [file.path for file in offer.files] == list(hub.entry("mert").files)
    assert offer.size == 2 + 3 + 7 and offer.licence == "cc-by-nc-4.0"
    assert offer.files[2].checksum == f"sha256 {hashlib.sha256(b'weights').hexdigest()}"
    assert offer.files[0].checksum.startswith("git sha1 ")
    assert client.fetched == []


def test_a_download_is_verified_and_then_found(client):
    paths = list(hub.download(hub.offer("mert")))
    assert client.fetched == list(hub.entry("mert").files)
    assert [path.read_bytes() for path in paths] == [b"{}", b"{ }", b"weights"]
    assert hub.present(hub.entry("mert"))


@pytest.mark.parametrize("damaged", ["pytorch_model.bin", "config.json"])
def test_a_damaged_file_is_removed(client, cache, damaged):
    client.contents[damaged] = b"something else"
    with pytest.raises(UserError, match=f"{damaged} is not what was offered"):
        list(hub.download(hub.offer("mert")))
    assert hub.find(REPO, damaged) is None
    left = [path for path in cache.rglob("*") if path.is_file() and b"else" in path.read_bytes()]
    assert left == []


def test_without_a_network_the_remedy_is_said(client, monkeypatch):
    def unreachable(*arguments, **keywords):
        raise RuntimeError("name resolution failed\nand more")

    offer = hub.offer("mert")
    monkeypatch.setattr(client, "model_info", unreachable)
    monkeypatch.setattr(client, "hf_hub_download", unreachable)
    for attempt in (lambda: hub.offer("mert"), lambda: list(hub.download(offer))):
        with pytest.raises(UserError) as failed:
            attempt()
        message = str(failed.value)
        assert "(name resolution failed); check the network" in message and "\n" not in message
        assert "models--m-a-p--MERT-v1-95M" in message


def test_a_file_that_is_gone_from_the_hub_is_named(client):
    del client.offered["pytorch_model.bin"]
    with pytest.raises(UserError, match="no longer has pytorch_model.bin"):
        hub.offer("mert")


def test_without_the_client_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtra, match=r"fastsag\[hub\]"):
        hub.offer("mert")
