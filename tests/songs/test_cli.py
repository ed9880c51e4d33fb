"""`fastsag songs`: settings print what they read, errors are one line, damage is found."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from fastsag.cli.songs import app
from fastsag.errors import UserError
from fastsag.songs.settings import SongSettings, load_settings

run = CliRunner()


def test_printed_settings_are_the_defaults(tmp_path: Path) -> None:
    shown = run.invoke(app, ["config"])
    assert shown.exit_code == 0
    path = tmp_path / "songs.yaml"
    path.write_text(shown.stdout)
    assert load_settings(path) == SongSettings()
    for name in SongSettings().conditions.model_dump():
        assert name in shown.stdout


def test_a_wrong_config_is_named_before_any_work(tmp_path: Path) -> None:
    path = tmp_path / "songs.yaml"
    path.write_text("conditions: {echo: {probability: 1}}")
    shown = run.invoke(app, ["generate", "-o", str(tmp_path / "c"), "--config", str(path)])
    assert isinstance(shown.exception, UserError) and "echo" in str(shown.exception)
    assert not (tmp_path / "c").exists()


def test_check_wants_a_manifest(tmp_path: Path) -> None:
    shown = run.invoke(app, ["check", str(tmp_path)])
    assert isinstance(shown.exception, UserError) and "manifest" in str(shown.exception)


@pytest.mark.parametrize("command", ["generate", "preview", "check", "unpack", "grooves", "config"])
def test_help_shows_an_example(command: str) -> None:
    shown = run.invoke(app, [command, "--help"])
    assert shown.exit_code == 0
    assert f"fastsag songs {command}" in shown.stdout.replace("\n", " ")
