"""Rows: read from files, the hub and Python, with line-numbered errors."""

from .columns import Columns
from .files import Format
from .hub import PREFIX as HUB_PREFIX
from .rows import Row, Rows, Source, Stream, read

__all__ = ["HUB_PREFIX", "Columns", "Format", "Row", "Rows", "Source", "Stream", "read"]
