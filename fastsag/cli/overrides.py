"""`key=value` overrides of a configuration on the command line."""

from __future__ import annotations

from typing import Any

import yaml

from fastsag.errors import UserError


def apply(values: dict[str, Any], overrides: list[str]) -> dict[str, Any]:
    """A copy of `values` with dotted keys replaced: `training.steps=100`; values are YAML.

    Raises:
        UserError: not of the form key=value, or a path through something that is no section.
    """
    result = dict(values)
    for override in overrides:
        path, equals, text = override.partition("=")
        if not equals:
            raise UserError(f"{override}: an override is key=value, such as training.steps=100")
        *sections, name = path.split(".")
        section = result
        for part in sections:
            inner = section.get(part, {})
            if not isinstance(inner, dict):
                raise UserError(f"{override}: {part} is not a section")
            section[part] = dict(inner)
            section = section[part]
        section[name] = yaml.safe_load(text)
    return result
