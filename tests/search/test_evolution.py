"""EvoPrompt: who becomes a parent, what the model is asked, and who survives; GA and DE."""

import re

import pytest
from scripted import SEED, Scripted, numbered

from promptopt.errors import ConfigError, ModelError, PluginError, TemplateError
from promptopt.plugins import build
from promptopt.prompt import Prompt
from promptopt.records import Example, FrozenMap
from promptopt.search.evolution import DE_PAPER, GA_PAPER, Evolution, differing
from promptopt.template import Template
from promptopt.testing.searcher import check_searcher

CROSS = re.compile(r"Combine .*\n\nInstruction 1: (.*)\nInstruction 2: (.*)\n\nInstruction:")
VARY = re.compile(r"Generate a variation .*\n\nInput: (.*)\nOutput:")
VALUES = {"Do it.": 0.5, "Zero.": 0.0, "None.": 0.0, "Half.": 0.5, "Top.": 0.75, "Best.": 1.0}


def value(prompt, row):
    return VALUES.get(prompt.instruction, 0.25)


def names(prompts):
    return [prompt.instruction for prompt in prompts]


def breed(text, i):
    """Cross two to `a+b`, vary x to `x'`."""
    if found := CROSS.fullmatch(text):
        return f"{found[1]}+{found[2]}"
    if found := VARY.fullmatch(text):
        return f"{found[1]}'{'' if i == 0 else i}"
    return f"Guess {i}."


@pytest.mark.parametrize(
    "evolution",
    [
        Evolution(population=4, generations=2, rows=6),
        Evolution(mode="de", population=4, generations=2, rows=6, start="paraphrase"),
        Evolution(population=3, generations=2, whole=GA_PAPER, instructions=("Write the word in capitals.",)),
    ],
    ids=["ga", "de", "whole"],
)
def test_it_keeps_the_contract(evolution):
    check_searcher(evolution, cuts=3)


# --- the first population ---------------------------------------------------------------------------


def test_the_population_is_filled_by_induction_with_rows_of_its_own():
    session = Scripted(lambda text, i: f"Guess {re.findall('in[0-9]', text)}.", value)
    Evolution(population=4, generations=1, instructions=("Half.",)).search(session)
    asked = session.proposals[0]
    assert len(asked) == len(set(asked)) == 2
    assert all(text.startswith("I gave a friend an instruction and five inputs.") for text in asked)
    first, rows = session.scored[0]
    assert names(first)[:2] == ["Do it.", "Half."]
    assert [prompt.origin for prompt in first] == ["user", "evolution/given", *["evolution/induce"] * 2]
    assert (len(first), len(rows)) == (4, 8)


def test_or_by_paraphrases_of_its_members_in_turn():
    session = Scripted(breed, value)
    Evolution(population=5, generations=1, start="paraphrase", instructions=("Half.",)).search(session)
    assert names(session.scored[0][0]) == ["Do it.", "Half.", "Do it.'", "Half.'", "Do it.'1"]
    parents = {prompt.id: prompt.instruction for prompt in session.scored[0][0]}
    assert [parents[prompt.parents[0]] for prompt in session.scored[0][0][2:]] == [
        "Do it.",
        "Half.",
        "Do it.",
    ]


def test_filling_up_ends_after_a_few_tries():
    session = Scripted(lambda text, i: "Half.", value)
    Evolution(population=10, generations=9, patience=2).search(session)
    assert names(session.scored[0][0]) == ["Do it.", "Half."]
    assert len(session.proposals) == 2 + 2 * 2  # two tries, two generations of crossover and mutation


def test_of_more_than_n_the_best_stay():
    session = Scripted(breed, value)
    Evolution(population=2, generations=1, instructions=("Zero.", "Top.", "Half.")).search(session)
    pairs = {frozenset(CROSS.fullmatch(text).groups()) for text in session.proposals[0]}
    assert pairs == {frozenset({"Top.", "Do it."})}


# --- GA: algorithm 2 --------------------------------------------------------------------------------


def test_two_generations_of_the_genetic_algorithm():
    session = Scripted(breed, value, rows=numbered(8))
    given = ("Zero.", "None.", "Top.")
    Evolution(population=4, generations=2, rows=4, keep=2, instructions=given).search(session)
    crossed, mutated, crossed_again, _ = session.proposals
    # Roulette: without a score no chance; two different parents, so always the same two here.
    pairs = [CROSS.fullmatch(text).groups() for text in crossed]
    assert {frozenset(pair) for pair in pairs} == {frozenset({"Do it.", "Top."})}
    assert len(pairs) == 4
    # What is mutated is what the crossover gave.
    assert [VARY.fullmatch(text)[1] for text in mutated] == [f"{a}+{b}" for a, b in pairs]
    # Children are new, know both parents, and are scored on the shared rows.
    (first, rows), (born, same) = session.scored[:2]
    ids = {prompt.instruction: prompt.id for prompt in first}
    assert set(names(born)) <= {
        "Do it.+Top.'",
        "Top.+Do it.'",
        "Do it.+Top.'1",
        "Top.+Do it.'1",
        *(f"{a}'{i}" for a in ("Do it.+Top.", "Top.+Do it.") for i in (2, 3)),
    }
    assert all(set(child.parents) == {ids["Do it."], ids["Top."]} for child in born)
    assert rows == same == ["0", "1", "2", "3"]
    # The best N of old and new survive: at .25 the children push out those without a score.
    again = {name for text in crossed_again for name in CROSS.fullmatch(text).groups()}
    assert again <= {"Top.", "Do it.", *names(born)[:2]}
    assert again & set(names(born))
    # The best in the end meet all rows.
    assert (names(session.scored[-1][0]), len(session.scored[-1][1])) == (["Top.", "Do it."], 8)


def test_among_equals_the_older_survives():
    session = Scripted(breed, lambda prompt, row: 0.5)
    Evolution(population=2, generations=2, instructions=("Half.",)).search(session)
    crossed_again = session.proposals[2]
    assert {frozenset(CROSS.fullmatch(text).groups()) for text in crossed_again} == {
        frozenset({"Do it.", "Half."})
    }


# --- DE: algorithm 3 --------------------------------------------------------------------------------


def test_two_generations_of_differential_evolution():
    values = {"Say a b.": 0.25, "Say a c.": 0.5, "Say d c.": 0.75}

    def valued(prompt, row):
        text = prompt.instruction
        if text in values:
            return values[text]
        return 1.0 if text.endswith("+Say a b.") else 0.0

    session = Scripted(breed, valued, seed_prompt=Prompt("Say a b."))
    given = ("Say a c.", "Say d c.")
    Evolution(mode="de", population=3, generations=2, instructions=given).search(session)
    varied, combined, crossed, *rest = session.proposals
    # Best first, and with three members the donors of each are the other two: what differs is mutated.
    for text, allowed in zip(varied, [("b.", "c."), ("d c.", "a b."), ("a", "d")], strict=True):
        assert VARY.fullmatch(text)[1] in allowed
    mutants = [f"{VARY.fullmatch(text)[1]}'" for text in varied]
    # The mutant is combined with the best, and crossed with each member in turn.
    assert [CROSS.fullmatch(text).groups() for text in combined] == [("Say d c.", its) for its in mutants]
    assert [CROSS.fullmatch(text)[2] for text in crossed] == ["Say d c.", "Say a c.", "Say a b."]
    # The child replaces its own member, and only if it is better.
    first, born = session.scored[0][0], session.scored[1][0]
    assert [child.parents[0] for child in born] == [prompt.id for prompt in first[::-1]]
    champion = born[2].instruction
    assert [CROSS.fullmatch(text)[1] for text in rest[1]] == [champion] * 3
    assert [CROSS.fullmatch(text)[2] for text in rest[2]] == ["Say d c.", "Say a c.", champion]


def test_a_child_that_is_only_as_good_does_not_replace_its_parent():
    session = Scripted(breed, lambda prompt, row: 0.5)
    Evolution(mode="de", population=3, generations=2, instructions=("A b.", "C d.")).search(session)
    assert [CROSS.fullmatch(text)[2] for text in session.proposals[5]] == ["Do it.", "A b.", "C d."]


def test_two_members_are_too_few_for_a_difference():
    session = Scripted(lambda text, i: "Half.", value)
    Evolution(mode="de", population=3).search(session)
    assert len(session.proposals) == 3
    assert names(session.scored[-1][0]) == ["Do it.", "Half."]


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ("Write the word.", "Say the word.", "Say"),
        ("Write the word.", "Write the plural of the word.", "plural of the"),
        ("Write the long word.", "Write the word.", "Write the word."),
        ("One.", "Two three.", "Two three."),
        ("Say a now.", "Tell a then.", "Tell then."),
    ],
)
def test_what_differs_is_found_by_words(first, second, words):
    assert differing(first, second) == words


# --- the paper's own wordings -----------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "whole"), [("ga", GA_PAPER), ("de", DE_PAPER)])
def test_a_strong_model_may_do_all_in_one_call(mode, whole):
    session = Scripted(
        lambda text, i: f"1. Crossover Prompt: x\n2. <prompt>Whole {len(text)}{i}.</prompt>", value
    )
    given = ("Half.", "Top.")
    Evolution(mode=mode, population=3, generations=1, whole=whole, instructions=given).search(session)
    (asked,) = session.proposals
    assert len(asked) == 3
    assert all(name.startswith("Whole") for name in names(session.scored[1][0]))
    if mode == "de":
        assert [text.rsplit("Basic Prompt: ", 1)[1] for text in asked] == ["Top.", "Do it.", "Half."]
        assert all("\nPrompt 3: Top.\n" in text for text in asked)


# --- errors -----------------------------------------------------------------------------------------


BARE = (Example("1", FrozenMap(input="x")),)


@pytest.mark.parametrize(
    ("evolution", "session", "error", "message"),
    [
        (Evolution(), Scripted(rows=BARE), ConfigError, "set start to paraphrase"),
        (Evolution(start="paraphrase"), Scripted(seed_prompt=Prompt("")), ConfigError, "set start to induce"),
        (
            Evolution(),
            Scripted(seed_prompt=Prompt(template=Template("{{input}}"))),
            ConfigError,
            "add {{inst",
        ),
        (Evolution(crossover="{{first}}"), Scripted(), TemplateError, "crossover: has no {{second}}"),
        (Evolution(mutation="Vary."), Scripted(), TemplateError, "mutation: has no {{instruction}}"),
        (Evolution(induction="Guess."), Scripted(), TemplateError, "induction: has no {{demonstrations}}"),
        (Evolution(mode="de", whole=GA_PAPER), Scripted(), TemplateError, "whole: has no {{best}}"),
        (Evolution(), Scripted(lambda text, i: "..."), ModelError, "27 replies hold no usable instruction"),
    ],
)
def test_what_cannot_work_is_a_clear_error(evolution, session, error, message):
    with pytest.raises(error) as caught:
        evolution.search(session)
    assert message in str(caught.value)


def test_a_seed_without_an_instruction_does_not_breed():
    session = Scripted(breed, value, seed_prompt=Prompt(""))
    Evolution(population=2, generations=1, instructions=("Half.", "Top.")).search(session)
    assert names(session.scored[0][0]) == ["Half.", "Top."]


def test_it_is_found_by_name_and_its_options_are_checked():
    options = {"mode": "de", "instructions": ["Say it."]}
    assert build("searchers", "evolution", options) == Evolution(mode="de", instructions=("Say it.",))
    for options in ({"mode": "es"}, {"population": 1}, {"generations": 0}, {"start": "none"}, {"popsize": 3}):
        with pytest.raises(PluginError):
            build("searchers", "evolution", options)


def test_the_seed_stays_until_better_ones_push_it_out():
    session = Scripted(lambda text, i: "...", value)
    with pytest.raises(ModelError):
        Evolution(generations=1).search(session)
    assert session.scored[0][0] == [SEED]
