"""The bench of searchers: what it starts from, how answers are shared and charged, what its tables say."""

import json

import pytest
from toys import fake

from benchmarks.embedded.corpus import DATA
from benchmarks.searchers.__main__ import main
from benchmarks.searchers.cells import CHOOSING, Cell, cell_of, read, run, write
from benchmarks.searchers.contenders import FLOORS, NAMES, contender
from benchmarks.searchers.remembering import Remembering
from benchmarks.searchers.table import by_searcher, by_task
from benchmarks.searchers.tasks import LABELS, PROOF, SEARCH, SELECT, STARTS, TASKS, Place
from promptopt.contracts.model import Decoding, Failure, GenerateRequest
from promptopt.plugins import build
from promptopt.records import Message

needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="needs the benchmark data (PROMPTOPT_DATA)")


def ask(text, sample=0):
    return GenerateRequest((Message("user", text),), Decoding(temperature=1.0), sample)


def test_an_answer_is_computed_once_and_admitted_every_time():
    computed = []
    model = Remembering(fake(lambda request: computed.append(request) or f"{request.sample}"))
    admitted = []
    requests = [ask("a"), ask("b"), ask("a", 1)]
    for _ in range(2):
        answers = dict(model.generate(requests, lambda place: admitted.append(place) or True))
        assert [answers[place].text for place in range(3)] == ["0", "0", "1"]
    assert computed == requests
    assert sorted(admitted) == [0, 0, 1, 1, 2, 2]


def test_what_is_known_is_not_given_away_beyond_the_budget():
    model = Remembering(fake(lambda request: "x"))
    list(model.generate([ask("a")]))
    ((_, outcome),) = model.generate([ask("a")], lambda place: False)
    assert isinstance(outcome, Failure)
    assert outcome.reason == "budget"


def test_a_failure_is_asked_again():
    outcomes = iter([Failure("server"), "fine"])
    model = Remembering(fake(lambda request: next(outcomes)))
    assert isinstance(dict(model.generate([ask("a")]))[0], Failure)
    assert dict(model.generate([ask("a")]))[0].text == "fine"


def test_every_contender_can_be_built_at_any_budget():
    for name in NAMES:
        for calls in (1, 200, 600):
            given = contender(name, calls)
            options = {} if isinstance(given, str) else {k: v for k, v in given.items() if k != "name"}
            build("searchers", given if isinstance(given, str) else given["name"], options)
    assert contender("paraphrases", 600) == {"name": "paraphrases", "n": 40}


@needs_data
def test_a_task_meets_every_kind_of_weak_prompt_and_rows_of_its_own():
    for task in TASKS:
        places = [Place(task, seed) for seed in range(3)]
        assert {place.start for place in places} == set(STARTS)
        assert len({place.prompt for place in places}) == 3
    seen, unseen = Place("sort", 0).rows()
    assert (len(seen), len(unseen)) == (SEARCH + SELECT, PROOF)
    assert len({row.inputs["input"] for row in (*seen, *unseen)}) == len(seen) + len(unseen)


@needs_data
def test_answers_are_wanted_as_a_sentence_or_under_other_labels():
    seen, _ = Place("sum/sentence", 0).rows()
    first, second = map(int, seen[0].inputs["input"].split())
    assert seen[0].answers == (f"The answer is {first + second}.",)
    for seed in range(2):
        seen, _ = Place("even_odd/labels", seed).rows()
        by_rest = {(int(row.inputs["input"]) % 2, row.answer) for row in seen}
        assert len(by_rest) == 2
        assert all(answer in LABELS for _, answer in by_rest)


@needs_data
def test_a_run_keeps_its_budget_and_finds_what_the_rows_show():
    def reply(request):
        text = request.messages[-1].content
        if "Input: " not in text or "The instruction was to" in text:
            return "write it in capitals."
        word = text.rsplit("Input: ", 1)[1].split("\n", 1)[0]
        return f"The answer is {word.upper()}." if "capitals" in text.split("Input: ", 1)[0] else word

    cell = Cell("ape", "uppercase/sentence", 0, 200, "fake")
    record = run(cell, Remembering(fake(reply)))
    assert cell_of(record) == cell
    assert (record["baseline"], record["score"]) == (0.0, 1.0)
    assert record["spent"] <= 200 + CHOOSING
    json.dumps(record)


def records(scores):
    return {
        name: {
            (task, seed): {"task": task, "seed": seed, "start": STARTS[seed], "baseline": 0.1, "score": score,
                           "candidates": 7, "spent": 300, "tokens": 9000}
            for task, its in by.items() for seed, score in enumerate(its)
        }
        for name, by in scores.items()
    }  # fmt: skip


def test_the_table_ranks_by_the_mean_and_pairs_differences_with_the_floors():
    found = records({
        "paraphrases": {"sum/sentence": [0.2, 0.4], "sort": [0.6, 0.4]},
        "ape": {"sum/sentence": [0.6, 0.8], "sort": [0.8, 0.6]},
    })  # fmt: skip
    head, _, first, second = by_searcher(found)
    assert head.startswith(f"| searcher | runs | score | minus {FLOORS[0]} | minus {FLOORS[1]} | plain |")
    assert first.startswith("| ape | 4 | 0.70 [")
    assert "| +0.30 [" in first
    assert first.endswith("| - | 0.70 | 0.70 | - | 0.70 | 0.70 | - | 7 | 300 | 9,000 |")
    assert second.startswith("| paraphrases | 4 | 0.40 [")
    *_, sort = by_task(found)
    assert sort.startswith("| sort | 0.10 | 0.50 [")


def test_what_is_there_is_not_run_again_and_a_cut_line_is_left_out(tmp_path, capsys, monkeypatch):
    out = tmp_path / "out.jsonl"
    model = "embedded/small x"
    monkeypatch.setattr("benchmarks.searchers.__main__._version", lambda _: model)
    record = {"searcher": "ape", "task": "sort", "seed": 0, "calls": 200, "model": model, "error": "no luck"}
    out.write_text(json.dumps(record) + '\n{"searcher": "op', encoding="utf-8")
    assert list(read(out)) == [record]
    write(out, record | {"seed": 1})
    assert list(read(out)) == [record, record | {"seed": 1}]
    options = ["--out", str(out), "--searchers", "ape", "--tasks", "sort", "--seeds", "1", "--calls", "200"]
    assert main(options) == 0
    told = capsys.readouterr().out
    assert told.startswith("1 of 1 runs are in ")
    assert "failed: ape sort 0 200: no luck" in told
    assert main([*options, "--table"]) == 0
    assert main(["--out", str(out), "--tasks", "sorts"]) == 2
    assert "did you mean 'sort'" in capsys.readouterr().err
