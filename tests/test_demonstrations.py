"""Retrieved demonstrations: what a row is shown, and that saving changes nothing."""

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptopt.config import load_job
from promptopt.demonstrations import Demonstration, Retriever
from promptopt.errors import BadInput, DataError
from promptopt.prompt import Prompt
from promptopt.records import Example, FrozenMap, fold_inputs
from promptopt.setup import from_job
from promptopt.tfidf import Tfidf

words = st.sampled_from(["cat", "cats", "dog", "green", "greener", "tea", "x1", "Über", "", "?!"])
sentences = st.lists(words, max_size=4).map(" ".join)
pools = st.lists(st.builds(Demonstration, sentences.map(lambda x: FrozenMap(input=x)), words), min_size=1)
retrievers = st.builds(Retriever, pools.map(tuple), st.integers(1, 9))


def demo(text, output="y"):
    return Demonstration(FrozenMap(input=text), output)


def row(text):
    return Example("r", FrozenMap(input=text))


def test_the_most_similar_comes_last_next_to_the_row():
    pool = (demo("a green cup of tea"), demo("the dog barked"), demo("cups of tea"), demo("a cat"))
    nearest = Retriever(pool, 2).nearest(FrozenMap(input="two cups of tea"))
    assert [d.inputs["input"] for d in nearest] == ["a green cup of tea", "cups of tea"]
    shown = Prompt("Do it.", (demo("fixed"),), retriever=Retriever(pool, 1)).render(row("two cups of tea"))
    assert shown[0].content == (
        "Do it.\n\nInput: fixed\nOutput: y\n\nInput: cups of tea\nOutput: y\n\n"
        "Input: two cups of tea\nOutput:"
    )


def test_single_words_are_alike_by_their_letters():
    pool = (demo("mouse"), demo("greenish"), demo("house"))
    assert Retriever(pool, 1).nearest(FrozenMap(input="greener"))[0] == demo("greenish")


@settings(deadline=None, max_examples=50)
@given(retrievers, sentences)
def test_a_row_is_shown_k_others_and_never_itself(retriever, text):
    inputs = FrozenMap(input=text)
    nearest = retriever.nearest(inputs)
    others = [d for d in retriever.pool if fold_inputs(d.inputs) != fold_inputs(inputs)]
    assert len(nearest) == min(retriever.k, len(others))
    assert all(fold_inputs(d.inputs) != fold_inputs(inputs) for d in nearest)
    index = Tfidf([d.inputs["input"] for d in retriever.pool])
    like = dict(zip(map(id, retriever.pool), index.similarities(text).round(9), strict=True))
    values = [like[id(d)] for d in nearest]
    assert values == sorted(values)
    hidden = [like[id(d)] for d in others if not any(d is seen for seen in nearest)]
    assert max(hidden, default=0) <= min(values, default=1)


@settings(deadline=None, max_examples=50)
@given(retrievers, st.lists(sentences, max_size=3))
def test_a_loaded_prompt_is_the_same_and_renders_the_same(retriever, texts):
    prompt = Prompt("Do it.", retriever=retriever)
    again = Prompt.from_dict(json.loads(json.dumps(prompt.to_dict())))
    assert (again, again.id) == (prompt, prompt.id)
    assert [again.render(row(text)) for text in texts] == [prompt.render(row(text)) for text in texts]


def test_the_id_holds_pool_and_k_and_other_prompts_keep_theirs():
    pool = (demo("a"), demo("b"))
    prompts = [
        Prompt("x"),
        *(Prompt("x", retriever=Retriever(p, k)) for p in (pool, pool[::-1], pool[:1]) for k in (1, 2)),
        Prompt("x", pool),
    ]
    assert len({prompt.id for prompt in prompts}) == len(set(prompts)) == 8
    assert "retriever" not in Prompt("x").to_dict()


def test_its_length_is_what_a_row_is_shown_not_the_whole_pool():
    pool = (demo("aa", "b"), demo("aaaa", "b"))
    assert Prompt("xyz", retriever=Retriever(pool, 1)).length == 3 + 4
    assert Prompt("xyz", retriever=Retriever(pool, 9)).length == 3 + 8


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"pool": [], "k": 1},
        {"pool": [{"inputs": {"a": "b"}, "output": "c"}], "k": 0},
        {"pool": [{"inputs": {"a": "b"}, "output": "c"}], "k": "2"},
        {"pool": [{"inputs": {"a": "b"}, "output": "c"}], "k": True},
        {"pool": [{"inputs": {"a": "b"}}], "k": 1},
        {"pool": 5, "k": 1},
        "nearest",
        0,
    ],
)
def test_what_is_no_saved_retriever_is_an_error(data):
    with pytest.raises(DataError):
        Prompt.from_dict({"instruction": "x", "retriever": data})


def test_a_saved_prompt_that_retrieves_can_be_a_jobs_prompt(tmp_path):
    rows = "".join(json.dumps({"input": f"word{i}", "output": "x"}) + "\n" for i in range(40))
    (tmp_path / "rows.jsonl").write_text(rows, encoding="utf-8")
    prompt = Prompt("Do it.", retriever=Retriever((demo("word1"), demo("word2")), 1))
    prompt.save(tmp_path / "prompt.json")
    job = "data: rows.jsonl\nprompt: {file: prompt.json}\ntarget: embedded\nreward: exact_match\n"
    (tmp_path / "job.yaml").write_text(job, encoding="utf-8")
    assert from_job(load_job(tmp_path / "job.yaml")).task.seed_prompt == prompt
    broken = job.replace("{file: prompt.json}", "{instruction: x, retriever: {pool: [], k: 1}}")
    (tmp_path / "job.yaml").write_text(broken, encoding="utf-8")
    with pytest.raises(BadInput, match="pool"):
        load_job(tmp_path / "job.yaml")


def test_a_thousand_rows_against_five_hundred_demonstrations_are_quick():
    pool = tuple(demo(f"the {i} quick {i % 7} foxes jump over {i % 31} lazy dogs") for i in range(500))
    prompt = Prompt("x", retriever=Retriever(pool, 8))
    prompt.render(row("foxes"))
    start = time.process_time()
    for i in range(1000):
        prompt.render(row(f"a {i} slow fox walks over {i % 13} dogs"))
    assert time.process_time() - start < 2.0
