"""Voices and results of the page, each in a private folder under an unguessable name.

They stay until their page is closed, until they are too old, or until newer ones need the room.
"""

from __future__ import annotations

import secrets
import shutil
import threading
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple

from fastsag.app.problems import Problem


class _Item(NamedTuple):
    folder: Path
    content: Any
    born: float


class Shelf:
    """Folders by token.

    Args:
        root: holds them; made for this user alone.
        most: folders at a time; the oldest goes first.
        seconds: how long one stays.
    """

    def __init__(self, root: Path, most: int, seconds: float) -> None:
        root.mkdir(mode=0o700)
        self._root, self._most, self._seconds = root, most, seconds
        self._items: OrderedDict[str, _Item] = OrderedDict()
        self._lock = threading.Lock()

    def new(self) -> tuple[str, Path]:
        """A token and its empty folder."""
        token = secrets.token_urlsafe(18)
        folder = self._root / token
        folder.mkdir(mode=0o700)
        with self._lock:
            self._items[token] = _Item(folder, None, time.monotonic())
            self._tidy()
        return token, folder

    def put(self, token: str, content: Any) -> None:
        """Say what a folder holds; `get` gives it from now on."""
        with self._lock:
            item = self._items.get(token)
            if item is None:
                raise Problem("not-found", "this was too long ago; drop the voice again")
            self._items[token] = item._replace(content=content)

    def get(self, token: str) -> Any:
        """What a folder holds.

        Raises:
            Problem: it is gone, or never was.
        """
        with self._lock:
            self._tidy()
            item = self._items.get(token)
        if item is None or item.content is None:
            raise Problem("not-found", "this was too long ago; drop the voice again")
        return item.content

    def drop(self, *tokens: str) -> None:
        """Remove folders; unknown tokens are let be."""
        with self._lock:
            for token in tokens:
                self._remove(token)

    def __len__(self) -> int:
        return len(self._items)

    def _tidy(self) -> None:
        oldest = time.monotonic() - self._seconds
        while self._items:
            token, item = next(iter(self._items.items()))
            if item.born >= oldest and len(self._items) <= self._most:
                return
            self._remove(token)

    def _remove(self, token: str) -> None:
        item = self._items.pop(token, None)
        if item is not None:
            shutil.rmtree(item.folder, ignore_errors=True)
