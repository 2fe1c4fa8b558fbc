"""What tests of reading rows share."""

from __future__ import annotations

from typing import Any

import pytest

from promptopt.data import Columns, read
from promptopt.errors import DataError


def failure(source: Any, columns: Columns | None = None, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(source, columns or Columns(), **options)
    message = str(caught.value)
    assert "\n" not in message
    return message
