"""Words by gradients: the gradient is right, the text is what was measured, and the signal improves."""

from dataclasses import replace

import pytest
import torch
from plurals import SEED, run
from toys import make_setup

from promptopt import plugins
from promptopt.errors import ConfigError, UnsupportedError
from promptopt.models.embedded import EmbeddedModel
from promptopt.prompt import Prompt
from promptopt.run import execute
from promptopt.search._training_rows import total_loss
from promptopt.search._trigger import Trigger
from promptopt.search.gradient import GCG, PEZ, AutoPrompt
from promptopt.template import Template
from promptopt.testing.searcher import check_searcher

QUICK = {
    "autoprompt": AutoPrompt(tokens=2, steps=8, candidates=16, batch=4, finalists=2),
    "gcg": GCG(tokens=2, steps=5, candidates=16, batch=4, finalists=2),
    "pez": PEZ(tokens=2, steps=16, every=1, batch=4, finalists=2),
}


@pytest.fixture(scope="module")
def embedded():
    return EmbeddedModel()


class Looking:
    """Hands the session to a function, as a searcher."""

    def __init__(self, look):
        self.look = look

    def search(self, session):
        self.look(session)


def looking(embedded, look, **changes):
    return run(Looking(look), embedded, **changes)


@pytest.mark.parametrize("name", QUICK)
def test_triggers_raise_the_signal_and_are_judged_by_the_reward(embedded, name):
    study = run(QUICK[name], embedded)
    triggers = [c for c in study.candidates if c.prompt.origin == name]
    signals = {c.prompt.instruction: c.signal.mean for c in triggers}
    assert next(iter(signals)) == f"{SEED.instruction} the the"
    assert max(signals.values()) > signals[f"{SEED.instruction} the the"] + 0.1
    judged = [c for c in triggers if c.search is not None]
    assert judged
    if name != "autoprompt":  # which measures on rows that change
        assert max(signals.values()) == max(c.signal.mean for c in judged)
    assert study.spent["trainer"].calls > 0
    assert all(c.prompt.adapter is None for c in triggers)


@pytest.mark.parametrize("name", QUICK)
def test_a_searcher_by_gradients_keeps_the_contract(name):
    searcher = replace(
        QUICK[name], steps=2, batch=2, **({"every": 1} if name == "pez" else {"candidates": 3})
    )
    check_searcher(searcher, target=EmbeddedModel("tiny"), cuts=2)


def test_the_gradient_is_that_of_the_loss(embedded):
    """Along a direction, the loss falls as the gradient says (a difference of two losses, in float32)."""

    def look(session):
        trigger = Trigger(session, SEED, True, "searcher test")
        ids = trigger.first("the", 3)
        rows = trigger.rows(trigger.prompt(ids), session.task.rows[:4])
        (place,) = trigger.places([ids], session.task.rows[:4])
        network = embedded.loaded().module
        table = network.get_input_embeddings().weight
        gradient = trigger.gradient(rows, place, 3)
        step = gradient / gradient.norm() * 0.02
        losses = []
        for sign in (1, -1):

            def forward(tokens, keep, sign=sign):
                known = network.get_input_embeddings()(tokens)
                known[:, place : place + 3] += sign * step
                return network(inputs_embeds=known).logits[:, -keep:]

            with torch.no_grad():
                losses.append(float(total_loss(rows, forward, network.device)))
        weight = sum(row.weight for row in rows)
        slope = (losses[0] - losses[1]) / weight / (2 * 0.02)
        assert slope == pytest.approx(float(gradient.norm()), rel=0.05)
        same = trigger.gradient(rows, place, 3, table[list(ids)])
        assert torch.allclose(same, gradient, atol=1e-5)

    looking(embedded, look)


def test_flips_are_the_tokens_with_the_steepest_descent_and_can_be_written(embedded):
    def look(session):
        trigger = Trigger(session, SEED, True, "searcher test")
        gradient = torch.randn(2, 192, generator=torch.Generator().manual_seed(0))
        table = embedded.loaded().module.get_input_embeddings().weight
        flips = trigger.best_flips(gradient, 5)
        slopes = (gradient @ table.T).masked_fill(~trigger.allowed, torch.inf)
        for place in range(2):
            assert slopes[place, flips[place]].max() <= slopes[place].sort().values[4] + 1e-6
        tokenizer = embedded.loaded().tokenizer
        for token in flips.flatten().tolist():
            text = tokenizer.decode([token])
            assert text.strip().isprintable()
            assert not set("{}\n") & set(text)
        assert not trigger.allowed[list(tokenizer.all_special_ids)].any()

    looking(embedded, look)


def test_a_trigger_that_is_read_as_other_tokens_is_no_candidate(embedded):
    def look(session):
        trigger = Trigger(session, SEED, True, "searcher test")
        tokenizer = embedded.loaded().tokenizer
        whole = tuple(tokenizer(" the", add_special_tokens=False)["input_ids"])
        parts = tuple(tokenizer.convert_tokens_to_ids([*tokenizer.tokenize(" t"), *tokenizer.tokenize("he")]))
        assert len(whole) == 1
        assert tokenizer.decode(parts) == " the"
        places = trigger.places([whole, parts], session.task.rows[:4])
        assert places[0] is not None
        assert places[1] is None

    looking(embedded, look)


def test_fluency_counts_the_triggers_own_probability(embedded):
    def look(session):
        plain = Trigger(session, SEED, True, "searcher test")
        fluent = replace(plain, fluency=1.0)
        pair = [plain.first("the", 2), plain.first("word", 2)]
        rows = session.task.rows[:4]
        told = [b - a for a, b in zip(plain.scores(pair, rows), fluent.scores(pair, rows), strict=True)]
        for ids, fluency in zip(pair, told, strict=True):
            (row,) = plain.rows(plain.prompt(ids), rows[:1])
            (place,) = plain.places([ids], rows[:1])
            tokens = torch.tensor([row.prompt])
            with torch.no_grad():
                logits = embedded.loaded().module(input_ids=tokens).logits[0].log_softmax(-1)
            expected = sum(float(logits[place - 1 + i, token]) for i, token in enumerate(ids)) / 2
            assert fluency == pytest.approx(expected, abs=1e-4)

    looking(embedded, look)


def test_the_trigger_may_replace_the_instruction(embedded):
    study = run(replace(QUICK["gcg"], keep=False), embedded)
    found = [c.prompt.instruction for c in study.candidates if c.prompt.origin == "gcg"]
    assert found[0] == "the the"
    assert not any(SEED.instruction in text for text in found)


def test_what_cannot_work_is_refused(embedded):
    setup = make_setup(searcher=plugins.build("searchers", "gcg"))
    with pytest.raises(UnsupportedError, match="searcher gcg: needs gradients"):
        execute(setup)
    assert setup.models["target"].calls == 0
    behind = Prompt("Say something.", template=Template(user="Input: {{input}}\n{{instruction}}\nOutput:"))
    with pytest.raises(ConfigError, match="in front of the row's fields"):
        looking(embedded, lambda s: Trigger(s, behind, True, "searcher test").first("\n{{", 2), prompt=behind)
