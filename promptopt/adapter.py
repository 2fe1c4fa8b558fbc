"""Trained weights of a prompt: vectors before its tokens (a soft prompt), or changes of the model.

They lie in one safetensors file, and the SHA-256 of that file says which they are: in a prompt's id, in the
keys of the journal, and whenever the file is read again. Imports torch only to write and to read them.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from .errors import DataError, MissingExtra

METADATA = "promptopt"
"""The one key of a file's metadata: with several, safetensors writes them in no fixed order."""
CHARACTERS = 4
"""What a vector counts in a prompt's length: a token of English is about as long."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """A reference to trained weights. Two are equal if their files hold the same bytes.

    Attributes:
        method: how they are used: `prompt_tuning`, `p_tuning`, `prefix_tuning`; `lora`, `ia3`, `bitfit`,
            `bottleneck`, `full`.
        digest: SHA-256 of the file, 64 hexadecimal digits.
        model: revision of the model they were trained for, and can be used with.
        vectors: virtual tokens that stand before the prompt; 0 where the model itself is changed.
        size: bytes of the file: what is stored for each task.
        nearest: the words of the vocabulary that are nearest to each vector, for people.
        file: where the file is; None where a record is all there is.
    """

    method: str
    digest: str
    model: str = field(compare=False)
    vectors: int = field(default=0, compare=False)
    size: int = field(default=0, compare=False)
    nearest: tuple[str, ...] = field(default=(), compare=False)
    file: Path | None = field(default=None, compare=False)

    @classmethod
    def write(
        cls,
        folder: Path,
        tensors: Mapping[str, Any],
        *,
        method: str,
        model: str,
        vectors: int = 0,
        nearest: tuple[str, ...] = (),
        options: Mapping[str, Any] | None = None,
    ) -> Adapter:
        """Write trained tensors (of torch) into `folder`, under their digest, and return the reference.

        `options` are what is needed to apply them, besides the tensors; `read` returns them.
        """
        from safetensors.torch import save

        about = {"method": method, "model": model, "vectors": vectors, **(options or {})}
        data = save(
            {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
            {METADATA: json.dumps(about, sort_keys=True)},
        )
        digest = hashlib.sha256(data).hexdigest()
        file = folder / f"{digest[:16]}.safetensors"
        write_whole(file, data)
        return cls(method, digest, model, vectors, len(data), nearest, file)

    def read(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the tensors by name (of torch, on the CPU), and the options they were written with.

        Raises:
            DataError: the file is not there, is no safetensors file, or holds other weights.
            MissingExtra: safetensors is not installed.
        """
        where = f"adapter {self.digest[:16]}"
        if self.file is None:
            raise DataError(where, "its weights are not here", do="load the prompt from its run's folder")
        data = read_bytes(self.file, where)
        found = hashlib.sha256(data).hexdigest()
        if found != self.digest:
            raise DataError(where, "the file holds other weights", got=str(self.file), do="restore the file")
        tensors, metadata = unpack(data, str(self.file))
        return tensors, json.loads(metadata.get(METADATA, "{}"))

    def copy_to(self, folder: Path) -> Adapter:
        """Copy the file into another folder, and return the reference to it there."""
        if self.file is None:
            raise DataError(
                f"adapter {self.digest[:16]}", "its weights are not here, so they cannot be saved"
            )
        target = folder / f"{self.digest[:16]}.safetensors"
        if not (target.exists() and target.samefile(self.file)):
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.file, target)
        return replace(self, file=target)

    def found_in(self, folder: Path) -> Adapter:
        """Return the reference to its file in a folder or below it, if it is there and not known yet."""
        if self.file is not None:
            return self
        return replace(self, file=next(folder.rglob(f"{self.digest[:16]}.safetensors"), None))

    @property
    def length(self) -> int:
        """Characters that its vectors count for in a prompt's length."""
        return CHARACTERS * self.vectors

    @property
    def label(self) -> str:
        """What it is in a line, for people: its method, and the words nearest to its vectors."""
        if not self.vectors:
            return f"[{self.method}, {self.size:,} bytes]"
        words = " ".join(self.nearest)
        return f"[{self.method}, {self.vectors} vectors{', nearest ' if words else ''}{words}]"

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data, without the place of the file; `from_dict` reads it back."""
        data = asdict(self)
        del data["file"]
        return data | {"nearest": list(self.nearest)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], folder: Path | None = None) -> Adapter:
        """Read what `to_dict` wrote; `folder` is where the file is, if it is anywhere.

        Raises:
            DataError: it is not that.
        """
        values = dict(data)
        try:
            adapter = cls(**values | {"nearest": tuple(values.get("nearest", ()))})
        except TypeError as error:
            raise DataError("adapter", f"not a saved adapter: {error}", got=values) from error
        texts = (adapter.method, adapter.digest, adapter.model, *adapter.nearest)
        if not all(isinstance(text, str) for text in texts) or not _is_digest(adapter.digest):
            raise DataError("adapter", "not a saved adapter: a text is missing or wrong", got=values)
        file = None if folder is None else folder / f"{adapter.digest[:16]}.safetensors"
        return replace(adapter, file=file if file is not None and file.is_file() else None)


def unpack(data: bytes, where: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the tensors (of torch) and the metadata of a safetensors file.

    Raises:
        DataError: it is no safetensors file. Nothing else is ever read: pickled weights can run code.
        MissingExtra: safetensors is not installed.
    """
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load
    except ImportError as error:
        raise MissingExtra(where, error.name or "safetensors", "local") from error
    try:
        tensors = load(data)
    except SafetensorError as error:
        raise DataError(where, "is no safetensors file", do="save the weights as safetensors") from error
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return tensors, header.get("__metadata__", {})


def read_bytes(file: Path, where: str) -> bytes:
    """Return what a file holds.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return file.read_bytes()
    except OSError as error:
        raise DataError(where, f"its file cannot be read: {error.strerror}", got=str(file)) from error


def write_whole(file: Path, data: bytes | memoryview) -> None:
    """Write a whole file or nothing."""
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_name(f".{file.name}.fresh")
    fresh.write_bytes(data)
    fresh.replace(file)


def _is_digest(text: str) -> bool:
    return len(text) == 64 and all(letter in "0123456789abcdef" for letter in text)
