"""The public calls in a real Jupyter kernel, whose event loop is running."""

import pytest
from loopback import LoopbackServer

JOB = """\
import promptopt as po

events = []
rows = [{"input": f"w{i}", "output": f"W{i}"} for i in range(40)]
job = dict(
    prompt="Write the word.", train=rows, target={"model": "openai/any", "base_url": URL, "price": PRICE},
    search={"name": "ape", "num_prompts_per_subsample": 3, "rounds": 0}, budget={"usd": 1.0},
    folder=None, listen=events.append,
    reward={"name": "exact_match", "ignore_case": False},
)
"""
RUN = """\
study = po.optimize(**job)
print(study.verdict.line)
"""
AWAIT = """\
again = await po.aoptimize(**job)
print(again.verdict.line)
assert again.best == study.best and len(events) > 10
"""
USE = """\
cells = po.answer(study.best, [{"input": "a word"}], job["target"])
print(cells[0].output)
"""


def reply(messages, body):
    text = messages[-1]["content"]
    if "friend" in text:  # APE asks what a friend was told
        return "Write the word in capitals."
    word = text.rsplit("Input: ", 1)[1].split("\n")[0]
    return word.upper() if "capitals" in text else word


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::UserWarning")
def test_the_public_calls_work_in_a_notebook(tmp_path, monkeypatch):
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    monkeypatch.setenv("OPENAI_API_KEY", "not-a-real-one")
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    with LoopbackServer(reply) as server:
        head = f"URL, PRICE = {server.url!r}, {{'input': 1.0, 'output': 1.0}}"
        notebook = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(c) for c in (head, JOB, RUN, AWAIT, USE)]
        )
        client = nbclient.NotebookClient(
            notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
        )
        client.execute()
    printed = ["".join(out.text for out in cell.outputs) for cell in notebook.cells]
    assert printed[2] == printed[3]
    assert printed[2].startswith("baseline 0.00")
    assert "paired +1.00" in printed[2]
    assert printed[4] == "A WORD\n"
