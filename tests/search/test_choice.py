"""Where searches start: good prompts found elsewhere are scored, and what is found is made of them."""

import pytest
from scripted import SEED, Scripted, numbered

from promptopt.prompt import Demonstration, Prompt, Retriever
from promptopt.records import FrozenMap
from promptopt.search._choice import best_start, choose, starting
from promptopt.search.ape import APE
from promptopt.search.breeder import Breeder
from promptopt.search.demos import Demos
from promptopt.search.edit import PhraseEdits
from promptopt.search.evolution import Evolution
from promptopt.search.joint import Joint
from promptopt.search.opro import OPRO
from promptopt.search.programs import Programs
from promptopt.search.protegi import ProTeGi
from promptopt.search.reflect import Reflect

GOOD = Prompt("Do it well, and look twice.", origin="elsewhere")
POOR = Prompt("Leave it, please.", origin="elsewhere")
SEARCHERS = {
    "ape": APE(keep=1, num_prompts_per_subsample=1),
    "opro": OPRO(steps=2),
    "evolution": Evolution(population=4, generations=2),
    "breeder": Breeder(population=4, generations=3, crossover_rate=0),
    "protegi": ProTeGi(depth=2),
    "reflect": Reflect(steps=6),
    "demos": Demos(sets=2),
    "joint": Joint(trials=8, startup=8),
    "edit": PhraseEdits(iterations=1),
    "programs": Programs(("chain_of_thought",)),
}


def value(prompt, row):
    """What is made of the good prompt is as good; nothing is always right."""
    return {"Do it.": 0.2, "Leave it, please.": 0.0, GOOD.instruction: 0.6}.get(prompt.instruction, 0.4)


def scripted(starts, **changes):
    return Scripted(
        lambda text, i: f"Try {i} {len(text)}.", value, rows=numbered(20), starts=starts, **changes
    )


@pytest.mark.parametrize("name", SEARCHERS)
def test_a_good_prompt_found_elsewhere_is_scored_and_gone_on_from(name):
    session = scripted((GOOD, POOR))
    SEARCHERS[name].search(session)
    seen = [prompt for prompts, _ in session.met for prompt in prompts]
    assert {SEED, GOOD, POOR} <= set(seen)
    assert any(prompt.parents and prompt.parents[0] == GOOD.id for prompt in seen)


def test_opro_shows_an_instruction_once_with_its_best_score():
    shown = Prompt("Do it.", (Demonstration(FrozenMap(input="a"), "b"),))
    session = Scripted(value=lambda p, row: 0.5 + 0.25 * len(p.demonstrations), starts=(shown,))
    OPRO(steps=1).search(session)
    assert session.texts[0].count("Instruction: Do it.\nScore:") == 1
    assert "Instruction: Do it.\nScore: 75\n" in session.texts[0]


def test_a_beam_is_no_wider_for_what_it_starts_from():
    session = scripted((GOOD, POOR, Prompt("One.")))
    ProTeGi(depth=1, beam=2, groups=1).search(session)
    assert session.selected[0] == ([SEED, GOOD, POOR, Prompt("One.")], 2)
    assert session.scored[0][0] == [GOOD, Prompt("One.")]


def test_reflect_leaves_out_what_lacks_a_part():
    seed = Prompt("", template=GOOD.template)
    session = scripted((Prompt(""), GOOD), seed_prompt=seed)
    Reflect(steps=1).search(session)
    assert session.scored[0][0] == [seed, GOOD]


# --- choosing ---------------------------------------------------------------------------------------


def test_the_seed_prompt_comes_first_and_nothing_twice():
    assert starting(scripted((GOOD, SEED, GOOD))) == [SEED, GOOD]


def test_the_best_start_is_found_on_rows_that_none_of_them_shows():
    rows = numbered(8)
    taught = Prompt("Do it.", tuple(Demonstration(row.inputs, row.answer) for row in rows[2:5]))
    session = Scripted(value=lambda p, row: float(p == taught), rows=rows, starts=(GOOD, taught))
    assert best_start(session) == taught
    assert session.scored == [([SEED, GOOD, taught], ["0", "1", "5", "6", "7"])]


def test_without_other_starts_nothing_is_bought_and_without_other_rows_the_first_is_taken():
    session = scripted(())
    assert best_start(session) == SEED
    rows = numbered(3)
    taught = Prompt("x", tuple(Demonstration(row.inputs, row.answer) for row in rows))
    shown = Scripted(rows=rows, starts=(taught, GOOD))
    assert best_start(shown) == taught
    assert session.met == shown.met == []


def test_a_start_that_fails_is_not_the_best():
    session = Scripted(value=lambda p, row: None if p == GOOD else -1.0, starts=(GOOD, POOR))
    assert best_start(session) == SEED


def test_a_choice_is_the_selectors():
    session = scripted(())
    retrieving = Prompt("Try.", retriever=Retriever((Demonstration(FrozenMap(input="a"), "b"),), 1))
    assert choose(session, [POOR, retrieving, GOOD, POOR], 2, rows=3) == [GOOD, retrieving]
    assert session.met == [([POOR, retrieving, GOOD], ["0", "1", "2"])]
    assert choose(session, [POOR], 5) == [POOR]
