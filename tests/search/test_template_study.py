"""Asking and telling: every sampler is seeded, quiet, tries nothing twice, and survives growth."""

import os
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest
from dashboard import dashboard
from toys import chance

from promptopt.errors import ConfigError
from promptopt.search._template_database import opened_storage
from promptopt.search._template_language import read_axes, read_forbidden
from promptopt.search._template_space import Slot, Space
from promptopt.search._template_study import AskTell
from promptopt.template import Template

SAMPLERS = ["tpe", "gp", "cmaes", "nsga2", "qmc", "random", "grid"]
NEEDS = {"gp": "torch", "qmc": "scipy", "cmaes": "cmaes"}


def make(forbid=(), **numbers):
    slots = {"a": ["p", "q", "r"], "b": {"alternatives": ["s", "t"], "when": {"a": ["p", "q"]}}}
    axes = read_axes(slots, {}, {"n": {"low": 0, "high": 4}, **numbers})
    return Space(
        Template("{{a}} {{b}} {{n}} {{x}} {{input}}"), axes, ("input",), read_forbidden(forbid, axes)
    )


def worth(point):
    return (
        {"p": 0.2, "q": 0.7, "r": 0.1}[point["a"]]
        + 0.1 * (point.get("b") == "t")
        - 0.03 * abs(point["n"] - 3)
    )


def play(study, rounds=4, batch=4, cost=None):
    tried = []
    for _ in range(rounds):
        for one in study.ask(batch):
            values = (worth(one.point),) if cost is None else (worth(one.point), cost(one.point))
            study.tell(one, values, {}, {"rows": 5})
            tried.append(one.point)
    return tried


def ask_tell(sampler, space=None, seed=0, **options):
    options = {"startup": 6, "population": 4, "weighs": False, **options}
    return AskTell(sampler, space or make(), seed, **options)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_seed_decides_what_is_tried_and_nothing_is_tried_twice(sampler, capfd):
    pytest.importorskip(NEEDS.get(sampler, "optuna"))
    space = make([{"a": "r", "n": 0}])
    # A Gaussian process takes seconds to fit.
    size = {"rounds": 2, "startup": 3} if sampler == "gp" else {"rounds": 4, "startup": 6}
    first = play(ask_tell(sampler, space, startup=size["startup"]), rounds=size["rounds"])
    assert first == play(ask_tell(sampler, space, startup=size["startup"]), rounds=size["rounds"])
    assert len({tuple(point.items()) for point in first}) == len(first)
    assert all(space.allows(point) for point in first)
    assert first[:4] != play(ask_tell(sampler, space, seed=1), rounds=1)
    assert capfd.readouterr() == ("", "")


def test_the_first_alternatives_go_first_and_a_finite_space_comes_to_its_end():
    space = make()
    for sampler in ("tpe", "grid"):
        tried = play(ask_tell(sampler, space), rounds=4, batch=10)
        assert sorted(map(str, tried)) == sorted(map(str, space.points()))
        assert (tried[0] == {"a": "p", "b": "s", "n": 0}) == (sampler == "tpe")


def test_tpe_finds_the_best_corner_sooner_than_chance():
    space = make(x={"low": 0, "high": 9})
    tried = play(ask_tell("tpe", space, startup=10), rounds=10, batch=4)
    late = tried[20:]
    assert sum(point["a"] == "q" for point in late) > 0.55 * len(late)


def known(study, points, value, cost=None, violation=0.0):
    """Let a study know of points, whatever its sampler would have asked."""
    for point in points:
        one = study._enqueued(point)
        study._seen.add(tuple(point.items()))
        study.tell(
            one, (value(point),) if cost is None else (value(point), cost(point)), {"cap": violation}, {}
        )


def test_a_sampler_that_repeats_itself_is_helped_by_the_neighbours_of_the_best():
    study = ask_tell("tpe")
    best = {"a": "q", "b": "t", "n": 3}
    known(study, [{"a": "p", "b": "s", "n": 0}, best, {"a": "p", "b": "t", "n": 1}], worth)
    for point in islice(study._elsewhere(), 4):
        apart = {name for name in best if point.get(name) != best[name]}
        assert len(apart) == 1 or apart == {"a", "b"}  # what depends on `a` is chosen anew with it


def test_neighbours_are_taken_of_what_is_within_the_caps():
    space = make()
    study = ask_tell("nsga2", space)
    known(study, [{"a": "q", "b": "t", "n": 3}], worth, violation=0.5)
    known(study, [{"a": "p", "b": "s", "n": 0}], worth)
    assert study._ranked() == [{"a": "p", "b": "s", "n": 0}]


def test_where_cost_is_weighed_neighbours_are_taken_of_what_nothing_beats():
    space = make()
    study = ask_tell("tpe", space, weighs=True)
    good, cheap, beaten = ({"a": "q", "b": "t", "n": n} for n in (3, 0, 4))
    known(study, [beaten, good, cheap], worth, cost=lambda point: point["n"])
    assert sorted(point["n"] for point in study._ranked()) == [0, 3]


def test_reward_against_cost_keeps_the_cheap_ones_in_view():
    study = ask_tell("nsga2", weighs=True)
    play(study, cost=lambda point: point["n"])
    assert study.importances() == {}


def test_points_beyond_a_cap_are_avoided():
    study = ask_tell("tpe", make(x={"low": 0, "high": 9}), startup=8)
    late = []
    for number in range(8):
        for one in study.ask(4):
            study.tell(one, (worth(one.point),), {"cap": 1.0 if one.point["a"] == "q" else -1.0}, {})
            late += [one.point["a"]] * (number >= 4)
    assert late.count("q") < 6


def test_a_slot_may_grow_and_what_was_told_stays():
    space = make()
    study = ask_tell("tpe", space)
    before = play(study, rounds=3)
    slot = space.by_name["a"]
    assert isinstance(slot, Slot)
    grown = space.with_axis(slot.with_texts(["new"]))
    study.grow(grown)
    assert len(study._told()) == len(before)
    after = []
    for _ in range(3):
        for one in study.ask(4):
            study.tell(one, (0.9 if one.point["a"] == "new" else 0.1,), {}, {})
            after.append(one.point)
    assert any(point["a"] == "new" for point in after)
    assert not {tuple(p.items()) for p in after} & {tuple(p.items()) for p in before}


def test_importance_names_the_axis_that_decides():
    study = ask_tell("random", make(x={"low": 0, "high": 9}))
    for one in study.ask(60):
        study.tell(one, ((one.point["a"] == "q") + chance(str(one.point)),), {}, {})
    found = study.importances()
    assert max(found, key=found.get) == "a"
    assert sum(found.values()) == pytest.approx(1)


def test_a_study_can_be_read_from_a_database_and_is_written_again_not_twice(tmp_path):
    import optuna

    url = f"sqlite:///{tmp_path / 'study.db'}"
    study = ask_tell("qmc")
    tried = play(study)
    for _ in range(2):
        study.export(url, "promptopt template x")
    (summary,) = optuna.get_all_study_summaries(url)
    assert summary.n_trials == len(tried)
    loaded = optuna.load_study(study_name="promptopt template x", storage=url)
    assert loaded.best_trial.params == max(tried, key=worth)
    assert loaded.best_trial.user_attrs == {"rows": 5}


@pytest.mark.slow
def test_the_dashboard_opens_the_study(tmp_path):
    url = f"sqlite:///{tmp_path / 'study.db'}"
    study = ask_tell("tpe")
    tried = play(study)
    study.export(url, "promptopt template x")
    with dashboard(url) as get:
        (listed,) = get("/api/studies")["study_summaries"]
        assert listed["study_name"] == "promptopt template x"
        opened = get(f"/api/studies/{listed['study_id']}")
    shown = [{one["name"]: one["param_external_value"] for one in t["params"]} for t in opened["trials"]]
    assert shown == [{name: str(value) for name, value in point.items()} for point in tried]
    assert [trial["state"] for trial in opened["trials"]] == ["Complete"] * len(tried)
    assert [trial["values"][0] for trial in opened["trials"]] == pytest.approx([worth(p) for p in tried])
    assert opened["directions"] == ["maximize"]


def test_a_study_of_somebody_else_is_left_alone(tmp_path):
    import optuna

    url = f"sqlite:///{tmp_path / 'study.db'}"
    optuna.create_study(study_name="mine", storage=url)
    with pytest.raises(ConfigError, match="holds another study of this name"):
        ask_tell("random").export(url, "mine")
    with pytest.raises(ConfigError, match=r"search.storage: cannot be opened"):
        opened_storage("nonsense").__enter__()


def test_another_process_tries_the_same_points():
    """What is a set in Optuna is in another order there; a resumed run must not notice."""
    code = "from test_template_study import *; print(play(ask_tell('tpe')))"
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])
    own = os.environ.get("PYTHONHASHSEED", "0")
    environment = {**os.environ, "PYTHONHASHSEED": "1" if own != "1" else "2", "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == str(play(ask_tell("tpe")))
