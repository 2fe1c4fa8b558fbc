"""From prompts and rows to cells."""

import json
import sqlite3
from dataclasses import dataclass, replace

import pytest
from toys import Exact, fake, make_setup, rows, target_reply, user_text

from promptopt.calls import Caller
from promptopt.contracts.model import Completion, Decoding, Failure
from promptopt.data import read
from promptopt.errors import ConfigError, DataError, UnsupportedError
from promptopt.journal import Journal
from promptopt.keys import request_text
from promptopt.ledger import Ledger
from promptopt.programs import ChainOfThought, FewShotChainOfThought, LeastToMost, SelfConsistency
from promptopt.prompt import Prompt
from promptopt.records import Example, FrozenMap, Score, Usage
from promptopt.scoring import Scorer
from promptopt.template import Template
from promptopt.testing.model import FakeModel

CAPITALS = Prompt("Write capitals.")
EXAMPLES = read(rows(12)).examples


@pytest.fixture
def journal():
    journal = Journal()
    yield journal
    journal.close()


def scorer(journal, model, reward=None, **more):
    caller = Caller({"target": model}, journal, Ledger())
    warnings = []
    more.setdefault("decoding", Decoding())
    made = Scorer(caller, journal, {"r": reward or Exact()}, warn=warnings.append, **more)
    return made, warnings


def test_all_prompts_meet_all_rows_and_every_cell_is_in_the_journal(journal):
    model = fake(target_reply)
    made, _ = scorer(journal, model)
    good, bad = made.evaluate([CAPITALS, Prompt("Repeat.")], EXAMPLES, "r", "search")
    assert (good.mean, bad.mean) == (1.0, 0.0)
    assert list(good.values) == list(bad.values) == [example.id for example in EXAMPLES]
    assert bad.cells[0].score.feedback == f"expected {EXAMPLES[0].answer}"
    assert journal.count("cells") == journal.count("calls") == 24


def test_known_cells_are_not_bought_again(journal):
    model = fake(target_reply)
    made, _ = scorer(journal, model)
    made.evaluate([CAPITALS], EXAMPLES[:5], "r", "search")
    (evaluation,) = made.evaluate([CAPITALS], EXAMPLES, "r", "search")
    assert evaluation.n == 12
    assert len(model.requests) == 12


def test_a_failed_call_is_a_failed_cell_never_a_zero(journal):
    model = fake(
        lambda request: Failure("server", "HTTP 500") if "cat" in str(request) else target_reply(request)
    )
    made, warnings = scorer(journal, model)
    (evaluation,) = made.evaluate([CAPITALS], EXAMPLES[:10], "r", "search")
    assert (evaluation.mean, evaluation.n, evaluation.failed) == (1.0, 9, 1)
    assert evaluation.comparable
    assert evaluation.cells[2].reason == "server: HTTP 500"
    assert len(warnings) == 1
    assert "HTTP 500" in warnings[0]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, "1"])
def test_a_reward_that_raises_or_is_not_finite_makes_the_cell_failed(journal, value):
    @dataclass
    class Broken(Exact):
        def __call__(self, example, output):
            if value is None:
                raise KeyError("oops")
            return Score(value) if isinstance(value, float) else value

    made, warnings = scorer(journal, fake(target_reply), Broken())
    (evaluation,) = made.evaluate([CAPITALS], EXAMPLES, "r", "search")
    assert (evaluation.n, evaluation.failed, evaluation.comparable) == (0, 12, False)
    assert evaluation.cells[0].reason.startswith("reward: ")
    assert len(warnings) == 1


def test_samples_are_separate_cells_whose_mean_is_the_row(journal):
    model = fake(lambda request: target_reply(request) if request.sample else "wrong")
    made, _ = scorer(journal, model, samples=2)
    (evaluation,) = made.evaluate([CAPITALS], EXAMPLES, "r", "search")
    assert len(evaluation.cells) == 24
    assert evaluation.mean == 0.5
    assert not evaluation.binary


def test_programs_of_many_cells_run_in_shared_batches(journal):
    batches = []

    class Counting(FakeModel):
        def generate(self, requests, admit=lambda _: True):
            batches.append(len(requests))
            yield from super().generate(requests, admit)

    made, _ = scorer(journal, Counting(lambda request: f"{len(request.messages)} messages"))
    prompt = Prompt("Write capitals.", program=ChainOfThought())
    (evaluation,) = made.evaluate([prompt], EXAMPLES, "r", "search")
    assert batches == [12, 12]
    assert evaluation.cells[0].output == "3 messages"


def test_self_consistency_votes_over_samples(journal):
    def reply(request):
        return target_reply(request) if request.sample in (0, 2, 3) else f"noise {request.sample}"

    made, _ = scorer(journal, fake(reply))
    prompt = Prompt("Write capitals.", program=SelfConsistency(n=5))
    (evaluation,) = made.evaluate([prompt], EXAMPLES, "r", "search")
    assert evaluation.mean == 1.0
    assert journal.count("calls") == 60


@dataclass
class MeanLogprob(Exact):
    needs = "likelihood"

    def __call__(self, example, output):
        return Score(output.logprob / output.tokens)


@dataclass
class BestOption(Exact):
    needs = "options"

    def __call__(self, example, output):
        best = max(output.options, key=lambda option: option.logprob)
        return Score(float(best.option == example.answer))


def test_likelihood_rewards_score_the_answer(journal):
    model = fake(target_reply)
    model.likelihood = lambda request: -2.0 if request.continuation == EXAMPLES[0].answer else -4.0
    made, _ = scorer(journal, model, MeanLogprob())
    (evaluation,) = made.evaluate([CAPITALS], EXAMPLES[:2], "r", "search")
    assert [cell.value < 0 for cell in evaluation.cells] == [True, True]
    assert evaluation.cells[0].value > evaluation.cells[1].value


def test_option_rewards_score_every_option(journal):
    model = fake(target_reply)
    model.likelihood = lambda request: -1.0 if request.continuation == "yes" else -2.0
    made, _ = scorer(journal, model, BestOption())
    row = Example("1", FrozenMap(input="q"), ("yes",), ("no", "yes", "maybe"))
    (evaluation,) = made.evaluate([CAPITALS], [row], "r", "search")
    assert evaluation.mean == 1.0
    assert made.calls_per_cell(CAPITALS, [row], "r") == 3
    with pytest.raises(DataError, match="no options"):
        made.evaluate([CAPITALS], EXAMPLES, "r", "search")


def test_a_cell_holds_what_all_its_calls_took_bought_or_known(journal):
    voting = replace(CAPITALS, program=SelfConsistency(n=3))
    size = len(CAPITALS.render(EXAMPLES[0])[0].content.split())
    for _ in range(2):  # the second time from the journal
        made, _ = scorer(journal, fake(target_reply))
        plain, votes = made.evaluate([CAPITALS, voting], EXAMPLES[:2], "r", "search")
        assert [cell.usage for cell in plain.cells] == [Usage(size, 1)] * 2
        assert [cell.usage for cell in votes.cells] == [Usage(3 * size, 3)] * 2
    made, _ = scorer(journal, FakeModel(target_reply, likelihood=lambda r: -1.0), BestOption())
    choice = replace(EXAMPLES[0], options=("a", "b c"))
    (options,) = made.evaluate([CAPITALS], [choice], "r", "select")
    assert options.cells[0].usage == Usage(3, 0)


def test_what_cannot_work_is_an_error_with_a_cure(journal):
    made, _ = scorer(journal, fake(lambda request: Failure("unsupported", "no log-probabilities here")))
    with pytest.raises(UnsupportedError, match="no log-probabilities here"):
        made.evaluate([CAPITALS], EXAMPLES, "r", "search")
    made, _ = scorer(journal, fake(target_reply), MeanLogprob())
    with pytest.raises(ConfigError, match="use program: single"):
        made.evaluate([Prompt("x", program=ChainOfThought())], EXAMPLES, "r", "search")


def test_a_prompt_that_cannot_be_rendered_fails_its_cells_and_asks_nothing(journal):
    made, _ = scorer(journal, fake(target_reply))
    broken = Prompt("x", template=Template(user="{{question}} {{input}}"))
    right, wrong = made.evaluate([CAPITALS, broken], EXAMPLES, "r", "search")
    assert right.comparable
    assert not wrong.comparable
    assert {cell.status for cell in wrong.cells} == {"failed"}
    assert "no value for {{question}}" in wrong.cells[0].reason
    assert journal.count("calls") == len(EXAMPLES)


def test_the_toy_setup_has_its_splits_apart():
    splits = make_setup().task.splits
    assert (len(splits.search), len(splits.select), splits.n_test) == (20, 15, 25)


def test_a_reward_that_cannot_read_a_reply_fails_the_cell_not_the_run(journal):
    class Unreadable(Exact):
        def extract(self, text):
            raise ValueError("boom")

    made, _ = scorer(journal, fake(target_reply), Unreadable())
    (evaluation,) = made.evaluate([Prompt("x", program=SelfConsistency(n=2))], EXAMPLES, "r", "search")
    assert evaluation.failed == 12
    assert "boom" in evaluation.cells[0].reason


@pytest.mark.parametrize(
    ("program", "calls"),
    [
        (ChainOfThought(), 2),
        (FewShotChainOfThought(), 1),
        (SelfConsistency(3), 3),
        (LeastToMost(), 4),
    ],
)
def test_every_call_of_a_program_is_in_the_journal_with_its_messages_and_its_reply(tmp_path, program, calls):
    """Also those between, whose replies no cell shows."""
    said = []

    def reply(request):
        text = user_text(request)
        said.append("one?\ntwo?" if "simpler questions" in text else f"reply {len(said)}")
        return said[-1]

    journal = Journal(tmp_path / "journal.sqlite")
    made, _ = scorer(journal, fake(reply))
    (evaluation,) = made.evaluate([Prompt("Do it.", program=program)], EXAMPLES[:1], "r", "search")
    journal.close()
    database = sqlite3.connect(tmp_path / "journal.sqlite")
    rows = database.execute("SELECT request, outcome FROM calls ORDER BY rowid").fetchall()
    database.close()
    assert len(rows) == calls == len(said)
    assert [json.loads(outcome)["text"] for _, outcome in rows] == said
    shown = [json.loads(request)["messages"] for request, _ in rows]
    assert evaluation.cells[0].output in said
    if calls > 1 and not isinstance(program, SelfConsistency):
        for earlier, later in zip(said[:-1], shown[1:], strict=True):
            assert any(earlier.splitlines()[0] in text for _, text in later)


def test_a_weighted_vote_asks_for_likelihoods_and_only_then_is_the_key_another(journal):
    asked = []

    def reply(request):
        asked.append(request)
        return Completion(f"{request.sample}", logprob=-float(request.sample))

    made, _ = scorer(journal, fake(reply))
    prompts = [Prompt("Do it.", program=SelfConsistency(3, vote=vote)) for vote in ("majority", "weighted")]
    plain, weighted = made.evaluate(prompts, EXAMPLES[:1], "r", "search")
    assert [request.logprobs for request in asked] == [False] * 3 + [True] * 3
    assert "logprobs" not in request_text(asked[0])
    assert plain.cells[0].output == weighted.cells[0].output == "0"


def test_a_cell_says_which_limit_ended_one_of_its_replies_and_the_journal_the_same_again(journal):
    def reply(request):
        text = request.messages[-1].content
        return Completion("hm", "length" if "step by step" in text else "stop")

    decoding = Decoding(16, reasoning_tokens=99)
    prompts = [CAPITALS, replace(CAPITALS, program=ChainOfThought())]
    made, _ = scorer(journal, fake(reply), decoding=decoding)
    plain, thought = made.evaluate(prompts, EXAMPLES, "r", "search")
    assert {cell.cut for cell in plain.cells} == {0}
    assert {cell.cut for cell in thought.cells} == {99}
    assert (plain.cut, thought.cut) == (0, 12)
    again, _ = scorer(journal, fake(reply), decoding=decoding)
    assert again.evaluate(prompts, EXAMPLES, "r", "search", buy=False) == [plain, thought]
    always, _ = scorer(journal, fake(lambda request: Completion("hm", "length"), "other"), decoding=decoding)
    (first,) = always.evaluate(prompts[1:], EXAMPLES[:1], "r", "search")
    assert first.cells[0].cut == 99


def test_what_programs_may_take_to_reason_is_no_part_of_a_request_and_of_no_key(journal):
    asked = []
    model = fake(lambda request: asked.append(request) or "HM")
    for room in (None, 99):
        made, _ = scorer(journal, model, decoding=Decoding(16, reasoning_tokens=room))
        made.evaluate([CAPITALS], EXAMPLES, "r", "search")
    assert len(asked) == 12
    assert {request.decoding for request in asked} == {Decoding(16)}
    assert "reasoning" not in request_text(asked[0])
