"""Buying model calls: each key once, journaled before it is used, paid from the ledger.

The caller knows nothing of prompts and rewards. It turns requests into outcomes: from this run's
journal, from journals named for reuse, or from the model. One identical request is in flight at a time,
also across threads.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from . import interrupt
from .aliases import Aliases
from .claims import Claims
from .contracts.model import (
    Admit,
    Completion,
    Failure,
    GenerateRequest,
    LanguageModel,
    LikelihoodRequest,
    ModelIdentity,
    Outcome,
    Request,
)
from .errors import (
    BudgetExhausted,
    ConfigError,
    ContractError,
    ModelError,
    StopRequested,
    UnsupportedError,
)
from .journal import Call, Journal
from .keys import key_of, request_text, worst_case
from .ledger import Ledger, Spent, Ticket
from .outcomes import outcome_from_dict, outcome_to_dict, storable
from .records import Usage, canonical_json

FREE_ENDPOINTS = ("local", "embedded")
"""Where this machine computes the answers: they can be had again for nothing."""

REDO_SECONDS = 0.5
"""Work of this machine that a kill may undo."""
PAY_SECONDS = 0.05
"""Age of answers that a kill may lose; those that came before another attempt is sent are never lost."""
ADAPTERS_CURE = "use a model in this process (embedded/… or hf/…), or a prompt of words alone"

OnOutcome = Callable[[str, int, int], None]
"""`(role, done, asked)`: progress of the batch under way."""


def _tell_nobody(role: str, done: int, asked: int) -> None:
    pass


def never() -> bool:
    """Nobody asks for a stop."""
    return False


class _Wish(NamedTuple):
    """A request and its canonical JSON."""

    request: Request
    text: str


@dataclass(slots=True)
class _Purchase:
    """One key being bought: its request, open reservations, and what its attempts took so far."""

    key: str
    request: Request
    text: str
    bound: Usage
    tickets: list[Ticket] = field(default_factory=list)
    attempts: int = 0
    spent: Usage = Usage()


class Caller:
    """The one door to the models of a run.

    Args:
        models: by role (target, proposer, judge).
        journal: where outcomes are kept; attempts lost by earlier processes are charged at once.
        ledger: what may be spent.
        reuse: journals of other runs, read only: answers found there cost nothing.
        on_outcome: told after each answer.
        stopped: whether someone has asked for a stop: then no call is begun, those under way are waited for
            and kept (those of this machine are given up: they cost nothing), and `StopRequested` is raised.
        beside: another caller of the run, with a ledger of its own, that may be at work in another thread:
            what it has used so far is paid, and what it is buying is not bought here as well.
    """

    def __init__(
        self,
        models: Mapping[str, LanguageModel],
        journal: Journal,
        ledger: Ledger,
        *,
        reuse: Sequence[Journal] = (),
        on_outcome: OnOutcome = _tell_nobody,
        stopped: Callable[[], bool] = never,
        beside: Caller | None = None,
    ) -> None:
        """Charge what earlier processes may have lost, and wait for requests."""
        self.ledger = ledger
        self.fault: ModelError | None = None  # raised by a model itself: it concerns all who ask it
        self.largest: dict[str, Usage] = {}
        self._answers: dict[str, int] = {}
        self._attempts: dict[str, int] = {}
        self._models = dict(models)
        self._identities: dict[str, ModelIdentity] = {}
        self._journal = journal
        self._reuse = tuple(reuse)
        self._on_outcome = on_outcome
        self._stopped = stopped
        # By key, their roles. A million of them: the garbage collector walks every set, but no dict of texts.
        self.used: dict[str, str] = {} if beside is None else dict(beside.used)
        self._flying: set[str] = set() if beside is None else beside._flying
        self._landed: threading.Condition = threading.Condition() if beside is None else beside._landed
        self._aliases = Aliases(journal)
        self._claims: Claims = Claims(journal, ledger, None if beside is None else beside._claims)
        self.began_with = frozenset(self.used)

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
            UnsupportedError: a request has trained weights, and the model cannot answer with any.
        """
        if any(request.adapter for request in requests) and not self.model(role).capabilities.adapters:
            raise UnsupportedError(role, "cannot answer with trained weights", do=ADAPTERS_CURE)
        identity = canonical_json(asdict(self._aliases.distinguished(self._identity(role))))
        texts = [request_text(request) for request in requests]
        keys = [key_of(identity, text) for text in texts]
        outcomes: dict[str, Outcome] = {}
        wanted = dict(zip(keys, map(_Wish, requests, texts), strict=True))
        asked = len(wanted)
        while len(outcomes) < len(wanted):
            self.check_stop()
            to_buy, elsewhere = self._sort_out(role, wanted, outcomes)
            self._on_outcome(role, len(outcomes), asked)
            if to_buy:
                try:
                    if not buy:
                        raise BudgetExhausted("budget", f"{len(to_buy)} calls are not bought yet")
                    self._buy(role, to_buy, outcomes, asked)
                except ModelError as error:
                    self.fault = error
                    raise
                finally:
                    self._land([purchase.key for purchase in to_buy], outcomes)
            elif elsewhere:
                self._wait_for(elsewhere)
            elif len(outcomes) < len(wanted):
                raise BudgetExhausted("budget", "has no room for answers that another part of the run bought")
        return [outcomes[key] for key in keys]

    def tell(self, role: str) -> None:
        """Say that a role is at work, though no call of it is under way."""
        self._on_outcome(role, 0, 0)

    def check_stop(self) -> None:
        """Raise StopRequested if someone has asked for a stop."""
        if self._stopped():
            raise StopRequested

    def _identity(self, role: str) -> ModelIdentity:
        if role not in self._identities:
            self._identities[role] = self.model(role).identity
        return self._identities[role]

    def _sort_out(
        self, role: str, wanted: Mapping[str, _Wish], outcomes: dict[str, Outcome]
    ) -> tuple[list[_Purchase], set[str]]:
        """Fill in what is known; claim what nobody is buying; return both the claimed and the others'.

        What is known is used in its turn, and only as far as the budget would have bought it here. The
        journal may hold it because it was bought later, or by another searcher; a run that is resumed must
        stop where it stopped before.
        """
        to_buy: list[_Purchase] = []
        elsewhere: set[str] = set()
        ahead, full = Spent(), False
        with self._landed:
            missing = {key: wish for key, wish in wanted.items() if key not in outcomes}
            known = self._known(role, missing)
            for key, wish in missing.items():
                call = known.get(key)
                if call is not None:
                    if key not in self.used and call.attempts:
                        planned = self.ledger.plan(role, call.attempts, worst_case(wish.request), ahead)
                        full = full or not self.ledger.carries(planned)
                        if full:
                            continue
                    outcomes[key] = self.first_use(role, key, call)
                elif key in self._flying:
                    elsewhere.add(key)
                elif not full:
                    bound = worst_case(wish.request)
                    if known:  # else nothing comes that would have to fit in behind it
                        ahead = self.ledger.plan(role, 1, bound, ahead)
                    to_buy.append(_Purchase(key, wish.request, wish.text, bound))
            mine = self._claims.take(role, [(purchase.key, purchase.bound) for purchase in to_buy])
            self._flying |= mine
            elsewhere.update(purchase.key for purchase in to_buy if purchase.key not in mine)
        return [purchase for purchase in to_buy if purchase.key in mine], elsewhere

    def _land(self, keys: Sequence[str], outcomes: dict[str, Outcome]) -> None:
        """Let others have what is bought, or what is not."""
        self._claims.give_back(keys)
        self.ledger.rest()
        if self._claims.shared:
            for key in keys:  # the journal's outcome counts, should another process have been faster
                outcomes.pop(key, None)
        with self._landed:
            self._flying.difference_update(keys)
            self._landed.notify_all()

    def _wait_for(self, elsewhere: set[str]) -> None:
        """Wait a little for what another thread or process is buying."""
        with self._landed:
            if elsewhere & self._flying:
                self._landed.wait(timeout=1.0)
                return
        if self._claims.shared:
            self._claims.wait()

    def _known(self, role: str, wanted: Mapping[str, _Wish]) -> dict[str, Call]:
        """Return the journaled calls among these; those of reused journals are taken over for nothing."""
        known = self._journal.get_calls(wanted)
        for other in self._reuse:
            found = other.get_calls([key for key in wanted if key not in known])
            with self._journal.batch():
                for key, call in found.items():
                    fits = self._aliases.fits(self._identity(role), outcome_from_dict(call.outcome))
                    if call.outcome["type"] != "failure" and fits:
                        known[key] = Call(call.outcome, 0, Usage(), 0.0)
                        self._journal.put_call(key, role, wanted[key].text, known[key])
        return known

    def first_use(self, role: str, key: str, call: Call) -> Outcome:
        """Return a call's outcome; the first time in this process, book what it once cost."""
        outcome = outcome_from_dict(call.outcome)
        if key not in self.used:
            self.used[key] = role
            self.ledger.charge(role, call.attempts, call.usage, call.seconds)
            self._note(role, outcome, call.attempts)
        return outcome

    def _buy(self, role: str, purchases: list[_Purchase], outcomes: dict[str, Outcome], asked: int) -> None:
        """Buy in rounds, in order: what there is no room for now is offered once others have been settled.

        A model may answer in any order, so it is offered only what the budget can carry: where the budget
        ends, it ends between two prompts rather than in all of them.
        """
        pending = purchases
        while pending:
            room = max(1, self.ledger.room_for(role, [purchase.bound for purchase in pending]))
            refused = self._round(role, pending[:room], outcomes, asked) + pending[room:]
            if refused and self._stopped():
                self._write_off(role, refused)
                raise StopRequested
            stuck = len(refused) == len(pending) and not self.ledger.open_reservations
            if stuck and (cap := self.ledger.why_blocked(role, refused[0].bound)):
                self._write_off(role, refused)
                raise BudgetExhausted("budget", f"the next call could pass {cap}")
            if len(refused) == len(pending):
                self.ledger.wait()
            pending = refused

    def _round(
        self, role: str, purchases: list[_Purchase], outcomes: dict[str, Outcome], asked: int
    ) -> list[_Purchase]:
        """Offer all purchases to the model once; return those for which there was no budget."""
        refused: list[_Purchase] = []
        free = self._identity(role).endpoint in FREE_ENDPOINTS

        def admit(index: int) -> bool:
            if interrupt.asked():
                return False
            purchase = purchases[index]
            ticket = None if self._stopped() else self.ledger.reserve(role, purchase.bound)
            if ticket is None:
                return False
            purchase.tickets.append(ticket)
            purchase.attempts += 1
            if not free:
                self._journal.put_attempt(purchase.key, role, purchase.bound)
                self._journal.commit()
            return True

        with (
            interrupt.waiting_for_calls(),
            self._journal.batch(REDO_SECONDS if free else PAY_SECONDS),
            self._settling(purchases),
        ):
            seen = 0
            before = time.monotonic()
            for index, outcome in self._outcomes(role, purchases, admit):
                seen += 1
                now = time.monotonic()
                seconds, before = now - before, now
                purchase, outcome = purchases[index], storable(outcome)
                if isinstance(outcome, Failure) and outcome.reason == "budget":
                    self._settle_failed(purchase, outcome.lost)
                    refused.append(purchase)
                else:
                    self._record(role, purchase, outcome, seconds)
                    outcomes[purchase.key] = outcome
                    self._on_outcome(role, len(outcomes), asked)
                if free:
                    self.check_stop()
            if seen != len(purchases):
                raise ContractError(
                    f"model {self._identity(role).model}", f"answered {seen} of {len(purchases)} requests"
                )
            if interrupt.asked():
                self._write_off(role, refused)
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
        self._settle_failed(purchase, outcome.lost, keep_last=not isinstance(outcome, Failure))
        if not isinstance(outcome, Failure):
            if purchase.tickets:
                self.ledger.settle(purchase.tickets.pop(), outcome.usage, seconds)
            else:
                self._book_found(role, purchase, outcome.usage, seconds)
            purchase.spent += outcome.usage
        if isinstance(outcome, Completion) and not self._aliases.fits(self._identity(role), outcome):
            self._write_off(role, [purchase])
            mine = self._identity(role)
            roles = [other for other in self._models if self._identity(other) == mine]
            raise self._aliases.changed(mine, outcome, roles)
        self._note(role, outcome, purchase.attempts)
        self.used[purchase.key] = role
        self._journal.put_call(
            purchase.key,
            role,
            purchase.text,
            Call(outcome_to_dict(outcome), purchase.attempts, purchase.spent, seconds),
        )

    def _book_found(self, role: str, purchase: _Purchase, usage: Usage, seconds: float) -> None:
        """Book an answer that nobody here asked for: a killed process did, in a batch."""
        purchase.attempts = int(self._claims.find(purchase.key))
        self.ledger.charge(role, purchase.attempts, usage, seconds)

    def _settle_failed(self, purchase: _Purchase, lost: int, *, keep_last: bool = False) -> None:
        """Settle attempts without an answer: `lost` of them at their bound, the others at no tokens."""
        while len(purchase.tickets) > keep_last:
            ticket = purchase.tickets.pop(0)
            billed = ticket.bound if lost > 0 else Usage()
            lost -= 1
            self.ledger.settle(ticket, billed)
            purchase.spent += billed

    @contextmanager
    def _settling(self, purchases: Sequence[_Purchase]) -> Iterator[None]:
        """Settle at their bound what is still under way when the model raises or the run is stopped."""
        try:
            yield
        finally:
            for purchase in purchases:
                while purchase.tickets:
                    self.ledger.settle(purchase.tickets.pop(), None)

    def _write_off(self, role: str, refused: Sequence[_Purchase]) -> None:
        """Journal what failed attempts cost whose retry the budget refused."""
        for purchase in refused:
            if purchase.attempts:
                self._journal.write_off(purchase.key, role, purchase.attempts, purchase.spent)

    def attempts_per_answer(self, role: str) -> float:
        """Return how many attempts an answer has taken on average; 1 before the first."""
        return max(1.0, self._attempts.get(role, 0) / max(1, self._answers.get(role, 0)))

    def estimate(self, role: str, answers: int) -> Spent:
        """Estimate what so many answers will take, from the largest call of a role seen so far."""
        calls = math.ceil(answers * self.attempts_per_answer(role))
        largest = self.largest.get(role, Usage())
        usd = self.ledger.price(role).usd(largest)
        spent = self.ledger.by_role.get(role, Spent())
        pace = spent.seconds / spent.calls if spent.calls else 0.0
        return Spent(
            calls, calls * largest.prompt_tokens, calls * largest.completion_tokens, calls * usd, calls * pace
        )

    def has_answered(self, role: str) -> bool:
        """Whether a model has answered at all, in this run or in one it reuses."""
        return role in self.largest

    def _note(self, role: str, outcome: Outcome, attempts: int) -> None:
        """Remember sizes and attempts, from which the cost of what is to come is estimated."""
        self._attempts[role] = self._attempts.get(role, 0) + attempts
        if isinstance(outcome, Failure):
            return
        self._answers[role] = self._answers.get(role, 0) + 1
        seen, used = self.largest.setdefault(role, outcome.usage), outcome.usage
        if used.prompt_tokens > seen.prompt_tokens or used.completion_tokens > seen.completion_tokens:
            self.largest[role] = Usage(
                max(seen.prompt_tokens, used.prompt_tokens),
                max(seen.completion_tokens, used.completion_tokens),
            )
