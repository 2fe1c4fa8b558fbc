"""Check that a searcher keeps its contract: `check_searcher`, on a toy task with functions as models."""

from __future__ import annotations

import inspect
import random
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, TypeVar

from .. import data, plugins
from ..contracts.model import (
    Admit,
    Capabilities,
    Failure,
    GenerateRequest,
    GradientModel,
    LanguageModel,
    LikelihoodRequest,
    ModelIdentity,
    Request,
)
from ..contracts.reward import Needs, Output
from ..contracts.searcher import HERE, Searcher, SearchTask, Seats, Session
from ..errors import BudgetExhausted, ContractError, TemplateError, shorten
from ..prompt import Prompt
from ..records import Budget, Evaluation, Example, Message, Score
from ..run import execute
from ..runfolder import RunFolder
from ..setup import Setup
from ..splits import Sizes, make_splits
from ..study import Study
from ..task import Task
from .counted import CountedModel
from .model import FakeModel

SIZES = Sizes(search=12, select=6, test=8)
WORDS = ("ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen", "ibis", "jay", "kiwi", "lynx", "mole")
PROPOSALS: tuple[str | None, ...] = (
    "Write the word in capitals.",
    "to write the word in upper case letters",
    '"Repeat the word."',
    "Use capital letters for {{input}} and {{nothing}}.",
    "Say something nice about the word.\n\nInput: owl\nOutput: nice",
    "Spell the word backwards.",
    "Put the word into large letters, as if you were shouting it over a noisy street.",
    "",
    None,
)
"""What the toy proposer draws from: good, poor, odd and empty replies, and a failed call (None)."""

T = TypeVar("T")
ProposeText = Callable[[GenerateRequest], str | None]


def propose_toy(request: GenerateRequest) -> str | None:
    """Draw from `PROPOSALS` by the request's text and sample number."""
    asked = f"{_text(request)}|{request.suffix}|{request.decoding.seed}|{request.sample}"
    return PROPOSALS[int(_chance(asked) * len(PROPOSALS))]


def check_searcher(
    searcher: Searcher,
    *,
    proposer: ProposeText = propose_toy,
    prompt: Prompt | None = None,
    parts: Sequence[str] = ("instruction",),
    cuts: int = 6,
    target: LanguageModel | None = None,
) -> None:
    """Check a searcher on a toy task, in real runs.

    Its constructor must only store its arguments, and searching must not change them. The same seed must
    give the same candidates and scores, from this instance again and from a fresh one; another seed must
    work too. A run cut off at any model call must end the same when it is taken up again, with nothing
    bought twice. Under a small budget no call may pass the cap, and BudgetExhausted must be let through.
    Nothing of the select and test rows may reach the proposer, and every candidate must render.

    Args:
        searcher: what to check.
        proposer: from a request to a reply, or None for a failed call; give one when the searcher needs
            replies in a form of its own.
        prompt: the prompt to beat; default `Do something with the word.` in the default layout.
        parts: which parts of the prompt may be changed (`promptopt.parts`).
        cuts: how many places to cut a run at, the first and the last call among them.
        target: a model for searchers that take gradients through theirs; default a function.

    Raises:
        ContractError: the first broken rule, with the name of the searcher's class.
    """
    where = f"searcher {type(searcher).__name__}"
    toy = _Toy(where, proposer, prompt or Prompt("Do something with the word."), tuple(parts), target)
    twin = _check_constructor(where, searcher)
    state = _state(searcher)
    first = toy.run(searcher)
    _check_candidates(toy, first)
    if _state(searcher) != state:
        raise ContractError(where, "changed itself while searching", got=_state(searcher), do=KEEP_NOTHING)
    for again, problem in ((twin, "with the same seed"), (searcher, "when searching a second time")):
        if toy.run(again).found != first.found:
            raise ContractError(where, f"found other candidates or scores {problem}", do=KEEP_NOTHING)
    _check_candidates(toy, toy.run(searcher, seed=1))
    _check_budget(toy, searcher, first.answered)
    _check_cuts(toy, searcher, first, cuts)


KEEP_NOTHING = "draw from session.rng alone, and keep nothing in the searcher"


def _check_constructor(where: str, searcher: Searcher) -> Searcher:
    """Return a second instance made from the attributes that the constructor stored."""
    if not isinstance(searcher, Searcher) or isinstance(searcher, type):
        raise ContractError(where, "is not a searcher", got=searcher, do="define search(session)")
    stored: dict[str, Any] = {}
    for name, parameter in inspect.signature(type(searcher)).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if not hasattr(searcher, name):
            raise ContractError(where, f"its constructor does not store {name!r}", do=f"set self.{name}")
        stored[name] = getattr(searcher, name)
    twin = type(searcher)(**stored)
    for name, value in stored.items():
        if getattr(twin, name) != value:
            raise ContractError(where, f"its constructor changes {name!r}", got=value, do="store it as it is")
    return twin


def _state(searcher: Searcher) -> str:
    names = {
        *inspect.signature(type(searcher)).parameters,
        *(vars(searcher) if hasattr(searcher, "__dict__") else ()),
    }
    return repr([(name, getattr(searcher, name)) for name in sorted(names) if hasattr(searcher, name)])


def _check_candidates(toy: _Toy, result: _Result) -> None:
    if result.swallowed:
        raise ContractError(toy.where, "swallowed BudgetExhausted", do="let it pass")
    hidden = [text for row in result.hidden for text in (*row.inputs.values(), *row.answers)]
    shown = [*result.proposed, *(shorten(prompt.to_dict(), 10**9) for prompt in result.prompts)]
    for text in shown:
        if leak := next((secret for secret in hidden if secret in text), None):
            raise ContractError(toy.where, f"used {leak!r} of a row it must not see", got=text)
    for prompt in result.prompts:
        try:
            for row in (*result.rows, *result.hidden):
                prompt.render(row)
        except TemplateError as error:
            raise ContractError(toy.where, f"made a candidate that does not render: {error}") from error


def _check_budget(toy: _Toy, searcher: Searcher, calls: int) -> None:
    """Run under caps from a few calls to one short of what is needed."""
    for cap in sorted({5, calls // 4, calls // 2, calls - 1}):
        result = toy.run(searcher, budget=Budget(calls=cap))
        if result.answered > cap:
            raise ContractError(toy.where, f"made {result.answered} calls under a cap of {cap}")
        _check_candidates(toy, result)


def _check_cuts(toy: _Toy, searcher: Searcher, whole: _Result, cuts: int) -> None:
    """Cut the run at calls spread over its length, and take each up again."""
    last = whole.answered - 1
    for at in sorted({round(last * index / max(1, cuts - 1)) for index in range(cuts)}):
        with tempfile.TemporaryDirectory() as folder:
            cut = toy.run(searcher, folder=RunFolder(Path(folder) / "run"), cut_at=at)
            resumed = toy.run(searcher, folder=RunFolder(Path(folder) / "run"))
        if cut.swallowed or not cut.cut:
            raise ContractError(
                toy.where, f"went on after it was cut off at call {at}", do="catch only what you expect"
            )
        if resumed.found != whole.found:
            raise ContractError(
                toy.where,
                f"cut off at call {at} and taken up again, it found other candidates",
                do=KEEP_NOTHING,
            )
        if (total := cut.answered + resumed.answered) != whole.answered:
            raise ContractError(
                toy.where,
                f"cut off at call {at} and taken up again, it made {total} calls instead of {whole.answered}",
                do="ask again for the same things in the same order",
            )


class _Cut(BaseException):
    """Stands for a kill in the middle of a run; not an Exception, so that nothing catches it by accident."""


@dataclass
class _Result:
    """What one run did: candidates with their scores, texts the proposer saw, calls answered."""

    rows: Sequence[Example]
    hidden: Sequence[Example]
    found: object = None
    prompts: list[Prompt] = field(default_factory=list)
    proposed: list[str] = field(default_factory=list)
    answered: int = 0
    cut: bool = False
    swallowed: bool = False


@dataclass
class _Toy:
    """The toy task: write a word in capitals."""

    where: str
    proposer: ProposeText
    prompt: Prompt
    parts: tuple[str, ...]
    target: LanguageModel | None = None

    def run(
        self,
        searcher: Searcher,
        *,
        seed: int = 0,
        budget: Budget = Budget(),
        folder: RunFolder | None = None,
        cut_at: int | None = None,
    ) -> _Result:
        """Run once; a budget that ends before the verdict, and a cut, are outcomes, not errors."""
        texts = [f"{WORDS[index % len(WORDS)]}{index:02}" for index in range(40)]
        rows = data.read([{"id": t, "input": t, "output": t.upper()} for t in texts])
        splits = make_splits(rows, seed=seed, sizes=SIZES)
        known = {row.id for row in splits.search}
        hidden = [row.example for row in rows if row.example.id not in known]
        result = _Result(splits.search, hidden)
        said = "Write a word in capitals."
        task = Task(splits, rows.fields, self.prompt, _Capitals(), "capitals", said, self.parts)
        models: dict[str, LanguageModel] = {
            role: _Model(role, self.proposer, result, cut_at) for role in ("target", "proposer")
        }
        if self.target is not None:
            models["target"] = CountedModel(self.target, partial(_counted, result, cut_at))
        setup = Setup(
            name="check",
            task=task,
            models=models,
            searcher=_Watched(searcher, result),
            selector=plugins.build("selectors", "full"),
            budget=budget,
            seed=seed,
        )
        state = random.getstate()
        random.seed()  # so that chance from elsewhere does not look repeatable
        try:
            study = execute(setup, folder)
        except BudgetExhausted:
            return result
        except _Cut:
            result.cut = True
            return result
        finally:
            random.setstate(state)
        result.prompts = [candidate.prompt for candidate in study.candidates]
        result.found = _found(study)
        return result


def _found(study: Study) -> object:
    """Return all that must be the same in two runs alike."""
    found: list[object] = []
    for candidate in study.candidates:
        found += (candidate.prompt.id, candidate.prompt.parents, candidate.prompt.origin)
        for evaluation in (candidate.search, candidate.signal, candidate.select, candidate.test):
            found.append(None if evaluation is None else list(evaluation.values.items()))
    return found


class _Model(FakeModel):
    """Target or proposer: a function of the request, counted, and cut off at a call of the run if told so."""

    def __init__(self, role: str, proposer: ProposeText, result: _Result, cut_at: int | None) -> None:
        """Take the run's counters."""

        def reply(request: GenerateRequest) -> str | Failure:
            count(request)
            text = _obey(request.messages) if role == "target" else proposer(request)
            return Failure("server", "a toy failure") if text is None else text

        def likelihood(request: LikelihoodRequest) -> float:
            count(request)
            sure = _obey(request.messages) == request.continuation
            return (-0.1 if sure else -2.0) * len(request.continuation)

        def count(request: Request) -> None:
            if result.answered == cut_at:
                raise _Cut
            result.answered += 1
            if role == "proposer":
                suffix = request.suffix or "" if isinstance(request, GenerateRequest) else ""
                result.proposed.append(_text(request) + suffix)

        super().__init__(reply, likelihood=likelihood, identity=ModelIdentity("check_searcher", role))

    @property
    def capabilities(self) -> Capabilities:
        """Everything."""
        return Capabilities(likelihood=True, insert=True)


@dataclass
class _Capitals:
    """1 if the reply is the answer."""

    needs: Needs = "text"

    def __call__(self, example: Example, output: Output) -> Score:
        return Score(float(output.text == example.answer), f"expected {example.answer}")

    def extract(self, text: str) -> str | None:
        return text


@dataclass
class _Watched:
    """Hands the searcher a session of nothing but the contract, and sees whether the budget's end passes."""

    searcher: Searcher
    result: _Result

    def search(self, session: Session) -> None:
        watched = _WatchedSession(session)
        self.searcher.search(watched)
        self.result.swallowed = watched.ended


class _WatchedSession:
    """A session that remembers whether it raised what ends a search."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.ended = False
        self.task: SearchTask = session.task
        self.rng = session.rng
        self.workdir = session.workdir

    @property
    def remaining(self) -> Budget:
        return self._session.remaining

    def score(
        self,
        prompts: Sequence[Prompt],
        rows: int | Sequence[Example] | None = None,
        reward: str | None = None,
    ) -> list[Evaluation]:
        return self._noting(lambda: self._session.score(prompts, rows, reward))

    def select(
        self, prompts: Sequence[Prompt], k: int, reward: str | None = None, rows: int | None = None
    ) -> list[Evaluation]:
        return self._noting(lambda: self._session.select(prompts, k, reward, rows))

    def propose(self, chats: Sequence[Sequence[Message]], n: int = 1, **options: Any) -> list[list[str]]:
        return self._noting(lambda: self._session.propose(chats, n, **options))

    @property
    def known(self) -> Mapping[str, Evaluation]:
        return self._session.known

    @contextmanager
    def limit(self, calls: int) -> Iterator[None]:
        with self._session.limit(calls):
            yield
        self.ended = False  # it was the block that ended, not the budget

    def gradients(self) -> GradientModel:
        return self._session.gradients()

    def spend(self, passes: int, tokens: int) -> None:
        self._noting(lambda: self._session.spend(passes, tokens))

    def spread(self, searchers: Sequence[Searcher], seats: Seats = HERE) -> None:
        self._noting(lambda: self._session.spread(searchers, seats))

    def note(self, text: str) -> None:
        self._session.note(text)

    def can(self, role: Literal["target", "proposer"], what: Literal["likelihood", "insert"]) -> bool:
        return self._noting(lambda: self._session.can(role, what))

    def rule_out(self, prompts: Sequence[Prompt]) -> None:
        """Let it pass."""

    def suspects(self, prompts: Sequence[Prompt], rows: Sequence[Example]) -> list[Prompt]:
        return self._noting(lambda: self._session.suspects(prompts, rows))

    def report(self, text: str, data: Mapping[str, Any] | None = None) -> None:
        self._session.report(text, data)

    def _noting(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except (BudgetExhausted, _Cut):
            self.ended = True
            raise


def _counted(result: _Result, cut_at: int | None, admit: Admit, place: int) -> bool:
    """Admit a request of a real target, counted; or cut the run off."""
    if result.answered == cut_at:
        raise _Cut
    admitted = admit(place)
    result.answered += admitted
    return admitted


def _obey(messages: Sequence[Message]) -> str:
    """Do what the toy target does: capitals if told so, more surely the more clearly it is told."""
    *_, told, asked = ("", *" ".join(message.content for message in messages).rsplit("Input: ", 1))
    word = asked.split("\n", 1)[0]
    told = told.lower()
    sure = 0.9 if "capital" in told else 0.7 if "upper case" in told else 0.4 if "large" in told else 0.05
    return word.upper() if _chance(told + word) < sure else word


def _chance(text: str) -> float:
    """Return a number in [0, 1) that depends on the text alone."""
    return int(sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12], 16) / 16**12


def _text(request: Request) -> str:
    return "\n".join(message.content for message in request.messages)
