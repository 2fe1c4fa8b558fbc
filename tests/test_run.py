"""A run from start to verdict."""

from dataclasses import replace

import pytest
from toys import (
    INSTRUCTIONS,
    Named,
    TryAll,
    among_equals,
    fake,
    make_setup,
    proposer_reply,
    read_input,
    target_reply,
    user_text,
)

from promptopt.contracts.model import Failure
from promptopt.errors import BudgetExhausted, ModelError, SealedSplit
from promptopt.events import Notice, Scored, Stage
from promptopt.prompt import Prompt
from promptopt.records import Budget, Message
from promptopt.run import execute
from promptopt.runfolder import RunFolder


def test_a_better_prompt_is_found_and_proved_on_unseen_rows():
    setup = make_setup()
    study = execute(setup)
    assert study.best.instruction == "Write it in capitals."
    assert study.verdict.reliable
    assert study.verdict.n == 25
    assert study.verdict.line.startswith("baseline 0.00 ")
    assert study.candidate(study.best).test.mean == 1.0
    assert study.stopped == "finished"
    assert {c.prompt.instruction for c in study.candidates} <= {"Do something.", *INSTRUCTIONS}


def test_test_rows_meet_only_the_winner_and_the_seed_prompt():
    seen = []
    setup = make_setup()
    setup = replace(
        setup, models={**setup.models, "target": fake(lambda r: seen.append(user_text(r)) or target_reply(r))}
    )
    study = execute(setup)
    tested = set(study.candidate(study.best).test.values)
    select = {example.id for example in setup.task.splits.select}
    search = {example.id for example in setup.task.splits.search}
    assert not tested & select
    assert not tested & search
    with_test = [c for c in study.candidates if c.test is not None]
    assert {c.prompt for c in with_test} == {study.best, study.seed_prompt}
    with pytest.raises(SealedSplit):
        setup.task.splits.open_test("again")


def test_a_seed_prompt_that_nothing_beats_is_kept():
    study = execute(make_setup(prompt=Prompt("Write it in capitals.")))
    assert study.best == study.seed_prompt
    assert study.verdict.same_prompt
    assert study.verdict.line.endswith("no reliable improvement; keep your prompt")


def test_the_shorter_prompt_wins_a_tie():
    class Two:
        def search(self, session):
            seed = session.task.seed_prompt
            session.score(
                [seed.child(instruction=t, origin="x") for t in ("Use capitals, please.", "capitals")]
            )

    assert execute(make_setup(searcher=Two())).best.instruction == "capitals"


def test_the_same_seed_gives_the_same_run_and_events_tell_its_story():
    events = []
    first = execute(make_setup(), listen=events.append)
    second = execute(make_setup())
    assert first.to_dict() | {"seconds": 0, "spent": 0} == second.to_dict() | {"seconds": 0, "spent": 0}
    assert [e.name for e in events if isinstance(e, Stage)] == [
        "baseline",
        "search",
        "select",
        "test",
        "done",
    ]
    assert any(isinstance(e, Scored) and e.stage == "test" for e in events)


def test_a_small_budget_still_ends_in_a_verdict_and_is_never_passed():
    spent = []
    for calls in range(100, 180, 16):
        notices = []
        study = execute(make_setup(budget=Budget(calls=calls)), listen=notices.append)
        assert study.total.calls <= calls
        assert study.verdict.n == 25
        spent.append(study.stopped)
    assert "budget" in spent


def test_prompts_paid_for_in_full_may_win_although_the_budget_ended():
    class Good:
        def search(self, session):
            seed = session.task.seed_prompt
            texts = ("Write capitals.", *(f"Say {word}." for word in "abcdefgh"))
            session.score([seed.child(instruction=text, origin="x") for text in texts])

    study = execute(make_setup(searcher=Good(), budget=Budget(calls=170)))
    assert study.stopped == "budget"
    assert study.best.instruction == "Write capitals."
    assert study.verdict.reliable


def test_a_budget_that_ends_in_the_proof_judges_the_rows_all_have_met():
    heard = []
    study = execute(make_setup(budget=Budget(calls=30)), listen=heard.append)
    assert study.verdict.n == 15
    assert any(isinstance(e, Notice) and "judged on 15 of 25 rows" in e.text for e in heard)


def test_a_budget_that_ends_before_the_proof_is_said_so():
    with pytest.raises(BudgetExhausted):
        execute(make_setup(budget=Budget(calls=15)))


def test_a_target_that_fails_on_every_row_stops_the_run_with_the_reason():
    setup = make_setup()
    models = {**setup.models, "target": fake(lambda _: Failure("server", "HTTP 503"))}
    with pytest.raises(ModelError, match=r"20 of 20 cells.*HTTP 503"):
        execute(replace(setup, models=models))


class Peeking:
    """A searcher that tries what it must not do."""

    def search(self, session):
        stranger = replace(session.task.rows[0], id="of another split")
        session.score([session.task.seed_prompt], [stranger])


def test_a_full_disk_after_a_fault_is_noted_on_it(tmp_path, monkeypatch):
    folder, written = RunFolder(tmp_path / "run"), []
    folder.path.mkdir()

    def write_rows(self, rows):
        written.append(rows)
        if len(written) > 1:
            raise OSError("no space left")

    monkeypatch.setattr(RunFolder, "write_rows", write_rows)
    with pytest.raises(BudgetExhausted) as caught:
        execute(make_setup(budget=Budget(calls=15)), folder)
    assert caught.value.__notes__ == ["then, clearing up: no space left"]


def test_a_searcher_cannot_score_on_foreign_rows():
    with pytest.raises(SealedSplit):
        execute(make_setup(searcher=Peeking()))


def test_a_proposal_asked_for_again_is_a_new_sample():
    drawn = []

    class Twice(TryAll):
        def search(self, session):
            for _ in range(2):
                drawn.extend(session.propose([[Message("user", "same")]], 3))

    models = {"target": fake(target_reply, "target"), "proposer": fake(lambda r: str(r.sample), "proposer")}
    execute(make_setup(searcher=Twice(), models=models))
    assert drawn == [["0", "1", "2"], ["3", "4", "5"]]


def test_equally_good_prompts_are_called_no_reliable_improvement(record_property):
    kept = 0
    for seed in range(100):
        kept += not among_equals(seed).verdict.reliable
    record_property("figures", f"no reliable improvement in {kept} of 100 seeds")
    assert kept >= 95


def test_notices_name_what_failed():
    heard = []
    models = {
        "target": fake(target_reply, "target"),
        "proposer": fake(
            lambda r: Failure("server", "HTTP 500") if r.sample else proposer_reply(r), "proposer"
        ),
    }
    execute(make_setup(models=models), listen=heard.append)
    assert any(isinstance(e, Notice) and "proposals failed" in e.text for e in heard)


def test_one_failed_cell_does_not_push_a_good_prompt_behind_bad_ones():
    def reply(request):
        bad = "capitals" in user_text(request) and read_input(user_text(request)) == failing
        return Failure("server", "HTTP 503") if bad else target_reply(request)

    setup = make_setup(searcher=Named("b1", "b2", "b3", "b4", "capitals", "b5"), finalists=1)
    failing = setup.task.splits.search[0].inputs["input"]
    study = execute(replace(setup, models={**setup.models, "target": fake(reply)}))
    assert study.best.instruction == "capitals"
    assert study.candidate(study.best).search.failed == 1


def test_a_row_altered_by_a_searcher_is_a_foreign_row():
    class Altering:
        def search(self, session):
            row = session.task.rows[0]
            session.score([session.task.seed_prompt], [replace(row, answers=("anything",))])

    with pytest.raises(SealedSplit):
        execute(make_setup(searcher=Altering()))


def test_the_seed_prompt_stays_on_a_tie():
    study = execute(make_setup(prompt=Prompt("Write it all in capitals."), searcher=Named("capitals")))
    assert study.best == study.seed_prompt
