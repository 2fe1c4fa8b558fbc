"""A Ray cluster: reach it, and bring weights to its nodes, each file to each node once.

The process that has the weights puts every file into Ray's object store. On a node the first process that
needs them writes them into a folder there, under a lock; those that come later, in this run or the next, find
the folder. How many processes a node has does not matter, and no folder has to be shared.
"""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from . import plugins, shipped
from .adapter import write_whole
from .contracts.model import LanguageModel, LocalWeights, Portable, Request
from .errors import MissingExtra, ModelError
from .filelock import alone
from .records import digest

Q = TypeVar("Q", bound=Request)

PACKAGE = Path(__file__).resolve().parent


def connected(address: str | None) -> Any:
    """Return the module ray, connected to a cluster: the address's, the one that is, or one of this machine.

    Raises:
        MissingExtra: ray is not installed.
    """
    ray = import_ray()
    if not ray.is_initialized():
        ray.init(address=address, include_dashboard=False, log_to_driver=False)
    return ray


def import_ray() -> Any:
    """Return the module ray.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise MissingExtra("executor: ray", "ray", "scale") from error
    return ray


@dataclass(frozen=True)
class Shipment:
    """A folder of weights in the object store.

    Attributes:
        name: a folder or hub id, as models are told it.
        revision: of a hub id.
        place: the last parts of its path, which may say what it is: `snapshots/COMMIT`.
        files: name, size in bytes, and reference of each.
        digest: of names, sizes and times.
    """

    name: str
    revision: str | None
    place: str
    files: tuple[tuple[str, int, Any], ...]
    digest: str


def pack(ray: Any, models: Sequence[LanguageModel]) -> tuple[Shipment, ...]:
    """Put the weights of models into the object store, each folder once; what the package brings stays."""
    found: dict[tuple[str, str | None], Shipment] = {}
    for model in models:
        if not (isinstance(model, Portable) and isinstance(model, LocalWeights)):
            continue
        name, options = model.recipe
        key = name.partition("/")[2], options.get("revision")
        if key not in found and not model.folder.resolve().is_relative_to(PACKAGE):
            found[key] = _packed(ray, *key, model.folder)
    return tuple(found.values())


def build(name: str, options: Any) -> LanguageModel:
    """Build a model by its recipe."""
    provider, _, inner = name.partition("/")
    model: LanguageModel = plugins.build("models", provider, {"name": inner, **options})
    return model


def _packed(ray: Any, name: str, revision: str | None, folder: Path) -> Shipment:
    import numpy as np

    paths = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    files = tuple(
        (path.name, size, ray.put(np.fromfile(path, np.uint8)))
        for path, (_, size, _) in zip(paths, stats, strict=True)
    )
    snapshot = folder.parent.name == "snapshots"
    place = f"snapshots/{folder.name}" if snapshot else folder.name
    return Shipment(name, revision, place, files, digest([str(folder), stats], 32))


def unpack(shipments: Sequence[Shipment]) -> int:
    """Have the weights on this node, and models of this process find them; return the bytes that came for it.

    Raises:
        ModelError: the node's temporary folder has no room for them, or is in other hands.
    """
    came = 0
    for shipment in shipments:
        home = _home() / shipment.digest
        folder = home / shipment.place
        with alone(home.with_suffix(".lock")):
            if not (home / "whole").exists():
                came += _written(shipment, folder)
                (home / "whole").touch()
        shipped.note(shipment.name, shipment.revision, folder)
    return came


def _written(shipment: Shipment, folder: Path) -> int:
    ray = import_ray()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, _, reference in shipment.files:
            with (folder / name).open("wb") as file:
                file.write(memoryview(ray.get(reference)))
    except OSError as error:
        raise ModelError(
            str(folder), f"the weights of {shipment.name} cannot be written: {error.strerror}",
            do="free space there, or point TMPDIR elsewhere on the nodes",
        ) from error  # fmt: skip
    return sum(size for _, size, _ in shipment.files)


class AdapterPost:
    """Files of trained weights on their way to other nodes: each is put into the object store once."""

    def __init__(self, ray: Any) -> None:
        """Have sent none."""
        self._ray = ray
        self._sent: dict[str, Any] = {}

    def enclose(self, requests: Sequence[Request]) -> dict[str, Any]:
        """Return references of the files that these requests need, by their digests."""
        import numpy as np

        needed = {r.adapter.digest: r.adapter.file for r in requests if r.adapter is not None}
        for each, file in needed.items():
            if each not in self._sent and file is not None:
                self._sent[each] = self._ray.put(np.fromfile(file, np.uint8))
        return {each: self._sent[each] for each in needed if each in self._sent}


def unpack_adapters(requests: Sequence[Q], enclosed: Mapping[str, Any]) -> list[Q]:
    """Return the requests with their trained weights in a folder of this node."""
    found = []
    for request in requests:
        adapter = request.adapter
        if adapter is not None and adapter.digest in enclosed:
            file = _home() / "trained" / f"{adapter.digest}.safetensors"
            with alone(file.with_suffix(".lock")):
                if not file.exists():
                    write_whole(file, memoryview(import_ray().get(enclosed[adapter.digest])))
            request = replace(request, adapter=replace(adapter, file=file))
        found.append(request)
    return found


def _home() -> Path:
    """Return a folder in the temporary one that nobody else can write to: models are read from there."""
    if sys.platform == "win32":  # its temporary folder is the user's own
        home = Path(tempfile.gettempdir()) / "promptopt-weights"
        home.mkdir(exist_ok=True)
    else:
        home = Path(tempfile.gettempdir()) / f"promptopt-weights-{os.getuid()}"
        home.mkdir(mode=0o700, exist_ok=True)
        found = home.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
            raise ModelError(str(home), "others may write there", do="remove it, or point TMPDIR elsewhere")
    # Nodes that are emulated on one machine share its temporary folder.
    return home / str(import_ray().get_runtime_context().get_node_id())[:16]
