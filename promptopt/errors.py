"""The exception tree, and the one shape of an error message.

    PromptOptError                 exit code 1
    ├── BadInput                   2   something the user wrote is wrong; nothing was run
    │   ├── ConfigError                the job file or an argument
    │   ├── DataError                  a data file, with its line
    │   ├── TemplateError              a prompt template and its placeholders
    │   ├── PluginError                an unknown or broken searcher, reward, model or selector
    │   └── MissingExtra               an optional dependency; the message holds the pip command
    ├── ModelError                 3   an endpoint cannot be used; retrying will not help
    │   ├── AuthError                  401, 403, quota: cure named
    │   └── UnsupportedError       2   the job asks for what the model lacks (log-probabilities, insertion)
    ├── BudgetExhausted            4   the next call may pass the cap
    ├── JournalError               2   the run folder cannot be used (locked, other version, other job)
    ├── SealedSplit                1   code tried to look at rows it must not see
    └── ContractError              1   a plug-in broke its contract; the message names the plug-in

`StopRequested` stands apart: it is the interrupt of someone who asked from elsewhere, and ends a run as
Ctrl-C does.

Messages read `where: what is wrong; got X; do Y`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar


class PromptOptError(Exception):
    """Base of all errors promptopt raises on purpose."""

    exit_code: ClassVar[int] = 1

    def __init__(self, where: str, problem: str, *, got: object = None, do: str = "") -> None:
        """Compose `where: problem; got X; do Y`, leaving out what is not given."""
        self.where, self.problem, self.got, self.do = where, problem, got, do
        parts = [f"{where}: {problem}"]
        if got is not None:
            parts.append(f"got {shorten(got)}")
        if do:
            parts.append(do)
        super().__init__("; ".join(parts))

    def __reduce__(self) -> tuple[Any, ...]:
        """Say how another process gets it back, whatever its constructor takes."""
        return _restored, (type(self), self.args, self.__dict__)


def _restored(kind: type[PromptOptError], args: tuple[Any, ...], state: dict[str, Any]) -> PromptOptError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class BadInput(PromptOptError, ValueError):
    """Something the user wrote is wrong."""

    exit_code = 2


class ConfigError(BadInput):
    """The job file or an argument of a public call is wrong."""


class DataError(BadInput):
    """A data file or row is wrong; `where` holds the file and the line."""


class TemplateError(BadInput):
    """A template is malformed, or names a field that a row does not have."""


class PluginError(BadInput):
    """A plug-in name is unknown, or the plug-in cannot be built from its options."""


class MissingExtra(BadInput):
    """An optional dependency is not installed."""

    def __init__(self, where: str, package: str, extra: str) -> None:
        """Name the missing `package` and the pip command that brings it."""
        super().__init__(where, f"needs the package {package}", do=f'pip install "promptopt[{extra}]"')


class ModelError(PromptOptError):
    """A model cannot be used at all; calling again will not help."""

    exit_code = 3


class AuthError(ModelError):
    """The endpoint refuses the key, or its quota is spent."""


class UnsupportedError(ModelError):
    """The model cannot do what was asked of it: the job names the wrong model, or asks too much of it."""

    exit_code = 2


class BudgetExhausted(PromptOptError):
    """The next call could pass the budget's cap."""

    exit_code = 4


class JournalError(PromptOptError):
    """The run folder cannot be used."""

    exit_code = 2


class SealedSplit(PromptOptError):
    """Rows were asked for that must not be seen now."""


class ContractError(PromptOptError):
    """A plug-in broke its contract."""


class StopRequested(KeyboardInterrupt):
    """Someone asked for the run to stop; no call is begun any more, and what came back is kept."""


@contextmanager
def noted_on(first: BaseException | None) -> Iterator[None]:
    """Make a fault of clearing up a note on the one before it, if there was one: that is the cause."""
    try:
        yield
    except Exception as second:
        if first is None:
            raise
        first.add_note(f"then, clearing up: {second}")


def shorten(value: object, limit: int = 200) -> str:
    """Return `repr(value)` on one line, cut to `limit` characters."""
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `did you mean 'x'?` for a close match, else `choose from a, b, c`."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else "choose from " + ", ".join(names)
