"""Searchers that are options of other searchers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from promptopt import plugins
from promptopt.contracts.searcher import Searcher
from promptopt.errors import ConfigError


def build_member(given: Any, where: str) -> tuple[str, Searcher]:
    """Return a searcher and its name.

    Args:
        given: a name, a mapping with one and options, or a searcher.
        where: it was given, for messages.

    Raises:
        ConfigError: it is none of these.
        PluginError: it cannot be built.
    """
    if isinstance(given, str):
        return given, plugins.build("searchers", given)
    if isinstance(given, Mapping):
        options = dict(given)
        name = str(options.pop("name", ""))
        return name, plugins.build("searchers", name, options)
    if isinstance(given, Searcher):
        return type(given).__name__, given
    raise ConfigError(where, "not a searcher", got=given, do="write a name, or a mapping with one")
