"""How a prompt's parts and a row's fields become messages: `{{name}}` slots, replaced in one pass.

A value is never scanned again, so text from a data file or a model cannot smuggle in a slot. Two slots
are the prompt's own: `{{instruction}}` and `{{demonstrations}}`; in a demonstration, `{{output}}` is its
answer. A slot that is empty takes the white space behind it along, so that a prompt without instruction
does not begin with an empty line. Jinja is there on request (`engine="jinja"`), sandboxed and capped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from .errors import MissingExtra, TemplateError, did_you_mean

SLOT = re.compile(r"\{\{\s*([^{}\n]+?)\s*\}\}")
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
        engine: `plain` (single-pass `{{name}}`) or `jinja` (sandboxed; needs the extra `text`).
    """

    user: str = "{{instruction}}\n\n{{demonstrations}}\n\nInput: {{input}}\nOutput:"
    system: str = ""
    demonstration: str = "Input: {{input}}\nOutput: {{output}}"
    separator: str = "\n\n"
    engine: Literal["plain", "jinja"] = "plain"

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
        rendered = render_jinja(text, values) if self.engine == "jinja" else fill(text, values)
        if len(rendered) > MAX_RENDERED:
            raise TemplateError("template", f"renders to more than {MAX_RENDERED} characters")
        return rendered


def parse_prompt(text: str, fields: Iterable[str]) -> tuple[str, Template]:
    """Split a prompt written as one text into (instruction, template), losing no character.

    * No field slot: all of it is the instruction, laid out by `Template.for_fields`.
    * With `{{instruction}}`: it is the layout; the instruction starts empty.
    * With field slots: the instruction is what stands above the first line with a slot; if nothing
      does, what stands before the slot on that line (`Answer: {{question}}`).

    Rendering the result with no demonstrations gives `text` with its fields filled in.
    """
    names = list(fields)
    used = [m for m in SLOT.finditer(text) if m[1] not in OWN_SLOTS]
    if not used and not any(m[1] == "instruction" for m in SLOT.finditer(text)):
        return text.strip(), Template.for_fields(names)
    default = Template.for_fields(names)
    if any(m[1] == "instruction" for m in SLOT.finditer(text)) or not used:
        return "", Template(user=with_demonstrations(text), demonstration=default.demonstration)
    first = used[0].start()
    line = text.rfind("\n", 0, first) + 1
    head = text[:line] if text[:line].strip() else text[:first]
    instruction = head.rstrip()
    layout = "{{instruction}}" + text[len(instruction) :] if instruction else "{{instruction}}\n\n" + text
    return instruction, Template(user=with_demonstrations(layout), demonstration=_demonstration(layout))


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
    part = layout.split("{{instruction}}", 1)[1].lstrip()
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
    """Replace each slot by its value in a single pass; an empty value takes the white space behind it."""
    out: list[str] = []
    at = 0
    for match in SLOT.finditer(text):
        name = match[1]
        if name not in values:
            raise TemplateError("template", f"no value for {braces(name)}", do=did_you_mean(name, values))
        out.append(text[at : match.start()])
        at = match.end()
        value = values[name]
        out.append(value)
        if not value and name in OWN_SLOTS:
            while at < len(text) and text[at].isspace():
                at += 1
    out.append(text[at:])
    return "".join(out)


def render_jinja(text: str, values: Mapping[str, str]) -> str:
    """Render with Jinja's immutable sandbox: strict names, plain values only, no huge strings."""
    try:
        from jinja2 import StrictUndefined
        from jinja2 import TemplateError as JinjaError
        from jinja2.exceptions import SecurityError
        from jinja2.sandbox import ImmutableSandboxedEnvironment
    except ImportError as error:
        raise MissingExtra("template.engine jinja", "jinja2", "text") from error

    class Capped(ImmutableSandboxedEnvironment):
        intercepted_binops = frozenset({"*", "**", "%"})

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            numbers = all(isinstance(side, int | float) and abs(side) < 1e9 for side in (left, right))
            if not numbers or (operator == "**" and abs(right) > 16):
                raise SecurityError(f"{operator} is for small numbers only")
            return super().call_binop(context, operator, left, right)

    environment = Capped(undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True)
    environment.filters = {k: environment.filters[k] for k in SAFE_FILTERS}
    environment.globals.clear()
    try:
        pieces: list[str] = []
        size = 0
        for piece in environment.from_string(text).generate({k: str(v) for k, v in values.items()}):
            pieces.append(piece)
            size += len(piece)
            if size > MAX_RENDERED:
                raise TemplateError("template", f"renders to more than {MAX_RENDERED} characters")
    except (JinjaError, SecurityError, ArithmeticError, TypeError, ValueError) as error:
        if isinstance(error, TemplateError):
            raise
        raise TemplateError("template", f"jinja: {error}", got=text) from error
    return "".join(pieces)


SAFE_FILTERS = (
    "capitalize", "default", "first", "join", "last", "length", "list", "lower", "replace", "sort",
    "title", "trim", "truncate", "upper", "wordcount",
)  # fmt: skip
