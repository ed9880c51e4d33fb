"""A client of the HTTP API in one file, with the standard library alone: copy it if you like.

    client = Client("http://127.0.0.1:7860")
    Path("mix.wav").write_bytes(client.accompany("vocals.wav", style="folk", seed=3))

As a command: python client.py vocals.wav mix.wav --style folk
"""

from __future__ import annotations

import io
import json
import secrets
import sys
import urllib.error
import urllib.request
import zipfile
from pathlib import Path
from typing import Any


class ServiceError(Exception):
    """The service refused. kind: such as "audio-too-long" or "queue-full"; detail: for people.

    retry_seconds: after which another try makes sense; None if the same request fails again.
    """

    def __init__(self, status: int, kind: str, detail: str, retry_seconds: float | None) -> None:
        super().__init__(detail)
        self.status, self.kind, self.detail = status, kind, detail
        self.retry_seconds = retry_seconds


class Client:
    """Talks to one service.

    Args:
        address: such as http://127.0.0.1:7860.
        timeout: seconds without a byte after which a call is given up.
    """

    def __init__(self, address: str = "http://127.0.0.1:7860", timeout: float = 1800) -> None:
        self.address, self.timeout = address.rstrip("/"), timeout

    def health(self) -> dict[str, Any]:
        """How busy the service is, and which checkpoints it has."""
        return dict(json.loads(self._call("/health")))

    def version(self) -> str:
        """The version that answers."""
        return str(json.loads(self._call("/version"))["fastsag"])

    def accompany(self, voice: str | Path | bytes, **fields: Any) -> bytes:
        """A voice -> the mix as an audio file.

        Args:
            voice: a file, or its bytes.
            fields: of the API, such as seed, style, chords, format="mp3", answer="accompaniment".

        Raises:
            ServiceError: the service refused.
        """
        name = "voice" if isinstance(voice, bytes) else Path(voice).name
        content = voice if isinstance(voice, bytes) else Path(voice).read_bytes()
        body, kind = _form(fields, name, content)
        return self._call("/accompany", body, {"Content-Type": kind})

    def everything(self, voice: str | Path | bytes, **fields: Any) -> dict[str, bytes]:
        """A voice -> files by name: mix, accompaniment, record, and with a plan the lead sheet.

        Raises:
            ServiceError: the service refused.
        """
        content = self.accompany(voice, answer="all", **fields)
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return {name: archive.read(name) for name in archive.namelist()}

    def _call(
        self, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> bytes:
        request = urllib.request.Request(self.address + path, body, headers or {})
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as answer:
                return bytes(answer.read())
        except urllib.error.HTTPError as error:
            raise _refusal(error) from None


def _refusal(error: urllib.error.HTTPError) -> ServiceError:
    retry = error.headers.get("Retry-After")
    try:
        problem = json.loads(error.read())
        kind, detail = str(problem["type"]).rpartition(":")[2], str(problem["detail"])
    except (ValueError, KeyError, TypeError):
        kind, detail = "http", str(error)  # a proxy in between
    return ServiceError(error.code, kind, detail, float(retry) if retry else None)


def _form(fields: dict[str, Any], name: str, content: bytes) -> tuple[bytes, str]:
    """multipart/form-data (RFC 7578): body and content type."""
    boundary = secrets.token_hex(16)
    parts = []
    for key, value in fields.items():
        if value is not None:
            heading = f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n'
            parts.append(heading.encode() + str(value).encode() + b"\r\n")
    quoted = name.replace("\\", "%5C").replace('"', "%22").replace("\r", "").replace("\n", "")
    heading = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="voice"; filename="{quoted}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    parts.append(heading.encode() + content + b"\r\n")
    return b"".join(
        parts
    ) + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def main(arguments: list[str]) -> None:
    """VOICE OUTPUT [--FIELD VALUE]... [--address URL]"""
    if len(arguments) < 2 or len(arguments) % 2:
        sys.exit(f"usage: client.py {main.__doc__}")
    voice, output, *options = arguments
    fields = {
        name.removeprefix("--"): value
        for name, value in zip(options[::2], options[1::2], strict=True)
    }
    client = Client(fields.pop("address", "http://127.0.0.1:7860"))
    try:
        Path(output).write_bytes(client.accompany(voice, **fields))
    except ServiceError as error:
        sys.exit(f"{error.kind}: {error.detail}")
    except OSError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main(sys.argv[1:])
