"""GEPA: whom it develops, what it shows the proposer, whom it takes into the pool."""

import random

import pytest
from scripted import SEED, Scripted, numbered

from promptopt.contracts.searcher import Searcher
from promptopt.errors import ConfigError, ModelError, PluginError, TemplateError
from promptopt.plugins import build
from promptopt.prompt import Prompt
from promptopt.records import Example, FrozenMap
from promptopt.search._meta import CROSSOVER, REFLECT
from promptopt.search.reflect import LONG_REFLECT, Reflect, minibatches
from promptopt.template import Template, fill
from promptopt.testing.searcher import check_searcher

ONE = Reflect(steps=1, parallel=1, pareto=4, merges=0)
"""One step of the paper's loop: of 8 rows, 0 to 3 are the Pareto rows and 4 to 7 are reflected on."""


def told(text):
    """Return the instruction that a meta-prompt is about."""
    return text.split("instruction: ")[1].split("\n\n")[0]


def origins(session):
    return [prompt.origin for prompts, _ in session.scored for prompt in prompts]


@pytest.mark.parametrize(
    ("searcher", "system", "parts"),
    [
        (Reflect(steps=3), "", ["instruction"]),
        (Reflect(steps=3, parallel=1, alpha=0, minibatch=1), "", ["instruction"]),
        (Reflect(steps=3, pareto=12, only_errors=True), "Be kind.", ["instruction", "system"]),
    ],
    ids=["default", "the paper's", "two parts"],
)
def test_it_keeps_the_contract(searcher, system, parts):
    seed = Prompt("Do something with the word.", template=Template(system=system))
    check_searcher(searcher, prompt=seed, parts=parts, cuts=3)


def test_it_is_found_by_name_and_its_options_are_checked():
    assert build("searchers", "reflect", {"steps": 3}) == Reflect(steps=3)
    assert isinstance(Reflect(), Searcher)
    for options in ({"alpha": 1.0}, {"parallel": 0}, {"merges": -1}, {"parts": ["system"]}):
        with pytest.raises(PluginError):
            build("searchers", "reflect", options)


# --- one step ---------------------------------------------------------------------------------------


def test_the_seed_meets_the_pareto_rows_and_the_proposer_sees_a_minibatch_of_the_others():
    session = Scripted(value=lambda prompt, row: float(row.id == "5"), feedback="look closer")
    ONE.search(session)
    assert session.scored[0] == ([SEED], ["0", "1", "2", "3"])
    seed, batch = session.scored[1]
    assert (seed, len(set(batch))) == ([SEED], 3)
    assert set(batch) <= {"4", "5", "6", "7"}
    shown = "\n\n".join(
        f"Input: in{i}\nOutput: {'out5' if i == '5' else 'wrong'}\nExpected: out{i}\nFeedback: look closer"
        for i in batch
    )
    assert session.texts == [fill(REFLECT, {"instruction": "Do it.", "errors": shown})]
    assert session.options[0]["temperature"] == 1.0


def test_on_request_only_the_errors_are_shown():
    session = Scripted(value=lambda prompt, row: float(row.id in "456"))
    Reflect(steps=1, parallel=1, pareto=4, minibatch=4, only_errors=True).search(session)
    assert [line for line in session.texts[0].split("\n") if "Input" in line] == ["Input: in7"]


@pytest.mark.parametrize(
    ("child", "taken"),
    [({"4", "5", "6", "7"}, True), ({"4"}, False), (set(), False)],
    ids=["better", "equal", "worse"],
)
def test_only_a_child_that_scores_higher_on_the_minibatch_meets_the_pareto_rows(child, taken):
    def value(prompt, row):
        return float(row.id in ({"4"} if prompt == SEED else child))

    session = Scripted(value=value)
    Reflect(steps=1, parallel=1, pareto=4, minibatch=4, merges=0).search(session)
    assert session.scored[2][1] == session.scored[1][1]
    assert len(session.scored) == (4 if taken else 3)
    if taken:
        (child_prompt,), rows = session.scored[3]
        assert rows == ["0", "1", "2", "3"]
        assert (child_prompt.origin, child_prompt.parents) == ("reflect/instruction", (SEED.id,))


def test_a_minibatch_without_errors_is_not_reflected_on():
    session = Scripted(value=lambda prompt, row: 1.0)
    Reflect(steps=7, patience=3, pareto=4).search(session)
    assert session.texts == []
    assert len(session.scored) == 1 + 7


def test_the_search_ends_when_nothing_new_comes():
    session = Scripted(lambda text, i: "Do it.")
    Reflect(steps=20, patience=3, parallel=2).search(session)
    assert len(session.proposals) == 3
    assert session.notes == [
        "reflect: ends here, after 3 steps in a row without a new prompt",
        "reflect: 6 of 6 proposals held back: 6 repeated",
    ]
    assert {prompt for prompts, _ in session.scored for prompt in prompts} == {SEED}


def test_replies_that_cannot_be_read_are_an_error():
    with pytest.raises(ModelError, match=r"20 replies hold no usable instruction; got '```cut"):
        Reflect().search(Scripted(lambda text, i: "```cut off in the mid"))


def test_steps_whose_calls_all_fail_are_not_counted():
    calls = iter(range(99))

    def reply(text, i):
        call = next(calls)
        return None if 1 <= call <= 6 else f"Try {call}."

    session = Scripted(reply, lambda prompt, row: 0.5)
    Reflect(steps=12, patience=2, parallel=1, pareto=4, merges=0).search(session)
    assert len(session.proposals) == 12


def test_failed_calls_and_failed_cells_end_nothing():
    session = Scripted(
        lambda text, i: None if i % 2 else f"Try {i}.",
        lambda prompt, row: None if row.id in "15" else float(prompt != SEED),
    )
    Reflect(steps=2, parallel=3, pareto=4, minibatch=4, merges=0).search(session)
    # A quarter of the child's cells failed: it is not comparable, so it stays out of the pool.
    assert len(session.proposals) == 2
    assert [told(text) for text in session.texts] == ["Do it."] * 6


# --- confirmation -----------------------------------------------------------------------------------


def lucky(prompt, row):
    """The seed is right on the Pareto rows (0 to 19), its child only on the others."""
    return float((int(row.id) < 20) == (prompt == SEED))


def test_a_lucky_child_is_dropped_on_the_first_rows_where_it_is_reliably_worse():
    session = Scripted(value=lucky, rows=numbered(40))
    Reflect(steps=1, parallel=1, merges=0).search(session)
    assert [len(rows) for _, rows in session.scored] == [20, 3, 3, 8]
    assert session.scored[3][1] == [str(i) for i in range(8)]


def test_without_alpha_the_papers_rule_buys_all_pareto_rows_and_takes_it():
    session = Scripted(value=lucky, rows=numbered(40))
    Reflect(steps=2, parallel=1, merges=0, alpha=0).search(session)
    assert [len(rows) for _, rows in session.scored][:4] == [20, 3, 3, 20]


def test_a_child_that_is_as_good_is_taken():
    session = Scripted(value=lambda prompt, row: float(int(row.id) < 20 or prompt != SEED), rows=numbered(40))
    Reflect(steps=1, parallel=1, merges=0).search(session)
    assert [len(rows) for _, rows in session.scored] == [20, 3, 3, 8, 16, 20]


def test_grouped_rows_count_as_one():
    """Eight rows of one group are one observation: no test can call the child worse."""
    rows = tuple(
        Example(str(i), FrozenMap(input=f"in{i}"), (f"out{i}",), group="g" if i < 20 else None)
        for i in range(40)
    )
    session = Scripted(value=lucky, rows=rows)
    Reflect(steps=1, parallel=1, merges=0).search(session)
    assert [len(rows) for _, rows in session.scored] == [20, 3, 3, 8, 16, 20]


def test_children_of_one_step_are_compared_side_by_side():
    def value(prompt, row):
        if prompt == SEED or prompt.instruction == "Try 0.":
            return lucky(SEED if prompt == SEED else prompt, row)
        return 1.0

    session = Scripted(value=value, rows=numbered(40))
    Reflect(steps=1, parallel=2, merges=0).search(session)
    assert session.texts[0] == session.texts[1]
    looks = [([p.instruction for p in prompts], len(rows)) for prompts, rows in session.scored[3:]]
    assert looks == [(["Try 0.", "Try 1."], 8), (["Try 1."], 16), (["Try 1."], 20)]


# --- the second step --------------------------------------------------------------------------------


def test_the_second_step_develops_the_child_that_dominates():
    session = Scripted(lambda text, i: told(text) + "+", lambda prompt, row: len(prompt.instruction) / 20)
    Reflect(steps=3, parallel=1, pareto=4, merges=0).search(session)
    assert [told(text) for text in session.texts] == ["Do it.", "Do it.+", "Do it.++"]


def test_a_child_that_leads_on_no_row_is_never_developed():
    def value(prompt, row):
        if int(row.id) >= 4:
            return len(prompt.instruction) / 20
        return 0.5 if prompt == SEED or row.id != "0" else 0.4

    names = iter("abcdef")
    session = Scripted(lambda text, i: f"Do it. {next(names)}", value)
    Reflect(steps=6, parallel=1, pareto=4, merges=0, alpha=0).search(session)
    assert [told(text) for text in session.texts] == ["Do it."] * 6
    assert origins(session).count("reflect/instruction") == 12


def test_parents_are_drawn_by_how_many_rows_they_lead_on():
    """The child leads on one Pareto row of four, its parent on three."""

    def value(prompt, row):
        if int(row.id) >= 4:
            return 0.5 if prompt == SEED else 0.6
        return float((row.id == "0") == (prompt != SEED))

    session = Scripted(lambda text, i: "Do it well.", value)
    Reflect(steps=41, parallel=10, pareto=4, merges=0, alpha=0, patience=41).search(session)
    asked = [told(text) for text in session.texts[10:]]
    assert set(asked) == {"Do it.", "Do it well."}
    assert 0.18 < asked.count("Do it well.") / len(asked) < 0.32


def test_parts_take_turns_along_a_line():
    seed = Prompt("Do it.", template=Template(system="Be brief."))

    def value(prompt, row):
        return (len(prompt.instruction) + len(prompt.template.system)) / 60

    both = ("system", "instruction")
    session = Scripted(lambda text, i: told(text) + "+", value, seed_prompt=seed, parts=both)
    Reflect(steps=4, parallel=1, pareto=4, merges=0).search(session)
    assert [told(text) for text in session.texts] == ["Do it.", "Be brief.", "Do it.+", "Be brief.+"]
    last = session.scored[-1][0][0]
    assert (last.instruction, last.template.system) == ("Do it.++", "Be brief.++")
    assert last.origin == "reflect/system"


def test_a_fixed_instruction_stays_and_what_a_model_writes_brings_no_slots():
    seed = Prompt("Do it.", template=Template(system="Be brief."))
    session = Scripted(
        lambda text, i: "Use {{input}}.", lambda p, row: float(p != seed), seed_prompt=seed, parts=("system",)
    )
    ONE.search(session)
    last = session.scored[-1][0][0]
    assert last.instruction == "Do it."
    assert last.render(session.task.rows[0])[0].content == "Use { {input}}."


# --- merging ----------------------------------------------------------------------------------------

HALVES = {"Do it.": "", "Left.": "0145", "Right.": "2367", "Both.": "01234567"}


def halves(prompt, row):
    return float(row.id in HALVES.get(prompt.instruction, ""))


def merging(**options):
    """Two children of the seed, each right on another half of the rows; they are merged after the step."""

    def reply(text, i):
        return "Both." if "Combine" in text else ("Left.", "Right.")[i % 2]

    session = Scripted(reply, options.pop("value", halves))
    searcher = {"steps": 1, "parallel": 2, "pareto": 4, "minibatch": 4, **options}
    Reflect(**searcher).search(session)
    return session


def test_two_lines_of_a_common_ancestor_are_merged_by_the_proposer():
    session = merging()
    assert session.texts[2] == fill(CROSSOVER, {"first": "Left.", "second": "Right."})
    parents = [prompt for prompts, _ in session.scored for prompt in prompts if prompt.origin != "user"]
    ids = {prompt.instruction: prompt.id for prompt in parents}
    (merged,), rows = session.scored[-2]
    assert (merged.instruction, merged.origin) == ("Both.", "reflect/merge")
    assert merged.parents == (ids["Left."], ids["Right."])
    assert set(rows) <= {"0", "1", "2", "3"}
    assert session.scored[-1] == ([merged], ["0", "1", "2", "3"])


def test_a_merged_prompt_that_falls_behind_a_parent_is_not_taken():
    def value(prompt, row):
        return 0.0 if prompt.instruction == "Both." else halves(prompt, row)

    session = merging(value=value)
    assert session.scored[-1][0][0].instruction == "Both."
    # All four Pareto rows are tried, and then nothing is bought for it.
    assert session.scored[-2][0][0].instruction != "Both."


def test_merges_are_counted():
    assert all("Combine" not in text for text in merging(merges=0).texts)
    many = merging(
        steps=8, merges=2, value=lambda p, row: 0.0 if p.instruction == "Both." else halves(p, row)
    )
    assert sum("Combine" in text for text in many.texts) == 1


def test_a_part_that_one_line_changed_is_taken_without_asking():
    seed = Prompt("Do it.", template=Template(system="Be brief."))

    def value(prompt, row):
        left = prompt.instruction != "Do it." and row.id in "0145"
        right = prompt.template.system != "Be brief." and row.id in "2367"
        return float(left or right)

    both = ("instruction", "system")
    session = Scripted(lambda text, i: f"New {told(text)}", value, seed_prompt=seed, parts=both)
    Reflect(steps=1, parallel=2, pareto=4, minibatch=4).search(session)
    # Drawn twice in a step, the seed has its first part rewritten, then its second.
    assert [told(text) for text in session.texts] == ["Do it.", "Be brief."]
    merged = session.scored[-1][0][0]
    assert (merged.instruction, merged.template.system) == ("New Do it.", "New Be brief.")
    assert (merged.origin, len(merged.parents)) == ("reflect/merge", 2)


# --- the rest ---------------------------------------------------------------------------------------


def test_an_epoch_meets_every_row_once():
    rows = numbered(7)
    drawn = minibatches(random.Random(0), rows, 3)
    epoch = [row.id for _ in range(2) for row in next(drawn)]
    assert len(set(epoch)) == 6
    assert [row.id for _ in range(2) for row in next(drawn)] != epoch
    assert {row.id for row in next(minibatches(random.Random(0), rows, 30))} == {row.id for row in rows}


def test_the_papers_wording_brings_a_text_of_several_paragraphs():
    session = Scripted(lambda text, i: "Of course.\n```\nTask: it.\n\nDo it well.\n```", halves)
    Reflect(steps=1, parallel=1, reflect=LONG_REFLECT).search(session)
    assert session.texts[0].startswith("I provided an assistant with the following instructions")
    assert session.scored[2][0][0].instruction == "Task: it.\n\nDo it well."


@pytest.mark.parametrize(
    ("searcher", "seed", "error", "message"),
    [
        (Reflect(reflect="{{instruction}}"), SEED, TemplateError, "reflect.reflect: has no {{errors}}"),
        (Reflect(crossover="{{first}}"), SEED, TemplateError, "add {{second}}"),
        (Reflect(), Prompt(template=Template("{{input}}")), ConfigError, "add {{instruction}}"),
    ],
)
def test_what_cannot_work_is_a_clear_error(searcher, seed, error, message):
    with pytest.raises(error, match=message):
        searcher.search(Scripted(seed_prompt=seed))


def test_a_part_without_text_cannot_be_rewritten():
    with pytest.raises(ConfigError, match="searcher reflect: the prompt has no system message; write one"):
        Reflect().search(Scripted(parts=("system",)))
