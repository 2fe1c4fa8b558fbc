"""Which generator is meant, and what it is asked about."""

import json
import shutil

import pytest

pytest.importorskip("torch", reason="pip install 'promptopt[local]'")

from promptopt.cli.main import main
from promptopt.config import job_from_dict
from promptopt.errors import ConfigError, DataError
from promptopt.plugins import build
from promptopt.proposing import find_generator, propose

CARD = {
    "base": "embedded/small", "form": "scratch", "demos": 3, "temperature": 1.0, "max_tokens": 32,
    "max_chars": 200, "steps": 7, "algorithm": "grpo", "reward": 0.5, "threads": 1,
    "meta_prompt": "Here are pairs:\n\n{{demonstrations}}\n\nThe instruction was to",
}  # fmt: skip
CONDITIONAL = {"form": "conditional", "meta_prompt": "Write a new instruction.\n\n{{row}}\n\nInstruction:"}
REWRITE = {
    "form": "rewrite",
    "meta_prompt": "Generate a variation of the following instruction while keeping the semantic meaning.\n\n"
    "Input: {{instruction}}\nOutput:",
}


def generator(folder, **changes):
    shutil.copytree(build("models", "embedded").folder, folder)
    (folder / "generator.json").write_text(json.dumps(CARD | changes))
    return folder


def job_data(tmp_path):
    rows = tmp_path / "rows.jsonl"
    words = [f"{a}{b}t" for a in "bcfhmprst" for b in "aeiou"]
    rows.write_text("".join(json.dumps({"input": word, "output": word[0]}) + "\n" for word in words))
    return {
        "name": "letters", "data": {"path": str(rows), "sizes": {"search": 20, "select": 10, "test": 10}},
        "prompt": "Write the first letter of the word.", "target": "embedded/small", "reward": "exact_match",
        "search": "seed_only",
    }  # fmt: skip


def test_a_run_s_only_generator_is_found(tmp_path):
    made = generator(tmp_path / "run" / "work" / "rl-1" / "generator")
    assert find_generator(made) == made
    assert find_generator(tmp_path / "run") == made
    generator(tmp_path / "run" / "work" / "rl" / "rl-2" / "generator")
    with pytest.raises(DataError, match="has trained 2 generators"):
        find_generator(tmp_path / "run")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no trained generator"):
        find_generator(tmp_path / "empty")


def test_each_form_is_asked_what_it_needs(tmp_path):
    job = job_from_dict(job_data(tmp_path), str(tmp_path), "job")
    plain = generator(tmp_path / "plain")
    (texts,) = propose(plain, job, n=4)
    assert texts
    with pytest.raises(ConfigError, match="reads no input"):
        propose(plain, job, [{"input": "cat"}])
    each = generator(tmp_path / "each", **CONDITIONAL)
    assert [len(texts) > 0 for texts in propose(each, job, [{"input": "cat"}, {"input": "3 4"}], n=4)] == [
        True
    ] * 2
    with pytest.raises(ConfigError, match="one input at a time"):
        propose(each, job)
    with pytest.raises(ConfigError, match="not the task's fields"):
        propose(each, job, [{"word": "cat"}])
    assert propose(generator(tmp_path / "rewriter", **REWRITE), job, n=4)[0]


def test_the_verb_prints_a_prompt_a_line(tmp_path, capsys):
    made = generator(tmp_path / "made", **CONDITIONAL)
    config = tmp_path / "promptopt.yaml"
    config.write_text(json.dumps(job_data(tmp_path)))
    assert main(["propose", str(made), "--config", str(config), "--row", "input=cat", "-n", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert 0 < len(lines) <= 3


@pytest.mark.parametrize(
    ("argv", "problem"),
    [
        (["nowhere"], "is no folder"),
        (["made"], "does not say what the task is"),
        (["made", "--row", "cat"], "write --row FIELD=VALUE"),
        (["made", "--set", "seed=1"], "add --config FILE"),
    ],
)
def test_the_verb_says_in_a_line_what_is_wrong(tmp_path, monkeypatch, capsys, argv, problem):
    monkeypatch.chdir(tmp_path)
    generator(tmp_path / "made")
    assert main(["propose", *argv]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert problem in line
