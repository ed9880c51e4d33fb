"""Which sampler plays: defaults, a student that is preferred, and what cannot be done."""

import pytest

from fastsag import checkpoint
from fastsag import config as configuration
from fastsag.config import Config
from fastsag.diffusion.sampling import Way, way_of
from fastsag.errors import UserError

SCHEDULES = ((80.0,), (80.0, 2.0), (80.0, 4.0, 0.5))


def config(preferred: bool | None) -> Config:
    """The bundled model's; with a student of up to three steps unless `preferred` is None."""
    values = configuration.load(checkpoint.resolve("compact") / "config.yaml").model_dump()
    values["distilled"] = None
    if preferred is not None:
        values["distilled"] = {"steps": 2, "preferred": preferred, "schedules": SCHEDULES}
        values["distilled"]["guidance"] = 5.0
    return Config.model_validate(values)


@pytest.mark.parametrize(
    ("preferred", "asked", "way"),
    [
        (None, {}, Way("euler", 12, 5.0)),
        (None, {"steps": 3}, Way("euler", 3, 5.0)),
        (False, {}, Way("euler", 12, 5.0)),
        (False, {"sampler": "distilled"}, Way("distilled", 2, 5.0)),
        (True, {}, Way("distilled", 2, 5.0)),
        (True, {"steps": 3}, Way("distilled", 3, 5.0)),
        (True, {"steps": 4}, Way("euler", 4, 5.0)),  # more than it has learned
        (True, {"guidance": 3.0}, Way("euler", 12, 3.0)),  # another than it has learned
        (True, {"sampler": "heun", "steps": 2, "guidance": 1.0}, Way("heun", 2, 1.0)),
    ],
)
def test_what_plays(preferred, asked, way):
    assert way_of(config(preferred), **asked) == way


@pytest.mark.parametrize(
    ("preferred", "asked", "message"),
    [
        (None, {"sampler": "distilled"}, "has no student.*fastsag distill"),
        (True, {"sampler": "distilled", "guidance": 3.0}, "--guidance.*learned 5.*euler"),
        (True, {"sampler": "distilled", "steps": 4}, "--steps 4.*takes 1 to 3"),
        (True, {"sampler": "magic"}, "--sampler magic.*distilled"),
    ],
)
def test_what_cannot_be_done(preferred, asked, message):
    with pytest.raises(UserError, match=message):
        way_of(config(preferred), **asked)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schedules": [[80.0], [2.0, 80.0]]}, "number 2 needs 2 falling levels"),
        ({"schedules": [[80.0], [80.0]]}, "number 2 needs 2"),
        ({"schedules": [[80.0]], "steps": 2}, "steps: 1 to 1"),
    ],
)
def test_wrong_schedules_are_refused(change, message):
    values = config(True).model_dump()
    values["distilled"] |= change
    with pytest.raises(ValueError, match=message):
        Config.model_validate(values)
