"""What a run's result says besides its verdict."""

import json
from dataclasses import replace

from toys import (
    INSTRUCTIONS,
    Named,
    among_equals,
    fake,
    make_setup,
    read_input,
    user_text,
)

from promptopt.events import Notice, Stage
from promptopt.run import execute
from promptopt.runfolder import RunFolder
from promptopt.splits import Sizes


def test_the_result_says_why_what_became_of_the_gain_and_what_could_be_seen():
    heard = []
    study = execute(make_setup(), listen=heard.append)
    result = json.loads(json.dumps(study.to_dict(), allow_nan=False))
    assert "on 15 select rows" in result["finals"]["why"]
    assert result["finals"]["winner"] == study.best.id
    assert result["gap"]["test_gain"] == study.verdict.difference
    assert result["gap"]["select_gain"] == result["finals"]["gain"] > 0.5
    assert result["power"]["observed"] == "test rows"
    assert result["power"]["line"].startswith("with 25 test rows a gain under ")
    assert result["guards"]["overlap"]["shared"] == result["guards"]["overlap"]["pairs"] == 0
    assert result["guards"]["format"]["best"] == 0
    said = [e.text for e in heard if isinstance(e, Notice)]
    assert any("of the select rows" in text and "cannot be seen" in text for text in said)


def test_inside_the_noise_the_shorter_finalist_wins():
    def reply(request):
        text = user_text(request)
        word = read_input(text)
        lucky = "please" in text and word == first
        return word.upper() if lucky or ("capitals" in text and word != first) else word

    setup = make_setup(searcher=Named("Use capitals, if you please.", "capitals"))
    first = setup.task.splits.select[0].inputs["input"]
    study = execute(replace(setup, models={**setup.models, "target": fake(reply)}))
    assert study.best.instruction == "capitals"
    assert study.finals.why.startswith("shortest (8 characters) of 2 prompts within the noise")


def test_a_leak_is_noted_in_the_result():
    setup = make_setup()
    row = setup.task.splits.search[0]
    text = f"Write capitals, as in {row.inputs['input']} {row.answer}."
    study = execute(make_setup(searcher=Named(text)))
    assert study.notes[-1].startswith("leak check: the best prompt repeats search rows")
    assert study.to_dict()["guards"]["overlap"]["example"] == row.id


def test_without_a_test_split_the_gain_is_an_estimate_and_says_so(tmp_path):
    sizes = Sizes(search=20, select=30, test=0)
    events = []
    study = execute(make_setup(sizes=sizes), RunFolder(tmp_path / "run"), listen=events.append)
    assert study.best.instruction == "Write it in capitals."
    assert not study.verdict.held_out
    assert study.verdict.likely
    assert not study.verdict.reliable
    assert study.verdict.n == 30
    assert "estimated on reused rows; not a held-out proof" in study.verdict.line
    assert study.gap is None
    assert study.power.split == "select"
    assert [e.name for e in events if isinstance(e, Stage)] == ["baseline", "search", "select", "done"]
    again = execute(make_setup(sizes=sizes), RunFolder(tmp_path / "run"))
    assert again.verdict == study.verdict


def test_without_a_test_split_equals_are_not_called_better():
    likely = 0
    for seed in range(40):
        likely += among_equals(seed, sizes=Sizes(search=20, select=40, test=0)).verdict.likely
    assert likely <= 5


def test_what_the_searcher_rules_out_is_a_candidate_that_cannot_win():
    class Strict:
        def search(self, session):
            seed = session.task.seed_prompt
            best, good = (seed.child(instruction=t, origin="x") for t in (INSTRUCTIONS[0], INSTRUCTIONS[2]))
            session.score([best, good])
            session.rule_out([best, seed, seed.child(instruction="Never scored.", origin="x")])

    study = execute(make_setup(searcher=Strict()))
    assert study.best.instruction == "Use upper case letters."
    ruled_out = next(c for c in study.candidates if c.prompt.instruction == "Write it in capitals.")
    assert ruled_out.search.mean == 1.0
    assert ruled_out.select is None
    assert study.candidate(study.seed_prompt).select is not None
