"""Find which column of a table plays which role: input, answer, options, id, group, split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import DataError, did_you_mean

ANSWER_NAMES = ("output", "answer", "label", "target")
RESERVED = ("instruction", "demonstrations", "output")
"""Slots a template fills itself, so no input field can have their names."""


@dataclass(frozen=True)
class Columns:
    """Which column plays which role.

    A role left at its default is taken by the column of that name if there is one; a name you give
    yourself must be there; None leaves the role empty.

    Attributes:
        inputs: input columns; a mapping renames (new name -> column); None is every column without
            another role.
        answer: accepted answer, a text or a list of texts. The default also finds `answer`, `label` and
            `target`. Of several columns the first holds the main answer, the others may be empty. None is
            for tasks whose reward needs no reference.
        options: list of the row's possible answers (in CSV, a JSON list in the cell).
        id: unique name of the row; without it, the id is a hash of the row's content.
        group: rows with the same group belong together: never in two splits.
        split: the split the row is declared for.
    """

    inputs: Sequence[str] | Mapping[str, str] | None = None
    answer: str | Sequence[str] | None = "output"
    options: str | None = "options"
    id: str | None = "id"
    group: str | None = "group"
    split: str | None = "split"


DEFAULT_COLUMNS = Columns()


@dataclass(frozen=True, slots=True)
class Roles:
    """The columns found for each role; `inputs` maps field names to columns."""

    inputs: dict[str, str]
    answers: tuple[str, ...]
    options: str | None
    id: str | None
    group: str | None
    split: str | None


def assign_roles(columns: Columns, present: list[str], where: str) -> Roles:
    """Find the roles of the columns that are `present` in the table called `where`.

    Raises:
        DataError: a named column is missing, the answer cannot be told, or a field name cannot be a slot.
    """
    named = _named_inputs(columns.inputs)
    for column in (named or {}).values():
        _require(column, present, where)
    claimed = set((named or {}).values())
    answers = _answer_columns(columns, present, claimed, where)
    for answer in answers:
        if answer in claimed:
            raise DataError(where, f"{answer!r} is the answer and an input: the prompt would tell the answer")

    def role(name: str | None, default: str) -> str | None:
        if name == default:
            return name if name in present and name not in {*claimed, *answers} else None
        return None if name is None else _require(name, present, where)

    options = role(columns.options, "options")
    row_id, group = role(columns.id, "id"), role(columns.group, "group")
    split = role(columns.split, "split")
    if named is None:
        others = {*answers, options, row_id, group, split}
        named = {name: name for name in present if name not in others}
    if not named:
        raise DataError(where, "no input column", got=present, do="set inputs to the names of some")
    check_fields(named, where)
    return Roles(named, answers, options, row_id, group, split)


def _named_inputs(inputs: Sequence[str] | Mapping[str, str] | None) -> dict[str, str] | None:
    if inputs is None:
        return None
    if isinstance(inputs, Mapping):
        return dict(inputs)
    return {name: name for name in ([inputs] if isinstance(inputs, str) else inputs)}


def _require(column: str, present: list[str], where: str) -> str:
    if column not in present:
        raise DataError(where, f"no column {column!r}", do=did_you_mean(column, present))
    return column


def _answer_columns(columns: Columns, present: list[str], claimed: set[str], where: str) -> tuple[str, ...]:
    given = (columns.answer,) if isinstance(columns.answer, str) else tuple(columns.answer or ())
    if given != ANSWER_NAMES[:1]:
        return tuple(_require(name, present, where) for name in given)
    found = [name for name in ANSWER_NAMES if name in present and name not in claimed]
    if len(found) > 1 and (columns.inputs is None or found[0] != ANSWER_NAMES[0]):
        # Guessing would put the other one into the prompt, and with it the answer.
        names = " and ".join(map(repr, found))
        raise DataError(
            where, f"{names} may each be the answer", do="set answer to one of them, or name the inputs"
        )
    if not found:
        raise DataError(
            where,
            f"no answer column (looked for {', '.join(ANSWER_NAMES)})",
            got=present,
            do="set answer to its name, or to null for a task without reference answers",
        )
    return (found[0],)


def check_fields(inputs: Mapping[str, str], where: str) -> None:
    """Raise DataError unless every field name (-> column) can be written as a slot and is not reserved."""
    for name, column in inputs.items():
        clash = name in RESERVED
        if clash or not name or name != name.strip() or set(name) & set("{}\n"):
            why = "is a slot of the template itself" if clash else "cannot be written as {{name}}"
            raise DataError(
                where,
                f"input field {name!r} {why}",
                do=f"rename it with inputs: {{my_name: {column!r}}}, or leave the column out",
            )
