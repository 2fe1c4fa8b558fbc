"""PromptBreeder: who wins a tournament, what each operator asks, and what becomes of the loser."""

import re

import pytest
from scripted import SEED, Scripted, numbered

from promptopt.errors import ConfigError, ModelError, PluginError, TemplateError
from promptopt.plugins import build
from promptopt.prompt import Demonstration, Prompt
from promptopt.records import FrozenMap
from promptopt.search._breeding import MUTATIONS, STYLES
from promptopt.search.breeder import OPERATORS, Breeder, distinct
from promptopt.template import Template
from promptopt.testing.searcher import check_searcher

MARKS = ("M1:", "M2:", "M3:")


def small(*operators, **changes):
    """Breed two units, one of them the seed, so that there is one tournament a generation."""
    options = {"population": 2, "generations": 1, "crossover_rate": 0.0, "mutations": MARKS, **changes}
    return Breeder(operators=operators or OPERATORS, **options)


def starting(**replies):
    """Let the first unit be `Rival.`, then reply by the start of what is asked, else `Child n.`."""
    count = iter(range(99))

    def reply(text, i):
        if (
            text.split(" ", 1)[0] in MARKS
            and text.endswith("Input: Do it.\nOutput:")
            and " " in text.split("\n")[0]
        ):
            return "Rival." if i == 0 else f"Rival {i}."
        return next((its for start, its in replies.items() if start in text), f"Child {next(count)}.")

    return reply


def rival_loses(prompt, row):
    return 0.0 if prompt.instruction == "Rival." else 0.5


def names(prompts):
    return [prompt.instruction for prompt in prompts]


@pytest.mark.parametrize("generations", [3])
def test_it_keeps_the_contract(generations):
    check_searcher(Breeder(population=4, generations=generations, rows=6), cuts=3)


def test_it_keeps_the_contract_with_demonstrations():
    demonstrations = (Demonstration(FrozenMap(input="owl"), "OWL"),)
    prompt = Prompt("Do something with the word.", demonstrations)
    breeder = Breeder(population=3, generations=2, rows=6, shuffle_rate=0.9, crossover_rate=0.5)
    check_searcher(breeder, prompt=prompt, cuts=2)


# --- the first population ---------------------------------------------------------------------------


def test_first_units_come_from_a_mutation_prompt_a_thinking_style_and_the_task():
    session = Scripted(lambda text, i: f"Try {len(text)}{i}.")
    session.task = type(session.task)(session.task.rows, SEED, ("input",), "Sort the words.")
    Breeder(population=6, generations=1).search(session)
    assert len(session.proposals[0]) == 5
    for text in session.proposals[0]:
        head, tail = text.split("\n\n")
        assert tail == "Input: Sort the words.\nOutput:"
        assert any(head == f"{mutation} {style}" for mutation in MUTATIONS for style in STYLES)
    assert session.scored[0][0][0] == SEED
    assert len(session.scored[0][0]) == 6


# --- tournaments ------------------------------------------------------------------------------------


def test_two_generations_a_copy_of_the_winner_overwrites_the_loser():
    session = Scripted(starting(), rival_loses, rows=numbered(8))
    small("first_order", generations=2, rows=4).search(session)
    _, first, second = session.proposals
    assert [text.split("\n\n", 1)[1] for text in first] == ["Input: Do it.\nOutput:"]
    mutation = first[0].split("\n", 1)[0]
    assert mutation in MARKS
    (start, rows), (born, same), (again, _), (final, whole) = session.scored
    assert names(start) == ["Do it.", "Rival."]
    assert (names(born), born[0].parents, born[0].origin) == (["Child 0."], (SEED.id,), "breeder/first_order")
    assert rows == same == ["0", "1", "2", "3"]
    # The rival is gone; the child and its parent are equals, and the child has the parent's mutation prompt.
    assert [text.split("\n", 1)[0] for text in second] == [mutation]
    assert set(names(final)) <= {"Do it.", "Child 0.", "Child 1."}
    assert (len(final), len(whole), names(again)) == (2, 8, ["Child 1."])


def test_every_unit_is_in_one_pair_of_a_generation():
    session = Scripted(lambda text, i: f"Try {len(session.proposals)}{len(text)}{i}.")
    small("first_order", population=7, generations=1).search(session)
    assert len(session.proposals[1]) == 3


def test_a_child_of_no_use_leaves_the_loser_in_place():
    session = Scripted(starting(**{"\n\nInput: Do it.": "Do it."}), rival_loses)
    small("first_order", generations=9, patience=2).search(session)
    assert names(session.scored[-1][0]) == ["Do it.", "Rival."]
    assert len(session.proposals) == 1 + 2


# --- operators --------------------------------------------------------------------------------------


def ask_once(operator, session, **changes):
    """Return what the operator asked in the first generation."""
    small(operator, **changes).search(session)
    return [text for texts in session.proposals[1:] for text in texts]


def test_zero_order_takes_the_first_hint():
    session = Scripted(starting(hints="1. Look closely.\n2. Take care."), rival_loses)
    assert ask_once("zero_order", session) == ["Do it.\n\nA list of 100 hints:"]
    assert names(session.scored[1][0]) == ["Look closely."]


def test_distribution_lists_the_population_without_likes():
    replies = iter(["Sort the words by their length.", "Sort the words by their lengths.", "Rival."])

    def reply(text, i):
        return next(replies, f"Child {i}.")

    session = Scripted(reply, rival_loses)
    asked = ask_once("distribution", session, population=4)
    listed = [re.findall(r"^\d\. (.*)$", text, re.MULTILINE) for text in asked]
    assert [sorted(its) for its in listed] == [["Do it.", "Rival.", "Sort the words by their length."]] * 2
    assert asked[0].startswith("Here is a list of instructions:\n\n1. ")


def test_ranked_lists_in_ascending_order_and_says_descending():
    session = Scripted(starting(), rival_loses)
    (text,) = ask_once("ranked", session)
    assert text.split("\n", 1)[0] in MARKS
    assert text.endswith(
        "A list of instructions in descending order of score. Number 3 is the best. It resembles number 2 "
        "more than it does number 1.\n\n1. Rival.\n2. Do it.\n\nInstruction 3:"
    )


def test_lineage_lists_the_elites_of_the_winners_line():
    def value(prompt, row):
        scores = {"Rival.": 0.0, "Do it.": 0.2, "Child 0.": 0.4, "Child 1.": 0.6}
        return scores.get(prompt.instruction, 0.1)

    session = Scripted(starting(), value)
    asked = ask_once("lineage", session, generations=3)
    assert [re.findall(r"\d\. (.*)", text) for text in asked] == [
        ["Do it."],
        ["Do it.", "Child 0."],
        ["Do it.", "Child 0.", "Child 1."],
    ]


def test_zero_order_hypermutation_makes_a_mutation_prompt_and_uses_it_at_once():
    session = Scripted(starting(**{"Do it.\n\n": "Be bold."}), rival_loses)
    hyper, direct, *_ = ask_once("zero_order_hyper", session, generations=2)
    head, style = hyper.split("\n\n")
    assert head == "Do it."
    assert style in STYLES
    assert direct == "Be bold.\n\nInput: Do it.\nOutput:"


def test_first_order_hypermutation_improves_the_mutation_prompt_which_the_child_keeps():
    def value(prompt, row):
        return {"Rival.": 0.0, "Do it.": 0.2}.get(prompt.instruction, 0.5)

    session = Scripted(starting(**{"summarize": "Be bolder."}), value)
    asked = ask_once("first_order_hyper", session, generations=2)
    improve = "Please summarize and improve the following instruction:\n\n"
    assert asked[0].removeprefix(improve) in MARKS
    assert asked[1:3] == ["Be bolder.\n\nInput: Do it.\nOutput:", f"{improve}Be bolder."]


def test_lamarckian_shows_what_the_winner_worked_out_right():
    session = Scripted(
        starting(), lambda p, row: float(p.instruction != "Rival." and row.id in "135"), rows=numbered(8)
    )
    (text,) = ask_once("lamarckian", session)
    assert text.startswith("I gave a friend an instruction and three inputs.")
    assert sorted(re.findall(r"Input: (in\d)\nOutput: (out\d)", text)) == [
        ("in1", "out1"), ("in3", "out3"), ("in5", "out5")
    ]  # fmt: skip


@pytest.mark.parametrize("operator", ["lamarckian"])
def test_without_anything_right_it_mutates_by_its_mutation_prompt(operator):
    session = Scripted(starting(), lambda prompt, row: 0.0 if prompt.instruction == "Rival." else 0.1)
    (text,) = ask_once(operator, session)
    assert text.split("\n", 1)[0] in MARKS


def test_crossover_takes_another_units_instruction_without_asking():
    session = Scripted(starting(), lambda p, row: 0.25 if p.instruction == "Rival." else 0.5)
    small("first_order", crossover_rate=1.0, patience=1).search(session)
    assert len(session.proposals) == 1
    assert names(session.scored[1][0]) == ["Rival."]


def test_context_shuffling_draws_new_demonstrations_from_rows_not_scored_on():
    demonstrations = (Demonstration(FrozenMap(input="a"), "b"), Demonstration(FrozenMap(input="c"), "d"))
    session = Scripted(
        starting(), rival_loses, rows=numbered(8), seed_prompt=Prompt("Do it.", demonstrations)
    )
    small("first_order", shuffle_rate=1.0, rows=5).search(session)
    (child,) = session.scored[1][0]
    drawn = [(demo.inputs["input"], demo.output) for demo in child.demonstrations]
    assert len(set(drawn)) == 2
    assert set(drawn) <= {("in5", "out5"), ("in6", "out6"), ("in7", "out7")}


def test_operators_are_drawn_with_equal_chances():
    count = iter(range(10**6))
    session = Scripted(lambda text, i: f"Try {next(count)}.")
    Breeder(population=20, generations=20, crossover_rate=0.0).search(session)
    born = [p.origin.removeprefix("breeder/") for prompts, _ in session.scored[1:-1] for p in prompts]
    assert len(born) == 200
    assert {name: born.count(name) > 10 for name in OPERATORS} == dict.fromkeys(OPERATORS, True)


def test_likes_and_empty_texts_are_left_out():
    assert distinct(["Write it down now, please.", "", "Write it down now, please", "Say it."]) == [
        "Write it down now, please.",
        "Say it.",
    ]


# --- errors -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("breeder", "session", "error", "message"),
    [
        (Breeder(), Scripted(seed_prompt=Prompt("")), ConfigError, "nothing says what the task is"),
        (
            Breeder(),
            Scripted(seed_prompt=Prompt(template=Template("{{input}}"))),
            ConfigError,
            "add {{instru",
        ),
        (
            Breeder(first_order="{{mutation}}"),
            Scripted(),
            TemplateError,
            "first_order: has no {{instruction}}",
        ),
        (Breeder(lamarckian="Guess."), Scripted(), TemplateError, "lamarckian: has no {{demonstrations}}"),
        (Breeder(), Scripted(lambda text, i: "..."), ModelError, "27 replies hold no usable instruction"),
    ],
)
def test_what_cannot_work_is_a_clear_error(breeder, session, error, message):
    with pytest.raises(error) as caught:
        breeder.search(session)
    assert message in str(caught.value)


def test_it_is_found_by_name_and_its_options_are_checked():
    options = {"operators": ["lineage"], "mutations": ["Vary it."]}
    assert build("searchers", "breeder", options) == Breeder(operators=("lineage",), mutations=("Vary it.",))
    for options in ({"operators": ["sex"]}, {"operators": []}, {"mutations": []}, {"shuffle_rate": 2}):
        with pytest.raises(PluginError):
            build("searchers", "breeder", options)
