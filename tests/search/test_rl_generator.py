"""A trained generator on disk: its card, and what it proposes (an untrained copy does for a trained one)."""

import shutil
from dataclasses import replace

import pytest
from scripted import numbered

from promptopt.contracts.searcher import SearchTask
from promptopt.errors import DataError
from promptopt.plugins import build
from promptopt.prompt import Prompt
from promptopt.records import Example, FrozenMap
from promptopt.search._rl_asks import CONDITIONAL, DEFAULTS
from promptopt.search._rl_generator import CARD, Card, propose
from promptopt.search.rl import RL

MADE = Card("embedded/small", "scratch", DEFAULTS["scratch"], 3, 1.0, 32, 200, 7, "grpo", 0.5, 1)
ROWS = tuple(
    Example(word, FrozenMap(input=word), (word[-1],)) for word in ("cat", "house", "tree", "lamp", "corn")
)
TASK = SearchTask(ROWS, Prompt("Do it."), ("input",))


@pytest.fixture
def generator(tmp_path):
    folder = tmp_path / "generator"
    shutil.copytree(build("models", "embedded").folder, folder)
    MADE.save(folder)
    return folder


def test_the_card_comes_back_and_says_what_it_is(generator):
    assert Card.load(generator) == MADE
    text = (generator / "README.md").read_text()
    assert text.startswith("---\nbase_model: embedded/small\n")
    assert "7 steps" in text
    assert "0.500" in text
    assert DEFAULTS["scratch"] in text


@pytest.mark.parametrize("content", [None, "{", '{"base": "x"}', "[]"])
def test_a_folder_without_a_card_is_no_generator(generator, content):
    (generator / CARD).unlink()
    if content is not None:
        (generator / CARD).write_text(content)
    with pytest.raises(DataError, match="holds no trained generator"):
        Card.load(generator)


def test_proposals_are_different_usable_and_the_same_for_a_seed(generator):
    first, again, other = (propose(generator, TASK, (), 6, seed=seed, score=0.0) for seed in (0, 0, 1))
    assert first == again != other
    (texts,) = first
    assert 1 < len(texts) == len(set(texts)) <= 6
    assert all(0 < len(text) <= 200 for text in texts)


def test_a_conditional_generator_writes_for_each_row(generator):
    replace(MADE, form="conditional", meta_prompt=CONDITIONAL).save(generator)
    assert RL.form_of(generator) == "conditional"
    lists = RL.propose(generator, TASK, numbered(2), 3, seed=0, score=0.0)
    assert len(lists) == 2
    assert all(lists)
