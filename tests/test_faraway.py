"""An actor's side of a search, without a cluster: it stops at what it asks, and its folder goes along."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import Any

import pytest
from toys import make_setup

from promptopt.contracts.model import GenerateRequest, LikelihoodRequest
from promptopt.errors import BudgetExhausted, ContractError, DataError, MissingExtra
from promptopt.faraway import End, Place, Told
from promptopt.models.embedded import EmbeddedModel
from promptopt.prompt import Prompt
from promptopt.records import Budget, Message

RECIPE = ("embedded/tiny", {})


@dataclass(frozen=True)
class Steps:
    """Train for some steps, each kept in a file; the last one is scored."""

    steps: int = 3

    def search(self, session: Any) -> None:
        file, scratch = session.workdir / "kept" / "step", session.workdir / "scratch"
        file.parent.mkdir(exist_ok=True)
        for step in range(int(file.read_text()) if file.exists() else 0, self.steps):
            session.spend(1, 10)
            file.write_text(str(step + 1))
            (session.workdir / ".half").write_text("not whole")
            if step == 1:
                scratch.unlink()
            else:
                scratch.write_text("x")
        session.score([Prompt(f"Step {self.steps}.")])


def task() -> Any:
    return make_setup().task.for_searcher()


def begin(searcher: Any, files: dict[str, bytes] | None = None) -> tuple[Place, Told]:
    place = Place(None)
    return place, place.begin(searcher, task(), 7, files or {})


def test_it_stops_at_all_it_asks_and_what_changed_in_its_folder_goes_along():
    place, told = begin(Steps())
    assert (told.what.what, told.what.args, told.files) == ("spend", (1, 10), {})
    told = place.go_on(None)
    assert told.files == {"kept/step": b"1", "scratch": b"x"}
    told = place.go_on(None)
    assert told.files == {"kept/step": b"2", "scratch": None}
    told = place.go_on(None)
    assert told.what.what == "score"
    assert told.files == {"kept/step": b"3", "scratch": b"x"}
    (prompts, rows, reward) = told.what.args
    assert (prompts[0].instruction, rows, reward) == ("Step 3.", None, None)
    assert isinstance(place.go_on([]).what, End)


def test_another_place_goes_on_with_the_folder_of_one_that_is_lost(tmp_path):
    place, told = begin(Steps())
    for _ in range(2):
        told.unpack(tmp_path)
        told = place.go_on(None)
    told.unpack(tmp_path)
    files = {
        str(path.relative_to(tmp_path)): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()
    }
    assert files == {"kept/step": b"2"}
    _, told = begin(Steps(), files)
    assert told.what.what == "spend"
    assert told.files == {}


@dataclass(frozen=True)
class Asks:
    """Ask, and raise what comes of it, or what it is told to."""

    error: Exception | None = None

    def search(self, session: Any) -> None:
        if session.remaining.calls == 0:
            session.spend(1, 1)
        if self.error is not None:
            raise self.error


def test_what_the_run_raises_is_raised_in_the_search_and_comes_back():
    place, told = begin(Asks())
    assert told.what.what == "remaining"
    assert place.go_on(Budget(calls=0)).what.what == "spend"
    end = place.go_on(BudgetExhausted("budget", "is over")).what
    assert isinstance(end, End)
    assert isinstance(end.error, BudgetExhausted)


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (DataError("row 3", "is odd", got="x", do="mend it"), "row 3: is odd; got 'x'; mend it"),
        (
            MissingExtra("search", "ray", "scale"),
            'search: needs the package ray; pip install "promptopt[scale]"',
        ),
        (ZeroDivisionError("by nothing"), "searcher Asks: ZeroDivisionError: by nothing"),
    ],
)
def test_errors_cross_a_cluster_whole(raised, told):
    place, _ = begin(Asks(raised))
    end = pickle.loads(pickle.dumps(place.go_on(Budget(calls=1)).what))
    assert str(end.error) == told
    assert type(end.error) is (type(raised) if not isinstance(raised, ZeroDivisionError) else ContractError)
    assert end.error.__dict__ == pickle.loads(pickle.dumps(end.error)).__dict__


def test_calls_of_the_target_are_answered_while_the_search_waits():
    place = Place(RECIPE)
    place.begin(Asks(), task(), 7, {})
    message = (Message("user", "Write the plural of the word.\n\nInput: cat\nOutput:"),)
    model = EmbeddedModel("tiny")
    for asked, answer in (
        ([GenerateRequest(message)], model.generate),
        ([LikelihoodRequest(message, " cats")], model.loglikelihood),
    ):
        assert place.compute(asked) == list(answer(asked))
