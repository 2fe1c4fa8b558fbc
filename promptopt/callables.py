"""Functions named in a config: `path/to/file.py:name` or `package.module:name`."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from .errors import PluginError


def resolve(function: Callable[..., Any] | str, where: str) -> Callable[..., Any]:
    """Return `function`, imported if it is named, and checked to be a plain function.

    Raises:
        PluginError: there is no such function, its module fails, or it is asynchronous; named by `where`.
    """
    call = load_function(function, where) if isinstance(function, str) else function
    if not callable(call):
        raise PluginError(where, "not a function", got=function)
    if inspect.iscoroutinefunction(call):
        raise PluginError(where, "an async function", got=function, do="write it with plain def")
    return call


def function_name(function: Callable[..., Any]) -> str:
    """Return the name of a function, or of the class of a callable object."""
    named = inspect.isfunction(function) or inspect.isbuiltin(function) or inspect.isclass(function)
    return function.__name__ if named else type(function).__name__


def load_function(place: str, where: str) -> Callable[..., Any]:
    """Import the function that `place` names."""
    module_name, colon, name = place.rpartition(":")
    if not (colon and module_name and name.isidentifier()):
        do = "write path/to/file.py:name or package.module:name"
        raise PluginError(where, "names no function", got=place, do=do)
    try:
        if module_name.endswith(".py"):
            module = _load_file(Path(module_name), where)
        else:
            module = _load_module(module_name, where)
    except PluginError:
        raise
    except Exception as error:  # the user's module may fail in any way while it is imported
        problem = f"{module_name} cannot be imported: {type(error).__name__}: {error}"
        raise PluginError(where, problem) from error
    if name not in vars(module):
        own = [v for v in vars(module).values() if inspect.isfunction(v) and v.__module__ == module.__name__]
        public = sorted(v.__name__ for v in own if not v.__name__.startswith("_"))
        do = f"it has {', '.join(public)}" if public else "it has no functions"
        raise PluginError(where, f"{module_name} has no {name!r}", do=do)
    found: Callable[..., Any] = vars(module)[name]
    return found


def _load_file(path: Path, where: str) -> ModuleType:
    if not path.is_file():
        do = "give its path from the working directory"
        raise PluginError(where, "no such file", got=str(path), do=do)
    place = str(path.resolve())
    name = f"_promptopt_function_{hashlib.sha256(place.encode()).hexdigest()[:16]}"
    spec = importlib.util.spec_from_file_location(name, place)
    if spec is None or spec.loader is None:
        raise PluginError(where, "cannot be imported", got=str(path))
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up here while it is being executed.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)  # it may have gone by itself; what it raised counts
        raise
    return module


def _load_module(name: str, where: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            do = f"install it, or give the file: path/to/{name.rpartition('.')[2]}.py:name"
            raise PluginError(where, f"no module {error.name!r}", do=do) from error
        raise
