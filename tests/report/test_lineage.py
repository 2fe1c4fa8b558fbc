from __future__ import annotations

from dataclasses import replace

from promptopt.prompt import Prompt
from promptopt.report.lineage import tree
from promptopt.report.summary import Candidate


def family() -> tuple[list[Candidate], dict[str, Prompt]]:
    seed = Prompt("seed")
    a = seed.child(instruction="a", origin="x")
    b = a.child(instruction="a b", origin="x")
    c = seed.child(instruction="c", origin="x")
    d = replace(Prompt("d"), parents=("unknown", c.id, b.id))
    prompts = {p.instruction: p for p in (seed, a, c, b, d)}
    return [Candidate(i, p, {}) for i, p in enumerate(prompts.values())], prompts


def test_every_prompt_stands_under_its_first_known_parent() -> None:
    candidates, prompts = family()
    nodes = tree(candidates, prompts["a b"])
    assert [(n.candidate.prompt.instruction, n.depth) for n in nodes] == [
        ("seed", 0), ("a", 1), ("a b", 2), ("c", 1), ("d", 2),
    ]  # fmt: skip
    assert [n.candidate.prompt.instruction for n in nodes if n.chosen] == ["seed", "a", "a b"]
    assert nodes[4].others == ("unknown", prompts["a b"].id)
    assert nodes[2].change == (("same", "a"), ("new", " b"))


def test_a_long_line_and_a_circle_are_walked_through() -> None:
    prompt, line = Prompt("0"), [Prompt("0")]
    for i in range(1, 3000):
        prompt = prompt.child(instruction=str(i), origin="x")
        line.append(prompt)
    nodes = tree([Candidate(i, p, {}) for i, p in enumerate(line)], prompt)
    assert nodes[-1].depth == 2999
    assert all(node.chosen for node in nodes)
    one, two = Prompt("one"), Prompt("two")
    circle = [replace(one, parents=(two.id,)), replace(two, parents=(one.id,))]
    assert [n.depth for n in tree([Candidate(i, p, {}) for i, p in enumerate(circle)], None)] == [0, 1]
