"""What runs in an actor: a search in a thread, which stops at whatever it asks until the run answers.

The actor keeps nothing that is not sent to the run with what it asks: its folder is its own, and whatever has
changed in it goes along.
"""

from __future__ import annotations

import queue
import shutil
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from . import cluster
from .adapter import Adapter, write_whole
from .contracts.model import GenerateRequest, GradientModel, Request
from .contracts.searcher import Searcher, SearchTask
from .errors import ContractError, PromptOptError
from .prompt import Prompt
from .seat import PROMPTS, Asked, SeatSession


@dataclass(frozen=True, slots=True)
class End:
    """The search has ended, as it should or with an error."""

    error: PromptOptError | None = None


@dataclass(frozen=True, slots=True)
class Wish(Asked):
    """What is asked, as it crosses a cluster."""

    def moved(self, move: Callable[[Prompt], Prompt]) -> Asked:
        """Return it with its prompts' trained weights where they are for who answers."""
        if self.what not in PROMPTS:
            return Asked(self.what, self.args)
        prompts, *others = self.args
        return Asked(self.what, ([move(prompt) for prompt in prompts], *others))


@dataclass(frozen=True, slots=True)
class Told:
    """What a search says.

    Attributes:
        what: what it asks, or that it has ended.
        folder: its own, there.
        files: those that changed, by their place in it; None: gone.
    """

    what: Wish | End
    folder: Path
    files: Mapping[str, bytes | None]

    def unpack(self, home: Path) -> None:
        """Write what changed into the search's folder here."""
        for name, data in self.files.items():
            if data is None:
                (home / name).unlink(missing_ok=True)
            else:
                write_whole(home / name, data)


class Place:
    """An actor: room for one search.

    Args:
        recipe: of the target; None if it answers elsewhere.
        shipments: weights that are needed.
    """

    def __init__(
        self,
        recipe: tuple[str, Mapping[str, Any]] | None,
        shipments: Sequence[cluster.Shipment] = (),
    ) -> None:
        """Have the weights here, and the target built."""
        self.came = cluster.unpack(shipments)
        self._target = None if recipe is None else cluster.build(*recipe)
        self._folder = Path(tempfile.mkdtemp(prefix="promptopt-seat-"))
        self._said: queue.Queue[Wish | End] = queue.Queue()
        self._answers: queue.Queue[Any] = queue.Queue()
        self._sent: dict[str, tuple[int, int]] = {}
        self._adapters: dict[str, Adapter] = {}

    def here(self) -> int:
        """Say that it is there, and how many bytes of weights came for it."""
        return self.came

    def begin(self, searcher: Searcher, task: SearchTask, seed: int, files: Mapping[str, bytes]) -> Told:
        """Begin a search, or go on with it, and return the first thing that it says.

        Args:
            searcher: what searches.
            task: what it may know.
            seed: of its chance.
            files: of its folder.
        """
        for name, data in files.items():
            write_whole(self._folder / name, data)
        self._sent = self._states()
        target = self._target if isinstance(self._target, GradientModel) else None
        session = SeatSession(task, seed, self._folder, self._ask, target)

        def search() -> None:
            try:
                searcher.search(session)
            except PromptOptError as error:
                self._said.put(End(error))
            except Exception as error:  # a searcher may be anybody's code
                name = type(searcher).__name__
                self._said.put(End(ContractError(f"searcher {name}", f"{type(error).__name__}: {error}")))
            else:
                self._said.put(End())

        threading.Thread(target=search, name="promptopt search", daemon=True).start()
        return self._told()

    def go_on(self, answer: Any) -> Told:
        """Answer what was asked last, and return the next thing that the search says."""
        self._answers.put(answer)
        return self._told()

    def leave(self) -> None:
        """Remove the search's folder."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def compute(self, requests: Sequence[Request]) -> list[tuple[int, Any]]:
        """Answer calls of the target, all of one kind, while the search waits."""
        assert self._target is not None
        mine: Any = [self._here(request) for request in requests]
        if isinstance(mine[0], GenerateRequest):
            return list(self._target.generate(mine))
        return list(self._target.loglikelihood(mine))

    def _ask(self, asked: Asked) -> Any:
        for prompt in asked.args[0] if asked.what in PROMPTS else ():
            if prompt.adapter is not None and prompt.adapter.file is not None:
                self._adapters[prompt.adapter.digest] = prompt.adapter
        self._said.put(Wish(asked.what, asked.args))
        answer = self._answers.get()
        if isinstance(answer, PromptOptError):
            raise answer
        return answer

    def _told(self) -> Told:
        what = self._said.get()
        states = self._states()
        changed = [name for name, state in states.items() if self._sent.get(name) != state]
        files: dict[str, bytes | None] = dict.fromkeys(self._sent.keys() - states.keys())
        files |= {name: (self._folder / name).read_bytes() for name in changed}
        self._sent = states
        return Told(what, self._folder, files)

    def _states(self) -> dict[str, tuple[int, int]]:
        """Return size and time of each whole file in the search's folder."""
        found = {}
        for path in self._folder.rglob("*"):
            if path.is_file() and not path.name.startswith("."):
                stat = path.stat()
                found[path.relative_to(self._folder).as_posix()] = stat.st_size, stat.st_mtime_ns
        return found

    def _here(self, request: Request) -> Request:
        """Return a request with its trained weights where they are here."""
        adapter = request.adapter
        if adapter is None or adapter.digest not in self._adapters:
            return request
        return replace(request, adapter=self._adapters[adapter.digest])
