"""What a searcher may return: nothing, the same again, prompts that cannot be rendered; or go on for ever."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
from toys import fake, make_setup, target_reply, user_text

from promptopt import session as session_module
from promptopt.events import Notice
from promptopt.run import execute
from promptopt.template import Template


@dataclass
class Proposes:
    """Scores the children that a function makes of the seed prompt."""

    make: Any

    def search(self, session: Any) -> None:
        seed = session.task.seed_prompt
        session.score([seed, *self.make(seed)])


def child(seed: Any, text: str = "Write it in capitals.", **changes: Any) -> Any:
    return seed.child(instruction=text, origin="test", **changes)


CASES = {
    "nothing": lambda seed: [],
    "duplicates": lambda seed: [child(seed)] * 5 + [child(seed, "Write it  in capitals. ")],
    "empties": lambda seed: [child(seed, ""), child(seed, " \n\t"), child(seed)],
    "control characters": lambda seed: [child(seed, "\x00\x1b[2J\x07"), child(seed)],
    "half a surrogate pair": lambda seed: [child(seed, "a\ud800b"), child(seed)],
    "slots": lambda seed: [child(seed, "{{input}} {{instruction}} {{nobody}}"), child(seed)],
    "no place for the row": lambda seed: [
        child(seed, template=replace(seed.template, user="{{instruction}}")), child(seed)],
    "a slot that no row has": lambda seed: [
        child(seed, template=Template(user="{{instruction}} {{oops}} {{input}}")), child(seed)],
    "a megabyte": lambda seed: [child(seed, "x" * 1_100_000), child(seed)],
}  # fmt: skip


def reply(request: Any) -> str:
    return target_reply(request) if "Input: " in user_text(request) else "What row?"


@pytest.mark.parametrize("case", CASES)
def test_whatever_a_searcher_returns_the_run_ends_in_a_verdict(case: str) -> None:
    setup = make_setup(searcher=Proposes(CASES[case]))
    study = execute(replace(setup, models={**setup.models, "target": fake(reply, "target")}))
    assert study.stopped == "finished"
    assert study.verdict.n == 25
    if case != "nothing":
        assert study.best.instruction == "Write it in capitals."
        assert study.verdict.reliable
    ids = [candidate.prompt.id for candidate in study.candidates]
    assert len(ids) == len(set(ids))
    for candidate in study.candidates:
        if "{{oops}}" in candidate.prompt.template.user or len(candidate.prompt.instruction) > 10**6:
            assert candidate.search is not None
            assert not candidate.search.comparable


@dataclass
class Circles:
    """Goes round in circles, for nothing."""

    def search(self, session: Any) -> None:
        while True:
            session.score([child(session.task.seed_prompt)])


def test_a_searcher_that_goes_round_in_circles_is_ended_and_keeps_what_it_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(session_module, "STALLED", 50)
    notices = []
    study = execute(
        make_setup(searcher=Circles()),
        listen=lambda e: notices.append(e.text) if isinstance(e, Notice) else None,
    )
    assert study.best.instruction == "Write it in capitals."
    assert notices[0] == (
        "search ended: asked 50 times in a row for nothing new; choosing among what was scored"
    )
