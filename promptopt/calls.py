"""Buying model calls: each key once, journaled before it is used, paid from the ledger.

The caller knows nothing of prompts and rewards. It turns requests into outcomes: from this run's
journal, from journals named for reuse, or from the model. One identical request is in flight at a time,
also across threads.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any

from .contracts.model import (
    Admit,
    Completion,
    Failure,
    GenerateRequest,
    LanguageModel,
    Likelihood,
    LikelihoodRequest,
    ModelIdentity,
    Outcome,
    Request,
)
from .errors import BudgetExhausted, ConfigError, ContractError
from .journal import Call, Journal
from .ledger import Ledger, Ticket
from .records import Usage, digest

KEY_VERSION = 1
MESSAGE_OVERHEAD = 64
"""Tokens a chat template may add around one message, for the worst case."""

OnOutcome = Callable[[str, int, int], None]
"""`(role, done, asked)`: progress of the batch under way."""


def request_key(identity: ModelIdentity, request: Request) -> str:
    """Return the cache key: everything that decides the answer, and nothing else (LAW 2)."""
    return digest({"v": KEY_VERSION, "model": asdict(identity), "request": request_to_dict(request)}, 32)


def request_to_dict(request: Request) -> dict[str, Any]:
    """Return a request as plain JSON data."""
    messages = [list(message) for message in request.messages]
    if isinstance(request, LikelihoodRequest):
        return {"kind": "likelihood", "messages": messages, "continuation": request.continuation}
    return {
        "kind": "generate",
        "messages": messages,
        "decoding": asdict(request.decoding),
        "sample": request.sample,
        "suffix": request.suffix,
    }


def worst_case(request: Request) -> Usage:
    """Return the most tokens a request can use: no token is shorter than a byte of UTF-8."""
    size = sum(_bytes(message.content) + MESSAGE_OVERHEAD for message in request.messages) + MESSAGE_OVERHEAD
    if isinstance(request, LikelihoodRequest):
        return Usage(size + _bytes(request.continuation), 1)
    return Usage(size + _bytes(request.suffix or ""), request.decoding.max_tokens)


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def _tell_nobody(role: str, done: int, asked: int) -> None:
    pass


@dataclass(slots=True)
class _Purchase:
    """One key being bought: its request, and the reservations of its attempts so far."""

    key: str
    request: Request
    bound: Usage
    tickets: list[Ticket] = field(default_factory=list)


class Caller:
    """The one door to the models of a run.

    Args:
        models: by role (target, proposer, judge).
        journal: where outcomes are kept; attempts lost by earlier processes are charged at once.
        ledger: what may be spent.
        reuse: journals of other runs, read only: answers found there cost nothing.
        on_outcome: told after each answer.
    """

    def __init__(
        self,
        models: Mapping[str, LanguageModel],
        journal: Journal,
        ledger: Ledger,
        *,
        reuse: Sequence[Journal] = (),
        on_outcome: OnOutcome = _tell_nobody,
    ) -> None:
        """Charge what earlier processes may have lost, and wait for requests."""
        self.ledger = ledger
        self.largest: dict[str, Usage] = {}
        self.answered: dict[str, int] = {}
        self._models = dict(models)
        self._identities: dict[str, ModelIdentity] = {}
        self._journal = journal
        self._reuse = tuple(reuse)
        self._on_outcome = on_outcome
        self._used: set[str] = set()
        self._flying: set[str] = set()
        self._landed = threading.Condition()
        for lost in journal.lose_attempts():
            ledger.charge(lost.role, 1, lost.bound)

    def model(self, role: str) -> LanguageModel:
        """Return the model that plays `role`."""
        if role not in self._models:
            raise ConfigError(role, "no model plays this role", do=f"name one with `{role}: provider/model`")
        return self._models[role]

    def ask(self, role: str, requests: Sequence[Request], *, buy: bool = True) -> list[Outcome]:
        """Return the outcome of each request, in order.

        Args:
            role: whose model is asked.
            requests: all distinct samples; equal ones are answered alike.
            buy: False takes what is in the journal and calls no model.

        Raises:
            BudgetExhausted: not all could be bought, or may be; those that were are in the journal.
            ModelError: the model cannot be used at all.
        """
        identity = self._identity(role)
        keys = [request_key(identity, request) for request in requests]
        outcomes: dict[str, Outcome] = {}
        wanted = dict(zip(keys, requests, strict=True))
        asked = len(wanted)
        while len(outcomes) < len(wanted):
            to_buy, elsewhere = self._sort_out(role, wanted, outcomes)
            self._on_outcome(role, len(outcomes), asked)
            if to_buy:
                try:
                    if not buy:
                        raise BudgetExhausted("budget", f"{len(to_buy)} calls are not bought yet")
                    self._buy(role, to_buy, outcomes, asked)
                finally:
                    with self._landed:
                        self._flying.difference_update(purchase.key for purchase in to_buy)
                        self._landed.notify_all()
            elif elsewhere:
                with self._landed:
                    if elsewhere & self._flying:
                        self._landed.wait(timeout=1.0)
        return [outcomes[key] for key in keys]

    def _identity(self, role: str) -> ModelIdentity:
        if role not in self._identities:
            self._identities[role] = self.model(role).identity
        return self._identities[role]

    def _sort_out(
        self, role: str, wanted: Mapping[str, Request], outcomes: dict[str, Outcome]
    ) -> tuple[list[_Purchase], set[str]]:
        """Fill in what is known; claim what nobody is buying; return both the claimed and the others'."""
        to_buy: list[_Purchase] = []
        elsewhere: set[str] = set()
        with self._landed:
            for key, request in wanted.items():
                if key in outcomes:
                    continue
                if (known := self._known(role, key, request)) is not None:
                    outcomes[key] = known
                elif key in self._flying:
                    elsewhere.add(key)
                else:
                    self._flying.add(key)
                    to_buy.append(_Purchase(key, request, worst_case(request)))
        return to_buy, elsewhere

    def _known(self, role: str, key: str, request: Request) -> Outcome | None:
        """Return a journaled outcome; its first use in this process books what it once cost."""
        call = self._journal.get_call(key)
        if call is None:
            for other in self._reuse:
                call = other.get_call(key)
                if call is not None and call.outcome["type"] != "failure":
                    call = Call(call.outcome, 0, Usage(), 0.0)
                    self._journal.put_call(key, role, request_to_dict(request), call)
                    break
                call = None
        if call is None:
            return None
        if key not in self._used:
            self._used.add(key)
            self.ledger.charge(role, call.attempts, call.usage, call.seconds)
            self._note_size(role, call.usage, call.attempts)
        return outcome_from_dict(call.outcome)

    def _buy(self, role: str, purchases: list[_Purchase], outcomes: dict[str, Outcome], asked: int) -> None:
        """Buy in rounds: what the budget refused is tried again once others have been settled."""
        pending = purchases
        while pending:
            refused = self._round(role, pending, outcomes, asked)
            if len(refused) == len(pending) and not self.ledger.open_reservations:
                cap = self.ledger.why_blocked(role, refused[0].bound) or "the budget"
                raise BudgetExhausted("budget", f"the next call could pass {cap}")
            if len(refused) == len(pending):
                time.sleep(0.01)
            pending = refused

    def _round(
        self, role: str, purchases: list[_Purchase], outcomes: dict[str, Outcome], asked: int
    ) -> list[_Purchase]:
        """Offer all purchases to the model once; return those for which there was no budget."""
        refused: list[_Purchase] = []
        remote = "://" in self._identity(role).endpoint

        def admit(index: int) -> bool:
            purchase = purchases[index]
            ticket = self.ledger.reserve(role, purchase.bound)
            if ticket is None:
                return False
            purchase.tickets.append(ticket)
            if remote:
                self._journal.put_attempt(purchase.key, role, purchase.bound)
            return True

        # In-process answers are free to compute again, so they may share one commit.
        with nullcontext() if remote else self._journal.batch():
            seen = 0
            before = time.monotonic()
            for index, outcome in self._outcomes(role, purchases, admit):
                seen += 1
                now = time.monotonic()
                seconds, before = now - before, now
                purchase = purchases[index]
                if isinstance(outcome, Failure) and outcome.reason == "budget":
                    self._settle_failed(purchase, outcome.lost)
                    refused.append(purchase)
                else:
                    self._record(role, purchase, outcome, seconds)
                    outcomes[purchase.key] = outcome
                    self._on_outcome(role, len(outcomes), asked)
            if seen != len(purchases):
                raise ContractError(
                    f"model {self._identity(role).model}", f"answered {seen} of {len(purchases)} requests"
                )
        return refused

    def _outcomes(self, role: str, purchases: list[_Purchase], admit: Admit) -> Iterator[tuple[int, Outcome]]:
        """Iterate over the model's answers to a batch of one kind; split a mixed batch."""
        model = self.model(role)
        for kind, method in ((GenerateRequest, model.generate), (LikelihoodRequest, model.loglikelihood)):
            places = [i for i, purchase in enumerate(purchases) if isinstance(purchase.request, kind)]
            if not places:
                continue
            requests: Any = [purchases[i].request for i in places]
            answers = method(requests, lambda i, places=places: admit(places[i]))  # type: ignore[misc]
            with closing(answers) if isinstance(answers, Generator) else nullcontext():
                for position, outcome in answers:
                    yield places[position], outcome

    def _record(self, role: str, purchase: _Purchase, outcome: Outcome, seconds: float) -> None:
        """Settle the attempts and journal the outcome.

        `seconds` is the wait since the outcome before it, so that a role's seconds add up to wall time
        however many calls were under way together.
        """
        attempts = len(purchase.tickets)
        spent = self._settle_failed(purchase, outcome.lost, keep_last=not isinstance(outcome, Failure))
        if not isinstance(outcome, Failure):
            if purchase.tickets:
                self.ledger.settle(purchase.tickets.pop(), outcome.usage, seconds)
            spent += outcome.usage
            self._note_size(role, outcome.usage, 1)
        self._used.add(purchase.key)
        self._journal.put_call(
            purchase.key,
            role,
            request_to_dict(purchase.request),
            Call(outcome_to_dict(outcome), attempts, spent, seconds),
        )

    def _settle_failed(self, purchase: _Purchase, lost: int, *, keep_last: bool = False) -> Usage:
        """Settle attempts without an answer: `lost` of them at their bound, the others at no tokens."""
        spent = Usage()
        while len(purchase.tickets) > keep_last:
            ticket = purchase.tickets.pop(0)
            billed = ticket.bound if lost > 0 else Usage()
            lost -= 1
            self.ledger.settle(ticket, billed)
            spent += billed
        return spent

    def attempts_per_answer(self, role: str) -> float:
        """Return how many attempts an answer has taken on average; 1 before the first."""
        answers = self.answered.get(role, 0)
        return self.ledger.by_role[role].calls / answers if answers else 1.0

    def _note_size(self, role: str, usage: Usage, attempts: int) -> None:
        if attempts:
            self.answered[role] = self.answered.get(role, 0) + 1
            seen = self.largest.get(role, Usage())
            self.largest[role] = Usage(
                max(seen.prompt_tokens, usage.prompt_tokens),
                max(seen.completion_tokens, usage.completion_tokens),
            )


def outcome_to_dict(outcome: Outcome) -> dict[str, Any]:
    """Return an outcome as plain JSON data."""
    return {"type": type(outcome).__name__.lower(), **asdict(outcome)}


def outcome_from_dict(data: Mapping[str, Any]) -> Outcome:
    """Read what `outcome_to_dict` wrote."""
    values = dict(data)
    kind = values.pop("type")
    if kind == "failure":
        return Failure(**values)
    usage = Usage(**values.pop("usage"))
    return Completion(usage=usage, **values) if kind == "completion" else Likelihood(usage=usage, **values)
