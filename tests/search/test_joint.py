"""MIPRO: sets and instructions, who meets which block, and what TPE is told."""

import itertools
import math

import optuna
import pytest
from scripted import Scripted, numbered
from toys import fake, make_setup, read_input, user_text

from promptopt.contracts.searcher import Searcher
from promptopt.errors import ConfigError, ModelError, PluginError, TemplateError
from promptopt.plugins import build
from promptopt.prompt import Demonstration, Prompt
from promptopt.records import Budget, FrozenMap
from promptopt.run import execute
from promptopt.search.joint import Joint
from promptopt.template import Template
from promptopt.testing.searcher import check_searcher

ROWS = numbered(40)  # the last 12 are shown, the first 28 scored on


def nothing(prompt, row):
    return 0.0


def scripted(value, **changes):
    return Scripted(value=value, rows=ROWS, **changes)


def counting(most=99):
    """Reply `Try 0.`, `Try 1.` and so on, whatever is asked, and from the beginning after `most`."""
    count = itertools.count()
    return lambda text, i: f"Try {next(count) % most}."


def shown(prompt):
    return tuple(demo.inputs["input"] for demo in prompt.demonstrations)


def trials_of(session):
    """Return the calls that score a pair beside the seed prompt: (prompt, rows met)."""
    seed = session.task.seed_prompt
    return [
        (prompts[1], len(ids)) for prompts, ids in session.scored if len(prompts) == 2 and prompts[0] == seed
    ]


# --- the contract -----------------------------------------------------------------------------------


@pytest.mark.parametrize("proposals", ["forward", "grounded"])
def test_it_keeps_the_contract(proposals):
    joint = Joint(instructions=3, sets=3, most=2, trials=4, startup=2, minibatch=3, full_every=2, keep=2)
    check_searcher(joint if proposals == "forward" else Joint(proposals="grounded", trials=3), cuts=3)


def test_it_is_found_by_name_and_its_options_are_checked():
    assert build("searchers", "joint", {"trials": 7, "proposals": "grounded"}) == Joint(
        trials=7, proposals="grounded"
    )
    assert isinstance(Joint(), Searcher)
    for options in ({"sets": 1}, {"trials": 0}, {"proposals": "magic"}, {"pool": 0}, {"minibatches": 3}):
        with pytest.raises(PluginError):
            build("searchers", "joint", options)


# --- candidates -------------------------------------------------------------------------------------


def test_sets_are_the_seeds_own_plain_rows_and_right_replies():
    own = Prompt("Do it.", (Demonstration(FrozenMap(input="mine"), "x"),))
    session = scripted(lambda p, row: float(int(row.id) % 2), seed_prompt=own, trace=lambda row: ("why",))
    Joint(most=3, sets=5, instructions=1, trials=60, startup=60).search(session)
    assert session.texts == []
    assert session.scored[0] == ([own], [str(i) for i in range(28, 40)])  # the teacher's replies
    sets = list(dict.fromkeys(p.demonstrations for p, _ in trials_of(session)))
    assert len(sets) == 5
    outputs = {its: {demo.output for demo in its} for its in sets}
    assert own.demonstrations in sets
    plain = [its for its in sets if any(output.startswith("out") for output in outputs[its])]
    assert len(plain) == 1
    assert len(plain[0]) == 3
    bootstrapped = [its for its in sets if outputs[its] == {"why"}]
    assert len(bootstrapped) == 3
    assert {int(demo.inputs["input"][2:]) % 2 for its in bootstrapped for demo in its} == {1}
    assert max(map(len, bootstrapped)) <= 3


def test_instructions_are_asked_for_with_each_set_in_apes_words():
    session = scripted(nothing, reply=counting(8))
    Joint(instructions=4, sets=3, draws=4, trials=80, startup=80).search(session)
    ((first, second),) = session.proposals
    assert session.options[0]["n"] == 4
    assert first.startswith("I gave a friend an instruction and four inputs.")
    assert first.endswith("The instruction was to")
    for text in (first, second):
        quoted = [line for line in text.splitlines() if line.startswith("Input: in")]
        assert quoted
        assert all(int(line.removeprefix("Input: in")) >= 28 for line in quoted)
    # One of each chat in turn: the first replies to both chats, then the second to the first.
    assert {p.instruction for p, _ in trials_of(session)} == {"Do it.", "Try 0.", "Try 4.", "Try 1."}


def test_grounded_proposals_know_a_summary_and_differ_by_their_tip():
    write = counting()

    def reply(text, i):
        return "Numbers become words." if "Say in two sentences" in text else write(text, i)

    session = scripted(nothing, reply=reply)
    Joint(proposals="grounded", instructions=3, sets=4, trials=1).search(session)
    (summary,), texts = session.proposals
    assert ([options["n"] for options in session.options], len(texts)) == ([1, 4], 3)
    assert "Input: in39\nOutput: out39" in summary
    assert "Input: in27\n" not in summary
    assert all("The data: Numbers become words." in text for text in texts)
    assert all("The instruction now: Do it." in text for text in texts)
    tips = [text.split("Tip: ")[1].split("\n")[0] for text in texts]
    assert tips == ["Be clear and concise.", "Be creative.", "Be very specific."]


def test_what_cannot_be_used_is_an_error():
    with pytest.raises(ModelError, match="20 replies hold no usable instruction"):
        Joint().search(scripted(nothing, reply=lambda text, i: " "))
    with pytest.raises(TemplateError, match="shows no rows"):
        Joint(forward="Write an instruction.").search(scripted(nothing))
    layout = Prompt("x", template=Template(user="{{instruction}} {{input}}"))
    with pytest.raises(ConfigError, match="no place for demonstrations"):
        Joint().search(scripted(nothing, seed_prompt=layout))
    fixed = Prompt("x", template=Template(user="{{demonstrations}} {{input}}"))
    with pytest.raises(ConfigError, match="no place for an instruction"):
        Joint().search(scripted(nothing, seed_prompt=fixed))


# --- trials -----------------------------------------------------------------------------------------


def worth(prompt, row):
    """Rows get harder to the end, so that a pair that met few of them looks better by its plain mean."""
    own = {"Try 0.": 0.2, "Try 4.": 0.1}.get(prompt.instruction, 0.0)
    return 1 - int(row.id) / 40 + own + 0.05 * len(prompt.demonstrations)


def gain(prompt, rows):
    seed = Prompt("Do it.")
    return math.fsum(worth(prompt, row) - worth(seed, row) for row in rows) / len(rows)


def test_pairs_meet_growing_blocks_and_the_best_is_evaluated_fully_in_time():
    """Follow the log by the paper's rule: a minibatch a trial, every third time the best mean in full."""
    session = scripted(worth, reply=counting(8))
    Joint(instructions=3, sets=4, trials=12, startup=4, minibatch=8, full_every=3, keep=2).search(session)
    seed = session.task.seed_prompt
    met, full = {seed: 28}, {seed}
    log = iter(trials_of(session))
    for trial in range(1, 13):
        prompt, n = next(log)
        assert n == min(28, met.get(prompt, 0) + 8), trial
        met[prompt] = n
        if trial % 3 == 0:
            begun = [p for p, rows in met.items() if rows < 28]
            if begun:
                best = max(begun, key=lambda p: gain(p, ROWS[: met[p]]))
                assert next(log) == (best, 28), trial
                met[best] = 28
    full = sorted((p for p, n in met.items() if n == 28), key=lambda p: -gain(p, ROWS[:28]))
    finals = session.scored[-2:]
    assert [prompts for prompts, _ in finals] == [[full[0]], [full[1]]]
    for (prompt,), ids in finals:
        assert set(ids) == {row.id for row in ROWS if row.inputs["input"] not in shown(prompt)}
    assert len(met) > 4


def test_tpe_is_told_the_gain_over_the_seed_prompt_and_names_the_pairs(monkeypatch):
    told = []
    tell, add = optuna.Study.tell, optuna.Study.add_trial

    def watch_tell(study, trial, value):
        told.append((tuple(trial.params.values()), value))
        return tell(study, trial, value)

    def watch_add(study, trial):
        told.append((tuple(trial.params.values()), trial.value))
        return add(study, trial)

    monkeypatch.setattr(optuna.Study, "tell", watch_tell)
    monkeypatch.setattr(optuna.Study, "add_trial", watch_add)
    session = scripted(worth, reply=counting(8))
    Joint(instructions=3, sets=4, trials=6, startup=3, minibatch=8, full_every=3).search(session)
    assert told[0] == ((0, 0), 0.0)
    named = [
        (prompts[1] if len(prompts) > 1 else prompts[0], len(ids)) for prompts, ids in session.scored[1:9]
    ]
    assert [value for _, value in told[1:]] == pytest.approx([gain(p, ROWS[:n]) for p, n in named])
    by_pair = {}
    for (pair, _), (prompt, _) in zip(told[1:], named, strict=True):
        assert by_pair.setdefault(pair, prompt) == prompt


def test_the_planted_pair_is_found_among_many():
    def value(prompt, row):
        return float(prompt.instruction == "Try 4.") * (0.2 + 0.2 * len(prompt.demonstrations))

    session = scripted(value, reply=counting())
    Joint(instructions=8, sets=6, trials=25, minibatch=5).search(session)
    (best,), _ = session.scored[-3]
    assert (best.instruction, len(best.demonstrations)) == ("Try 4.", 4)
    tried = [prompt for prompt, _ in trials_of(session)]
    late = tried[-10:]
    assert sum(p.instruction == "Try 4." for p in late) > len(late) / 2  # TPE has learned where to look


def test_a_search_prints_nothing_and_leaves_optunas_logging_alone(capfd):
    optuna.logging.set_verbosity(optuna.logging.DEBUG)
    try:
        Joint(trials=2).search(scripted(worth))
        assert optuna.logging.get_verbosity() == optuna.logging.DEBUG
    finally:
        optuna.logging.set_verbosity(optuna.logging.INFO)
    assert "created" not in capfd.readouterr().err


# --- in a run ---------------------------------------------------------------------------------------


def test_it_finds_a_pair_that_only_works_together():
    """The target obeys only if it is told what to do and shown how."""

    def obey(request):
        text = user_text(request)
        word = read_input(text)
        return word.upper() if "capitals" in text and "Output: " in text else word

    models = {
        "target": fake(obey, "target"),
        "proposer": fake(
            lambda request: ("Write it in capitals.", "Say hello.")[request.sample % 2], "proposer"
        ),
    }
    study = execute(make_setup(models=models, searcher=Joint(most=2, sets=3, trials=12, minibatch=7)))
    assert study.best.instruction == "Write it in capitals."
    assert study.best.demonstrations
    assert study.verdict.reliable


def test_the_end_of_the_budget_leaves_a_verdict():
    study = execute(make_setup(searcher=Joint(instructions=3, minibatch=6), budget=Budget(calls=200)))
    assert study.stopped == "budget"
    assert study.total.calls <= 200
