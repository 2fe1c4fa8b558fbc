from dataclasses import replace

import pytest

from benchmarks.embedded import table
from benchmarks.embedded.results import (
    Calibration,
    Demonstrations,
    Landscape,
    Measured,
    Proposals,
    RealRows,
    Record,
    Speed,
    Steps,
    StepsBeyond,
    ZeroShot,
)
from benchmarks.embedded.summary import read_models
from benchmarks.embedded.verdicts import verdicts


def record(family, measure, result, seed=0, model="small", parameters=4_000_000, **changes):
    of = replace(Measured(model, "v1", parameters, family, measure, seed, "test", 100), **changes)
    return Record(of, result, of.n, 0, 1.0)


def family(name, *, good=0.97, seeds=3, **its):
    """Return made-up records of a family that meets everything."""
    made = {
        "zero_shot": ZeroShot(
            0.0, (("v", 0.0),), (("m", 0.1),), (("t", good),), (("h", 0.9),),
            tuple((f"w{k}", 0.8 + k / 50) for k in range(5)),
        ),
        "landscape": Landscape(tuple(("precise", str(k), k / 40) for k in range(41))),
        "demonstrations": Demonstrations(True, (1, 2, 4, 8), (0.5, 0.6, 0.7, 0.8), 0.4),
        "ape": Proposals((("p", 1.0),), "p", 0.92, 100, 99, ("qzx",)),
        "calibration": Calibration((0.9, 0.8), (True, True)),
        "real_rows": RealRows((("h", 0.9),)),
        "speed": Speed(16, 100, 7.0),
    }  # fmt: skip
    its = {**made, **its}
    return [record(name, measure, it, seed) for seed in range(seeds) for measure, it in its.items()]


NAMES = ["sentiment", "topic", "singular_to_plural", *(f"family{k}" for k in range(33))]


def judged(records):
    models = read_models(records, "test")
    return {verdict.asked: verdict for verdict in verdicts(models[-1], models)}


def find(found, beginning):
    (verdict,) = [verdict for asked, verdict in found.items() if asked.startswith(beginning)]
    return verdict


def test_a_model_that_is_good_enough_is_said_to_be():
    found = judged([line for name in NAMES for line in family(name)])
    assert {asked for asked, verdict in found.items() if verdict.met is False} == set()
    assert sum(verdict.met is None for verdict in found.values()) == 3  # one size only
    assert str(find(found, "right instruction")) == (
        "- met: right instruction in training wording: at least 0.93 on average: "
        "0.970 [0.970, 0.970] over 36 families"
    )


@pytest.mark.parametrize(
    ("beginning", "changes"),
    [
        ("right instruction", {"good": 0.92}),
        ("at least 100 rows", {"seeds": 2}),
        ("accuracy grows", {"demonstrations": Demonstrations(True, (1, 8), (0.8, 0.7), 0.2)}),
        ("right demonstrations", {"demonstrations": Demonstrations(True, (1, 8), (0.5, 0.8), 0.7)}),
        ("a graded landscape", {"landscape": Landscape((("precise", "a", 1.0),) * 41)}),
        ("best minus median", {"landscape": Landscape((("partial", "a", 0.8),) * 40 + (("", "b", 0.9),))}),
        ("APE reaches", {"ape": Proposals((("p", 1.0),), "p", 0.89, 100, 99, ())}),
        ("at least 95%", {"ape": Proposals((("p", 1.0),), "p", 0.95, 100, 94, ())}),
        ("topic on real rows", {"real_rows": RealRows((("h", 0.77),))}),
        ("16 prompts", {"speed": Speed(16, 100, 20.1)}),
    ],
)
def test_what_is_not_good_enough_is_said_not_to_be(beginning, changes):
    verdict = find(judged([line for name in NAMES for line in family(name, **changes)]), beginning)
    assert verdict.met is False
    assert str(verdict).startswith("- NOT met: ")


def test_wrong_labels_count_on_label_families_only():
    unlabelled = Demonstrations(False, (1, 2, 4, 8), (0.5, 0.6, 0.7, 0.8), 0.9)
    records = [*family("a"), *family("b", demonstrations=unlabelled)]
    assert find(judged(records), "right demonstrations").met
    assert "over 1 families" in find(judged(records), "right demonstrations").measured


def test_sizes_are_compared():
    def size(name, parameters, training, steps):
        lines = [
            *family("sum", good=training, seeds=1),
            record("sum", "chain_of_thought", steps),
        ]
        return [replace(it, of=replace(it.of, model=name, parameters=parameters)) for it in lines]

    records = size("large", 9, 0.9, Steps(0.6, 0.7, 0.5)) + size("tiny", 1, 0.2, Steps(0.6, 0.5, 0.4))
    models = read_models(records, "test")
    assert [model.name for model in models] == ["tiny", "large"]
    found = judged(records)
    assert find(found, "sizes differ").measured == "sum"
    assert find(found, "steps help").measured.startswith("sum (-0.10, +0.10)")
    printed = table.render(models, models[-1])
    assert "| sum | 0.20 / 0.85 | 0.90 / 0.85 |" in printed
    assert "| sum | 0.60 / 0.50 / 0.40 | 0.60 / 0.70 / 0.50 |" in printed
    assert "| **all choices** | 0.15 / 1.00 | 0.15 / 1.00 |" in printed
    same = size("large", 9, 0.9, Steps(0.6, 0.7, 0.5)) + size("tiny", 1, 0.7, Steps(0.6, 0.6, 0.6))
    assert find(judged(same), "sizes differ").met is False
    assert find(judged(same), "steps help").met is False


def test_steps_beyond_what_is_taught_count_for_themselves():
    def size(name, parameters, beyond):
        lines = [
            *family("sum", seeds=1),
            record("sum", "chain_of_thought", Steps(0.6, 0.6, 0.6)),
            record("sum", "chain_of_thought_beyond", beyond),
        ]
        return [replace(it, of=replace(it.of, model=name, parameters=parameters)) for it in lines]

    records = size("large", 9, StepsBeyond(0.0, 0.9, 0.8)) + size("tiny", 1, StepsBeyond(0.1, 0.0, 0.01))
    found = find(judged(records), "steps help")
    assert found.met
    assert found.measured.startswith("sum, beyond what is taught (-0.09, +0.90);")
    models = read_models(records, "test")
    printed = table.render(models, models[-1])
    assert "| sum | 0.60 / 0.60 / 0.60 | 0.60 / 0.60 / 0.60 |" in printed
    assert "| sum, beyond what is taught | 0.10 / 0.00 / 0.01 | 0.00 / 0.90 / 0.80 |" in printed


def test_means_are_over_seeds_and_the_most_rows_count():
    def zero(training):
        return ZeroShot(0.0, (), (), (("t", training),), (), (("w", 0.4),))

    records = [
        record("a", "zero_shot", zero(0.1), n=40),
        record("a", "zero_shot", zero(0.6), n=100),
        record("a", "zero_shot", zero(0.8), seed=1),
        record("a", "zero_shot", zero(0.0), split="dev"),
    ]
    (model,) = read_models(records, "test")
    summary = model.summary("a")
    assert summary.training == pytest.approx(0.7)
    assert (summary.human, summary.reference, summary.held_out_each) == (None, 0.4, (0.4,))


def test_two_versions_of_a_model_are_two_models():
    records = [record("a", "speed", Speed(16, 100, 1.0)), record("a", "speed", None, version="v2")]
    assert [model.name for model in read_models(records, "test")] == ["small@v1", "small@v2"]
