"""Turn a data set of the Hugging Face hub into numbered records, one section a split."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..errors import DataError, MissingExtra
from ..telemetry import switch_off
from .files import Numbered

PREFIX = "hub:"


def read_hub(source: str, split: str | None = None) -> list[tuple[str | None, Numbered]]:
    """Return `(declared split, records)` for each split read.

    Args:
        source: `hub:owner/name`, `hub:owner/name/config`, either with `@split` behind it.
        split: the split to read when `source` names none; None reads all of them.

    A single split that was asked for declares nothing, since a user who wants only that one means its
    rows, not its name. Numbered class labels become their names; a hidden label (-1) becomes null.

    Raises:
        DataError: the name is malformed, or the data set cannot be loaded.
        MissingExtra: the package `datasets` is not installed.
    """
    path, config, wanted = _parse(source)
    switch_off()
    try:
        import datasets
    except ImportError as error:
        raise MissingExtra(source, "datasets", "text") from error
    wanted = wanted or split
    try:
        loaded = datasets.load_dataset(path, config, split=wanted)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise DataError(source, f"cannot be loaded: {lines[0]}") from error
    name = source.partition("@")[0]
    if wanted:
        return [(None, _records(loaded, f"{name}@{wanted}", datasets.ClassLabel))]
    return [(str(key), _records(part, f"{name}@{key}", datasets.ClassLabel)) for key, part in loaded.items()]


def _parse(source: str) -> tuple[str, str | None, str | None]:
    name, at, split = source.removeprefix(PREFIX).partition("@")
    parts = name.split("/")
    if len(parts) > 3 or not all(parts) or (at and not split):
        raise DataError(
            source, "not a name on the hub", do="write hub:owner/name, hub:owner/name/config, or add @split"
        )
    return "/".join(parts[:2]), parts[2] if len(parts) == 3 else None, split or None


def _records(part: Any, where: str, class_label: Any) -> Numbered:
    labels: dict[str, list[str]] = {
        name: feature.names for name, feature in part.features.items() if isinstance(feature, class_label)
    }
    rows: Iterable[dict[str, Any]] = part
    for number, row in enumerate(rows, 1):
        named = {
            name: _label(labels[name], value) if name in labels else value for name, value in row.items()
        }
        yield f"{where} row {number}", named


def _label(names: list[str], value: int | None) -> str | None:
    return names[value] if value is not None and 0 <= value < len(names) else None
