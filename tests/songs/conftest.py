"""Songs that are played need Debian packages."""

import os

import pytest

from fastsag.errors import UserError
from fastsag.songs.generator import check_programs


@pytest.fixture(scope="session")
def programs() -> None:
    """Skip where the song generator's programs are absent; fail if they are required."""
    try:
        check_programs()
    except UserError as error:
        if os.environ.get("FASTSAG_REQUIRE_SYSTEM") == "1":
            pytest.fail(str(error))
        pytest.skip(str(error))
