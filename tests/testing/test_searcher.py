"""`check_searcher` finds each way of breaking the contract."""

import contextlib
import random
import time
from dataclasses import dataclass, field

import pytest

from promptopt.errors import BudgetExhausted, ContractError
from promptopt.records import Message
from promptopt.template import Template
from promptopt.testing.searcher import check_searcher


@dataclass
class Honest:
    """Score a few proposals; the broken ones below differ from it in one thing."""

    n: int = 6
    note: str = ""

    def search(self, session):
        seed = session.task.seed_prompt
        row = session.rng.choice(session.task.rows)
        (replies,) = session.propose([[Message("user", f"{self.note}Example: {row.answer}")]], self.n)
        session.select([seed, *(seed.child(instruction=text, origin="x") for text in replies)], 1)


class Swallowing(Honest):
    def search(self, session):
        with contextlib.suppress(BudgetExhausted):
            super().search(session)


class Stubborn(Honest):
    def search(self, session):
        try:
            super().search(session)
        except BudgetExhausted:
            raise
        except BaseException:
            session.score([session.task.seed_prompt])


class GlobalChance(Honest):
    def search(self, session):
        session.propose([[Message("user", f"{random.random()}")]])
        super().search(session)
        session.score([session.task.seed_prompt.child(instruction=f"{random.random()}", origin="x")])


class Clock(Honest):
    def search(self, session):
        session.score([session.task.seed_prompt.child(instruction=f"{time.perf_counter_ns()}", origin="x")])


@dataclass
class Remembering(Honest):
    seen: list = field(default_factory=list)

    def search(self, session):
        self.seen.append(session.task.seed_prompt)
        super().search(session)


class RememberingInTheClass(Honest):
    runs = 0

    def search(self, session):
        type(self).runs += 1
        session.score([session.task.seed_prompt.child(instruction=f"{self.runs}", origin="x")])


class Changing:
    def __init__(self, n=3):
        self.n = n + 1

    def search(self, session):
        pass


class Forgetful:
    def __init__(self, n=3):
        pass

    def search(self, session):
        pass


class Unrenderable(Honest):
    def search(self, session):
        layout = Template(user="{{ input }}{{ gone }}", engine="jinja")
        session.score([session.task.seed_prompt.child(template=layout, origin="x")], 0)


def test_an_honest_searcher_passes():
    check_searcher(Honest())
    assert Honest() == Honest()


def test_the_global_generator_is_left_as_it_was():
    random.seed(5)
    expected = random.Random(5).random()
    check_searcher(Honest(), cuts=1)
    assert random.random() == expected


@pytest.mark.parametrize(
    ("searcher", "message"),
    [
        (Swallowing(), "Swallowing: swallowed BudgetExhausted; let it pass"),
        (Stubborn(), "went on after it was cut off at call .*; catch only what you expect"),
        (GlobalChance(), "found other candidates or scores with the same seed; draw from session.rng alone"),
        (Clock(), "found other candidates or scores with the same seed"),
        (Remembering(), "changed itself while searching; got"),
        (RememberingInTheClass(), "found other candidates or scores with the same seed"),
        (Changing(), "its constructor changes 'n'; got 4"),
        (Forgetful(), "its constructor does not store 'n'; set self.n"),
        (
            Honest(note="Not ant00 ant01 bee01 bee02 cat02 dog03 eel04 fox05: "),
            "used '.*' of a row it must not see",
        ),
        (Unrenderable(), "made a candidate that does not render: template: jinja: 'gone' is undefined"),
        (Honest, "is not a searcher"),
        (object(), "is not a searcher"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_a_broken_searcher_is_caught(searcher, message):
    with pytest.raises(ContractError, match=message):
        check_searcher(searcher)


def test_a_searcher_must_survive_a_proposer_that_fails():
    check_searcher(Honest(), proposer=lambda request: None)
