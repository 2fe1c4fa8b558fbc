"""The parts of a prompt: read, written, opened, closed."""

import json
import re
from dataclasses import replace

import pytest
from toys import Exact, fake, make_setup, read_input, rows

import promptopt as po
from promptopt.config import job_from_dict
from promptopt.errors import ConfigError
from promptopt.parts import PARTS, open_parts
from promptopt.programs import ChainOfThought, SelfConsistency
from promptopt.prompt import Demonstration, Prompt, Retriever
from promptopt.records import Example, FrozenMap
from promptopt.run import execute
from promptopt.search.baselines import Paraphrases
from promptopt.setup import from_job
from promptopt.template import Template

ROW = Example("1", FrozenMap({"input": "owl"}), ("OWL",))
DEMO = Demonstration(FrozenMap({"input": "ant"}), "ANT")
WHOLE = Prompt(
    "Do it.", (DEMO,), Template(system="Be brief.", header="For example:"), ChainOfThought("Think.", "So:")
)


@pytest.mark.parametrize("name", list(PARTS))
def test_a_part_is_read_and_written_and_nothing_else_changes(name):
    part = PARTS[name]
    assert part.get(WHOLE)
    changed = part.set(WHOLE, "new text")
    assert part.get(changed) == "new text"
    assert part.set(changed, part.get(WHOLE)) == WHOLE
    for other in PARTS.values():
        assert other is part or other.get(changed) == other.get(WHOLE)
    child = part.child(WHOLE, "new text", origin="test")
    assert (child, child.parents, child.origin) == (changed, (WHOLE.id,), "test")
    assert Prompt.from_dict(changed.to_dict()) == changed


def test_the_parts_stand_where_they_should():
    system, user = WHOLE.render(ROW)
    assert system.content == "Be brief."
    assert user.content.startswith("Do it.\n\nFor example:\n\nInput: ant\nOutput: ANT\n\nInput: owl")


def test_a_header_without_demonstrations_is_left_out_and_changes_no_id():
    bare = replace(WHOLE, demonstrations=())
    assert "For example" not in bare.render(ROW)[-1].content
    assert "header" not in Prompt("x").to_dict()["template"]


@pytest.mark.parametrize("text", ["say {{input}}", "{{nothing}}", "{% for x in y %}", "{{{{input}}}}", "{#"])
@pytest.mark.parametrize("engine", ["plain", "jinja"])
@pytest.mark.parametrize("name", ["system", "header", "instruction"])
def test_what_a_model_writes_never_becomes_a_slot(text, engine, name):
    prompt = replace(WHOLE, template=replace(WHOLE.template, engine=engine))
    shown = "".join(message.content for message in PARTS[name].set(prompt, text).render(ROW))
    assert re.sub(r"\{ (?=[{%#])", "{", shown).count(text) == 1


@pytest.mark.parametrize(
    ("names", "prompt", "message"),
    [
        (["instrution"], WHOLE, "unknown part 'instrution'; did you mean 'instruction'?"),
        ([], WHOLE, "names no part"),
        (["trigger"], Prompt("x"), "the program has no trigger; got 'single'; use program: chain_of_thought"),
        (["header"], Prompt("x"), "shows no demonstrations"),
        (
            ["system"],
            Prompt("x", template=Template(system="{{instruction}}")),
            "the system message has slots",
        ),
    ],
)
def test_a_part_that_cannot_be_opened_is_said_so(names, prompt, message):
    with pytest.raises(ConfigError) as caught:
        open_parts(names, prompt)
    assert message in str(caught.value)


def test_a_header_may_stand_above_retrieved_demonstrations():
    retrieving = Prompt("x", retriever=Retriever((DEMO,), 1), template=Template(header="For example:"))
    (header,) = open_parts(["header"], retrieving)
    shown = header.set(retrieving, "Look:").render(ROW)[-1].content
    assert shown.startswith("x\n\nLook:\n\nInput: ant")


def test_parts_come_in_one_order():
    assert [part.name for part in open_parts(["trigger", "instruction"], WHOLE)] == ["instruction", "trigger"]
    vote = replace(WHOLE, program=SelfConsistency(trigger="Think."))
    assert PARTS["trigger"].set(vote, "Go.").program == SelfConsistency(trigger="Go.")


def target(request):
    """Obey half of the time if the system message says SHOUT, always if the trigger says hurry, too."""
    if len(request.messages) < 4:
        return "thinking"
    word = read_input(request.messages[1].content)
    shout = "SHOUT" in request.messages[0].content
    hurry = "hurry" in request.messages[1].content
    return word.upper() if shout and (hurry or int(word[-1]) < 5) else word


def proposer(request):
    text = request.messages[-1].content
    return ("SHOUT!", "Quietly.")[request.sample % 2] if "Be brief" in text else "hurry up"


def test_a_searcher_goes_through_the_open_parts_and_leaves_the_others_alone():
    prompt = Prompt("Do it.", template=Template(system="Be brief."), program=ChainOfThought("Think."))
    setup = make_setup(
        prompt=prompt,
        searcher=Paraphrases(n=4),
        models={"target": fake(target, "target"), "proposer": fake(proposer, "proposer")},
    )
    setup = replace(setup, task=replace(setup.task, parts=("system", "trigger")))
    study = execute(setup)
    assert study.best.template.system == "SHOUT!"
    assert study.best.program == ChainOfThought("hurry up")
    assert {c.prompt.instruction for c in study.candidates} == {"Do it."}
    assert study.verdict.reliable


def test_a_searcher_that_writes_a_fixed_instruction_is_stopped():
    setup = make_setup(prompt=Prompt("Do it.", template=Template(system="Be brief.")))
    with pytest.raises(ConfigError, match="the instruction, which is fixed"):
        execute(replace(setup, task=replace(setup.task, parts=("system",))))


def test_jobs_and_python_name_the_open_parts(tmp_path):
    job = {
        "data": str(tmp_path / "rows.jsonl"),
        "prompt": {"instruction": "Do it.", "system": "Be brief.", "header": "Look:",
                   "demonstrations": [{"inputs": {"input": "ant"}, "output": "ANT"}]},
        "target": "embedded", "reward": "exact_match", "program": "chain_of_thought",
        "optimize": ["header", "trigger"],
    }  # fmt: skip
    lines = (json.dumps({"input": f"w{n}", "output": f"W{n}"}) for n in range(30))
    (tmp_path / "rows.jsonl").write_text("\n".join(lines), encoding="utf-8")
    task = from_job(job_from_dict(job)).task
    assert task.for_searcher().parts == ("header", "trigger")
    assert task.seed_prompt.template.header == "Look:"
    with pytest.raises(ConfigError, match="the program has no trigger"):
        from_job(job_from_dict({**job, "program": "single"}))
    with pytest.raises(ConfigError, match="unknown part 'sytem'"):
        po.optimize(
            prompt="Do it.", train=rows(), target=fake(target), reward=Exact(), optimize=["sytem"],
            folder=None,
        )  # fmt: skip
