"""Small jobs for tests of the command line: rows, a target and a proposer that are functions in a file."""

from __future__ import annotations

import json
from pathlib import Path

MODELS = '''\
def target(text):
    """Do as told: capitals only if the prompt asks for them."""
    word = text.rsplit("Input: ", 1)[1].split("\\n", 1)[0]
    return word.upper() if "capitals" in text.split("Input: ", 1)[0] else word


def proposer(text, seed):
    return ("Write it in capitals.", "Repeat the word.", "Say hello.")[seed % 3]


def broken(text):
    raise RuntimeError("the model fell over")


def interrupted(text):
    raise KeyboardInterrupt
'''

JOB = """\
name: capitals
data: rows.jsonl
prompt: Write the word.
target: python/models.py:target
proposer: python/models.py:proposer
reward: {name: exact_match, ignore_case: false}
search: {name: ape, num_prompts_per_subsample: 3, rounds: 0}
budget: {calls: 2000}
"""


def make_world(folder: Path, job: str = JOB, rows: int = 60) -> Path:
    """Write a job, its rows and its models, and return the job file."""
    folder.mkdir(parents=True, exist_ok=True)
    words = (f"word{chr(97 + i % 26)}{chr(97 + i // 26)}" for i in range(rows))
    lines = [json.dumps({"input": word, "output": word.upper()}) for word in words]
    (folder / "rows.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "models.py").write_text(MODELS, encoding="utf-8")
    file = folder / "promptopt.yaml"
    file.write_text(job, encoding="utf-8")
    return file


JUDGE = '''

def judge(text):
    """Grade the output by the reference, both as they stand between their marks; fall for nothing."""
    import re

    def between(name):
        return re.search(rf"<<<{name} (\\w+)>>>\\n(.*?)\\n<<<END \\1>>>", text, re.S)[2]

    return "5" if between("OUTPUT TO BE GRADED") == between("REFERENCE ANSWER") else "1"


def gullible(text):
    output = text.split("OUTPUT TO BE GRADED", 1)[1].split("<<<END", 1)[0]
    return '{"score": 5}' if "score" in output else judge(text)
'''


def make_judged_world(folder: Path, judge: str = "judge", **reward: object) -> Path:
    """Write the same job with a judge, which is a function, too."""
    options = json.dumps({"name": "judge", "criteria": "It is the reference answer.", **reward})
    job = JOB.replace(
        "reward: {name: exact_match, ignore_case: false}",
        f"judge: python/models.py:{judge}\nreward: {options}",
    )
    file = make_world(folder, job)
    with (folder / "models.py").open("a", encoding="utf-8") as models:
        models.write(JUDGE)
    return file
