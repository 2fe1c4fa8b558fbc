"""`promptopt.compare`: prompts on a job's rows, and runs from their journals."""

from dataclasses import replace
from pathlib import Path

import pytest
from judges import gullible, honest, judged, question
from toys import Exact, TryAll, fake, make_setup, rows, target_reply
from worlds import JOB, make_judged_world, make_world

import promptopt as po
from promptopt.config import load_job
from promptopt.errors import BudgetExhausted, ConfigError, DataError, TemplateError
from promptopt.journal import Journal
from promptopt.run import execute
from promptopt.runfolder import RunFolder
from promptopt.setup import from_job
from promptopt.splits import Sizes


class Fixed:
    """A searcher that scores the instructions it is given."""

    def __init__(self, *texts):
        self.texts = texts

    def search(self, session):
        seed = session.task.seed_prompt
        session.score([seed, *(seed.child(instruction=text, origin="x") for text in self.texts)])


def run(folder: Path, *texts, **changes) -> str:
    """Keep a finished run in `folder`, and return the folder's name."""
    execute(make_setup(searcher=Fixed(*texts), **changes), RunFolder(folder))
    return str(folder)


def test_runs_are_compared_from_their_journals_row_by_row(tmp_path):
    a, b = run(tmp_path / "a"), run(tmp_path / "b", "Use upper case letters.")
    result = po.compare([a, b])
    (pair,) = result.pairs
    assert (result.split, result.reward, result.spent.calls) == ("test", "exact", 0)
    assert [c.name for c in result.contenders] == [a, b]
    study = execute(make_setup(searcher=Fixed("Use upper case letters.")), RunFolder(b))
    assert (pair.n, pair.gain, pair.interval) == (25, study.verdict.difference, study.verdict.interval)
    assert pair.words == "better"
    assert result.notes == ()
    assert po.compare({"mine": a, "theirs": b}, baseline="theirs").pairs[0].words == "worse"


def test_runs_of_different_judges_are_not_compared_and_one_judge_compares_prompts(tmp_path):
    searcher = Fixed("Write it in capitals.")
    names = []
    for name, judge in {"a": honest, "b": honest, "c": gullible}.items():
        setup = judged(judge, searcher=searcher)
        models = {**setup.models, "judge": fake(lambda r, j=judge: j(question(r)), judge.__name__)}
        execute(replace(setup, models=models), RunFolder(tmp_path / name))
        names.append(str(tmp_path / name))
    assert po.compare(names[:2]).pairs[0].gain == 0.0
    with pytest.raises(DataError, match="were judged by different rewards"):
        po.compare(names[1:])


def test_prompts_on_a_judged_job_are_compared_with_what_the_canaries_say(tmp_path):
    job = load_job(make_judged_world(tmp_path, "gullible"))
    texts = {"old.txt": "Write the word.", "new.txt": "Write it in capitals."}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    result = po.compare([str(tmp_path / name) for name in texts], job=job)
    assert result.pairs[0].words == "better"
    assert result.spent.calls == 2 * 24 * 2 + 15
    assert result.notes[0].startswith("judge check: the scores rest on a judge")
    notices = []
    scored = po.score(job, listen=notices.append)
    assert scored[0][1].mean == 0.0
    assert any("judge check" in getattr(event, "text", "") for event in notices)


def test_runs_of_another_seed_are_compared_on_the_test_rows_they_share(tmp_path):
    sizes = {"sizes": Sizes(search=10, select=10, test=40)}
    a, b = run(tmp_path / "a", **sizes), run(tmp_path / "b", "capitals", seed=3, **sizes)
    test = [set(make_setup(seed=seed, **sizes).task.splits.marks.items()) for seed in (0, 3)]
    shared = {row for row, mark in test[0] & test[1] if mark[0] == "test"}
    assert 20 < len(shared) < 40
    result = po.compare([a, b])
    assert result.pairs[0].n == len(shared)
    assert any(f"as few as {len(shared)} of" in note for note in result.notes)


def test_select_rows_are_said_to_flatter(tmp_path):
    a, b = run(tmp_path / "a"), run(tmp_path / "b", "capitals")
    assert "flatter" in po.compare([a, b], split="select").notes[0]


def test_another_target_is_said(tmp_path):
    other = make_setup().models["proposer"]
    a = run(tmp_path / "a")
    b = run(tmp_path / "b", models={"target": fake(target_reply, "another"), "proposer": other})
    assert any("answered by another target" in note for note in po.compare([a, b]).notes)


def changed(n=60):
    return [{**row, "output": row["output"] + "!"} for row in rows(n)]


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"rows": changed()}, "have different data: row '"),
        ({"rows": [{**row, "id": f"x{row['id']}"} for row in rows()]}, "have no scored row in common"),
        ({"lock": {"reward": {"name": "exact", "ignore_case": False}}}, "were judged by different rewards"),
    ],
)
def test_other_data_or_rewards_are_an_error_with_the_cure(tmp_path, other, said):
    a, b = run(tmp_path / "a"), run(tmp_path / "b", **other)
    with pytest.raises(DataError, match=said) as caught:
        po.compare([a, b])
    assert str(caught.value).endswith("score the prompts on the rows of one job: give it with --job")


def test_with_all_pairs_every_two_must_share_rows(tmp_path):
    half = {"sizes": Sizes(search=2, select=2, test=20)}
    a = run(tmp_path / "a", sizes=Sizes(search=2, select=2, test=50))
    runs = [a, run(tmp_path / "b", rows=rows(30), **half), run(tmp_path / "c", rows=rows(60)[30:], **half)]
    assert len(po.compare(runs).pairs) == 2
    with pytest.raises(DataError, match="no scored row in common"):
        po.compare(runs, all_pairs=True)


def test_what_cannot_be_compared_is_said_in_a_line(tmp_path):
    a = run(tmp_path / "a")
    (tmp_path / "p.txt").write_text("capitals")
    unfinished = RunFolder(tmp_path / "u")
    execute(make_setup(), unfinished)
    unfinished.result_file.unlink()
    old = run(tmp_path / "old")
    journal = Journal(tmp_path / "old" / "journal.sqlite")
    journal._store.query("DELETE FROM meta WHERE key = 'task'")
    journal.close()
    cases = [
        ([a], {}, ConfigError, "at least two"),
        ([a, a], {}, ConfigError, "given twice"),
        ([a, str(tmp_path / "p.txt")], {}, ConfigError, "give it with --job"),
        ([a, str(tmp_path / "q.txt")], {}, DataError, "no such prompt file or run folder"),
        ([a, str(tmp_path)], {}, DataError, "is not a run's folder"),
        ([a, str(unfinished.path)], {}, DataError, "is not done.*promptopt resume"),
        ([a, old], {}, DataError, "does not say what its rows were"),
        ([a, old], {"baseline": "b"}, ConfigError, "'b' is none of them"),
        ([a, old], {"rows": 3}, ConfigError, "rows: belongs to a job"),
        ([a, old], {"answers": "x.sqlite"}, ConfigError, "answers: belongs to a job"),
    ]
    for given, options, error, said in cases:
        with pytest.raises(error, match=said) as caught:
            po.compare(given, **options)
        assert "\n" not in str(caught.value)


@pytest.fixture
def job(tmp_path):
    return load_job(make_world(tmp_path / "world"))


def files(folder: Path, **texts: str) -> list[str]:
    found = []
    for name, text in texts.items():
        (folder / f"{name}.txt").write_text(f"{text}\n", encoding="utf-8")
        found.append(str(folder / f"{name}.txt"))
    return found


def test_prompts_are_scored_on_the_rows_of_a_job(job, tmp_path):
    a, b = files(tmp_path, a="Say it.", b="In capitals.")
    saved = po.Prompt.parse("All capitals.", ["input"]).save(tmp_path / "saved.json")
    result = po.compare([a, b, saved, po.Prompt.parse("Whisper.", ["input"])], job=job, split="select")
    assert [pair.words for pair in result.pairs] == ["better", "better", "no reliable difference"]
    assert [c.evaluation.mean for c in result.contenders] == [0.0, 1.0, 1.0, 0.0]
    assert result.contenders[-1].name == "Whisper."
    assert result.spent.calls == 4 * len(from_job(job).task.splits.select)
    few = po.compare([a, b], job=str(tmp_path / "world"), rows=5, baseline="b")
    assert (few.pairs[0].baseline, few.pairs[0].n, few.pairs[0].words) == (b, 5, "no reliable difference")


def test_a_runs_winner_costs_nothing_on_its_own_rows(job, tmp_path):
    study = po.run_job(job, folder=tmp_path / "run")
    (a,) = files(tmp_path, a="Write the word.")
    result = po.compare([a, tmp_path / "run"], job=job)
    assert result.spent.calls == 0  # the seed prompt's answers are in the run's journal too
    assert result.pairs[0].gain == study.verdict.difference
    assert result.notes == ()


def test_rows_that_a_winner_was_found_by_are_counted(job, tmp_path):
    po.run_job(job, folder=tmp_path / "run")
    (a,) = files(tmp_path, a="Write the word.")
    other = job.model_copy(update={"seed": 1})
    searched = {m[1] for m in from_job(job).task.splits.marks.values() if m[0] != "test"}
    mine = [m[1] for m in from_job(other).task.splits.marks.values() if m[0] == "test"]
    seen = sum(mark in searched for mark in mine)
    assert 0 < seen < len(mine)
    said = f"{seen} of {len(mine)} rows were used to find the winner of run, which flatter it"
    assert said in po.compare([a, tmp_path / "run"], job=other).notes


def test_a_text_is_run_with_the_program_of_the_job(tmp_path):
    job = load_job(make_world(tmp_path / "world", f"{JOB}program: {{name: self_consistency, n: 3}}\n"))
    a, b = files(tmp_path, a="Say it.", b="In capitals.")
    result = po.compare([a, b], job=job, rows=4)
    assert result.spent.calls == 2 * 4 * 3
    assert result.contenders[0].prompt.program.n == 3


def test_a_prompt_that_does_not_fit_the_job_and_a_budget_that_is_too_small(job, tmp_path):
    a, b = files(tmp_path, a="Say {{wrod}}", b="In capitals.")
    with pytest.raises(TemplateError, match="wrod"):
        po.compare([b, a], job=job)
    saved = po.Prompt.parse("Say {{other}}", ["other"]).save(tmp_path / "saved.json")
    with pytest.raises(TemplateError, match="other"):
        po.compare([b, saved], job=job)
    (tmp_path / "latin.txt").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(DataError, match="save it as UTF-8"):
        po.compare([b, tmp_path / "latin.txt"], job=job)
    (c,) = files(tmp_path, c="Say it.")
    small = load_job(tmp_path / "world", ["budget.calls=5"])
    with pytest.raises(BudgetExhausted):
        po.compare([b, c], job=small)
    with pytest.raises(ConfigError, match="choose from search, select, test"):
        po.compare([b, c], job=job, split="dev")


def test_a_run_from_python_is_compared_too(tmp_path):
    for name, text in (("a", "Do something."), ("b", "Write in capitals.")):
        po.optimize(
            prompt=text, train=rows(), target=make_setup().models["target"], reward=Exact(),
            proposer=make_setup().models["proposer"], search=TryAll(1), name=name, folder=tmp_path / "runs",
        )  # fmt: skip
    result = po.compare([tmp_path / "runs" / "a-001", tmp_path / "runs" / "b-001"])
    assert result.pairs[0].n == 24


def test_a_prompt_whose_replies_are_cut_before_they_answer_is_named(tmp_path):
    make_world(tmp_path)
    (tmp_path / "wordy.py").write_text(
        "from promptopt.contracts.model import Completion\n\n"
        "def reply(text):\n"
        "    word = text.rsplit('Input: ', 1)[1].split('\\n', 1)[0].upper()\n"
        "    return Completion('Well, it', 'length') if 'slowly' in text else Completion(word)\n"
    )
    job = load_job(
        tmp_path, [f"target={{model: 'python/{tmp_path}/wordy.py:reply', decoding: {{max_tokens: 2}}}}"]
    )
    notes = po.compare(
        {"brief": po.Prompt("Write it."), "wordy": po.Prompt("Write it slowly.")}, job=job
    ).notes
    (cut,) = [note for note in notes if "answers of" in note]
    assert cut == (
        "target.decoding.max_tokens: seems to end replies before they have answered; got 24 of 24 answers of "
        "wordy cut at 2 tokens, 100% of their score lost; raise it"
    )
