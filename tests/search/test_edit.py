"""GrIPS: phrases, the edits, and when an edit is kept."""

import math
import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import SEED, Scripted

from promptopt.contracts.searcher import Searcher
from promptopt.errors import ConfigError, PluginError, TemplateError
from promptopt.plugins import build
from promptopt.prompt import Prompt
from promptopt.search._phrases import MOST_WORDS, WORD, add, delete, phrases, substitute, swap
from promptopt.search.edit import PhraseEdits
from promptopt.testing.searcher import check_searcher

LONG = Prompt("Please read the word, then write it in capital letters.")
TEXTS = st.lists(
    st.sampled_from(
        ["write", "the", "of", "word", "in", "don't", ",", ".", "\n", "(", '"', "Ö", "写出", "7"]
    ),
    max_size=25,
).map(" ".join)


def cut(text):
    return [text[start:end] for start, end in phrases(text)]


@pytest.mark.parametrize(
    "searcher",
    [
        PhraseEdits(),
        PhraseEdits(beam=3, compose=2, iterations=4),
        PhraseEdits(anneal=True, edits=("delete", "add", "paraphrase"), iterations=4, candidates=2),
    ],
    ids=["default", "beam", "annealed"],
)
def test_it_keeps_the_contract(searcher):
    check_searcher(
        searcher, prompt=Prompt("Do something nice with the word, and write it in capitals."), cuts=3
    )


def test_it_is_found_by_name_and_its_options_are_checked():
    assert build("searchers", "edit", {"edits": ["swap"]}) == PhraseEdits(edits=("swap",))
    assert isinstance(PhraseEdits(), Searcher)
    for options in ({"edits": ["move"]}, {"patience": -1}, {"heat": 0}, {"beams": 3}):
        with pytest.raises(PluginError):
            build("searchers", "edit", options)


# --- phrases ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Write the second letter of the word.", ["Write", "the second letter", "of the word"]),
        ("Please read it, then answer.", ["Please read it", "then answer"]),
        ("Say yes\nor no", ["Say yes", "or no"]),
        ("the of in", ["the of in"]),
        ("one two three four five six seven eight", ["one two three four five six", "seven eight"]),
        ("Don't use well-known (short) words!", ["Don't use well-known", "short", "words"]),
        ("写出复数，不要解释。", ["写出复数", "不要解释"]),
        ("", []),
        ("...", []),
    ],
)
def test_phrases_end_at_punctuation_and_before_function_words(text, parts):
    assert cut(text) == parts


@settings(deadline=None)
@given(TEXTS)
def test_every_word_is_in_one_phrase_and_phrases_are_in_order(text):
    found = phrases(text)
    assert [word for part in cut(text) for word in WORD.findall(part)] == WORD.findall(text)
    assert all(a.end <= b.start for a, b in pairwise(found))
    assert all(1 <= len(WORD.findall(part)) <= MOST_WORDS and part == part.strip() for part in cut(text))


@settings(deadline=None)
@given(TEXTS, st.integers(0, 99))
def test_edits_keep_the_words_that_they_should(text, seed):
    found = phrases(text)
    if len(found) < 2:
        return
    first, second = random.Random(seed).sample(found, 2)
    words = WORD.findall(text)
    gone = WORD.findall(text[first.start : first.end])
    assert sorted(WORD.findall(delete(text, first)) + gone) == sorted(words)
    assert swap(text, first, second) == swap(text, second, first)
    assert sorted(WORD.findall(swap(text, first, second))) == sorted(words)
    assert len(swap(text, first, second)) == len(text)
    assert sorted(WORD.findall(add(text, "new", second))) == sorted([*words, "new"])


@pytest.mark.parametrize(
    ("text", "phrase", "left"),
    [
        ("Write the letter of the word.", "of the word", "Write the letter."),
        ("Write the letter of the word.", "Write", "the letter of the word."),
        ("Read it, then write it.", "Read it", "then write it."),
        ("Read it, then write it.", "then write it", "Read it."),
        ("Write it (in capitals) now.", "in capitals", "Write it () now."),
        ("First line\nin capitals\nlast", "in capitals", "First line\n\nlast"),
        ("Answer .5 of the time", "of the time", "Answer .5"),
    ],
)
def test_a_deletion_leaves_no_gap(text, phrase, left):
    (place,) = [its for its in phrases(text) if text[its.start : its.end] == phrase]
    assert delete(text, place) == left


def test_other_edits_touch_nothing_else():
    text = "Write  it, please."
    write, please = phrases(text)
    assert swap(text, write, please) == "please, Write  it."
    assert substitute(text, please, "if you can") == "Write  it, if you can."
    assert add(text, "now", write) == "Write  it now, please."
    assert add(text, "Now", None) == "Now Write  it, please."


# --- algorithm 1 ------------------------------------------------------------------------------------


def test_candidates_are_one_edit_from_the_base_and_the_best_is_the_next_base():
    session = Scripted(value=lambda prompt, row: 1 - len(prompt.instruction) / 99, seed_prompt=LONG)
    PhraseEdits(iterations=2, edits=("delete",)).search(session)
    (pool, k), (second, _) = session.selected
    places = phrases(LONG.instruction)
    assert (pool[0], k) == (LONG, 1)
    assert {p.instruction for p in pool[1:]} <= {delete(LONG.instruction, place) for place in places}
    assert all((p.origin, p.parents) == ("edit/delete", (LONG.id,)) for p in pool[1:])
    best = min(pool, key=lambda prompt: len(prompt.instruction))
    assert second[0] == best
    assert all(p.parents == (best.id,) for p in second[1:])
    assert session.texts == []


def test_an_iteration_draws_so_many_different_candidates():
    session = Scripted(value=lambda prompt, row: 0.0, seed_prompt=LONG)
    PhraseEdits(iterations=1, candidates=3).search(session)
    (pool, _) = session.selected[0]
    assert len(pool) == 4


def test_a_candidate_must_score_better_and_patience_ends_the_search():
    session = Scripted(value=lambda prompt, row: 0.5, seed_prompt=LONG)
    PhraseEdits(iterations=10, patience=2).search(session)
    assert len(session.selected) == 3
    assert {pool[0] for pool, _ in session.selected} == {LONG}
    assert session.scored == [([LONG], [row.id for row in session.task.rows])]
    tried = [p.instruction for pool, _ in session.selected for p in pool[1:]]
    assert len(set(tried)) == len(tried)


def test_improvement_restores_patience():
    order = []

    def value(prompt, row):
        if prompt not in order:
            order.append(prompt)
        return [0.5, 0.4, 0.6, 0.4, 0.4, 0.4][order.index(prompt)]

    session = Scripted(value=value, seed_prompt=LONG)
    PhraseEdits(iterations=20, patience=1, edits=("swap",), candidates=1).search(session)
    # Worse, better, worse, worse: the second failure in a row ends the search.
    assert [pool[0] for pool, _ in session.selected] == [LONG, LONG, order[2], order[2]]


def test_only_what_was_deleted_on_the_way_is_added_again():
    def value(prompt, row):
        """Right without the first phrase, and better when it comes back at the end."""
        return {"Do it": 0.4, "well": 0.6}.get(
            prompt.instruction.rstrip("."), 0.2
        ) + prompt.instruction.endswith("well Do it")

    session = Scripted(value=value, seed_prompt=Prompt("Do it, well"))
    PhraseEdits(iterations=6, edits=("delete", "add")).search(session)
    (winner,), _ = session.scored[-1]
    assert winner.instruction == "well Do it"
    assert winner.origin == "edit/add"
    assert all(p.origin == "edit/delete" for p in session.selected[0][0][1:])
    # Added once, it is gone from the list.
    after = [p for pool, _ in session.selected[2:] for p in pool[1:] if p.parents == (winner.id,)]
    assert all(p.origin == "edit/delete" for p in after)


def test_edits_are_composed():
    session = Scripted(value=lambda prompt, row: 0.0, seed_prompt=LONG)
    PhraseEdits(iterations=1, compose=2, candidates=20).search(session)
    origins = {p.origin for p in session.selected[0][0][1:]}
    assert origins <= {f"edit/{a}+{b}" for a in ("delete", "swap") for b in ("delete", "swap", "add")}
    assert "edit/delete+add" in origins


def test_a_beam_edits_each_of_its_prompts():
    session = Scripted(value=lambda prompt, row: 1 - len(prompt.instruction) / 99, seed_prompt=LONG)
    PhraseEdits(iterations=2, beam=2, candidates=3).search(session)
    (pool, k), (second, _) = session.selected
    assert k == 2
    best = sorted(pool, key=lambda prompt: len(prompt.instruction))[:2]
    assert second[:2] == best
    assert {p.parents[0] for p in second[2:]} == {p.id for p in best}


def test_words_can_be_edited_instead_of_phrases():
    session = Scripted(value=lambda prompt, row: 0.0, seed_prompt=Prompt("The second letter"))
    PhraseEdits(iterations=1, edits=("delete",), level="word").search(session)
    (pool, _) = session.selected[0]
    assert {p.instruction for p in pool[1:]} == {"second letter", "The letter", "The second"}


@pytest.mark.parametrize(("text", "selected"), [("Go", 0), ("Do it, well", 2)])
def test_a_short_instruction_has_few_edits_and_the_search_ends(text, selected):
    session = Scripted(value=lambda prompt, row: float(prompt.instruction == text), seed_prompt=Prompt(text))
    PhraseEdits(iterations=50).search(session)
    assert len(session.selected) <= selected
    assert [p.instruction for p in session.scored[-1][0]] == [text]


def test_paraphrases_are_made_on_request():
    session = Scripted(lambda text, i: f'"with care {i}".', seed_prompt=Prompt("Do it, well"))
    PhraseEdits(iterations=1, edits=("paraphrase",), candidates=2).search(session)
    assert set(session.texts) <= {
        f"Say the following phrase in other words.\n\nPhrase: {phrase}\n\nIn other words:"
        for phrase in ("Do it", "well")
    }
    made = {p.instruction for p in session.selected[0][0][1:]}
    assert len(made) == 2
    assert made <= {text for i in range(9) for text in (f"with care {i}, well", f"Do it, with care {i}")}


def test_failed_paraphrases_change_nothing():
    session = Scripted(lambda text, i: None, seed_prompt=LONG)
    PhraseEdits(iterations=3, edits=("paraphrase",)).search(session)
    assert session.selected == []


# --- annealing --------------------------------------------------------------------------------------


def annealed(loss, seeds, **options):
    """Return how often the first iteration goes on from a candidate that is `loss` points worse."""
    moved = 0
    for seed in range(seeds):
        session = Scripted(
            value=lambda prompt, row: 0.9 if prompt == LONG else 0.9 - loss / 100, seed_prompt=LONG, seed=seed
        )
        PhraseEdits(iterations=1, anneal=True, candidates=2, **options).search(session)
        moved += session.scored[-1][0] != [LONG]
    return moved / seeds


def test_a_worse_candidate_is_accepted_by_the_papers_probability():
    assert annealed(10, 200) == pytest.approx(math.exp(-1), abs=0.1)
    assert annealed(0, 20) == 1.0
    assert annealed(10, 20, heat=0.5) == 0.0


def test_the_later_the_less_a_worse_candidate_is_accepted():
    """After the first iteration the temperature is down to nothing, so what is better by then stays."""
    session = Scripted(value=lambda prompt, row: 0.9 - 0.01 * (prompt.origin != "user"), seed_prompt=LONG)
    PhraseEdits(iterations=9, patience=9, anneal=True, heat=1e9, cooling=0.05).search(session)
    bases = [pool[0] for pool, _ in session.selected if pool[0].origin == "user" or len(pool) > 2]
    assert bases[0] == LONG
    assert bases[1] != LONG


@pytest.mark.parametrize(
    ("searcher", "seed", "error", "message"),
    [
        (PhraseEdits(), Prompt(""), ConfigError, "no instruction to edit"),
        (PhraseEdits(), Prompt("..."), ConfigError, "no instruction to edit"),
        (PhraseEdits(edits=("add",)), SEED, ConfigError, "allow delete or swap"),
        (PhraseEdits(anneal=True, beam=2), SEED, ConfigError, "is for a beam of 1"),
        (
            PhraseEdits(edits=("paraphrase",), paraphrase="Reword."),
            SEED,
            TemplateError,
            "edit.paraphrase: has no {{phrase}}",
        ),
    ],
)
def test_what_cannot_work_is_a_clear_error(searcher, seed, error, message):
    with pytest.raises(error, match=message):
        searcher.search(Scripted(seed_prompt=seed))
