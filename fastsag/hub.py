"""Published weights: what they are, where they lie on this machine, and their download.

Nothing is fetched unless asked for: `fastsag checkpoint download NAME` puts files into the standard
Hugging Face cache, and everything else reads them from there. A cache filled by other programs, or
copied from another machine, serves as well.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from fastsag.errors import UserError, require

_CHUNK = 1 << 22  # bytes hashed at once
_MERT = ("config.json", "preprocessor_config.json", "pytorch_model.bin")
_BIGVGAN = ("config.json", "bigvgan_generator.pt")


@dataclass(frozen=True)
class Entry:
    """Weights that can be downloaded.

    megabytes: approximate, for people who decide. licence: of the weights, as their publisher
    states it.
    """

    name: str
    repo: str
    files: tuple[str, ...]
    licence: str
    megabytes: int
    purpose: str


_NC = "CC-BY-NC-4.0, non-commercial"
_BAG = ("f7e0c4bc", "d12395a8", "92cfc3b6", "04573f0d")  # the four models of htdemucs_ft

ENTRIES = (
    Entry("mert", "m-a-p/MERT-v1-95M", _MERT, _NC, 378, "semantics of the paper's model; FAD"),
    Entry("mert-330m", "m-a-p/MERT-v1-330M", _MERT, _NC, 1_260, "a larger MERT, to try"),
    Entry("bigvgan", "nvidia/bigvgan_24khz_100band", _BIGVGAN, "MIT", 450, "the paper's vocoder"),
    Entry(
        "bigvgan-v2",
        "nvidia/bigvgan_v2_24khz_100band_256x",
        _BIGVGAN,
        "MIT",
        450,
        "a later vocoder for the same mels, trained on music too",
    ),
    Entry(
        "bigvgan-v2-44k",
        "nvidia/bigvgan_v2_44khz_128band_512x",
        _BIGVGAN,
        "MIT",
        489,
        "a vocoder for 44.1 kHz, 128 bands",
    ),
    Entry(
        "clap",
        "lukewys/laion_clap",
        ("music_audioset_epoch_15_esc_90.14.pt",),
        "CC0-1.0",
        2_352,
        "FAD as the paper's CLAP-MUSIC, APA",
    ),
    Entry(
        "larger_clap_music",
        "laion/larger_clap_music",
        ("config.json", "preprocessor_config.json", "pytorch_model.bin"),
        "Apache-2.0",
        776,
        "another CLAP, whose scores are not the paper's",
    ),
    Entry(
        "encodec",
        "facebook/encodec_24khz",
        ("config.json", "preprocessor_config.json", "model.safetensors"),
        "not stated (the code: MIT)",
        93,
        "audio tokens of the SingSong baseline",
    ),
    Entry(
        "htdemucs",
        "adefossez/HTDemucs",
        ("htdemucs.yaml", "955717e8.safetensors"),
        "MIT",
        84,
        "separation of songs into stems",
    ),
    Entry(
        "htdemucs_ft",
        "adefossez/HTDemucs-ft",
        ("htdemucs_ft.yaml", *(f"{signature}.safetensors" for signature in _BAG)),
        "MIT",
        336,
        "four fine-tuned separators, four times as slow",
    ),
)
_BY_NAME = {key: item for item in ENTRIES for key in (item.name, item.repo)}
_NAMES = ", ".join(item.name for item in ENTRIES)


def entry(name_or_repo: str) -> Entry:
    """The entry of a name such as "mert" or of a repository such as "m-a-p/MERT-v1-95M".

    Raises:
        UserError: there is none; the message lists the names.
    """
    if name_or_repo not in _BY_NAME:
        raise UserError(f"{name_or_repo}: unknown weights; choose one of {_NAMES}")
    return _BY_NAME[name_or_repo]


# On this machine.


def cache() -> Path:
    """The folder of the Hugging Face cache, as its own tools find it."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    home = Path(os.environ.get("HF_HOME") or base / "huggingface")
    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    return Path(os.path.expandvars(named or home / "hub")).expanduser()


def find(repo: str, filename: str) -> Path | None:
    """A file of a repository's main revision in the cache, or None."""
    folder = cache() / f"models--{repo.replace('/', '--')}"
    try:
        revision = (folder / "refs" / "main").read_text(encoding="utf-8").strip()
    except OSError:
        return None
    path = folder / "snapshots" / revision / filename
    return path if path.is_file() else None


def present(wanted: Entry) -> bool:
    """Whether all files of an entry are in the cache."""
    return all(find(wanted.repo, filename) for filename in wanted.files)


def local(name_or_repo: str, filename: str) -> Path:
    """A file of published weights on this machine; never the network.

    Args:
        name_or_repo: "mert" or "m-a-p/MERT-v1-95M"; repositories that are not listed are looked
            up in the cache all the same.
        filename: inside the repository.

    Raises:
        UserError: it is not here; the message says how large it is, under which licence, and how
            to get it.
    """
    listed = _BY_NAME.get(name_or_repo)
    path = find(listed.repo if listed else name_or_repo, filename)
    if path:
        return path
    if listed is None:
        raise UserError(
            f"{name_or_repo}: neither a folder with {filename} nor in the Hugging Face cache; "
            f"give such a folder or one of {_NAMES}"
        )
    raise UserError(
        f"{listed.repo} (about {listed.megabytes:,} MB, licence {listed.licence}) is not on this "
        f"machine; run: fastsag checkpoint download {listed.name}"
    )


# Download.


class Remote(NamedTuple):
    """One file of an offer. sha256: None for the small files that are stored as text."""

    path: str
    size: int  # bytes
    sha256: str | None
    git_sha1: str | None

    @property
    def checksum(self) -> str:
        """To be shown to a person."""
        return f"sha256 {self.sha256}" if self.sha256 else f"git sha1 {self.git_sha1 or 'unknown'}"


class Offer(NamedTuple):
    """What a download would fetch now. licence: as the repository states it today, or None."""

    entry: Entry
    files: tuple[Remote, ...]
    licence: str | None

    @property
    def size(self) -> int:
        """Bytes in all."""
        return sum(file.size for file in self.files)


def offer(name: str) -> Offer:
    """Ask the hub for size and checksum of an entry's files.

    Raises:
        UserError: unknown name, no network, or a file that is no longer there.
        MissingExtra: huggingface_hub is not installed.
    """
    wanted = entry(name)
    hub = require("huggingface_hub", extra="hub")
    info = _reached(wanted, lambda: hub.HfApi().model_info(wanted.repo, files_metadata=True))
    there = {sibling.rfilename: sibling for sibling in info.siblings or ()}
    gone = [filename for filename in wanted.files if filename not in there]
    if gone:
        raise UserError(
            f"{wanted.name}: {wanted.repo} no longer has {', '.join(gone)}; "
            "a later version of fastsag may know where they went"
        )
    files = tuple(
        Remote(
            filename,
            there[filename].size or 0,
            there[filename].lfs.sha256 if there[filename].lfs else None,
            there[filename].blob_id,
        )
        for filename in wanted.files
    )
    return Offer(wanted, files, getattr(info.card_data, "license", None))


def download(agreed: Offer) -> Iterator[Path]:
    """Fetch the files of an offer one by one into the cache, and check them.

    Files that are there already are only checked; interrupted downloads go on where they stopped.

    Yields:
        The path of each file in the cache, once it is verified.

    Raises:
        UserError: no network, a full disk, or a file that is not what was offered (it is removed).
    """
    hub = require("huggingface_hub", extra="hub")
    for file in agreed.files:
        fetched = _reached(
            agreed.entry,
            lambda path=file.path: hub.hf_hub_download(  # type: ignore[misc]
                agreed.entry.repo, path, cache_dir=cache()
            ),
        )
        path = Path(fetched)
        if not _is_intact(path, file):
            path.resolve().unlink()
            path.unlink(missing_ok=True)
            raise UserError(
                f"{agreed.entry.name}: {file.path} is not what was offered (its checksum differs) "
                f"and was removed; run again: fastsag checkpoint download {agreed.entry.name}"
            )
        yield path


def _reached(wanted: Entry, ask: Callable[[], Any]) -> Any:
    """The hub's answer; its client's failures, which share no base class, become a `UserError`."""
    try:
        return ask()
    except Exception as error:
        lines = str(error).strip().splitlines()
        reason = lines[0] if lines else type(error).__name__
        raise UserError(
            f"{wanted.name}: {wanted.repo} cannot be fetched ({reason}); check the network and run "
            f"the command again, or copy the folder models--{wanted.repo.replace('/', '--')} of "
            f"another machine's cache into {cache()}"
        ) from None


def _is_intact(path: Path, expected: Remote) -> bool:
    if expected.sha256:
        return file_sha256(path) == expected.sha256
    data = path.read_bytes()
    blob = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False)
    return expected.git_sha1 in (None, blob.hexdigest())


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while chunk := handle.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
