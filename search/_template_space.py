"""What a template leaves open: axes to choose on, which choices go together, and the prompt they make."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import permutations
from typing import Any

from promptopt.errors import ConfigError, did_you_mean
from promptopt.prompt import Demonstration, Prompt
from promptopt.template import OWN_SLOTS, SLOT, Template, parse_prompt, slots, with_demonstrations

LEFT_OUT = "left out"
"""Label of an empty text."""

SETTINGS = ("demonstrations", "demonstrations.set", "temperature", "max_tokens")
"""Axes that no text shows: they say how many rows are shown, which, and how the model decodes."""

Value = str | int | float
Point = Mapping[str, Value]
"""What was chosen, by axis; axes that do not matter here are missing."""


@dataclass(frozen=True)
class Condition:
    """That another axis has one of some values, or a number in a range; false where it does not matter."""

    axis: str
    values: tuple[Value, ...] = ()
    low: float = -math.inf
    high: float = math.inf

    def holds(self, point: Point) -> bool:
        """Whether it is true of what has been chosen."""
        value = point.get(self.axis)
        if value is None:
            return False
        if self.values:
            return value in self.values
        return not isinstance(value, str) and self.low <= value <= self.high


@dataclass(frozen=True)
class Slot:
    """A place in the text with alternatives.

    Attributes:
        name: of the slot, `{{name}}` in a text.
        texts: the alternatives by label; a text may hold slots itself.
        when: the slot is empty unless all of these hold.
        paraphrases: alternatives that the proposer adds at the beginning.
        grow: alternatives that it adds from time to time, wordings of the best one.
    """

    name: str
    texts: Mapping[str, str]
    when: tuple[Condition, ...] = ()
    paraphrases: int = 0
    grow: int = 0

    @property
    def values(self) -> tuple[Value, ...]:
        """The labels."""
        return tuple(self.texts)

    def mentions(self, value: Value) -> list[str]:
        """Return the slots in an alternative."""
        return slots(self.texts[str(value)])

    def with_texts(self, more: Iterable[str]) -> Slot:
        """Return the slot with further alternatives, each its own label."""
        return replace(self, texts={**self.texts, **{text: text for text in more}})


@dataclass(frozen=True)
class Order:
    """A place that shows several slots, in an order to be found."""

    name: str
    members: tuple[str, ...]
    join: str = "\n"
    when: tuple[Condition, ...] = ()

    @property
    def values(self) -> tuple[Value, ...]:
        """All orders, as `first, second, third`."""
        return tuple(", ".join(order) for order in permutations(self.members))

    def mentions(self, value: Value) -> list[str]:
        """Return its slots in this order."""
        return str(value).split(", ")


@dataclass(frozen=True)
class Number:
    """A whole or real number; if it is no setting, `{{name}}` shows it."""

    name: str
    low: float
    high: float
    whole: bool
    step: float | None = None
    log: bool = False
    when: tuple[Condition, ...] = ()

    @property
    def values(self) -> tuple[Value, ...]:
        """The numbers from low to high.

        Raises:
            ConfigError: a real number without a step has too many.
        """
        step = self.step or (1 if self.whole else None)
        if step is None:
            raise ConfigError(
                f"search.parameters.{self.name}", "has no end of values, which a grid cannot hold",
                do="give it a `step`, or choose another sampler",
            )  # fmt: skip
        count = math.floor((self.high - self.low) / step + 1e-9) + 1
        exact = [self.low + index * step for index in range(count)]
        return tuple(round(x) if self.whole else round(x, 12) for x in exact)

    def mentions(self, value: Value) -> list[str]:
        """Return none."""
        return []


Axis = Slot | Order | Number


@dataclass(frozen=True)
class Space:
    """All prompts that a template stands for.

    Attributes:
        template: the layouts, with slots. Their `{{instruction}}` is an axis like any other.
        axes: each behind those that it depends on.
        forbidden: sets of conditions that must not all hold.
        fields: names of the input columns.
        own_demonstration: the layout of a demonstration is the template's; otherwise it is derived from
            the prompt's own lines.
    """

    template: Template
    axes: tuple[Axis, ...]
    fields: tuple[str, ...]
    forbidden: tuple[tuple[Condition, ...], ...] = ()
    own_demonstration: bool = True
    by_name: Mapping[str, Axis] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Index the axes."""
        object.__setattr__(self, "by_name", {axis.name: axis for axis in self.axes})

    # --- points --------------------------------------------------------------------------------------

    def draw(self, choose: Callable[[Axis], Value]) -> dict[str, Value]:
        """Return a point, asking for a value of every axis that matters; one without choice is not asked."""
        point: dict[str, Value] = {}
        shown = self._shown()
        for axis in self.axes:
            if _matters(axis, point, shown):
                value = axis.values[0] if is_fixed(axis) else choose(axis)
                point[axis.name] = value
                shown |= set(axis.mentions(value))
        return point

    def points(self) -> Iterator[dict[str, Value]]:
        """Iterate over all points that are allowed, the first alternatives first."""
        return (point for point in self._points(0, {}, frozenset(self._shown())) if self.allows(point))

    def _points(
        self, place: int, point: dict[str, Value], shown: frozenset[str]
    ) -> Iterator[dict[str, Value]]:
        if place == len(self.axes):
            yield point
            return
        axis = self.axes[place]
        if not _matters(axis, point, shown):
            yield from self._points(place + 1, point, shown)
            return
        for value in axis.values:
            yield from self._points(place + 1, {**point, axis.name: value}, shown.union(axis.mentions(value)))

    def allows(self, point: Point) -> bool:
        """Whether nothing forbids the point."""
        return not any(all(part.holds(point) for part in parts) for parts in self.forbidden)

    @property
    def open_axes(self) -> tuple[Axis, ...]:
        """Those with a choice."""
        return tuple(axis for axis in self.axes if not is_fixed(axis))

    @property
    def conditional(self) -> bool:
        """Whether some axis does not matter everywhere."""
        everywhere = self._shown()
        for axis in self.axes:
            if is_fixed(axis) and axis.name in everywhere and not axis.when:
                everywhere |= set(axis.mentions(axis.values[0]))
        return any(axis.when or axis.name not in everywhere for axis in self.open_axes)

    def with_axis(self, axis: Axis) -> Space:
        """Return the space with an axis in place of the one of its name."""
        return replace(self, axes=tuple(axis if old.name == axis.name else old for old in self.axes))

    def _shown(self) -> set[str]:
        layout = self.template
        texts = (layout.user, layout.system, layout.demonstration, layout.separator)
        return {*SETTINGS, *(name for text in texts for name in slots(text))}

    # --- prompts -------------------------------------------------------------------------------------

    def compose(self, point: Point, seed: Prompt, sets: Mapping[str, tuple[Demonstration, ...]]) -> Prompt:
        """Return the prompt of a point.

        Args:
            point: from `draw` or `points`.
            seed: gives what the space says nothing of.
            sets: demonstrations by label of the axis `demonstrations.set`.

        Raises:
            TemplateError: the prompt shows no input column.
        """
        instruction, template = self._laid_out(point)
        template.check(self.fields)
        changes: dict[str, Any] = {"instruction": instruction, "template": template}
        if "demonstrations" in point:
            chosen = sets[str(point.get("demonstrations.set", "1"))]
            changes |= {"demonstrations": chosen[: int(point["demonstrations"])], "retriever": None}
        decoding = {name: point[name] for name in ("temperature", "max_tokens") if name in point}
        if decoding:
            changes["program"] = replace(seed.program, **decoding)  # type: ignore[type-var]
        return seed.child(origin="template", **changes)

    def _laid_out(self, point: Point) -> tuple[str, Template]:
        """Return instruction and layout with all axes filled in."""
        texts = {axis.name: self._text(axis.name, point) for axis in self.axes if axis.name not in SETTINGS}
        instruction = texts.get("instruction", "")
        kept = "instruction" in texts and not slots(instruction)
        if kept:  # it stays a part of its own, which other searchers and reports can see
            del texts["instruction"]
        layout = self.template
        user = expand(layout.user, texts).strip("\n")
        system = expand(layout.system, texts).strip("\n")
        if kept and "instruction" in slots(user) + slots(system):
            made = Template(user=with_demonstrations(user), demonstration=layout.demonstration)
        else:
            instruction, made = parse_prompt(user, self.fields)
        shown = expand(layout.demonstration, texts) if self.own_demonstration else made.demonstration
        return instruction, replace(
            made, system=system, demonstration=shown, separator=expand(layout.separator, texts)
        )

    def _text(self, name: str, point: Point) -> str:
        """Return what an axis puts into the text; nothing where it does not matter."""
        axis = self.by_name[name]
        if name not in point:
            return ""
        if isinstance(axis, Number):
            return str(point[name])
        inner = {
            other: self._text(other, point) for other in axis.mentions(point[name]) if other in self.by_name
        }
        if isinstance(axis, Order):
            return axis.join.join(text for other in axis.mentions(point[name]) if (text := inner[other]))
        return expand(axis.texts[str(point[name])], inner)


def is_fixed(axis: Axis) -> bool:
    """Whether an axis has one value only."""
    return axis.low == axis.high if isinstance(axis, Number) else len(axis.values) == 1


def first_value(axis: Axis) -> Value:
    """Return the first alternative, or the lowest number."""
    return axis.low if isinstance(axis, Number) else axis.values[0]


def random_value(axis: Axis, rng: random.Random) -> Value:
    """Draw a value, all alike."""
    if isinstance(axis, Number) and not axis.whole and axis.step is None:
        return rng.uniform(axis.low, axis.high)
    return rng.choice(axis.values)


def allows_any(space: Space, draws: int = 1000) -> bool:
    """Whether some point is allowed: the first, or one of so many drawn at random."""
    rng = random.Random(0)
    return space.allows(space.draw(first_value)) or any(
        space.allows(space.draw(lambda axis: random_value(axis, rng))) for _ in range(draws)
    )


def _matters(axis: Axis, point: Point, shown: Iterable[str]) -> bool:
    return axis.name in shown and all(condition.holds(point) for condition in axis.when)


def expand(text: str, values: Mapping[str, str]) -> str:
    """Put these values into their slots, leaving all other slots as they are.

    An empty value takes its line with it, line breaks and all, if it stands there alone; otherwise it
    takes the spaces beside it.
    """
    out = ""
    at = 0
    for match in SLOT.finditer(text):
        if match[1] not in values or match.start() < at:
            continue
        out += text[at : match.start()]
        at = match.end()
        if values[match[1]]:
            out += values[match[1]]
            continue
        line = out[out.rfind("\n") + 1 :]
        behind = len(text[at:]) - len(text[at:].lstrip(" \t"))
        ends = at + behind == len(text) or text[at + behind] == "\n"
        if ends:
            out = out.rstrip(" \t")
            if not line.strip():
                space = len(text[at:]) - len(text[at:].lstrip())
                at += max(text.rfind("\n", at, at + space) + 1 - at, 0) or space
        elif not line or line[-1].isspace():
            at += behind
    return out + text[at:]


# --- checks that need the task ---------------------------------------------------------------------------


def check_slots(space: Space) -> None:
    """Raise ConfigError for a slot that nothing fills, an axis that nothing shows, or a name taken twice."""
    if taken := [axis.name for axis in space.axes if axis.name in space.fields]:
        raise ConfigError(
            f"search.slots.{taken[0]}", "an input column has the same name", do="rename one of them"
        )
    known = {*space.by_name, *space.fields, *OWN_SLOTS} - set(SETTINGS[1:])
    layout = space.template
    texts = {"text": layout.user, "system": layout.system, "separator": layout.separator}
    mentioned: set[str] = set()
    for where, text in _all_texts(space, texts):
        for name in slots(text):
            if name not in known:
                raise _unknown(where, name, known)
        mentioned |= set(slots(text))
    for name in slots(layout.demonstration):
        if name not in known | {"output"}:
            raise _unknown("search.demonstration", name, known | {"output"})
    mentioned |= set(slots(layout.demonstration))
    mentioned |= {name for axis in space.axes if isinstance(axis, Order) for name in axis.members}
    for axis in space.axes:
        if axis.name not in mentioned and axis.name not in SETTINGS:
            part = (
                "parameters" if isinstance(axis, Number) else "order" if isinstance(axis, Order) else "slots"
            )
            raise ConfigError(
                f"search.{part}.{axis.name}", "no text shows it", do=f"write {{{{{axis.name}}}}} into `text`"
            )


def _all_texts(space: Space, layouts: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for where, text in layouts.items():
        yield f"search.{where}", text
    for axis in space.axes:
        if isinstance(axis, Slot):
            for text in axis.texts.values():
                yield f"search.slots.{axis.name}", text


def _unknown(where: str, name: str, known: Iterable[str]) -> ConfigError:
    return ConfigError(
        where, f"neither a slot nor a column is called {{{{{name}}}}}", do=did_you_mean(name, known)
    )
