"""A file to read, for the tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from reading import Write


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write
