"""Read the template part of a job file into axes; every mistake is one line that names its place and cure."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from promptopt.errors import ConfigError, did_you_mean

from ._template_space import LEFT_OUT, SETTINGS, Axis, Condition, Number, Order, Slot, Value

NAME = re.compile(r"[A-Za-z_]\w*")
MOST_MEMBERS = 5
"""Of an order group: 5 slots have 120 orders already."""

SLOT_KEYS = ("alternatives", "optional", "paraphrases", "grow", "when")
ORDER_KEYS = ("of", "join", "when")
NUMBER_KEYS = ("low", "high", "step", "log", "when")
DEMONSTRATION_KEYS = ("low", "high", "sets", "when")
CONDITION_KEYS = ("at_least", "at_most")
LOWEST = {"demonstrations": 0, "temperature": 0.0, "max_tokens": 1}
WHOLE = {"demonstrations": True, "max_tokens": True, "temperature": False}


def read_axes(
    slots: Mapping[str, Any], order: Mapping[str, Any], parameters: Mapping[str, Any]
) -> tuple[Axis, ...]:
    """Return the axes of a template, each behind those that it depends on.

    Raises:
        ConfigError: the first mistake.
    """
    parts = {
        "slots": (slots, read_slot),
        "order": (order, read_order),
        "parameters": (parameters, read_number),
    }
    axes: dict[str, Axis] = {}
    for part, (specs, read) in parts.items():
        for name, spec in specs.items():
            where = f"search.{part}.{name}"
            _check_name(where, name, part)
            if name in axes:
                raise ConfigError(
                    where, "the name is taken", do="give every slot, order and parameter its own"
                )
            for axis in read(where, name, spec):
                axes[axis.name] = axis
    for axis in axes.values():
        _check_members(axis, axes)
    checked = [_with_conditions(axis, axes, _when_of(parts, axis.name)) for axis in axes.values()]
    return tuple(in_order(checked))


def read_forbidden(forbid: Sequence[Any], axes: Iterable[Axis]) -> tuple[tuple[Condition, ...], ...]:
    """Return the sets of conditions that must not hold together.

    Raises:
        ConfigError: the first mistake.
    """
    known = {axis.name: axis for axis in axes}
    return tuple(read_conditions(f"search.forbid.{place}", spec, known) for place, spec in enumerate(forbid))


# --- one axis --------------------------------------------------------------------------------------------


def read_slot(where: str, name: str, spec: Any) -> list[Axis]:
    """Read `[text, ...]`, or a mapping with `alternatives` and more."""
    given = {"alternatives": spec} if isinstance(spec, list) else spec
    _check_keys(where, given, SLOT_KEYS, "a list of texts, or `alternatives: [...]`")
    alternatives = given.get("alternatives")
    inner = f"{where}.alternatives" if given is spec else where
    if isinstance(alternatives, list):
        texts = _labelled(inner, alternatives)
    elif isinstance(alternatives, dict):
        texts = {str(label): _text(f"{inner}.{label}", text) for label, text in alternatives.items()}
    elif alternatives is None:
        raise ConfigError(where, "has no alternatives", do="write `alternatives: [first text, second text]`")
    else:
        raise ConfigError(inner, "must be a list of texts, or label: text", got=alternatives)
    if not texts:
        raise ConfigError(inner, "is empty", do='write at least one text; `""` stands for leaving it out')
    if len(set(texts.values())) < len(texts):
        twice = next(text for text in texts.values() if list(texts.values()).count(text) > 1)
        raise ConfigError(inner, "holds a text twice", got=twice, do="take one out")
    if _flag(f"{where}.optional", given.get("optional", False)) and "" not in texts.values():
        texts[LEFT_OUT] = ""
    paraphrases, grow = (_count(f"{where}.{key}", given.get(key, 0)) for key in ("paraphrases", "grow"))
    if (paraphrases or grow) and not any(texts.values()):
        raise ConfigError(where, "has no text that could be paraphrased")
    return [Slot(name, texts, paraphrases=paraphrases, grow=grow)]


def read_order(where: str, name: str, spec: Any) -> list[Axis]:
    """Read `[slot, ...]`, or a mapping with `of` and more."""
    given = {"of": spec} if isinstance(spec, list) else spec
    _check_keys(where, given, ORDER_KEYS, "a list of slots, or `of: [...]`")
    members = given.get("of")
    if not isinstance(members, list) or len(members) < 2:
        raise ConfigError(where, "needs two slots or more to put in order", got=members)
    if len(members) > MOST_MEMBERS:
        raise ConfigError(
            where, f"has {math.factorial(len(members)):,} orders", got=members,
            do=f"put at most {MOST_MEMBERS} slots in order",
        )  # fmt: skip
    if len(set(map(str, members))) < len(members):
        raise ConfigError(where, "names a slot twice", got=members)
    return [Order(name, tuple(map(str, members)), _text(f"{where}.join", given.get("join", "\n")))]


def read_number(where: str, name: str, spec: Any) -> list[Axis]:
    """Read a mapping with `low` and `high`; for `demonstrations` also `sets`."""
    keys = DEMONSTRATION_KEYS if name == "demonstrations" else NUMBER_KEYS
    _check_keys(where, spec, keys, "`{low: ..., high: ...}`")
    ends = {key: _number(f"{where}.{key}", spec.get(key)) for key in ("low", "high")}
    low, high = ends["low"], ends["high"]
    step = None if spec.get("step") is None else _number(f"{where}.step", spec["step"])
    whole = WHOLE.get(name, all(isinstance(x, int) for x in (low, high, step or 1)))
    log = _flag(f"{where}.log", spec.get("log", False))
    if low > high:
        raise ConfigError(where, "low is above high", got=[low, high], do="swap them")
    if low < LOWEST.get(name, -math.inf) or (name == "temperature" and high > 2):
        raise ConfigError(where, f"no {name} can be that", got=[low, high])
    if whole and not all(isinstance(x, int) for x in (low, high, step or 1)):
        raise ConfigError(where, "must be whole numbers", got=[low, high])
    if step is not None and not 0 < step <= max(high - low, step * (low == high)):
        raise ConfigError(f"{where}.step", "must be above 0 and no larger than high - low", got=step)
    if log and (low <= 0 or step is not None):
        raise ConfigError(f"{where}.log", "needs a low above 0 and no step", got=[low, step])
    axes: list[Axis] = [Number(name, low, high, whole, step, log)]
    sets = _count(f"{where}.sets", spec.get("sets", 1), least=1)
    if sets > 1:
        labels = {str(number): str(number) for number in range(1, sets + 1)}
        axes.append(Slot(f"{name}.set", labels, (Condition(name, low=1),)))
    return axes


# --- conditions ------------------------------------------------------------------------------------------


def read_conditions(where: str, spec: Any, axes: Mapping[str, Axis]) -> tuple[Condition, ...]:
    """Read `axis: value`, `axis: [values]` or `axis: {at_least: ..., at_most: ...}`; all must hold."""
    if not isinstance(spec, dict) or not spec:
        raise ConfigError(where, "must hold `slot: value` lines", got=spec)
    return tuple(_condition(f"{where}.{name}", str(name), wanted, axes) for name, wanted in spec.items())


def _condition(where: str, name: str, wanted: Any, axes: Mapping[str, Axis]) -> Condition:
    if name not in axes:
        raise ConfigError(where, f"no slot or parameter {name!r}", do=did_you_mean(name, axes or ["(none)"]))
    axis = axes[name]
    if isinstance(wanted, dict):
        if not isinstance(axis, Number):
            raise ConfigError(where, f"{name!r} is no number", do="name its alternatives")
        _check_keys(where, wanted, CONDITION_KEYS, "`{at_least: ...}`")
        ends = {key: _number(f"{where}.{key}", value) for key, value in wanted.items()}
        if not ends:
            raise ConfigError(where, "says nothing", do="write `at_least` or `at_most`")
        return Condition(name, (), ends.get("at_least", -math.inf), ends.get("at_most", math.inf))
    values = wanted if isinstance(wanted, list) else [wanted]
    if not values:
        raise ConfigError(where, "names no value")
    return Condition(name, tuple(_known_value(where, axis, value) for value in values))


def _known_value(where: str, axis: Axis, value: Any) -> Value:
    """Return an axis's value as it is kept."""
    if isinstance(axis, Number):
        number = _number(where, value)
        if not axis.low <= number <= axis.high:
            raise ConfigError(where, f"is outside of {axis.low} to {axis.high}", got=number)
        return number
    label = LEFT_OUT if value == "" else str(value)
    if isinstance(axis, Slot) and label not in axis.texts:
        label = next((key for key, text in axis.texts.items() if text == value), label)
    if label not in axis.values:
        raise ConfigError(where, f"{axis.name!r} has no such alternative", got=value,
                          do=did_you_mean(label, map(str, axis.values)))  # fmt: skip
    return label


def _with_conditions(axis: Axis, axes: Mapping[str, Axis], found: tuple[str, Any] | None) -> Axis:
    if found is None:
        return axis
    where, spec = found
    conditions = read_conditions(where, spec, axes)
    return replace(axis, when=(*axis.when, *conditions))


def _when_of(parts: Mapping[str, tuple[Mapping[str, Any], Any]], name: str) -> tuple[str, Any] | None:
    """Return where an axis's `when` stands, and what it says."""
    for part, (specs, _) in parts.items():
        spec = specs.get(name)
        if isinstance(spec, dict) and "when" in spec:
            return f"search.{part}.{name}.when", spec["when"]
    return None


def in_order(axes: Iterable[Axis]) -> list[Axis]:
    """Sort axes so that each stands behind those that it depends on, else as they came.

    An axis depends on those of its conditions, and on those whose texts show it.

    Raises:
        ConfigError: some depend on each other in a circle.
    """
    by_name = {axis.name: axis for axis in axes}
    before: dict[str, list[str]] = {name: [c.axis for c in axis.when] for name, axis in by_name.items()}
    for axis in by_name.values():
        if not isinstance(axis, Number):
            for name in dict.fromkeys(name for value in axis.values for name in axis.mentions(value)):
                if name in before:
                    before[name].append(axis.name)
    done: dict[str, Axis] = {}

    def visit(name: str, trail: tuple[str, ...]) -> None:
        if name in trail:
            circle = " -> ".join([*trail[trail.index(name) :], name])
            raise ConfigError(f"search.slots.{name}", f"depends on itself: {circle}", do="cut the circle")
        if name not in done:
            for other in before[name]:
                visit(other, (*trail, name))
            done[name] = by_name[name]

    for name in by_name:
        visit(name, ())
    return list(done.values())


# --- plain values ----------------------------------------------------------------------------------------


def _check_name(where: str, name: Any, part: str) -> None:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ConfigError(where, "a name must be letters, digits and underscores", got=name)
    if name == "output" or (name in SETTINGS and part != "parameters"):
        raise ConfigError(where, "the name has a meaning of its own", do="choose another")


def _check_members(axis: Axis, axes: Mapping[str, Axis]) -> None:
    for member in axis.members if isinstance(axis, Order) else ():
        if not isinstance(axes.get(member), Slot):
            names = [name for name, other in axes.items() if isinstance(other, Slot)]
            raise ConfigError(
                f"search.order.{axis.name}",
                f"no slot {member!r}",
                do=did_you_mean(member, names or ["(none)"]),
            )


def _check_keys(where: str, spec: Any, known: Collection[str], shape: str) -> None:
    if not isinstance(spec, dict):
        raise ConfigError(where, f"must be {shape}", got=spec)
    for key in spec:
        if key not in known:
            raise ConfigError(f"{where}.{key}", f"unknown key {key!r}", do=did_you_mean(str(key), known))


def _labelled(where: str, alternatives: Sequence[Any]) -> dict[str, str]:
    """Return a list's texts by label: the text itself."""
    texts = [_text(f"{where}.{place}", text) for place, text in enumerate(alternatives)]
    if twice := [text for place, text in enumerate(texts) if text in texts[:place]]:
        raise ConfigError(where, "holds a text twice", got=twice[0], do="take one out")
    return {text or LEFT_OUT: text for text in texts}


def _text(where: str, text: Any) -> str:
    if isinstance(text, bool) or not isinstance(text, str | int | float):
        raise ConfigError(where, "must be text", got=text)
    return str(text).removesuffix("\n") if str(text) != "\n" else "\n"


def _number(where: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigError(where, "must be a number", got=value)
    return value


def _count(where: str, value: Any, least: int = 0) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(where, f"must be a whole number of at least {least}", got=value)
    return value


def _flag(where: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(where, "must be true or false", got=value)
    return value
