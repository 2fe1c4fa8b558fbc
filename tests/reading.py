"""What tests of reading rows share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from promptopt.data import Columns, Rows, read
from promptopt.errors import DataError
from promptopt.records import Example

Write = Callable[[str, str | bytes], Path]


def failure(source: Any, columns: Columns | None = None, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(source, columns or Columns(), **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def only(rows: Rows) -> Example:
    (row,) = rows
    return row.example
