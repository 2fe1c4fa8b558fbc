"""Training: AdamW as torch has it, the same steps however cut up, the same weights after any kill."""

import random

import pytest
import torch
from tiny_models import save_model

from promptopt.contracts.model import LikelihoodRequest
from promptopt.errors import DataError
from promptopt.models.local import LocalModel
from promptopt.prompt import Prompt
from promptopt.records import Example, FrozenMap
from promptopt.search._soft_methods import embed_text, make_soft_prompt
from promptopt.search._specialist_methods import ChangedModel
from promptopt.search._training import Schedule, Training
from promptopt.search._training_rows import TrainingRow, answer_rows, option_rows, total_loss

WORDS = ("ab", "abcd", "a much longer text", "b", "bca", "cab", "ccc")
EXAMPLES = [Example(w, FrozenMap({"input": w}), (w.upper(),), (w.upper(), "zz")) for w in WORDS]
PROMPT = Prompt("Say it.")
SCHEDULE = Schedule(steps=9, batch=3, learning_rate=0.1)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return LocalModel(str(save_model(tmp_path_factory.mktemp("model") / "llama")))


def make(model, kind="prompt_tuning", recompute=False):
    if kind in ("lora", "full"):
        return ChangedModel(model, kind, width=2, scale=1.0, seed=0)
    start = embed_text(model, "some words", 4)
    return make_soft_prompt(kind, model, start, seed=0, recompute=recompute)


def train(model, folder, *, kind="prompt_tuning", schedule=SCHEDULE, stops=(), recompute=False):
    """Train to the end; at each of `stops` save, forget everything, and go on from the checkpoint."""
    rows = answer_rows(model, PROMPT, EXAMPLES, whole=True)
    training = tuned = None
    for step in range(schedule.steps):
        if training is None or step in stops:
            if training is not None:
                training.save()
                training.advance()  # lost in the kill
            tuned = make(model, kind, recompute)
            training = Training(tuned, rows, schedule, seed=5, file=folder / "checkpoint.safetensors")
        assert training.step == step
        training.advance()
    return tuned, training


def same(one, other, **near):
    pairs = zip(one.tensors().values(), other.tensors().values(), strict=True)
    return all(torch.allclose(a, b, **near) if near else torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("kind", ["prompt_tuning", "p_tuning", "prefix_tuning", "lora", "full"])
def test_a_training_cut_at_any_steps_ends_with_the_same_bits(tmp_path, model, kind):
    whole, seen = train(model, tmp_path / "whole", kind=kind)
    stops = tuple(random.Random(kind).sample(range(1, SCHEDULE.steps), 3))
    cut, again = train(model, tmp_path / "cut", kind=kind, stops=stops)
    assert same(whole, cut)
    assert seen.losses == again.losses
    assert seen.losses[-1] < seen.losses[0]
    assert all(weight.grad is None for weight in model.loaded().module.parameters())


def test_the_optimizer_is_adamw(tmp_path, model):
    schedule = Schedule(steps=6, batch=7, learning_rate=0.05, weight_decay=0.1, clip=1e9)
    tuned, training = train(model, tmp_path, schedule=schedule)
    other = make(model)
    weights = list(other.weights.values())
    optimizer = torch.optim.AdamW(weights, lr=0.05, weight_decay=0.1)
    for step in range(6):
        rows = training.batch(step)
        optimizer.param_groups[0]["lr"] = schedule.rate(step)
        optimizer.zero_grad()
        (other.loss(rows) / sum(row.weight for row in rows)).backward()
        optimizer.step()
    assert same(tuned, other, atol=1e-5)


def test_the_rate_rises_and_falls():
    rates = [Schedule(steps=10, batch=1, learning_rate=1.0, warmup=0.2).rate(step) for step in range(10)]
    assert rates == pytest.approx([0.5, 1.0, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125])


def test_passes_over_the_rows_see_each_once(tmp_path, model):
    training = Training(
        make(model),
        answer_rows(model, PROMPT, EXAMPLES, whole=True),
        SCHEDULE,
        seed=1,
        file=tmp_path / "none",
    )
    seen = [row for step in range(7) for row in training.batch(step)]
    for start in range(0, 21, 7):
        assert len(set(seen[start : start + 7])) == 7
    assert seen[:7] != seen[7:14]


def test_a_step_in_parts_is_the_same_step(tmp_path, model):
    whole, _ = train(model, tmp_path / "whole", schedule=Schedule(steps=4, batch=6))
    parts, _ = train(model, tmp_path / "parts", schedule=Schedule(steps=4, batch=6, accumulate=3))
    assert same(whole, parts, atol=1e-4)


def test_activations_that_are_computed_again_give_the_same_gradients(model):
    rows = answer_rows(model, PROMPT, EXAMPLES, whole=True)
    network = model.loaded().module
    kept, again = make(model), make(model, recompute=True)
    calls = []
    layer = network.model.layers[0].input_layernorm
    handle = layer.register_forward_hook(lambda *_: calls.append(1))
    for tuned, expected in ((kept, 1), (again, 2)):
        calls.clear()
        tuned.loss(rows).backward()
        assert len(calls) == expected
    handle.remove()
    assert torch.allclose(kept.weights["steps"].grad, again.weights["steps"].grad, atol=1e-6)
    assert not network.model.layers[0].training


def test_a_batch_has_the_losses_of_its_rows(model):
    rows = answer_rows(model, PROMPT, EXAMPLES, whole=True)
    choices = option_rows(model, PROMPT, EXAMPLES)
    for kind in ("prompt_tuning", "prefix_tuning"):
        tuned = make(model, kind)
        for some in (rows, choices):
            with torch.no_grad():
                alone = sum(float(tuned.loss([row])) for row in some)
                assert float(tuned.loss(some)) == pytest.approx(alone, rel=1e-4)


def test_losses_are_those_of_the_engine(model):
    """Of a reply: its negative log-probability. Of options: that of the right one among them."""
    network = model.loaded().module

    def plain(ids, keep):
        return network(input_ids=ids).logits[:, -keep:]

    told = {}
    for example in EXAMPLES:
        for option in example.options:
            request = LikelihoodRequest(PROMPT.render(example), option)
            told[example.id, option] = dict(model.loglikelihood([request]))[0].logprob
    rows = answer_rows(model, PROMPT, EXAMPLES, whole=False)
    loss = float(total_loss(rows, plain, network.device))
    assert loss == pytest.approx(-sum(told[e.id, e.answer] for e in EXAMPLES), rel=1e-4)
    loss = float(total_loss(option_rows(model, PROMPT, EXAMPLES), plain, network.device))
    logs = [torch.tensor([told[e.id, option] for option in e.options]) for e in EXAMPLES]
    assert loss == pytest.approx(sum(float(one.logsumexp(0) - one[0]) for one in logs), rel=1e-3, abs=1e-3)


def test_the_end_of_the_reply_is_learned_where_it_has_to_be_written(model):
    (row,) = answer_rows(model, PROMPT, EXAMPLES[:1], whole=True)
    (open_end,) = answer_rows(model, PROMPT, EXAMPLES[:1], whole=False)
    assert row.replies[0] == (*open_end.replies[0], model.loaded().tokenizer.eos_token_id)
    assert row.weight == open_end.weight + 1
    assert row.tokens == len(row.prompt) + len(row.replies[0])
    assert TrainingRow((1,), ((2, 3), (4,)), (0,)).weight == 1


def test_rows_that_cannot_be_learned_from_are_named(model):
    long = Example("long", FrozenMap({"input": "x" * 400}), ("y",))
    with pytest.raises(DataError, match=r"row long: cannot be trained on: .* pass the model's context"):
        answer_rows(model, PROMPT, [long], whole=True)
    odd = Example("odd", FrozenMap({"input": "x"}), ("y",), ("a", "b"))
    with pytest.raises(DataError, match="row odd: no option is an answer"):
        option_rows(model, PROMPT, [odd])
