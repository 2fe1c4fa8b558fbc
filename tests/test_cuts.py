"""Whose replies are looked at, and which setting is named."""

import pytest
from toys import Named, reasoning, wordy

from promptopt.contracts.model import Decoding
from promptopt.cuts import judged_alone, judged_in, look_for_cuts, setting_of
from promptopt.events import Notice
from promptopt.programs import ChainOfThought, LeastToMost, SelfConsistency, Single
from promptopt.prompt import Prompt
from promptopt.proof.cutoff import Cutoff, cut_notes
from promptopt.records import Cell, Evaluation, Score
from promptopt.run import execute
from promptopt.setup import label_entrants
from promptopt.study import Candidate

SEED, BEST = Prompt("Answer."), Prompt("Answer well.")


def lost(prompt, n):
    cells = tuple(Cell(prompt.id, str(row), score=Score(0.0), cut=8) for row in range(n))
    return Evaluation(prompt.id, "r", cells)


@pytest.mark.parametrize(
    ("program", "limit", "decoding", "setting"),
    [
        (Single(), 64, Decoding(), "target.decoding.max_tokens"),
        (Single(), 64, Decoding(reasoning_tokens=64), "target.decoding.max_tokens"),
        (Single(max_tokens=8), 8, Decoding(), "program.max_tokens"),
        (ChainOfThought(), 16, Decoding(16), "target.decoding.reasoning_tokens"),
        (ChainOfThought(), 99, Decoding(16, reasoning_tokens=99), "target.decoding.reasoning_tokens"),
        (ChainOfThought(), 16, Decoding(16, reasoning_tokens=99), "target.decoding.max_tokens"),
    ],
)
def test_the_setting_is_the_one_that_cut(program, limit, decoding, setting):
    assert setting_of(program, limit, decoding) == setting


def test_a_program_that_lost_is_looked_at_once_where_most_of_it_was_seen():
    thought = [Prompt(f"Think {i}.", program=ChainOfThought()) for i in range(3)]
    own = Prompt("Be short.", program=Single(max_tokens=2))
    candidates = [
        Candidate(SEED, search=lost(SEED, 9)),
        Candidate(thought[0], search=lost(thought[0], 3)),
        Candidate(thought[1], search=lost(thought[1], 5), select=lost(thought[1], 7)),
        Candidate(thought[2], search=lost(thought[2], 4)),
        Candidate(own, search=lost(own, 9)),
    ]
    judged = judged_in(SEED, BEST, [lost(SEED, 4), lost(BEST, 4)], candidates)
    assert [(whose, prompt, counts.cells) for whose, prompt, counts in judged] == [
        ("your prompt", SEED, 4),
        ("the best prompt", BEST, 4),
        ("the program chain_of_thought", thought[1], 7),
    ]
    assert judged_in(SEED, SEED, [lost(SEED, 4)] * 2, [])[1:] == []


def test_prompts_scored_side_by_side_are_told_apart():
    scored = [(prompt, Cutoff.of(lost(prompt, 9))) for prompt in (SEED, BEST)]
    assert [whose for whose, *_ in judged_alone(scored[:1])] == ["the prompt"]
    (note,) = cut_notes(look_for_cuts(judged_alone(scored), Decoding(8)))
    assert "of the prompt 'Answer.' cut at 8 tokens" in note
    assert "; the prompt 'Answer well.' likewise; raise it" in note


def test_a_run_says_at_once_and_at_the_end_that_the_seed_prompt_cannot_answer():
    program = SelfConsistency(n=1, trigger="Let's think step by step.")
    heard = []
    setup = reasoning(program, Decoding(16))
    study = execute(setup, listen=heard.append)
    said = [event.text for event in heard if isinstance(event, Notice)]
    line = "target.decoding.reasoning_tokens: seems to end replies before they have answered; got 20 of 20 "
    assert any(text.startswith(line) for text in said)
    (note,) = [text for text in study.notes if text.startswith("target.decoding")]
    assert "got 25 of 25 answers of your prompt cut at 16 tokens, 100% of their score lost" in note
    (cut,) = [cut for cut in study.to_dict()["guards"]["cut"] if cut["whose"] == "your prompt"]
    assert (cut["cells"], cut["cut"], cut["limit"], cut["harmful"]) == (25, 25, 16, True)
    assert study.candidates[0].to_dict()["scores"]["search"]["cut"] == 20


def test_with_room_the_same_run_has_nothing_to_say():
    program = SelfConsistency(n=1, trigger="Let's think step by step.")
    study = execute(reasoning(program, Decoding(16, reasoning_tokens=256)))
    assert study.verdict.baseline == 1.0
    assert not [text for text in study.notes if text.startswith("target.decoding")]


def test_a_contest_says_it_too():
    entrants = label_entrants([("a", Named("Write it again.")), ("b", Named("Write it now."))])
    program = SelfConsistency(n=1, trigger="Let's think step by step.")
    study = execute(reasoning(program, Decoding(16), entrants=entrants))
    assert [cut.whose for cut in study.cuts if cut.counts.harmful] == ["your prompt"]


def test_least_to_most_gets_room_in_every_step():
    seen = []
    decoding = Decoding(16, reasoning_tokens=99)
    execute(reasoning(LeastToMost(most=1), decoding, lambda request: seen.append(request) or wordy(request)))
    assert {request.decoding.max_tokens for request in seen} == {99}
