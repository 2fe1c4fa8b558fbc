"""Find a model folder, on disk or on the Hugging Face hub, and say which version of it this is."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from .. import shipped
from ..errors import ConfigError, MissingExtra, ModelError

PATTERNS = (
    "*.safetensors",
    "*.safetensors.index.json",
    "config.json",
    "generation_config.json",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.*",
    "vocab.*",
    "merges.txt",
    "*.model",
)
"""The files of a model folder that decide its answers; nothing else is downloaded or hashed."""


def find_folder(name: str, revision: str | None) -> Path:
    """Return the folder of a model, downloading a hub id (into the usual cache) when it is not there yet.

    One that was shipped to this machine under this name is taken first.

    Raises:
        ConfigError: no such folder or hub id, or the folder holds no model that may be loaded.
        ModelError: the hub cannot be reached, or refuses access.
    """
    where = f"model {name!r}"
    if (there := shipped.find(name, revision)) is not None:
        return check_folder(there, where)
    path = Path(name).expanduser()
    if path.is_dir():
        if revision is not None:
            raise ConfigError(where, "a folder has no revision", got=revision, do="leave revision out")
        return check_folder(path, where)
    if path.exists():
        raise ConfigError(where, "is a file", do="give the folder with config.json and *.safetensors")
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) or name.startswith("."):
        raise ConfigError(where, "no such folder", do="give an existing folder or a hub id such as org/name")
    return check_folder(_download(name, revision, where), where)


def check_folder(folder: Path, where: str) -> Path:
    """Return `folder` if it holds a configuration and safetensors weights.

    Raises:
        ConfigError: one of them is missing.
    """
    if not (folder / "config.json").is_file():
        raise ConfigError(where, "the folder holds no config.json", do="give a Hugging Face model folder")
    if not any(folder.glob("*.safetensors")):
        raise ConfigError(
            where,
            "holds no *.safetensors weights, and pickled ones (*.bin) can run code and are never loaded",
            do="save it again with model.save_pretrained(folder)",
        )
    return folder


def version_of(folder: Path) -> str:
    """Return the commit of a hub snapshot, else the SHA-256 of the files that decide the answers."""
    if folder.parent.name == "snapshots" and re.fullmatch(r"[0-9a-f]{40}", folder.name):
        return folder.name
    total = hashlib.sha256()
    for path in _files(folder):
        stat = path.stat()
        total.update(f"{path.name} {_sha256(path.resolve(), stat.st_mtime_ns, stat.st_size)}\n".encode())
    return total.hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    found = {path for pattern in PATTERNS for path in folder.glob(pattern) if path.is_file()}
    yield from sorted(found)


@lru_cache(maxsize=256)
def _sha256(path: Path, _mtime_ns: int, _size: int) -> str:
    """Hash a file, once for each state it was seen in."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _download(name: str, revision: str | None, where: str) -> Path:
    try:
        import huggingface_hub as hub
        from huggingface_hub import errors
    except ImportError as error:
        raise MissingExtra(where, "huggingface_hub", "local") from error
    try:
        return Path(hub.snapshot_download(name, revision=revision, allow_patterns=list(PATTERNS)))
    except errors.GatedRepoError as error:
        raise ModelError(
            where, "the hub asks for permission", do="accept its terms there, then run `hf auth login`"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ConfigError(where, "no such revision on the hub", got=revision) from error
    except errors.RepositoryNotFoundError as error:
        raise ConfigError(
            where, "neither a folder nor on the hub", do="check the name; a private one needs `hf auth login`"
        ) from error
    except (errors.HFValidationError, ValueError) as error:
        raise ConfigError(where, "neither a folder nor a valid hub id", do="use org/name") from error
    except (OSError, errors.HfHubHTTPError, errors.LocalEntryNotFoundError) as error:
        raise ModelError(
            where,
            f"is no folder, and the hub cannot be reached ({type(error).__name__})",
            do="check the name and the connection, or give the path of a folder",
        ) from error
