"""The embedded language models, trained from scratch and shipped with the package: always there, offline."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path

from ...errors import ConfigError, PluginError, did_you_mean
from .._folder import check_folder
from ..local import LocalModel


def sizes() -> list[str]:
    """Return the names of the embedded models."""
    return sorted(entry.name for entry in _root().iterdir() if (entry / "config.json").is_file())


@dataclass
class EmbeddedModel(LocalModel):
    """An embedded model; the other options are those of `LocalModel`.

    Args:
        name: its size: `tiny` (1.1 M parameters, 2 MB), `small` (3.4 M, 7 MB) or `medium` (7.6 M, 15 MB).
            They know 46 families of small tasks; see their MODEL.md.
        threads: 1 by default: on a machine that has anything else to do, a small model's threads spend their
            time waiting for each other (seen: 15 times slower with 2).
    """

    name: str = "small"
    threads: int | None = 1

    _provider = "embedded"

    def __post_init__(self) -> None:
        """Check the size."""
        if self.name not in sizes():
            raise PluginError(self._where, "no such size", do=did_you_mean(self.name, sizes()))

    @property
    def _endpoint(self) -> str:
        return "embedded"

    @property
    def _label(self) -> str:
        return self.name

    @property
    def _where(self) -> str:
        return f"model 'embedded/{self.name}'"

    @cached_property
    def _folder(self) -> Path:
        if self.revision is not None:
            raise ConfigError(self._where, "has no revisions", got=self.revision, do="leave revision out")
        return check_folder(_root() / self.name, self._where)


def _root() -> Path:
    # transformers reads model folders from disk; the package is never run from a zip file.
    return Path(str(files(__name__)))
