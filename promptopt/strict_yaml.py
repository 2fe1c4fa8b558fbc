"""Read a small, safe part of YAML, keeping the line of every key; what could be misread is an error.

No anchors, aliases, tags or second documents, no duplicate keys. Only `true` and `false` are booleans
and only plain decimals whose text survives the round trip are numbers: `no`, `12:30:00`, `007` and
`1.10` stay the text they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

import yaml

from .errors import ConfigError

MAX_BYTES = 1_000_000
MAX_DEPTH = 24
PLAIN_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,17})?")
OTHER_BREAKS = re.compile("[\r\x85\u2028\u2029]")
NULLS = ("", "~", "null")

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True)
class Document:
    """A parsed file: its value, and where each key and item stands.

    Attributes:
        value: dicts, lists, strings, ints, floats, booleans and None.
        lines: 1-based line of each key or list item, by its path from the top.
        source: the file's name, for messages.
    """

    value: Any
    lines: Mapping[KeyPath, int]
    source: str

    def where(self, path: KeyPath) -> str:
        """Return `file line n` for the deepest part of `path` that is in the file."""
        for end in range(len(path), 0, -1):
            if path[:end] in self.lines:
                return f"{self.source} line {self.lines[path[:end]]}"
        return self.source


def load(path: str | FilePath) -> Document:
    """Read and parse a file.

    Raises:
        ConfigError: it cannot be read, is too large, is not UTF-8, or is not the YAML allowed here.
    """
    file = FilePath(path)
    try:
        with file.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except OSError as error:
        problem = (
            "no such file" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
        )
        raise ConfigError(str(path), problem, do="`promptopt init` writes one to start from") from error
    if len(raw) > MAX_BYTES:
        raise ConfigError(str(path), f"larger than {MAX_BYTES} bytes", do="keep rows in data files")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        where = f"{file.name} line {line}"
        raise ConfigError(
            where, "not UTF-8", got=raw[error.start : error.start + 1], do="save it as UTF-8"
        ) from error
    return parse(text, file.name)


def parse(text: str, source: str = "text") -> Document:
    """Parse one YAML document.

    Raises:
        ConfigError: with the source and the line, in one line.
    """
    try:
        node = _Composer(text, source).get_single_node()
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise ConfigError(f"{source} line {line}", "a control character", do="remove it") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{source} line {mark.line + 1}" if mark else source
        problem = " ".join((error.problem or error.context or str(error)).split())
        do = "indent with spaces" if "\\t" in problem else "text with `: ` or ` #` in it needs quotes"
        if "single document" in str(error):
            problem, do = "a second document", "keep one document, without a `---` line in between"
        raise ConfigError(where, f"not valid YAML: {problem}", do=do) from error
    lines: dict[KeyPath, int] = {}
    value = None if node is None else _value(node, (), lines, source)
    return Document(value, lines, source)


def scalar(text: str) -> Any:
    """Read one plain YAML scalar: a boolean, null, a number that survives the round trip, else the text."""
    if text in NULLS:
        return None
    if text in ("true", "false"):
        return text == "true"
    if PLAIN_NUMBER.fullmatch(text):
        number = float(text) if "." in text else int(text)
        if str(number) == text:
            return number
    return text


def dump(value: Any) -> str:
    """Write plain data as YAML that `parse` reads back unchanged."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


class _Dumper(yaml.SafeDumper):
    """Quotes whatever this module would read as something else, and never writes an anchor."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _quoted_if_needed(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "'" if scalar(text) is not text else None
    if "\n" in text and not any(line != line.rstrip() for line in text.split("\n")):
        style = "|"
    if OTHER_BREAKS.search(text):  # YAML folds them, too; only escapes keep them
        style = '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _quoted_if_needed)


class _Composer(yaml.reader.Reader, yaml.scanner.Scanner, yaml.parser.Parser, yaml.composer.Composer):
    """PyYAML's reader up to the node tree, refusing anchors, aliases, tags and deep nesting on the way.

    It ends before PyYAML's resolver and constructor, so no tag is ever looked at.
    """

    def __init__(self, text: str, source: str) -> None:
        yaml.reader.Reader.__init__(self, text)
        yaml.scanner.Scanner.__init__(self)
        yaml.parser.Parser.__init__(self)
        yaml.composer.Composer.__init__(self)
        self._source = source
        self._depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        where = f"{self._source} line {event.start_mark.line + 1}"
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            sign = "*" if isinstance(event, yaml.AliasEvent) else "&"
            raise ConfigError(
                where, "anchors and aliases are not allowed", got=sign + event.anchor,
                do="write the value out, or put the text in quotes",
            )  # fmt: skip
        if event.tag is not None:
            raise ConfigError(where, "tags are not allowed", got=event.tag, do="write the plain value")
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ConfigError(where, f"nested deeper than {MAX_DEPTH} levels")
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def resolve(self, kind: Any, value: Any, implicit: Any) -> str:
        """Stand in for the resolver this class leaves out: `plain` for an unquoted scalar."""
        return "plain" if kind is yaml.ScalarNode and implicit[0] else "quoted"

    def descend_resolver(self, current_node: Any, current_index: Any) -> None:
        """Do nothing: there is no resolver."""

    def ascend_resolver(self) -> None:
        """Do nothing: there is no resolver."""


def _value(node: yaml.Node, path: KeyPath, lines: dict[KeyPath, int], source: str) -> Any:
    if isinstance(node, yaml.ScalarNode):
        _check_unicode(node, source)
        return scalar(node.value) if node.tag == "plain" else node.value
    if isinstance(node, yaml.SequenceNode):
        items = []
        for index, item in enumerate(node.value):
            lines[(*path, index)] = item.start_mark.line + 1
            items.append(_value(item, (*path, index), lines, source))
        return items
    mapping: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        where = f"{source} line {line}"
        if not isinstance(key_node, yaml.ScalarNode):
            raise ConfigError(where, "a key must be a word", do="write `{{name}}` slots inside quotes")
        _check_unicode(key_node, source)
        key = key_node.value
        if key in mapping:
            raise ConfigError(where, f"key {key!r} appears twice", do=f"first on line {lines[(*path, key)]}")
        lines[(*path, key)] = line
        mapping[key] = _value(value_node, (*path, key), lines, source)
    return mapping


def _check_unicode(node: yaml.ScalarNode, source: str) -> None:
    try:
        node.value.encode("utf-8")
    except UnicodeEncodeError as error:
        where = f"{source} line {node.start_mark.line + 1}"
        raise ConfigError(
            where, "half a surrogate pair", got=node.value[error.start], do="write the whole character"
        ) from error
