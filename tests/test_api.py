"""The public calls, as a user makes them."""

import json
import stat

import pytest
from toys import Exact, TryAll, proposer_reply, rows, target_reply
from worlds import JOB as WORLD_JOB
from worlds import make_world

import promptopt as po
from promptopt.config import load_job
from promptopt.contracts.model import Decoding
from promptopt.errors import BudgetExhausted, ConfigError, DataError, JournalError, PluginError
from promptopt.run import answers_in
from promptopt.testing.model import FakeModel


def reply(messages):
    """Answer as target, or propose when no input is shown."""
    text = messages[-1]["content"]
    if "friend" in text or "variation" in text:
        return "Write it in capitals." if "eel" in text else "Say hello."
    word = text.rsplit("Input: ", 1)[1].split("\n")[0]
    return word.upper() if "capitals" in text else word


def test_functions_and_lists_are_enough(tmp_path):
    study = po.optimize(
        prompt="Do something.", train=rows(), target=reply, reward="exact_match", folder=tmp_path / "runs"
    )
    assert study.verdict.line.startswith("baseline ")
    assert (tmp_path / "runs" / "latest" / "result.json").exists()
    assert study.best.save(tmp_path / "prompt.json").exists()
    assert po.Prompt.load(tmp_path / "prompt.json") == study.best


def test_objects_in_every_place():
    def reward(example, text):
        return (float(text == example.answer), "try capitals")

    study = po.optimize(
        prompt=po.Prompt("Do something."),
        train=rows(40),
        test=rows(80)[40:],
        target=FakeModel(target_reply),
        proposer=FakeModel(proposer_reply),
        reward=reward,
        search=TryAll(),
        selector="full",
        decoding=Decoding(max_tokens=5),
        sizes=po.Sizes(search=15, select=10, test=20),
        folder=None,
    )
    assert study.best.instruction == "Write it in capitals."
    assert study.verdict.reliable
    assert study.verdict.n == 20
    assert study.folder is None


def test_a_prompt_with_slots_keeps_its_own_layout():
    asked = []

    def target(request):
        asked.append(request.messages[-1].content)
        return "x"

    po.optimize(
        prompt="Answer: {{question}}", train=[{"question": str(i), "answer": "x"} for i in range(20)],
        target=FakeModel(target), search="seed_only", folder=None,
    )  # fmt: skip
    assert set(asked) == {f"Answer: {i}" for i in range(20)}


def test_an_interrupted_run_goes_on_in_its_folder(tmp_path):
    calls = []

    def stopping(request):
        calls.append(request)
        if len(calls) == 30:
            raise KeyboardInterrupt
        return target_reply(request)

    job = {
        "prompt": "Do something.", "train": rows(), "reward": Exact(), "search": TryAll(),
        "proposer": FakeModel(proposer_reply), "folder": tmp_path / "run",
    }  # fmt: skip
    with pytest.raises(KeyboardInterrupt):
        po.optimize(target=FakeModel(stopping), **job)
    (folder,) = [path for path in (tmp_path / "run").iterdir() if not path.is_symlink()]
    model = FakeModel(target_reply)
    study = po.optimize(target=model, **{**job, "folder": folder})
    assert study.folder == folder
    assert len(model.requests) == study.spent["target"].calls - 29 - 1  # one was under way
    with pytest.raises(ConfigError, match="started from Python"):
        po.resume(folder)
    with pytest.raises(JournalError, match="another job"):
        po.optimize(target=model, **{**job, "folder": folder, "seed": 1})


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"serch": "ape"}, ConfigError, "optimize: unknown argument 'serch'; did you mean 'search'?"),
        ({"search": "apee"}, PluginError, "did you mean 'ape'"),
        ({"search": {"name": "ape", "round": 1}}, PluginError, "did you mean 'rounds'"),
        ({"reward": 7}, ConfigError, "give a name, a Reward or a function"),
        ({"target": 7}, ConfigError, "give provider/name, a LanguageModel or a function"),
        ({"target": "embedded/smal"}, PluginError, "small"),
        ({"target": "nothing"}, ConfigError, "provider/name"),
        ({"train": []}, DataError, "rows"),
        ({"prompt": "{{inptu}}"}, po.PromptOptError, "did you mean 'input'"),
        ({"budget": po.Budget(calls=10)}, ConfigError, "cannot pay one baseline pass"),
        ({"target": "openai/new", "budget": po.Budget(usd=1)}, ConfigError, "price"),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(tmp_path, monkeypatch, changes, error, message):
    monkeypatch.chdir(tmp_path)
    given = {"prompt": "Do it.", "train": rows(), "target": FakeModel(lambda _: pytest.fail("called"))}
    with pytest.raises(error, match=message) as caught:
        po.optimize(**{**given, **changes})
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "runs").exists()


JOB = """
data: {path: rows.jsonl, sizes: {search: 12, select: 8, test: 12}}
prompt: Do something.
target: embedded/small
reward: exact_match
search: seed_only
"""


@pytest.fixture
def job(tmp_path):
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows(40)))
    (tmp_path / "job.yaml").write_text(JOB)
    return load_job(tmp_path / "job.yaml")


def test_a_job_runs_and_a_finished_run_answers_from_its_journal(job, tmp_path):
    first = po.run_job(job, parent=tmp_path / "runs")
    again = po.resume(first.folder)
    assert again.verdict == first.verdict
    assert again.total == first.total


def test_a_resumed_run_may_be_given_more(job, tmp_path):
    first = po.run_job(job, parent=tmp_path / "runs")
    assert po.resume(first.folder, budget=po.Budget(calls=500)).verdict == first.verdict


def test_prompts_are_scored_on_the_rows_of_a_split(job):
    mine, theirs = po.score(job, ["Write it in capital letters.", "Say nothing."], split="search", rows=6)
    assert mine[0].instruction == "Write it in capital letters."
    assert mine[1].n == theirs[1].n == 6
    ((seed, evaluation),) = po.score(job, split="test")
    assert seed.instruction == "Do something."
    assert evaluation.n == 12
    with pytest.raises(ConfigError, match="choose from search, select, test"):
        po.score(job, split="dev")


def test_a_text_is_scored_with_the_program_of_the_job(tmp_path):
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows(40)))
    (tmp_path / "job.yaml").write_text(f"{JOB}program: chain_of_thought\n")
    ((prompt, _),) = po.score(load_job(tmp_path / "job.yaml"), ["Say nothing."], rows=2)
    assert (
        prompt.program
        == po.Prompt.from_dict({"instruction": "", "program": {"name": "chain_of_thought"}}).program
    )


COUNTED = '''

def counted(text):
    """Answer as `target` does, and leave a mark."""
    from pathlib import Path
    with (Path(__file__).parent / "asked.txt").open("a") as marks:
        marks.write("x")
    return target(text)
'''


def test_an_interrupted_scoring_goes_on_from_its_file_of_answers(tmp_path):
    file = make_world(tmp_path / "world", WORLD_JOB.replace("models.py:target", "models.py:counted"))
    with (file.parent / "models.py").open("a") as models:
        models.write(COUNTED)
    asked, answers = file.parent / "asked.txt", tmp_path / "answers.sqlite"
    given = {"prompts": ["In capitals.", "Say it."], "rows": 8, "answers": answers}
    with pytest.raises(BudgetExhausted):
        po.score(load_job(file, ["budget.calls=11"]), **given)
    assert len(asked.read_text()) == 11
    (_, good), (_, bad) = po.score(load_job(file, ["budget.calls=16"]), **given)
    assert (good.mean, bad.mean, len(asked.read_text())) == (1.0, 0.0, 16)
    files = [file.parent / name for name in ("a.txt", "b.txt")]
    for path, text in zip(files, given["prompts"], strict=True):
        path.write_text(text)
    options = {"job": load_job(file), "split": "select", "rows": 8}
    assert po.compare(files, answers=answers, **options).pairs[0].gain == -1
    assert len(asked.read_text()) == 16


def test_answers_are_kept_in_a_file_of_their_own(job, tmp_path):
    study = po.run_job(job, folder=tmp_path / "run")
    with pytest.raises(JournalError, match="is the journal of a run"):
        po.score(job, answers=study.folder / "journal.sqlite")
    with pytest.raises(JournalError, match="its folder does not exist"):
        po.score(job, answers=tmp_path / "nowhere" / "answers.sqlite")
    (tmp_path / "text.txt").write_text("not a journal, but long enough to be taken for something" * 20)
    with pytest.raises(JournalError, match="cannot be opened as a journal"):
        po.score(job, answers=tmp_path / "text.txt")
    with answers_in(tmp_path / "a.sqlite"), pytest.raises(JournalError, match="another process is working"):
        po.score(job, answers=tmp_path / "a.sqlite")
    assert stat.S_IMODE((tmp_path / "a.sqlite").stat().st_mode) == 0o600
