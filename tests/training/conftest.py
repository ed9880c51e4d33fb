"""The corpus that the tests of training share; its features are computed once."""

from pathlib import Path

import pytest

from tests.training.corpus import write_corpus


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"))
