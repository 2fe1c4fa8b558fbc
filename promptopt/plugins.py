"""Find plug-ins of every kind by name: entry points, one at a time, built-ins alike."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal, get_args

from .errors import MissingExtra, PluginError, did_you_mean

Kind = Literal["searchers", "rewards", "models", "selectors", "exports", "trackers"]
KINDS: tuple[Kind, ...] = get_args(Kind)
EXTRAS = {
    **dict.fromkeys(("torch", "transformers", "safetensors"), "local"),
    **dict.fromkeys(("trl", "peft", "accelerate"), "train"),
    **dict.fromkeys(("sacrebleu", "rouge_score", "math_verify", "jinja2", "pyarrow", "datasets"), "text"),
    **dict.fromkeys(("mlflow", "wandb", "tensorboard"), "track"),
    "ray": "scale",
    "psycopg": "postgres",
    **dict.fromkeys(("cmaes", "scipy"), "samplers"),
}
"""Which extra brings a package."""


def installed(kind: Kind) -> dict[str, EntryPoint]:
    """Return the entry points of a kind by name, in alphabetical order; nothing is imported."""
    found = entry_points(group=f"promptopt.{kind}")
    return {point.name: point for point in sorted(found, key=lambda point: point.name)}


def load(kind: Kind, name: str) -> Any:
    """Import one plug-in and return its class.

    Raises:
        PluginError: no plug-in of that name, or two, or its import failed (the cause is chained).
        MissingExtra: it needs an optional dependency.
    """
    where = f"{kind[:-1]} {name!r}"
    found = {point.value: point for point in entry_points(group=f"promptopt.{kind}", name=name)}
    if not found:
        raise PluginError(where, "no such plug-in", do=did_you_mean(name, installed(kind)))
    if len(found) > 1:
        raise PluginError(where, "offered more than once", got=sorted(found), do="uninstall all but one")
    try:
        return next(iter(found.values())).load()
    except (ImportError, AttributeError) as error:
        missing = (error.name or "").partition(".")[0] if isinstance(error, ImportError) else ""
        if missing in EXTRAS:
            raise MissingExtra(where, missing, EXTRAS[missing]) from error
        raise PluginError(where, f"cannot be imported: {error}") from error


def build(kind: Kind, name: str, options: Mapping[str, Any] | None = None) -> Any:
    """Load a plug-in and construct it; unknown or ill-typed options are errors that name the cure."""
    return construct(load(kind, name), dict(options or {}), f"{kind[:-1]} {name}")


def construct(factory: Any, options: dict[str, Any], where: str) -> Any:
    """Call `factory(**options)`, checking names against its signature and types if it is a dataclass."""
    parameters = inspect.signature(factory).parameters
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    known = [name for name, p in parameters.items() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    for key in options:
        if key not in known and not takes_any:
            raise PluginError(where, f"unknown option {key!r}", do=did_you_mean(key, known or ["(none)"]))
    needed = [
        name
        for name, p in parameters.items()
        if p.default is p.empty
        and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        and name not in options
    ]
    if needed:
        raise PluginError(where, f"needs {', '.join(needed)}", do=f"add `{needed[0]}: …` to its options")
    try:
        return factory(**(_typed(factory, options, where) if dataclasses.is_dataclass(factory) else options))
    except TypeError as error:
        raise PluginError(where, f"cannot be built: {error}", got=options) from error


def _typed(factory: Any, options: dict[str, Any], where: str) -> dict[str, Any]:
    from pydantic import PydanticSchemaGenerationError, TypeAdapter, ValidationError

    hints = typing.get_type_hints(factory, include_extras=True)
    typed = dict(options)
    for key in options.keys() & hints.keys():
        try:
            typed[key] = TypeAdapter(hints[key]).validate_python(options[key])
        except ValidationError as error:
            message = error.errors()[0]["msg"]
            raise PluginError(f"{where}.{key}", message[0].lower() + message[1:], got=options[key]) from error
        except PydanticSchemaGenerationError:  # a type of the plug-in's own: its constructor's business
            pass
    return typed
