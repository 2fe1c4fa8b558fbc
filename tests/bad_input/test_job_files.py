"""Mistakes in a job file: YAML's traps, wrong types, huge numbers, secrets, endpoints that are none."""

from __future__ import annotations

from pathlib import Path

import pytest
from mistakes import Mistake, check
from worlds import JOB

TARGET = "target: python/models.py:target"
REMOTE = "{model: openai/m, base_url: 'http://127.0.0.1:9/v1', %s}"
BUDGET = "{calls: 2000}"


def line(more: str) -> str:
    """Return the job with a line more, which is line 9."""
    return f"{JOB}{more}\n"


def remote(option: str) -> list[tuple[str, str]]:
    """Let the target be an endpoint with an option."""
    return [("target: python/models.py:target", f"target: {REMOTE % option}")]


MISTAKES = [
    # YAML's traps
    Mistake(
        "a key twice", "line 9: key 'prompt' appears twice", "first on line 3", job=line("prompt: Other.")
    ),
    Mistake(
        "NO is no boolean",
        "line 2: data.allow_duplicates",
        "'NO'",
        edits=[("data: rows.jsonl", "data: {path: rows.jsonl, allow_duplicates: NO}")],
    ),
    Mistake("1.10 is no integer", "line 9: seed", "1.10", job=line("seed: 1.10")),
    Mistake("007 is no number", "line 9: seed", "007", job=line("seed: 007")),
    Mistake("12:30 is no number", "budget.minutes", "12:30", edits=[(BUDGET, "{minutes: 12:30}")]),
    Mistake(
        "an anchor",
        "line 3: anchors and aliases are not allowed",
        "&text",
        edits=[("prompt: Write", "prompt: &text Write")],
    ),
    Mistake(
        "an alias",
        "line 3: anchors and aliases are not allowed",
        "*text",
        edits=[("prompt: Write the word.", "prompt: *text")],
    ),
    Mistake(
        "a tag that runs a command",
        "line 3: tags are not allowed",
        "write the plain value",
        edits=[("prompt: Write the word.", "prompt: !!python/object/apply:os.system ['touch owned']")],
    ),
    Mistake("a merge key", "line 9: unknown key '<<'", "choose from", job=line("<<: {seed: 1}")),
    Mistake("two documents", "line 9: ", "one document", job=line("---\nname: other")),
    Mistake(
        "a tab as indentation",
        "line 10: not valid YAML",
        "indent with spaces",
        job=line("data:\n\tpath: rows.jsonl"),
    ),
    Mistake("a quote left open", "promptopt.yaml line", "quote", job=line('description: "open')),
    Mistake(
        "nested without end",
        "line 9: nested deeper than 24 levels",
        "24",
        job=line("description: " + "[" * 40 + "]" * 40),
    ),
    Mistake(
        "a slot without quotes",
        "line 3: ",
        "inside quotes",
        edits=[("prompt: Write the word.", "prompt: {{input}}")],
    ),
    Mistake(
        "a megabyte",
        "promptopt.yaml: ",
        "keep rows in data files",
        job=line("description: " + "x" * 1_000_001),
    ),
    Mistake("an empty job", "promptopt.yaml: ", "promptopt init", job=b"\n"),
    Mistake("a list instead of keys", "promptopt.yaml: ", "key", job="- data\n- prompt\n"),
    Mistake("a zero byte", "promptopt.yaml line 9: ", "character", job=JOB.encode() + b"name2: \x00\n"),
    Mistake("half a surrogate pair", "line 9: ", "surrogate", job=line('description: "\\ud800"')),
    Mistake("UTF-16", "promptopt.yaml", "UTF-8", job=JOB.encode("utf-16")),
    # numbers and types
    Mistake(
        "a cap beyond all numbers",
        "line 8: budget.calls",
        "99999999999999999999999",
        edits=[(BUDGET, "{calls: 99999999999999999999999}")],
    ),
    Mistake("a negative cap", "line 8: budget.calls", "-5", edits=[(BUDGET, "{calls: -5}")]),
    Mistake("no calls at all", "line 8: budget.calls", "0", edits=[(BUDGET, "{calls: 0}")]),
    Mistake("an infinite cap", "line 8: budget.usd", ".inf", edits=[(BUDGET, "{usd: .inf}")]),
    Mistake("an exponent", "line 8: budget.usd", "1e999", edits=[(BUDGET, "{usd: 1e999}")]),
    Mistake("a word for a number", "line 9: finalists", "many", job=line("finalists: many")),
    Mistake("a truth for a number", "line 9: seed", "True", job=line("seed: true")),
    Mistake(
        "a number for a searcher",
        "line 7: search",
        "3",
        edits=[("search: {name: ape, num_prompts_per_subsample: 3, rounds: 0}", "search: 3")],
    ),
    Mistake(
        "a list for a file", "line 2: data", "rows.jsonl", edits=[("data: rows.jsonl", "data: [rows.jsonl]")]
    ),
    Mistake(
        "a null for a prompt", "line 3: prompt", "prompt", edits=[("prompt: Write the word.", "prompt:")]
    ),
    Mistake(
        "not a number",
        "decoding.temperature",
        "nan",
        edits=[(TARGET, "target: {model: 'python/models.py:target', decoding: {temperature: nan}}")],
    ),
    Mistake(
        "dollars without a price",
        "line 8: the price of the target 'openai/m' is not known",
        "price: {input: ",
        edits=[*remote("concurrency: 1"), (BUDGET, "{usd: 2}")],
    ),
    Mistake(
        "--set without a value",
        "--set target: not key=value",
        "--set target.model=hf/gpt2",
        command=("run", "promptopt.yaml", "-q", "--set", "target"),
    ),
    Mistake(
        "--set of another type",
        "--set budget.calls=abc",
        "abc",
        command=("run", "promptopt.yaml", "-q", "--set", "budget.calls=abc"),
    ),
    Mistake(
        "a key in the job",
        "line 4: target.api_key holds a secret",
        "api_key_env",
        edits=remote("api_key: geheim-123"),
    ),
    # endpoints and models
    Mistake(
        "a password in the address",
        "line 4: target.base_url holds a secret",
        "api_key_env",
        edits=[(TARGET, "target: {model: openai/m, base_url: 'http://ann:geheim@127.0.0.1:9/v1'}")],
    ),
    Mistake(
        "another protocol",
        "not an http(s) URL",
        "ftp://",
        edits=[(TARGET, "target: {model: openai/m, base_url: 'ftp://127.0.0.1/v1'}")],
    ),
    Mistake(
        "a port beyond all ports",
        "base_url: not a URL",
        "99999",
        edits=[(TARGET, "target: {model: openai/m, base_url: 'http://127.0.0.1:99999/v1'}")],
    ),
    Mistake("an interface that is none", "line 4", "chats", edits=remote("api: chats")),
    Mistake(
        "a body that changes the model",
        "extra_body: 'model' is set by promptopt",
        "remove it",
        edits=remote("extra_body: {model: other}"),
    ),
    Mistake(
        "an option with a typo",
        "line 4: unknown option 'concurency'",
        "did you mean 'concurrency'?",
        edits=remote("concurency: 4"),
    ),
    Mistake(
        "no requests at once", "concurrency: must be at least 1", "got 0", edits=remote("concurrency: 0")
    ),
    Mistake("no time at all", "timeout: must be more than 0 seconds", "got -1", edits=remote("timeout: -1")),
    Mistake("an option of another type", "concurrency", "many", edits=remote("concurrency: many")),
    Mistake(
        "an unknown provider",
        "line 4: unknown provider 'opnai'",
        "did you mean 'openai'?",
        edits=[(TARGET, "target: opnai/gpt-4o-mini")],
    ),
    Mistake(
        "a model without provider", "line 4: target", "provider/", edits=[(TARGET, "target: gpt-4o-mini")]
    ),
    Mistake(
        "a function that is not there",
        "models.py has no 'targt'",
        "target",
        edits=[(TARGET, "target: python/models.py:targt")],
    ),
    Mistake(
        "a file that is not there",
        "no such file",
        "modells.py",
        edits=[(TARGET, "target: python/modells.py:target")],
    ),
    Mistake(
        "a file that is no Python",
        "bad.py cannot be imported: SyntaxError",
        "line 1",
        edits=[(TARGET, "target: python/bad.py:target")],
        files={"bad.py": "def target(:\n"},
    ),
    Mistake(
        "a file that fails",
        "bad.py cannot be imported: ZeroDivisionError",
        "division",
        edits=[(TARGET, "target: python/bad.py:target")],
        files={"bad.py": "1 / 0\n"},
    ),
    Mistake(
        "a function that waits",
        "an async function",
        "plain def",
        edits=[(TARGET, "target: python/bad.py:target")],
        files={"bad.py": "async def target(text): ...\n"},
    ),
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=str)
def test_a_mistake_in_a_job_is_one_line(
    mistake: Mistake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    said = check(mistake, tmp_path, capsys)
    assert "geheim" not in said
