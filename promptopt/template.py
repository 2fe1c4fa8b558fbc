"""How a prompt's parts and a row's fields become messages: `{{name}}` slots, replaced in one pass.

A value is never scanned again, so text from a data file or a model cannot smuggle in a slot. Two slots
are the prompt's own: `{{instruction}}` and `{{demonstrations}}`; in a demonstration, `{{output}}` is its
answer. If one of these two is empty, it takes the line breaks behind it along (or the spaces, on its own
line), so that a prompt without instruction does not begin with an empty line. Jinja is there on request
(`engine="jinja"`), sandboxed, capped, and without calls.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from .errors import MissingExtra, TemplateError, did_you_mean

SLOT = re.compile(r"\{\{\s*([^{}\s](?:[^{}\n]*[^{}\s])?)\s*\}\}")
SPACE = re.compile(r"\s*")
ENGINES = ("plain", "jinja")
OWN_SLOTS = ("instruction", "demonstrations")
MAX_RENDERED = 1_000_000
"""Most characters a rendered message may have."""


@dataclass(frozen=True, slots=True)
class Template:
    """The layout of a prompt.

    Attributes:
        user: the user message; holds `{{instruction}}`, `{{demonstrations}}` and the input fields.
        system: the system message; empty for none. It may hold `{{instruction}}` instead of `user`.
        demonstration: one demonstration; holds the input fields and `{{output}}`.
        separator: what stands between demonstrations.
        header: text above the demonstrations, a separator between; left out where there are none.
        engine: `plain` (single-pass `{{name}}`) or `jinja` (sandboxed; needs the extra `text`).
    """

    user: str = "{{instruction}}\n\n{{demonstrations}}\n\nInput: {{input}}\nOutput:"
    system: str = ""
    demonstration: str = "Input: {{input}}\nOutput: {{output}}"
    separator: str = "\n\n"
    engine: Literal["plain", "jinja"] = "plain"
    header: str = ""

    @classmethod
    def for_fields(cls, fields: Iterable[str]) -> Template:
        """Return the default layout: `Input: x` for one field, one `Name: x` line each for several."""
        names = list(fields)
        if len(names) == 1:
            lines = f"Input: {{{{{names[0]}}}}}"
        else:
            lines = "\n".join(f"{label(name)}: {{{{{name}}}}}" for name in names)
        return cls(
            user=f"{{{{instruction}}}}\n\n{{{{demonstrations}}}}\n\n{lines}\nOutput:",
            demonstration=f"{lines}\nOutput: {{{{output}}}}",
        )

    def names(self) -> set[str]:
        """Return the names of all input fields the template uses."""
        found = set(slots(self.user)) | set(slots(self.system)) | set(slots(self.demonstration))
        return found - {*OWN_SLOTS, "output"}

    def check(self, fields: Iterable[str]) -> None:
        """Raise TemplateError unless every slot is a field and the input has a place in a message."""
        known = list(fields)
        taken = [name for name in known if name in (*OWN_SLOTS, "output")]
        if taken:
            raise TemplateError(
                "template", "an input column has the name of a slot", got=taken, do="rename it"
            )
        for where, text in (("user", self.user), ("system", self.system)):
            self._check_slots(f"template.{where}", text, [*known, *OWN_SLOTS])
        self._check_slots("template.demonstration", self.demonstration, [*known, "output"])
        if self.engine == "plain" and not set(known) & {*slots(self.user), *slots(self.system)}:
            raise TemplateError(
                "template", "no input field in it", got=self.user, do="add " + " or ".join(map(braces, known))
            )

    def _check_slots(self, where: str, text: str, known: list[str]) -> None:
        if self.engine == "jinja":
            return
        for name in slots(text):
            if name not in known:
                raise TemplateError(where, f"no column for {braces(name)}", do=did_you_mean(name, known))

    def render(self, text: str, values: Mapping[str, str]) -> str:
        """Fill the slots of `text` (one of this template's strings).

        Raises:
            TemplateError: a slot without a value, or more than `MAX_RENDERED` characters.
        """
        return render_jinja(text, values) if self.engine == "jinja" else fill(text, values)


def parse_prompt(text: str, fields: Iterable[str]) -> tuple[str, Template]:
    """Split a prompt written as one text into (instruction, template), losing no character.

    * No field slot: all of it is the instruction, laid out by `Template.for_fields`.
    * With `{{instruction}}`: it is the layout; the instruction starts empty.
    * With field slots: the instruction is what stands above the first line with a slot; if nothing
      does, what stands before the slot on that line (`Answer: {{question}}`).

    In the last two cases, rendering the result with no demonstrations gives `text` with its fields
    filled in.
    """
    default = Template.for_fields(fields)
    found = list(SLOT.finditer(text))
    if not found:
        return text.strip(), default
    if any(m[1] == "instruction" for m in found):
        return "", Template(user=with_demonstrations(text), demonstration=default.demonstration)
    first = found[0].start()
    line = text.rfind("\n", 0, first) + 1
    head = text[:line] if text[:line].strip() else text[:first]
    instruction = head.rstrip()
    rest = text[len(instruction) :]
    if not instruction:
        rest = text.lstrip()
        head = text[: len(text) - len(rest)] + "{{instruction}}\n\n"
    else:
        head = "{{instruction}}"
    return instruction, Template(user=with_demonstrations(head + rest), demonstration=_demonstration(rest))


def with_demonstrations(user: str) -> str:
    """Put `{{demonstrations}}` before the line of the first field, unless it has a place already."""
    if any(m[1] == "demonstrations" for m in SLOT.finditer(user)):
        return user
    field = next((m for m in SLOT.finditer(user) if m[1] not in OWN_SLOTS), None)
    if field is None:
        return user
    line = user.rfind("\n", 0, field.start()) + 1
    own = SLOT.match(user, line)
    if own and own[1] == "instruction":  # the instruction shares the field's line: demonstrations go first
        line = 0
    return user[:line] + "{{demonstrations}}\n\n" + user[line:]


def _demonstration(layout: str) -> str:
    """Return the layout's own input part, with the answer behind it."""
    shown = [m.end() for m in SLOT.finditer(layout) if m[1] == "demonstrations"]
    part = layout[max(shown, default=0) :].lstrip()
    space = "" if part.endswith((" ", "\n")) else " " if part.endswith(":") else "\n"
    return part + space + "{{output}}"


def slots(text: str) -> list[str]:
    """Return the slot names in `text`, in order."""
    return [m[1] for m in SLOT.finditer(text)]


def braces(name: str) -> str:
    """Write a slot: `{{name}}`."""
    return "{{" + name + "}}"


def label(name: str) -> str:
    """Turn a column name into a label: `first_name` becomes `First name`."""
    words = name.replace("_", " ").strip()
    return words[:1].upper() + words[1:]


def fill(text: str, values: Mapping[str, str]) -> str:
    """Replace each slot by its value in a single pass; an empty own slot takes the line breaks behind it.

    Raises:
        TemplateError: a slot without a value, or more than `MAX_RENDERED` characters.
    """
    out: list[str] = []
    at = size = 0
    for match in SLOT.finditer(text):
        name = match[1]
        if name not in values:
            raise TemplateError("template", f"no value for {braces(name)}", do=did_you_mean(name, values))
        value = values[name]
        out += (text[at : match.start()], value)
        size += len(value)
        if size + len(text) > MAX_RENDERED:
            raise too_long()
        at = match.end() if value or name not in OWN_SLOTS else _behind(text, match.end())
    out.append(text[at:])
    return "".join(out)


def _behind(text: str, at: int) -> int:
    """Return where the text goes on after an empty slot: past its line breaks, keeping the indent."""
    space = SPACE.match(text, at)
    end = space.end() if space else at
    newline = text.rfind("\n", at, end)
    return end if newline < 0 else newline + 1


def too_long() -> TemplateError:
    """Make the error of a text that exceeds `MAX_RENDERED`."""
    return TemplateError("template", f"renders to more than {MAX_RENDERED} characters")


JINJA_NODES = (
    "Template", "Output", "TemplateData", "Name", "Const", "If", "For", "CondExpr", "Compare", "Operand",
    "And", "Or", "Not", "Filter", "Test", "Add", "Sub", "Mul", "Div", "FloorDiv", "Mod", "Pow", "Neg", "Pos",
    "Getattr", "Getitem", "Slice", "Assign", "List", "Tuple", "Dict", "Pair", "Keyword",
)  # fmt: skip
"""What a Jinja template may be made of; calls, macros, includes, `~` and captured blocks are not in it."""

JINJA_FILTERS = (
    "capitalize", "default", "first", "last", "length", "lower", "title", "trim", "truncate", "upper",
)  # fmt: skip
"""Filters that give no more than they get; `replace` is added, capped."""


def render_jinja(text: str, values: Mapping[str, str]) -> str:
    """Render with Jinja's immutable sandbox: conditions, flat loops, filters; strict names, no calls.

    Every way known to us of building a huge string or number from a short template is closed.

    Raises:
        TemplateError: not allowed, an undefined name, or more than `MAX_RENDERED` characters.
        MissingExtra: Jinja is not installed.
    """
    try:
        from jinja2 import TemplateError as JinjaError
    except ImportError as error:
        raise MissingExtra("template.engine jinja", "jinja2", "text") from error
    pieces: list[str] = []
    size = 0
    try:
        for piece in _compile_jinja(text).generate({k: str(v) for k, v in values.items()}):
            pieces.append(piece)
            size += len(piece)
            if size > MAX_RENDERED:
                raise too_long()
    except RecursionError as error:
        raise TemplateError("template", "jinja: nested too deeply", got=text) from error
    except (JinjaError, ArithmeticError, TypeError, ValueError) as error:
        if isinstance(error, TemplateError):
            raise
        raise TemplateError("template", f"jinja: {error}", got=text) from error
    return "".join(pieces)


@lru_cache(maxsize=64)
def _compile_jinja(text: str) -> Any:
    """Return the compiled template; compiling takes a millisecond, which counts when there are many rows."""
    from jinja2 import StrictUndefined, nodes
    from jinja2.exceptions import SecurityError
    from jinja2.runtime import LoopContext
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Capped(ImmutableSandboxedEnvironment):
        intercepted_binops = frozenset({"+", "*", "**", "%"})

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            strings = isinstance(left, str) and isinstance(right, str)
            numbers = all(isinstance(side, int | float) and abs(side) < 1e9 for side in (left, right))
            if strings and operator == "+":
                if len(left) + len(right) > MAX_RENDERED:
                    raise too_long()
            elif not numbers or (operator == "**" and abs(right) > 16):
                raise SecurityError(f"{operator} is for small numbers only")
            return super().call_binop(context, operator, left, right)

        def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
            return isinstance(obj, LoopContext) and super().is_safe_attribute(obj, attr, value)

    environment = Capped(undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True)
    environment.filters = {k: environment.filters[k] for k in JINJA_FILTERS} | {"replace": _replace}
    environment.globals.clear()
    tree = environment.parse(text)
    for node in tree.find_all(nodes.Node):
        kind = type(node).__name__
        if kind not in JINJA_NODES:
            raise SecurityError(f"{kind.lower()} is not allowed")
        if isinstance(node, nodes.For) and node.find(nodes.For):
            raise SecurityError("a loop inside a loop is not allowed")
    return environment.from_string(tree)


def _replace(text: str, old: str, new: str) -> str:
    """Replace like Jinja's filter, within the cap."""
    if len(text) + text.count(old) * len(new) > MAX_RENDERED:
        raise too_long()
    return text.replace(old, new)
