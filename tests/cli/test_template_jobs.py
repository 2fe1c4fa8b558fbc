"""A template with a mistake in it, from the command line: one line, exit code 2, nothing bought."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from promptopt.cli.main import main

JOB = """\
data: rows.jsonl
prompt: Write the word in capitals.
target: embedded/small
reward: exact_match
search:
  name: template
"""
GOOD = """\
text: "{{role}} {{task}}\\n{{input}}"
slots:
  role: ["", You are a clerk.]
  task: [Do it., Write it.]
"""
CASES = {
    "unknown slot": (
        GOOD.replace("{{role}}", "{{rolle}}"),
        "search.text: neither a slot nor a column is called {{rolle}}; did you mean 'role'?",
    ),
    "unknown slot in an alternative": (
        GOOD.replace("Do it.", '"Do {{that}}."'),
        "search.slots.task: neither a slot nor a column is called {{that}}; choose from ",
    ),
    "slot that nothing shows": (
        GOOD + "  form: [One word., Two words.]\n",
        "search.slots.form: no text shows it; write {{form}} into `text`",
    ),
    "texts in a circle": (
        GOOD.replace("Do it.", '"{{form}}"') + '  form: ["{{task}}", One word.]\n',
        "depends on itself: task -> form -> task; cut the circle",
    ),
    "conditions in a circle": (
        GOOD.replace("{{task}}", "{{task}} {{a}} {{b}}")
        + "  a: {alternatives: [x, y], when: {b: z}}\n  b: {alternatives: [z, w], when: {a: x}}\n",
        "depends on itself: a -> b -> a; cut the circle",
    ),
    "condition on nothing": (
        GOOD.replace("[Do it., Write it.]", "{alternatives: [Do it., Go.], when: {rolle: You are a clerk.}}"),
        "no slot or parameter 'rolle'; did you mean 'role'?",
    ),
    "condition on an alternative that is not there": (
        GOOD.replace("[Do it., Write it.]", "{alternatives: [Do it., Go.], when: {role: You are a clark.}}"),
        "'role' has no such alternative; got 'You are a clark.'; did you mean 'You are a clerk.'?",
    ),
    "no alternatives": (
        GOOD.replace("[Do it., Write it.]", "[]"),
        'is empty; write at least one text; `""` stands for leaving it out',
    ),
    "no alternatives in a mapping": (
        GOOD.replace("[Do it., Write it.]", "{optional: true}"),
        "has no alternatives; write `alternatives: [first text, second text]`",
    ),
    "one text twice": (
        GOOD.replace("Write it.", "Do it."),
        "holds a text twice; got 'Do it.'; take one out",
    ),
    "one name in two parts": (
        GOOD + "parameters:\n  task: {low: 1, high: 3}\n",
        "the name is taken; give every slot, order and parameter its own",
    ),
    "one name twice in a part": (
        GOOD + "  task: [Sing.]\n",
        "key 'task' appears twice; first on line 10",
    ),
    "name of a column": (
        GOOD.replace("{{task}}", "{{task}} {{input}}") + "  input: [x, y]\n",
        "search.slots.input: an input column has the same name; rename one of them",
    ),
    "all forbidden": (
        GOOD + "forbid:\n  - {task: [Do it., Write it.]}\n",
        "search.forbid: forbids every prompt; take a combination out",
    ),
    "unknown key": (
        GOOD.replace("[Do it., Write it.]", "{alternative: [Do it.]}"),
        "unknown key 'alternative'; did you mean 'alternatives'?",
    ),
    "unknown cap": (
        GOOD + "at_most: {tokens: 5}\n",
        "cannot cap 'tokens'; did you mean ",
    ),
    "nothing to choose": (
        'text: "{{task}} {{input}}"\nslots:\n  task: [Do it.]\n',
        "the template leaves nothing to choose; give a slot alternatives",
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [{"input": f"w{number}", "output": f"W{number}"} for number in range(80)]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def write(search: str) -> None:
    Path("job.yaml").write_text(JOB + "".join(f"  {line}\n" for line in search.splitlines()))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("verb", ["run", "validate"])
def test_a_mistake_in_a_template_is_one_line_before_anything_is_bought(
    case: str, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    search, message = CASES[case]
    write(search)
    assert main([verb, "job.yaml"]) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert err.count("\n") == 1
    assert "Traceback" not in out + err
    assert not Path("runs").exists()


def test_a_template_without_a_mistake_is_understood(capsys: pytest.CaptureFixture[str]) -> None:
    write(GOOD)
    assert main(["validate", "job.yaml"]) == 0
    assert "search   template" in capsys.readouterr().out
