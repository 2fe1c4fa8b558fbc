import json
from dataclasses import replace
from random import Random

import pytest

from benchmarks.embedded import evaluate, table
from benchmarks.embedded.asking import Cell, Engine, cells, is_right, layout, read_answer
from benchmarks.embedded.case import Case
from benchmarks.embedded.contracts import Family, Wording
from benchmarks.embedded.improvement import META_PROMPTS
from benchmarks.embedded.material import Material
from benchmarks.embedded.measures import MEASURES, wrong_outputs
from benchmarks.embedded.metrics import (
    best_minus_median,
    expected_calibration_error,
    share_between,
    softmax,
    split_words,
)
from benchmarks.embedded.results import (
    RESULTS,
    Demonstrations,
    Measured,
    Proposals,
    Record,
    Steps,
    read_records,
)
from promptopt.errors import DataError, ModelError
from promptopt.models.function import FunctionModel
from promptopt.programs import ChainOfThought

LETTERS = "abcdefghijklmnopqrstuvwxyz"
PLURALS = {f"{a}{b}{c}": f"{a}{b}{c}s" for a in LETTERS[:10] for b in "aeiou" for c in LETTERS[:4]}
SIDES = {str(number): "even" if number % 2 == 0 else "odd" for number in range(200)}
SETS = {"singular_to_plural": PLURALS, "even_odd": SIDES}


def rows(name, split, n, seed):
    parts = {"train": 0, "test": 1, "dev": 2}
    inputs = list(SETS[name])[parts[split] :: 3]
    return [(x, (SETS[name][x],)) for x in Random(seed).sample(inputs, min(n, len(inputs)))]


def real_rows(name, split):
    return [("cat", ("cats",))] if name == "singular_to_plural" else []


def wording(name, rng):
    text = {"singular_to_plural": "plural", "even_odd": "even or odd"}[name]
    return Wording(f"{rng.choice(['Give', 'Write', 'Say'])} {text}.", "precise")


MATERIAL = Material(
    families={
        "singular_to_plural": Family(
            "singular_to_plural", "word", lambda rng, split: ("cat", "cats"), PLURALS.get
        ),
        "even_odd": Family(
            "even_odd",
            "numbers",
            lambda rng, split: ("1", "odd"),
            SIDES.get,
            labels=("even", "odd"),
            steps=lambda x: f"The answer is {SIDES[x]}.",
            beyond=lambda rng: str(rng.randrange(100, 200)),
        ),
    },
    rows=rows,
    real_rows=real_rows,
    precise=wording,
    landscape=lambda name, seed: [wording(name, Random(0)), Wording("Do it.", "vague", 0.5)],
    vague=lambda rng: "Do it.",
    misleading=lambda name, rng: "Reverse.",
    human=lambda name: ["plural please"] if name == "singular_to_plural" else [],
    held_out=lambda name, split: [f"{split}: plural" if name == "singular_to_plural" else "even, or odd?"],
    frequent=lambda: frozenset({"write", "the"}),
)


def answer(text: str) -> str:
    """Follow the instruction, or else the demonstrations; without either, copy."""
    if text.endswith("The instruction was to"):
        return "write the plural." if "s\n" in text else "write even or odd qzx."
    if text.endswith("Therefore, the answer is"):
        return f" {text.split()[-5].rstrip('.')}"
    head, _, last = text.rpartition("Input: ")
    x = last.split("\n")[0]
    if "plural" in head or "s\n\n" in head:
        return f" {x}s\n"
    if "even" in head or "odd" in head:
        side = SIDES[x]
        return f"{x} is {side}. The answer is {side}." if "tep by step" in text else side
    return x


def likelihood(text: str, continuation: str) -> tuple[float, int]:
    return (-0.1 if continuation == answer(text) else -3.0), 1


@pytest.fixture
def engine():
    return Engine(FunctionModel(answer, likelihood=likelihood))


def case(engine, name, **changes):
    return replace(Case(engine, MATERIAL, name, seed=0, split="test", n=40), **changes)


# -- layout and scoring


def test_prompts_are_laid_out_as_promptopt_does():
    assert layout("", "cat") == "Input: cat\nOutput:"
    assert layout("Go.", "cat") == "Go.\n\nInput: cat\nOutput:"
    assert layout("Go.", "cat", [("a", "b")]) == "Go.\n\nInput: a\nOutput: b\n\nInput: cat\nOutput:"


def test_a_reply_is_right_if_it_is_an_accepted_output_but_for_space_around_it():
    assert is_right(" cats\n", ("cats", "cat"))
    assert not is_right("Cats", ("cats",))
    assert not is_right("cats.", ("cats",))
    assert not is_right("", ("cats",))


def test_the_answer_stands_behind_the_last_the_answer_is():
    assert read_answer("the answer is 3. No, the answer is 4.") == "4"
    assert read_answer(" 4 ") == "4"
    assert read_answer("The answer is: a b.") == "a b"


def test_a_reply_has_room_for_every_accepted_output_and_no_more_than_it_needs():
    assert Cell("", ("a", "abc")).limit == 5
    assert Cell("", ("größe",)).limit == 9
    assert Cell("", ("x" * 30,)).limit == 32
    assert Cell("", ("x" * 300,)).limit == 48


def test_accuracies_are_those_of_their_groups(engine):
    right, wrong = [("cat", ("cats",))], [("cat", ("cat",)), ("a", ("as",))]
    found = engine.accuracies({"right": cells("plural", right), "half": cells("plural", wrong)})
    assert found == {"right": 1.0, "half": 0.5}


def test_a_prompt_that_is_too_long_counts_as_wrong_and_is_counted():
    model = evaluate.open_model("embedded/small", "cpu")
    engine = Engine(model)
    assert engine.accuracies({"long": [Cell("cat " * 2000, ("cats",))]}) == {"long": 0.0}
    assert engine.unanswered == 1


def test_a_failed_model_is_an_error():
    def fail(text):
        raise ValueError("broken")

    with pytest.raises(ModelError, match="broken"):
        Engine(FunctionModel(fail)).greedy(["a"], [1])


def test_a_program_is_run_side_by_side(engine):
    prompts = [layout("even or odd", x) for x in ("3", "4")]
    replies = engine.run(ChainOfThought(), prompts, (96, 8))
    assert [read_answer(reply) for reply in replies] == ["odd", "even"]


# -- metrics


def test_calibration_error_is_the_distance_in_each_bin_by_its_size():
    assert expected_calibration_error([0.95, 0.95], [True, True]) == pytest.approx(0.05)
    # Two bins: |.95 - .5| for two choices, |.65 - 1| for one.
    found = expected_calibration_error([0.95, 0.95, 0.65], [True, False, True])
    assert found == pytest.approx((2 * 0.45 + 0.35) / 3)
    # Errors in both directions even out inside a bin, not between bins; 1.0 belongs to the last one.
    assert expected_calibration_error([1.0, 0.9], [True, True]) == pytest.approx(0.05)


def test_softmax_sums_to_one_and_survives_small_numbers():
    assert softmax([-1000.0, -1000.0]) == [0.5, 0.5]
    assert softmax([0.0, float("-inf")]) == [1.0, 0.0]


def test_the_share_between_is_strict_and_relative_to_the_best():
    assert share_between([0.8, 0.4, 0.12, 0.68]) == 0.25
    assert share_between([0.0, 0.0]) == 0.0
    assert best_minus_median([0.8, 0.4, 0.1]) == pytest.approx(0.4)


def test_words_are_runs_of_letters():
    assert split_words("Don't write 2 letters.") == ["don", "t", "write", "letters"]


# -- wrong demonstrations


def test_wrong_labels_are_never_right():
    shown = [(str(k), ("even" if k % 2 == 0 else "odd",)) for k in range(8)]
    wrong = wrong_outputs(shown, ("even", "odd", "prime"), Random(1))
    assert [x for x, _ in wrong] == [x for x, _ in shown]
    assert all(output not in accepted for (_, output), (_, accepted) in zip(wrong, shown, strict=True))
    assert {"prime"} < {output for _, output in wrong}


def test_without_labels_outputs_move_to_other_inputs():
    shown = [("a", ("1",)), ("b", ("1",)), ("c", ("2",)), ("d", ("2",))]
    assert wrong_outputs(shown, (), Random(0)) == [("a", "2"), ("b", "2"), ("c", "1"), ("d", "1")]


# -- measures, on a function that follows instructions


def test_zero_shot_tells_wordings_apart(engine):
    found = MEASURES["zero_shot"](case(engine, "singular_to_plural"))
    assert found.none == 0.0
    assert found.vague == (("Do it.", 0.0),)
    assert found.misleading == (("Reverse.", 0.0),)
    assert [score for _, score in found.training] == [1.0] * 3
    assert found.human == (("plural please", 1.0),)
    assert found.held_out == (("test: plural", 1.0),)


def test_annotators_wordings_are_not_looked_at_while_developing(engine):
    found = MEASURES["zero_shot"](case(engine, "singular_to_plural", split="dev"))
    assert found.human == ()
    assert found.held_out == (("dev: plural", 1.0),)


def test_the_landscape_keeps_levels(engine):
    found = MEASURES["landscape"](case(engine, "even_odd"))
    assert [(level, score) for level, _, score in found.scored] == [("precise", 1.0), ("vague", 0.0)]


def test_demonstrations_are_of_training_rows_and_right_or_wrong(engine):
    seen = []

    def spy(text):
        seen.append(text)
        return answer(text)

    asked = case(Engine(FunctionModel(spy)), "even_odd")
    found = MEASURES["demonstrations"](asked)
    assert found == Demonstrations(True, (1, 2, 4, 8), (1.0,) * 4, 1.0)
    shown = {pair for text in seen for pair in text.split("\n\n")[:-1]}
    tested = {x for x, _ in asked.rows}
    inputs = {pair.split("\n")[0].removeprefix("Input: ") for pair in shown}
    assert not inputs & tested
    assert len(seen) == len(set(seen)) == 5 * 40


def test_ape_reads_ranks_and_tests_its_proposals(engine):
    found = MEASURES["ape"](case(engine, "singular_to_plural"))
    assert found == Proposals((("write the plural.", 1.0),), "write the plural.", 1.0, 60, 60, ())
    found = MEASURES["ape"](case(engine, "even_odd"))
    assert (found.best, found.test) == ("write even or odd qzx.", 1.0)
    assert (found.known, found.words, found.unknown) == (80, 100, ("qzx",))


def test_steps_are_measured_where_there_are_any(engine):
    assert MEASURES["chain_of_thought"](case(engine, "singular_to_plural")) is None
    found = MEASURES["chain_of_thought"](case(engine, "even_odd"))
    assert found == Steps(direct=1.0, two_steps=1.0, one_call=1.0)


def test_steps_are_measured_beyond_what_is_taught_where_there_are_such_rows():
    """A model that knows numbers of two digits only, and works out the others."""

    def short_sighted(text):
        reply = answer(text)
        beyond = "Input: 1" in text and len(text.rpartition("Input: ")[2].split("\n")[0]) == 3
        return "odd" if beyond and "tep by step" not in text else reply

    engine = Engine(FunctionModel(short_sighted))
    assert MEASURES["chain_of_thought_beyond"](case(engine, "singular_to_plural")) is None
    asked = case(engine, "even_odd")
    assert all(100 <= int(x) < 200 and accepted == (SIDES[x],) for x, accepted in asked.beyond)
    assert len({x for x, _ in asked.beyond}) == 40
    found = MEASURES["chain_of_thought_beyond"](asked)
    odd = sum(accepted == ("odd",) for _, accepted in asked.beyond) / 40
    assert (found.direct, found.two_steps, found.one_call) == (pytest.approx(odd), 1.0, 1.0)
    assert found.gain == pytest.approx(1.0 - odd)
    of = Measured("small", "v1", 4_000_000, "even_odd", "chain_of_thought_beyond", 0, "test", 40)
    assert Record.read(Record(of, found, 40, 0, 1.0).line()).result == found


def test_calibration_is_measured_where_there_are_labels(engine):
    assert MEASURES["calibration"](case(engine, "singular_to_plural")) is None
    found = MEASURES["calibration"](case(engine, "even_odd"))
    assert len(found.confidence) == 80
    assert all(found.right)
    assert found.confidence[0] == pytest.approx(1 / (1 + 2.718281828 ** (-2.9)))


def test_real_rows_are_measured_where_there_are_any(engine):
    assert MEASURES["real_rows"](case(engine, "even_odd")) is None
    assert MEASURES["real_rows"](case(engine, "singular_to_plural")).scored == (("plural please", 1.0),)


def test_rewriting_is_compared_with_its_start(engine):
    found = MEASURES["improvement"](case(engine, "singular_to_plural"))
    weak = {item.meta: item for item in found.rewritten if item.level == "graded"}
    assert set(weak) == set(META_PROMPTS)
    assert {item.before for item in weak.values()} == {("Do it.", 0.0)}
    # The precise wording is right on every row: there are no errors to show.
    assert {item.meta for item in found.rewritten if item.level == "precise"} == {
        "variation",
        "opro",
        "crossover",
    }


def test_records_are_read_as_they_were_written(tmp_path, engine):
    written = [
        Record(
            Measured("small", "v1", 4_000_000, name, measure, 0, "test", 40),
            MEASURES[measure](case(engine, name)),
            40,
            0,
            1.5,
        )
        for name in SETS
        for measure in RESULTS
    ]
    path = tmp_path / "results.jsonl"
    path.write_text("".join(f"{it.line()}\n" for it in written), encoding="utf-8")
    assert list(read_records([path])) == written
    path.write_text(json.dumps({"model": "small"}) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"results\.jsonl:1: no record of an evaluation"):
        list(read_records([path]))


# -- from the command line


def test_an_embedded_model_is_evaluated_printed_and_not_measured_twice(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(evaluate, "load_material", lambda: MATERIAL)
    evaluate.material.cache_clear()
    out = tmp_path / "results.jsonl"
    line = ["--model", "embedded/small", "--out", str(out), "--processes", "1", "--n", "10", "--seeds", "1"]
    assert evaluate.main([*line, "--measures", "zero_shot"]) == 0
    assert evaluate.main([*line, "--measures", "zero_shot,calibration"]) == 0
    evaluate.material.cache_clear()
    records = list(read_records([out]))
    assert [(r.of.family, r.of.measure) for r in records] == [
        ("singular_to_plural", "zero_shot"), ("even_odd", "zero_shot"),
        ("singular_to_plural", "calibration"), ("even_odd", "calibration"),
    ]  # fmt: skip
    assert {(r.of.model, r.of.split, r.of.n, r.rows) for r in records} == {("small", "test", 10, 10)}
    assert records[0].of.parameters == pytest.approx(3.45e6, rel=0.01)
    assert "2 of 4 are in" in capsys.readouterr().err
    assert table.main([str(out)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("## small (3.4 M parameters)")
    assert "| even_odd |" in printed
    assert "- NOT met: at least 35 families: 2" in printed


def test_unknown_names_are_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(evaluate, "load_material", lambda: MATERIAL)
    line = ["--model", "embedded/small", "--out", str(tmp_path / "x.jsonl")]
    assert evaluate.main([*line, "--families", "even_od"]) == 2
    assert "no such family: 'even_od'; did you mean 'even_odd'?" in capsys.readouterr().err
    assert evaluate.main([*line, "--measures", "zero"]) == 2
    assert evaluate.main(["--model", "embedded/smal", "--out", str(tmp_path / "x.jsonl")]) == 2
    (tmp_path / "x.jsonl").write_text("")
    assert table.main([str(tmp_path / "x.jsonl")]) == 2
    assert "no record of the split dev" in capsys.readouterr().err
