"""Mistakes in prompts, templates, saved weights, rewards, searchers and other parts of a job."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mistakes import Mistake, check
from worlds import JOB

PROMPT = "prompt: Write the word."
JUDGE = "judge: python/models.py:target"
PRICED = "{model: 'python/models.py:%s', price: {input: 0, output: 0}}"
REWARD = "reward: {name: exact_match, ignore_case: false}"
SEARCH = "search: {name: ape, num_prompts_per_subsample: 3, rounds: 0}"
JINJA = "prompt: {user: %s, engine: jinja}"


def jinja(text: str) -> list[tuple[str, str]]:
    """Lay the prompt out by Jinja."""
    return [(PROMPT, JINJA % json.dumps(text))]


SAVED = {
    "instruction": "Write the word.",
    "demonstrations": [],
    "program": {"name": "single"},
    "template": {
        "user": "{{instruction}}\n{{input}}",
        "system": "",
        "demonstration": "{{input}} {{output}}",
        "separator": "\n\n",
        "engine": "plain",
    },
}
WEIGHTS = {
    "method": "prompt tuning",
    "digest": "0" * 64,
    "model": "m",
    "vectors": 4,
    "size": 100,
    "nearest": [],
}
SCORE = ("score", "promptopt.yaml", "-q", "--prompt", "saved.json")

MISTAKES = [
    # prompts and templates
    Mistake(
        "a prompt file that is not there",
        "line 3: no such prompt file",
        "gone.txt",
        edits=[(PROMPT, "prompt: {file: gone.txt}")],
    ),
    Mistake(
        "a prompt file in another encoding",
        "line 3: the prompt file cannot be read",
        "save it as UTF-8 text",
        edits=[(PROMPT, "prompt: {file: p.txt}")],
        files={"p.txt": "Schreibe groß.".encode("latin-1")},
    ),
    Mistake(
        "a saved prompt that is cut",
        "line 3: the prompt file cannot be read",
        "p.json",
        edits=[(PROMPT, "prompt: {file: p.json}")],
        files={"p.json": json.dumps(SAVED)[:50]},
    ),
    Mistake(
        "a saved prompt with an unknown key",
        "line 3: the prompt file cannot be read",
        "p.json: prompt: a saved prompt has no 'instructoin'; did you mean 'instruction'?",
        edits=[(PROMPT, "prompt: {file: p.json}")],
        files={"p.json": json.dumps({**SAVED, "instructoin": 1})},
    ),
    Mistake(
        "a prompt with an unknown program",
        "line 3: the prompt file cannot be read",
        "p.json: program: unknown program 'sngle'; did you mean 'single'?",
        edits=[(PROMPT, "prompt: {file: p.json}")],
        files={"p.json": json.dumps({**SAVED, "program": {"name": "sngle"}})},
    ),
    Mistake(
        "a template without the input",
        "no input field in it",
        "add {{input}}",
        edits=[(PROMPT, "prompt: {user: '{{instruction}} Now.', instruction: Write.}")],
    ),
    Mistake(
        "a slot with a typo",
        "no column for {{inptu}}",
        "did you mean 'input'?",
        edits=[(PROMPT, "prompt: {user: '{{instruction}} {{inptu}}', instruction: Write.}")],
    ),
    Mistake(
        "an unknown engine",
        "line 3: prompt.engine",
        "jinja",
        edits=[(PROMPT, "prompt: {user: '{{input}}', engine: mustache}")],
    ),
    Mistake(
        "Jinja that asks for a class",
        "jinja: access to attribute '__class__'",
        "{{ input.__class__ }}",
        edits=jinja("{{ input.__class__ }}"),
    ),
    Mistake(
        "Jinja that calls",
        "jinja: call is not allowed",
        "{{ input.upper() }}",
        edits=jinja("{{ input.upper() }}"),
    ),
    Mistake(
        "Jinja that reads a file",
        "jinja: include is not allowed",
        "/etc/passwd",
        edits=jinja("{% include '/etc/passwd' %}"),
    ),
    Mistake(
        "Jinja that grows", "jinja: * is for small numbers only", "a", edits=jinja("{{ 'a' * 50000000 }}")
    ),
    Mistake(
        "Jinja in nested loops",
        "jinja: a loop inside a loop",
        "for",
        edits=jinja("{% for a in input %}{% for b in input %}{{ input }}{% endfor %}{% endfor %}"),
    ),
    Mistake(
        "Jinja with a name that is not there",
        "jinja: 'inptu' is undefined",
        "inptu",
        edits=jinja("{{ inptu }}"),
    ),
    Mistake("Jinja that does not end", "jinja: ", "endif", edits=jinja("{% if input %}x")),
    Mistake(
        "demonstrations that lack a field",
        "line 3: ",
        "input",
        edits=[(PROMPT, "prompt: {instruction: Write., demonstrations: [{output: A}]}")],
    ),
    # trained weights
    Mistake(
        "a saved prompt for other columns",
        "no column for {{inptu}}",
        "did you mean 'input'?",
        command=SCORE,
        files={"saved.json": json.dumps({**SAVED, "template": {"user": "{{instruction}} {{inptu}}"}})},
    ),
    Mistake(
        "weights that are of no known kind",
        "saved.json: adapter: not a saved adapter",
        "sha256",
        command=SCORE,
        files={
            "saved.json": json.dumps(
                {**SAVED, "adapter": {"file": "adapter/x.safetensors", "sha256": "0" * 64}}
            )
        },
    ),
    Mistake(
        "weights out of the folder",
        "saved.json: prompt: not a saved prompt",
        "etc/passwd",
        command=SCORE,
        files={"saved.json": json.dumps({"adapter": "../../../etc/passwd", **SAVED})},
    ),
    Mistake(
        "weights whose digest is a path",
        "saved.json: adapter: not a saved adapter",
        "../../etc",
        command=SCORE,
        files={"saved.json": json.dumps({**SAVED, "adapter": {**WEIGHTS, "digest": "../../etc/passwd"}})},
    ),
    Mistake(
        "weights for a target that takes none",
        "cannot answer with trained weights",
        "embedded/",
        command=SCORE,
        files={"saved.json": json.dumps({**SAVED, "adapter": WEIGHTS})},
    ),
    Mistake(
        "a prompt file given to score that is not there",
        "saved.json: no such prompt file",
        "saved.json",
        command=SCORE,
    ),
    # rewards, searchers, selectors, programs
    Mistake(
        "a pattern that is none",
        "line 6: ",
        "unterminated",
        edits=[(REWARD, "reward: {name: regex, pattern: '(a'}")],
    ),
    Mistake(
        "a reward's option with a typo",
        "line 6: unknown option 'ignore_cas'",
        "did you mean 'ignore_case'?",
        edits=[(REWARD, "reward: {name: exact_match, ignore_cas: false}")],
    ),
    Mistake(
        "a tolerance that is no distance",
        "line 6: ",
        "tolerance",
        edits=[(REWARD, "reward: {name: numeric, tolerance: -1}")],
    ),
    Mistake(
        "a reward that asks a judge, and none is named",
        "line 6: the reward judge asks a judge, and none is named",
        "add `judge: provider/model`",
        edits=[(REWARD, "reward: {name: judge, criteria: It is right.}")],
    ),
    Mistake(
        "a judge without criteria",
        "line 6: reward judge: needs criteria",
        "add `criteria: …`",
        edits=[(REWARD, f"reward: judge\n{JUDGE}")],
    ),
    Mistake(
        "a judge with empty criteria",
        "line 6: reward judge.criteria: is empty",
        "say what makes an output good",
        edits=[(REWARD, f"reward: {{name: judge, criteria: ' '}}\n{JUDGE}")],
    ),
    Mistake(
        "a judge's scale that goes down",
        "reward judge.scale: must be a lowest and a higher highest score, from 0 to 100",
        "got [5, 1]",
        edits=[(REWARD, f"reward: {{name: judge, criteria: good, scale: [5, 1]}}\n{JUDGE}")],
    ),
    Mistake(
        "a judge's scale of words",
        "reward judge.scale: ",
        "got ['bad', 'good']",
        edits=[(REWARD, f"reward: {{name: judge, criteria: good, scale: [bad, good]}}\n{JUDGE}")],
    ),
    Mistake(
        "a judge's option with a typo",
        "line 6: unknown option 'criterias' of the reward 'judge'",
        "did you mean 'criteria'?",
        edits=[(REWARD, f"reward: {{name: judge, criteria: good, criterias: x}}\n{JUDGE}")],
    ),
    Mistake(
        "a judge that is no model",
        "line 7: judge",
        "provider/",
        edits=[(REWARD, "reward: {name: judge, criteria: good}\njudge: gpt-4o-mini")],
    ),
    Mistake(
        "a judge that decodes its own way",
        "line 7: the reward decides how the judge writes",
        "leave `decoding` out",
        edits=[
            (
                REWARD,
                "reward: {name: judge, criteria: good}\n"
                "judge: {model: python/models.py:target, decoding: {temperature: 1}}",
            )
        ],
    ),
    Mistake(
        "a judge without probabilities where they are weighed",
        "judge: gives no log-probabilities, and the reward weighs them",
        "use a judge that does",
        edits=[(REWARD, f"reward: {{name: judge, criteria: good, value: expected}}\n{JUDGE}")],
    ),
    Mistake(
        "a judge whose price is not known under a cap in dollars",
        "the price of the judge 'openai/someones' is not known",
        "price: {input: …, output: …}",
        edits=[
            (REWARD, "reward: {name: judge, criteria: good}\njudge: openai/someones"),
            ("target: python/models.py:target", f"target: {PRICED % 'target'}"),
            ("proposer: python/models.py:proposer", f"proposer: {PRICED % 'proposer'}"),
            ("budget: {calls: 2000}", "budget: {usd: 1}"),
        ],
    ),
    Mistake(
        "a reward that takes one argument",
        "cannot be called",
        "give it the parameters (example, text)",
        edits=[(REWARD, "reward: {name: python, function: 'metric.py:score'}")],
        files={"metric.py": "def score(text):\n    return 1\n"},
    ),
    Mistake(
        "a reward for rows with options",
        "none of the answers is one of the options",
        "give the row options",
        edits=[(REWARD, "reward: multiple_choice")],
    ),
    Mistake(
        "an unknown searcher",
        "line 7: unknown searcher 'appe'",
        "did you mean 'ape'?",
        edits=[(SEARCH, "search: appe")],
    ),
    Mistake(
        "a searcher's option with a typo",
        "line 7: unknown option 'round'",
        "did you mean 'rounds'?",
        edits=[(SEARCH, "search: {name: ape, round: 0}")],
    ),
    Mistake(
        "a searcher's option out of range",
        "line 7: ",
        "-3",
        edits=[(SEARCH, "search: {name: ape, num_prompts_per_subsample: -3}")],
    ),
    Mistake(
        "a searcher twice",
        "'ape' is there twice with the same options",
        "take one out, or change it",
        edits=[(SEARCH, "search: [ape, ape]")],
    ),
    Mistake("no searcher", "line 7: search", "empty", edits=[(SEARCH, "search: []")]),
    Mistake(
        "a searcher that needs gradients", "needs gradients", "embedded/", edits=[(SEARCH, "search: gcg")]
    ),
    Mistake(
        "an unknown selector",
        "line 9: unknown selector 'halving'",
        "successive_halving",
        job=f"{JOB}selector: halving\n",
    ),
    Mistake("an unknown program", "line 9: program", "self_consistency", job=f"{JOB}program: vote\n"),
    Mistake(
        "an unknown part",
        "optimize: unknown part 'instructions'",
        "did you mean 'instruction'?",
        job=f"{JOB}optimize: [instructions]\n",
    ),
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=str)
def test_a_mistake_in_a_part_is_one_line(
    mistake: Mistake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    check(mistake, tmp_path, capsys)
