"""Programs, driven by hand: what they ask, and what they make of the replies."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptopt.contracts.model import Completion, Decoding
from promptopt.errors import BadInput, UnsupportedError
from promptopt.programs import (
    PROGRAMS,
    Ask,
    ChainOfThought,
    FewShotChainOfThought,
    LeastToMost,
    SelfConsistency,
    Single,
    behind,
    first_asks,
    program_from_dict,
    reasons,
)
from promptopt.records import Message

SYSTEM = Message("system", "Be brief.")
QUESTION = (SYSTEM, Message("user", "2+2?"))


def drive(program, reply, *, sample=0, extract=lambda text: text, messages=QUESTION):
    """Run a program; return its answer and all asks."""
    asked = []
    run = program.run(messages, extract, sample)
    try:
        asks = next(run)
        while True:
            asked.append(asks)
            replies = (reply(ask) for ask in asks)
            asks = run.send(tuple(r if isinstance(r, Completion) else Completion(r) for r in replies))
    except StopIteration as done:
        return done.value, asked


def test_single_asks_once_and_returns_the_reply():
    answer, asked = drive(Single(), lambda ask: "4", sample=3)
    assert answer == "4"
    ((ask,),) = asked
    assert (ask.messages, ask.sample, ask.temperature) == (QUESTION, 3, None)


def test_a_single_call_may_bring_its_own_decoding_and_keeps_its_id_without():
    assert Single().to_dict() == {"name": "single"}
    own = Single(1, 9)
    assert own == program_from_dict(own.to_dict())
    assert own.to_dict() == {"name": "single", "temperature": 1.0, "max_tokens": 9}
    _, (((ask),),) = drive(own, lambda ask: "4")
    assert (ask.temperature, ask.max_tokens) == (1.0, 9)
    for options in ({"temperature": 3}, {"temperature": -1}, {"max_tokens": 0}):
        with pytest.raises(BadInput):
            Single(**options)


def test_chain_of_thought_reasons_then_extracts():
    replies = iter(["Two and two make four.", "4"])
    answer, asked = drive(ChainOfThought(), lambda ask: next(replies))
    assert answer == "4"
    (first,), (second,) = asked
    assert first.messages == (SYSTEM, Message("user", "2+2?\n\nLet's think step by step."))
    assert second.messages == (
        *first.messages,
        Message("assistant", "Two and two make four."),
        Message("user", "Therefore, the answer is"),
    )


def test_self_consistency_returns_a_reply_of_the_most_frequent_answer():
    replies = ["it is 5", "it is 4", "so 4", "none", "it is 5", "sure 4"]
    answer, asked = drive(
        SelfConsistency(n=6, temperature=0.5),
        lambda ask: replies[ask.sample],
        extract=lambda text: text[-1] if text[-1].isdigit() else None,
    )
    assert answer == "it is 4"
    (asks,) = asked
    assert [ask.sample for ask in asks] == [0, 1, 2, 3, 4, 5]
    assert {ask.temperature for ask in asks} == {0.5}


def test_in_a_tie_the_answer_seen_first_wins():
    assert drive(SelfConsistency(n=4), lambda ask: "baab"[ask.sample])[0] == "b"


def test_without_any_answer_the_first_reply_stands():
    assert drive(SelfConsistency(n=3), lambda ask: f"?{ask.sample}", extract=lambda text: None)[0] == "?0"


def test_two_samples_of_a_vote_share_no_draw():
    samples = [
        ask.sample for s in (0, 1) for ask in drive(SelfConsistency(n=3), lambda a: "x", sample=s)[1][0]
    ]
    assert samples == [0, 1, 2, 3, 4, 5]


def test_a_vote_may_ask_for_reasoning():
    _, ((ask, *_),) = drive(SelfConsistency(n=2, trigger="Think."), lambda ask: "x")
    assert ask.messages[-1].content == "2+2?\n\nThink."


def test_few_shot_reasoning_takes_what_stands_behind_its_last_marker():
    reply = "The answer is not clear yet. 2 and 2 make 4.\nthe answer is: 4.\n\nInput: 3+3?"
    answer, ((ask,),) = drive(FewShotChainOfThought(), lambda ask: reply)
    assert answer == "4"
    assert ask.messages == QUESTION
    assert drive(FewShotChainOfThought(), lambda ask: "just 4")[0] == "just 4"


@given(st.text(), st.sampled_from(["The answer is", "A:", "=>"]), st.text("abc 19.-é", min_size=1))
def test_an_answer_behind_a_marker_is_found_whatever_stands_before(before, marker, answer):
    found = behind(f"{before}{marker} {answer}\nmore", marker)
    if answer.strip():
        assert found == answer.strip().removesuffix(".")


def test_a_weighted_vote_counts_likelihood_where_a_plain_one_counts_heads():
    """Table 1 of the paper, "weighted sum (normalized)": exp of the mean log-probability a token."""
    told = [("a", -0.1), ("b", -1.5), ("b", -1.6), ("c", -0.2)]
    replies = [Completion(text, logprob=logprob) for text, logprob in told]
    weighted = SelfConsistency(n=4, vote="weighted")
    answer, ((first, *_),) = drive(weighted, lambda ask: replies[ask.sample])
    assert answer == "a"  # .90 against .22 + .20 for b and .82 for c
    assert first.logprobs
    plain, ((ask, *_),) = drive(SelfConsistency(n=4), lambda ask: replies[ask.sample])
    assert plain == "b"
    assert not ask.logprobs


def test_a_weighted_vote_without_likelihoods_is_a_clear_error():
    with pytest.raises(UnsupportedError, match=r"tells no log-probabilities.*set vote: majority"):
        drive(SelfConsistency(n=2, vote="weighted"), lambda ask: "x")


def test_votes_count_what_stands_behind_the_marker():
    replies = ["I say 9. The answer is 4.", "9 it is. The answer is 5.", "So 9. The answer is 4."]
    program = SelfConsistency(n=3, answer="The answer is")
    assert drive(program, lambda ask: replies[ask.sample])[0] == "4"


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=9))
def test_a_vote_agrees_with_counting(replies):
    answer, _ = drive(SelfConsistency(n=len(replies)), lambda ask: replies[ask.sample])
    assert replies.count(answer) == max(map(replies.count, replies))
    assert answer == next(r for r in replies if replies.count(r) == replies.count(answer))


def test_least_to_most_solves_subquestions_in_order():
    plan = "1. What is 2?\n- What is 1+1?\n\n(3) 3 apples are how many?\n4 is what?\n5) Too much?"

    def reply(ask):
        text = ask.messages[-1].content
        if "simpler questions" in text:
            return plan
        return f" answer to <{text.rsplit('Q: ', 1)[-1].splitlines()[0]}> " if text.endswith("A:") else "done"

    program = LeastToMost(most=4)
    answer, asked = drive(program, reply)
    assert answer == "done"
    assert sum(len(asks) for asks in asked) == program.calls == 6
    for number, (ask,) in enumerate(asked[2:], 1):
        text = ask.messages[-1].content
        assert text.count("answer to <") == number, "each sees all that were answered before it"
    last = asked[-1][0].messages[-1].content
    assert last.startswith("2+2?\n\nQ: What is 2?\nA: answer to <What is 2?>\n\nQ: What is 1+1?\nA: answer")
    assert "Q: 3 apples are how many?\n" in last
    assert "Q: 4 is what?\n" in last
    assert "Too much" not in last
    assert last.endswith("Now answer the question itself.")


def test_least_to_most_without_subquestions_just_asks():
    answer, asked = drive(LeastToMost(), lambda ask: " \n" if "simpler" in ask.messages[-1].content else "4")
    assert answer == "4"
    assert asked[-1][0].messages == QUESTION


@pytest.mark.parametrize("program", [Single(), ChainOfThought(), SelfConsistency(7), LeastToMost(3)])
@pytest.mark.parametrize("reply", ["", "x", "Q: a\nA: b\n" * 30])
def test_no_program_makes_more_calls_than_it_says(program, reply):
    _, asked = drive(program, lambda ask: reply)
    assert 1 <= sum(len(asks) for asks in asked) <= program.calls


@pytest.mark.parametrize(
    "program",
    [
        Single(),
        ChainOfThought("t", "a"),
        FewShotChainOfThought("So"),
        SelfConsistency(3, 0.5, vote="weighted", answer="=>"),
        LeastToMost(2, solve="Now."),
    ],
)
def test_programs_are_saved_by_name_and_options(program):
    saved = program.to_dict()
    assert saved["name"] == program.name
    assert program_from_dict(saved) == program
    assert program_from_dict({"name": program.name}) == PROGRAMS[program.name]()


@pytest.mark.parametrize(
    ("saved", "message"),
    [
        ({"name": "singel"}, "unknown program 'singel'; did you mean 'single'?"),
        ({}, "unknown program None"),
        ({"name": ["single"]}, "unknown program"),
        ({"name": "self_consistency", "m": 3}, "program self_consistency: unknown option 'm'"),
        ({"name": "self_consistency", "n": "many"}, "program self_consistency.n: "),
        ({"name": "self_consistency", "vote": "loud"}, "program self_consistency.vote: "),
        ({"name": "self_consistency", "n": 0}, "program self_consistency.n: must be at least 1; got 0"),
        ({"name": "single", "n": 1}, "program single: unknown option 'n'"),
    ],
)
def test_a_wrong_program_is_an_error_with_a_cure(saved, message):
    with pytest.raises(BadInput) as caught:
        program_from_dict(saved)
    assert message in str(caught.value)


def test_programs_are_hashable_values():
    assert SelfConsistency(3) == SelfConsistency(3)
    assert len({SelfConsistency(3), SelfConsistency(3), SelfConsistency(4), Single(), ChainOfThought()}) == 4


def test_replies_that_reason_have_a_limit_of_their_own_and_no_model_sees_it():
    job = Decoding(16, 0.5, stop=("#",), seed=3, reasoning_tokens=99)
    assert Ask(QUESTION).decoding(job) == Decoding(16, 0.5, stop=("#",), seed=3)
    assert Ask(QUESTION, reasons=True).decoding(job) == Decoding(99, 0.5, stop=("#",), seed=3)
    assert Ask(QUESTION, reasons=True).decoding(Decoding(16)) == Decoding(16)
    assert Ask(QUESTION, temperature=0.0, max_tokens=7, reasons=True).decoding(job).max_tokens == 7
    assert Ask(QUESTION, temperature=0.0).decoding(job).temperature == 0


def test_replies_reason_where_the_program_asks_for_it_and_in_the_answer_step_they_do_not():
    asked = {name: drive(program(), lambda ask: "x")[1] for name, program in PROGRAMS.items()}
    told = {name: [ask.reasons for asks in steps for ask in asks] for name, steps in asked.items()}
    assert told == {
        "single": [False],
        "chain_of_thought": [True, False],
        "few_shot_chain_of_thought": [True],
        "self_consistency": [False] * 5,
        "least_to_most": [True] * 3,
    }
    for name, program in PROGRAMS.items():
        assert first_asks(program(), QUESTION) == asked[name][0]
        assert reasons(program()) == told[name][0]
    assert reasons(SelfConsistency(trigger="Think."))
    assert reasons(SelfConsistency(answer="Answer:"))
