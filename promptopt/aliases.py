"""Which model stands behind a name: an endpoint may put another one there while a run goes on.

Replies of two models must not be compared, nor answer for each other. So the first reply says who answers,
the journal keeps it, and with a reply from somebody else the search begins anew, under other keys. What the
model before answered stays on the bill.
"""

from __future__ import annotations

from dataclasses import replace

from .contracts.model import Completion, ModelIdentity, Outcome
from .errors import ModelError
from .journal import Journal
from .records import digest


class ModelChanged(ModelError):
    """Another model answers under the same name; a run can be started again for it."""


class Aliases:
    """Who has answered under each name, as the journal of a run has it; the last one counts."""

    def __init__(self, journal: Journal) -> None:
        """Look names up as they come."""
        self._journal = journal
        self._known: dict[ModelIdentity, list[str]] = {}

    def distinguished(self, identity: ModelIdentity) -> ModelIdentity:
        """Return the identity for the keys of calls: one for each model that was behind the name."""
        names = self._names(identity)
        if len(names) < 2:
            return identity
        return replace(identity, revision="+".join(filter(None, (identity.revision, f"as {names[-1]}"))))

    def fits(self, identity: ModelIdentity, outcome: Outcome) -> bool:
        """Whether an answer is from the model that stands behind the name now; the first one decides."""
        if not isinstance(outcome, Completion) or outcome.served is None:
            return True
        names = self._names(identity)
        if not names:
            names += self._journal.settle_meta(_key(identity), [outcome.served])
        return outcome.served == names[-1]

    def changed(self, identity: ModelIdentity, outcome: Completion, roles: list[str]) -> ModelError:
        """Go over to the model that gave an answer, and return the error that says so.

        Args:
            identity: the name.
            outcome: of the new model.
            roles: who is played by it.
        """
        names, served = self._names(identity), str(outcome.served)
        where = f"{identity.model} at {identity.endpoint}"
        # Another process that shares the journal may have gone over already.
        noted = list(self._journal.get_meta(_key(identity)) or names)
        if served in noted and noted[-1] != served:
            return ModelError(
                where, "several models answer under this name, and cannot be told apart beforehand",
                got=[names[-1], served], do="name one of them",
            )  # fmt: skip
        if served not in noted:
            with self._journal.batch():
                for role in roles:
                    self._journal.set_apart(role)
                self._journal.set_meta(_key(identity), [*noted, served])
        return ModelChanged(
            where, f"now {served!r} answers, no longer {names[-1]!r}, whose answers do not count for it",
            do="`promptopt resume` searches anew; name a dated model to keep it",
        )  # fmt: skip

    def _names(self, identity: ModelIdentity) -> list[str]:
        if identity not in self._known:
            self._known[identity] = list(self._journal.get_meta(_key(identity)) or ())
        return self._known[identity]


def _key(identity: ModelIdentity) -> str:
    return f"served {digest([identity.endpoint, identity.model, identity.revision], 8)}"
