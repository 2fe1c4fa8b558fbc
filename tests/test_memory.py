"""What a search remembers: prompts that say the same, and prompts that a selector dropped."""

from dataclasses import dataclass, field

from evaluations import evaluation
from toys import HighestMean, fake, make_setup, proposer_reply, read_input, target_reply, user_text

from promptopt.memory import Memory, rank_back
from promptopt.prompt import Prompt
from promptopt.run import execute
from promptopt.selection.halving import SuccessiveHalving


def test_white_space_and_unicode_form_do_not_make_another_prompt():
    memory = Memory()
    first = Prompt("Write  café names.\n")
    assert memory.first(first) is first
    assert memory.first(Prompt("Write cafe\u0301 names.")) is first
    for other in ("write café names.", "Write café names"):
        assert memory.first(Prompt(other)).instruction == other


@dataclass
class Plan:
    """A searcher that does what the test says."""

    steps: object
    seen: list = field(default_factory=list)

    def search(self, session):
        self.seen = self.steps(session)


def run(steps, **changes):
    """Return what the steps returned, and the number of cells asked of each instruction in the search."""
    asked = {}

    def reply(request):
        told = user_text(request).split("\n\n", 1)[0]
        asked.setdefault(told, set()).add(read_input(user_text(request)))
        return target_reply(request)

    models = {"target": fake(reply, "target"), "proposer": fake(proposer_reply, "proposer")}
    plan = Plan(steps)
    setup = make_setup(searcher=plan, models=models, **{"selector": HighestMean(), **changes})
    search = {example.inputs["input"] for example in setup.task.splits.search}
    study = execute(setup)
    return study, plan.seen, {told: len(rows & search) for told, rows in asked.items()}


def child(session, text):
    return session.task.seed_prompt.child(instruction=text, origin="x")


def test_a_prompt_that_says_the_same_buys_no_cell_and_is_no_candidate():
    def steps(session):
        first, again = child(session, "Say it."), child(session, " Say  it. ")
        assert first.id != again.id
        session.score([first])
        return again, session.score([again, child(session, "Do something. ")])

    study, (again, evaluations), asked = run(steps)
    assert asked == {"Do something.": 20, "Say it.": 20}
    assert [e.prompt for e in evaluations] == [again.id, Prompt("Do something. ").id]
    assert {cell.prompt for cell in evaluations[0].cells} == {again.id}
    assert evaluations[0].n == 20
    assert [c.prompt.instruction for c in study.candidates] == ["Do something.", "Say it."]


def test_twins_in_one_batch_meet_the_rows_once():
    def steps(session):
        twins = [child(session, text) for text in ("Say it.", "Say it. ", "Say it.")]
        return twins, session.score(twins, 5), session.select(twins, 2)

    _, (twins, scored, selected), asked = run(steps)
    assert asked["Say it."] == 20
    assert [e.prompt for e in scored] == [p.id for p in twins]
    assert [e.prompt for e in selected] == [twins[0].id]


def test_a_prompt_dropped_by_a_selector_gets_no_further_row():
    rows_at_drop = []

    def steps(session):
        pool = [child(session, text) for text in ("Use capitals.", "a", "b", "c", "d", "e", "f", "g")]
        session.select(pool, 1)
        rows_at_drop.append(session._candidates.evaluations("search", "exact")[pool[7].id].n)
        new = [child(session, text) for text in ("Do use upper case.", "h")]
        return session.select([pool[7], *new], 1)

    _, kept, asked = run(steps, selector=SuccessiveHalving(first=5))
    assert rows_at_drop[0] < 20
    assert asked["g"] == rows_at_drop[0]
    assert asked["Do use upper case."] == 20
    assert kept[0].prompt == Prompt("Do use upper case.").id


def test_a_dropped_prompt_still_wins_where_the_new_ones_are_worse():
    def steps(session):
        good, better, bad = (child(session, t) for t in ("Use upper case.", "Use capitals.", "Say hello."))
        first = session.select([good, better], 1)
        second = session.select([good, bad], 1)
        third = session.select([good, bad], 2)
        return [[e.prompt for e in found] for found in (first, second, third)], good, better, bad

    _, (found, good, better, bad), _ = run(steps)
    assert found == [[better.id], [good.id], [good.id, bad.id]]


def test_selecting_only_from_the_dropped_asks_no_selector():
    class Strict(HighestMean):
        def select(self, score, candidates, rows, k):
            assert candidates
            return super().select(score, candidates, rows, k)

    def steps(session):
        pool = [child(session, text) for text in ("Use capitals.", "a", "b")]
        session.select(pool, 1)
        return session.select(pool[1:], 2), pool

    _, (found, pool), asked = run(steps, selector=Strict())
    assert [e.prompt for e in found] == [pool[1].id, pool[2].id]
    assert asked["a"] == 20


def test_ranking_back_needs_to_be_ahead_on_shared_rows():
    new = evaluation("new", [1, 1, 0, 0, 1, 1])
    assert [e.prompt for e in rank_back([new], [evaluation("old", [1, 1, 0])], 2)] == ["new", "old"]
    assert [e.prompt for e in rank_back([new], [evaluation("old", [1, 1, 1])], 2)] == ["old", "new"]
    assert [e.prompt for e in rank_back([new], [evaluation("old", [1, 1, 1])], 1)] == ["old"]
    assert [e.prompt for e in rank_back([new], [evaluation("old", [None] * 3)], 2)] == ["new", "old"]
    broken = evaluation("broken", [None] * 6)
    assert [e.prompt for e in rank_back([broken], [evaluation("old", [0, 0])], 2)] == ["old", "broken"]


def test_a_selection_on_few_rows_buys_no_others():
    def steps(session):
        pool = [child(session, text) for text in ("Use capitals.", "a", "b")]
        return session.select(pool, 2, rows=5), session.select([*pool, child(session, "c")], 1, rows=99)

    _, ((best, other), (again,)), asked = run(steps)
    assert (best.n, best.prompt) == (5, Prompt("Use capitals.").id)
    assert asked[{Prompt(t).id: t for t in "ab"}[other.prompt]] == 20
    assert sorted(asked[t] for t in "ab") == [5, 20]
    assert (again.prompt, again.n, asked["c"]) == (best.prompt, 20, 20)
