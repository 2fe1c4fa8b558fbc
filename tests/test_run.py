"""A run from start to verdict, interrupted and not."""

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
from toys import (
    INSTRUCTIONS,
    TryAll,
    chance,
    fake,
    make_setup,
    proposer_reply,
    read_input,
    target_reply,
    user_text,
)

from promptopt.contracts.model import Failure
from promptopt.errors import BudgetExhausted, JournalError, ModelError, SealedSplit, StopRequested
from promptopt.events import Notice, Scored, Stage, Tick
from promptopt.prompt import Prompt
from promptopt.records import Budget, Message
from promptopt.report.archive import Archive
from promptopt.run import execute
from promptopt.runfolder import RunFolder
from promptopt.splits import Sizes


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


def test_the_folder_holds_the_run(tmp_path):
    folder = RunFolder.create(tmp_path / "runs", "toy run")
    study = execute(make_setup(), folder)
    assert folder.path.name == "toy-run-001"
    assert (tmp_path / "runs" / "latest").resolve() == folder.path.resolve()
    result = folder.result()
    assert result["line"] == study.verdict.line
    assert Prompt.load(folder.path / "best" / "prompt.json") == study.best
    lines = (folder.path / "candidates.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == [c.prompt.id for c in study.candidates]
    assert RunFolder.create(tmp_path / "runs", "toy run").path.name == "toy-run-002"


class Cut(Exception):
    """Stands for a kill between two calls."""


def cut_after(n, reply):
    count = [0]

    def answer(request):
        count[0] += 1
        if count[0] > n:
            raise Cut
        return reply(request)

    return answer


@pytest.mark.parametrize("after", [0, 1, 7, 19, 33, 60, 100, 140])
def test_a_run_cut_anywhere_goes_on_to_the_same_end(tmp_path, after):
    whole = execute(make_setup())
    folder = RunFolder(tmp_path / "run")
    models = {
        "target": fake(cut_after(after, target_reply), "target"),
        "proposer": fake(proposer_reply, "proposer"),
    }
    with pytest.raises(Cut):
        execute(make_setup(models=models), folder)
    resumed = execute(make_setup(), folder)
    for part in ("best", "verdict", "candidates"):
        assert resumed.to_dict()[part] == whole.to_dict()[part]
    assert resumed.total.calls == whole.total.calls + 1  # the call that was cut off may have been billed


def test_another_job_cannot_go_on_in_the_same_folder(tmp_path):
    folder = RunFolder(tmp_path / "run")
    execute(make_setup(), folder)
    with pytest.raises(JournalError, match="another job or other rows"):
        execute(make_setup(n=61), folder)


def test_one_process_at_a_time(tmp_path):
    folder = RunFolder(tmp_path / "run")
    with folder.claimed(), pytest.raises(JournalError, match="another process"):
        execute(make_setup(), folder)


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


def test_failures_can_be_tried_again_on_resume(tmp_path):
    folder = RunFolder(tmp_path / "run")
    setup = make_setup()
    broken = {**setup.models, "target": fake(lambda _: Failure("server", "down"), "target")}
    with pytest.raises(ModelError):
        execute(replace(setup, models=broken), folder)
    with pytest.raises(ModelError):
        execute(make_setup(), folder)
    assert execute(make_setup(), folder, retry_failed=True).verdict.reliable


def test_answers_of_an_earlier_run_are_free(tmp_path):
    old = RunFolder(tmp_path / "old")
    first = execute(make_setup(), old)
    calls = []
    models = {
        "target": fake(lambda r: calls.append(r) or target_reply(r), "target"),
        "proposer": fake(lambda r: calls.append(r) or proposer_reply(r), "proposer"),
    }
    second = execute(make_setup(models=models), RunFolder(tmp_path / "new"), reuse=[old.path])
    assert not calls
    assert second.total.calls == 0
    assert second.verdict == first.verdict


class Peeking:
    """A searcher that tries what it must not do."""

    def search(self, session):
        stranger = replace(session.task.rows[0], id="of another split")
        session.score([session.task.seed_prompt], [stranger])


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


def noise(share):
    """Return a target that is right on the same share of rows whatever the prompt says."""

    def reply(request):
        text = user_text(request)
        word = read_input(text)
        return word.upper() if chance(text) < share else word

    return reply


def among_equals(seed, **options):
    """Run a search in which every prompt is right on a random half of the rows."""
    models = {
        "target": fake(noise(0.5), f"t{seed}"),
        "proposer": fake(lambda r: f"Instruction {chance(str(r))}", "p"),
    }
    setup = make_setup(models=models, prompt=Prompt(f"Seed {seed}"), searcher=TryAll(8), seed=seed, **options)
    return execute(setup)


def test_equally_good_prompts_are_called_no_reliable_improvement(record_property):
    kept = 0
    for seed in range(100):
        kept += not among_equals(seed).verdict.reliable
    record_property("figures", f"no reliable improvement in {kept} of 100 seeds")
    assert kept >= 95


def test_workdir_is_inside_the_folder(tmp_path):
    seen = []

    class Where(TryAll):
        def search(self, session):
            seen.append(session.workdir)
            assert session.can("target", "insert") is False

    execute(make_setup(searcher=Where()), RunFolder(tmp_path / "run"))
    execute(make_setup(searcher=Where()))
    assert seen[0] == Path(tmp_path / "run" / "work")
    assert not seen[1].exists()


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


class Named:
    """Score the instructions given."""

    def __init__(self, *texts):
        self.texts = texts

    def search(self, session):
        seed = session.task.seed_prompt
        session.score([seed.child(instruction=text, origin="x") for text in self.texts])


def test_one_failed_cell_does_not_push_a_good_prompt_behind_bad_ones():
    def reply(request):
        bad = "capitals" in user_text(request) and read_input(user_text(request)) == failing
        return Failure("server", "HTTP 503") if bad else target_reply(request)

    setup = make_setup(searcher=Named("b1", "b2", "b3", "b4", "capitals", "b5"), finalists=1)
    failing = setup.task.splits.search[0].inputs["input"]
    study = execute(replace(setup, models={**setup.models, "target": fake(reply)}))
    assert study.best.instruction == "capitals"
    assert study.candidate(study.best).search.failed == 1


def test_the_finalists_are_decided_once_in_the_life_of_a_run(tmp_path):
    def cut_in_the_proof(request):
        if read_input(user_text(request)) in tested and "capitals" in user_text(request):
            raise Cut
        return target_reply(request)

    texts = ("Say a.", "Say b.", "Say c.", "Use capitals.")
    budget = Budget(calls=260)
    whole = execute(make_setup(searcher=Named(*texts), budget=budget))
    tested = {e.inputs["input"] for e in make_setup().task.splits.open_test("to cut there")}
    folder = RunFolder(tmp_path / "run")
    models = {"target": fake(cut_in_the_proof, "target"), "proposer": fake(proposer_reply, "proposer")}
    with pytest.raises(Cut):
        execute(make_setup(searcher=Named(*texts), budget=budget, models=models), folder)
    resumed = execute(make_setup(searcher=Named(*texts), budget=budget), folder)
    assert resumed.best == whole.best
    assert [c.prompt for c in resumed.candidates if c.select] == [
        c.prompt for c in whole.candidates if c.select
    ]


def test_another_model_cannot_go_on_with_a_run(tmp_path):
    folder = RunFolder(tmp_path / "run")
    execute(make_setup(), folder)
    models = {"target": fake(target_reply, "another"), "proposer": fake(proposer_reply, "proposer")}
    with pytest.raises(JournalError, match="another model"):
        execute(make_setup(models=models), folder)


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


# --- what the result says besides ------------------------------------------------------------------


def test_the_result_says_why_what_became_of_the_gain_and_what_could_be_seen():
    heard = []
    study = execute(make_setup(), listen=heard.append)
    result = json.loads(json.dumps(study.to_dict(), allow_nan=False))
    assert "on 15 select rows" in result["finals"]["why"]
    assert result["finals"]["winner"] == study.best.id
    assert result["gap"]["test_gain"] == study.verdict.difference
    assert result["gap"]["select_gain"] == result["finals"]["gain"] > 0.5
    assert result["power"]["observed"] == "test rows"
    assert result["power"]["line"].startswith("with 25 test rows a gain under ")
    assert result["guards"]["overlap"]["shared"] == result["guards"]["overlap"]["pairs"] == 0
    assert result["guards"]["format"]["best"] == 0
    said = [e.text for e in heard if isinstance(e, Notice)]
    assert any("of the select rows" in text and "cannot be seen" in text for text in said)


def test_inside_the_noise_the_shorter_finalist_wins():
    def reply(request):
        text = user_text(request)
        word = read_input(text)
        lucky = "please" in text and word == first
        return word.upper() if lucky or ("capitals" in text and word != first) else word

    setup = make_setup(searcher=Named("Use capitals, if you please.", "capitals"))
    first = setup.task.splits.select[0].inputs["input"]
    study = execute(replace(setup, models={**setup.models, "target": fake(reply)}))
    assert study.best.instruction == "capitals"
    assert study.finals.why.startswith("shortest (8 characters) of 2 prompts within the noise")


def test_a_leak_is_noted_in_the_result():
    setup = make_setup()
    row = setup.task.splits.search[0]
    text = f"Write capitals, as in {row.inputs['input']} {row.answer}."
    study = execute(make_setup(searcher=Named(text)))
    assert study.notes[-1].startswith("leak check: the best prompt repeats search rows")
    assert study.to_dict()["guards"]["overlap"]["example"] == row.id


def test_without_a_test_split_the_gain_is_an_estimate_and_says_so(tmp_path):
    sizes = Sizes(search=20, select=30, test=0)
    events = []
    study = execute(make_setup(sizes=sizes), RunFolder(tmp_path / "run"), listen=events.append)
    assert study.best.instruction == "Write it in capitals."
    assert not study.verdict.held_out
    assert study.verdict.likely
    assert not study.verdict.reliable
    assert study.verdict.n == 30
    assert "estimated on reused rows; not a held-out proof" in study.verdict.line
    assert study.gap is None
    assert study.power.split == "select"
    assert [e.name for e in events if isinstance(e, Stage)] == ["baseline", "search", "select", "done"]
    again = execute(make_setup(sizes=sizes), RunFolder(tmp_path / "run"))
    assert again.verdict == study.verdict


def test_without_a_test_split_equals_are_not_called_better():
    likely = 0
    for seed in range(40):
        likely += among_equals(seed, sizes=Sizes(search=20, select=40, test=0)).verdict.likely
    assert likely <= 5


def test_what_the_searcher_rules_out_is_a_candidate_that_cannot_win():
    class Strict:
        def search(self, session):
            seed = session.task.seed_prompt
            best, good = (seed.child(instruction=t, origin="x") for t in (INSTRUCTIONS[0], INSTRUCTIONS[2]))
            session.score([best, good])
            session.rule_out([best, seed, seed.child(instruction="Never scored.", origin="x")])

    study = execute(make_setup(searcher=Strict()))
    assert study.best.instruction == "Use upper case letters."
    ruled_out = next(c for c in study.candidates if c.prompt.instruction == "Write it in capitals.")
    assert ruled_out.search.mean == 1.0
    assert ruled_out.select is None
    assert study.candidate(study.seed_prompt).select is not None


def test_a_stop_file_ends_a_run_and_keeps_what_was_under_way(tmp_path):
    folder = RunFolder(tmp_path / "run")
    asked = []

    def reply(request):
        asked.append(request)
        if len(asked) == 50:
            folder.stop_file.touch()
        time.sleep(0.005)
        return target_reply(request)

    models = {**make_setup().models, "target": fake(reply, "target")}
    with pytest.raises(StopRequested):
        execute(make_setup(models=models), folder)
    bought = len(asked)
    assert 50 <= bought < 150
    assert folder.state == "interrupted"
    with Archive(folder.journal) as archive:
        assert archive.lost() == {}
        assert archive.calls()["target"][0] == bought
    study = execute(make_setup(models=models), folder)  # a stop asked for earlier is over
    assert study.verdict.reliable
    assert len(asked) == len({(r.messages, r.sample) for r in asked})


def test_a_stop_ends_a_competition_rather_than_one_searcher(tmp_path):
    folder = RunFolder(tmp_path / "run")

    def reply(request):
        folder.stop_file.touch()
        time.sleep(0.3)  # longer than between two looks
        return target_reply(request)

    models = {**make_setup().models, "target": fake(reply, "target")}
    with pytest.raises(StopRequested):
        execute(make_setup(models=models, entrants={"one": TryAll(1), "two": TryAll(2)}), folder)


def test_the_rows_in_the_folder_are_sealed_until_the_test_rows_are_opened(tmp_path):
    folder, splits = RunFolder(tmp_path / "run"), []

    class Peeks:
        def search(self, session):
            splits.append({split for split, _ in folder.rows().values()})
            TryAll().search(session)

    execute(make_setup(searcher=Peeks()), folder)
    assert splits == [{"search", "select"}]
    rows = folder.rows()
    assert {split for split, _ in rows.values()} == {"search", "select", "test"}
    assert len(rows) == 60
    assert rows["7"][1].answer == "HEN7"


def test_training_is_told_while_it_goes_on_and_can_be_stopped(tmp_path):
    class Trains:
        def search(self, session):
            for _ in range(400):
                time.sleep(0.01)
                session.spend(8, 100)

    seen = []
    folder = RunFolder(tmp_path / "run")

    def listen(event):
        if isinstance(event, Tick) and "trainer" in event.spent:
            seen.append(event.spent["trainer"].calls)
            if len(seen) == 20:
                folder.stop_file.touch()

    with pytest.raises(StopRequested):
        execute(make_setup(searcher=Trains()), folder, listen=listen)
    assert seen[:3] == [8, 16, 24]
    assert 20 <= len(seen) < 400
