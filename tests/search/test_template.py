"""Template search: what it scores and tells, its contract, and the result in words."""

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
from toys import chance, fake, make_setup, read_input, user_text

from promptopt.contracts.searcher import SearchTask
from promptopt.errors import ConfigError
from promptopt.plugins import build
from promptopt.programs import ChainOfThought
from promptopt.prompt import Demonstration, Prompt
from promptopt.records import Budget, Cell, Evaluation, Example, FrozenMap, Score, Usage
from promptopt.run import execute
from promptopt.runfolder import RunFolder
from promptopt.search._template_trials import Trials
from promptopt.search.template import TemplateSearch
from promptopt.testing.searcher import check_searcher

TEXT = "{{role}}\n{{task}} {{form}}\n\nInput: {{input}}\n{{cue}}"
SLOTS = {
    "role": ["", "You are a clerk.", "You are a cat."],
    "task": ["Do it.", "Write in capitals.", "Repeat.", "Sing."],
    "form": {"alternatives": {"short": "One word.", "long": "Explain it."}, "optional": True},
    "cue": ["Output:", "Answer:"],
}


def make_rows(n):
    return tuple(Example(str(i), FrozenMap(input=f"in{i}"), (f"out{i}",)) for i in range(n))


def worth(text, row):
    """Return 0 or 1: how often 1 depends on the words of the prompt."""
    sure = 0.1 + 0.5 * ("capitals" in text) + 0.25 * ("clerk" in text) - 0.2 * ("Explain" in text)
    return float(chance(text + row.id) < sure)


class Bench:
    """A session whose target is a function of the rendered prompt; it writes down what it is asked."""

    def __init__(self, *, rows=40, value=worth, reply=lambda text, i: f"Shout it {i}.", seed=0, tokens=True):
        self.task = SearchTask(make_rows(rows), Prompt("Do it."), ("input",))
        self.rng, self.workdir, self.remaining = random.Random(seed), Path(), Budget()
        self.value, self.reply, self.tokens = value, reply, tokens
        self.cells, self.prompts, self.asked, self.notes = set(), {}, [], []
        self.ruled_out = set()

    def score(self, prompts, rows=None, reward=None):
        rows = self.task.rows if rows is None else self.task.rows[:rows] if isinstance(rows, int) else rows
        self.prompts |= {prompt.id: prompt for prompt in prompts}
        self.cells |= {(prompt.id, row.id) for prompt in prompts for row in rows}
        return [Evaluation(p.id, "r", tuple(self.cell(p, row) for row in rows)) for p in prompts]

    def cell(self, prompt, row):
        text = prompt.render(row)[-1].content
        usage = Usage(len(text.split()), 1) if self.tokens else Usage()
        return Cell(prompt.id, row.id, score=Score(self.value(text, row)), usage=usage)

    def propose(self, chats, n=1, **options):
        texts = [chat[0].content for chat in chats]
        before = len(self.asked)
        self.asked += [text for text in texts for _ in range(n)]
        return [[self.reply(text, before + c * n + i) for i in range(n)] for c, text in enumerate(texts)]

    def report(self, text, data=None):
        self.notes.append((text, data))

    note = report

    def rule_out(self, prompts):
        self.ruled_out |= {prompt.id for prompt in prompts}

    def met(self, prompt):
        return sum(key == prompt.id for key, _ in self.cells)

    def best(self):
        whole = [p for p in self.prompts.values() if self.met(p) == len(self.task.rows)]
        return max(whole, key=lambda p: sum(self.cell(p, row).value for row in self.task.rows))


def search(session, **options):
    TemplateSearch(**{"text": TEXT, "slots": SLOTS, "trials": 40, "batch": 10, **options}).search(session)
    return session


@pytest.mark.parametrize(
    "options",
    [
        {"trials": 8, "batch": 4},
        {
            "trials": 6,
            "batch": 3,
            "grow_every": 1,
            "slots": {**SLOTS, "task": {"alternatives": ["Do it.", "Sing."], "paraphrases": 2, "grow": 1}},
            "parameters": {
                "demonstrations": {"low": 0, "high": 2, "sets": 2},
                "temperature": {"low": 0, "high": 1},
            },
        },
    ],
    ids=["plain", "growing"],
)
def test_it_keeps_the_contract(options):
    check_searcher(TemplateSearch(**{"text": TEXT, "slots": SLOTS, "startup": 3, **options}), cuts=2)


def test_it_finds_the_best_wording_with_a_part_of_the_cells():
    session = search(Bench())
    found = session.best()
    assert "Write in capitals." in found.instruction
    assert "clerk" in found.instruction
    assert len(session.cells) < 0.75 * 40 * 40
    assert found.origin == "template"


def test_the_result_says_which_slot_mattered():
    session = search(Bench(rows=60), trials=60, sampler="random")
    (text, data), *more = session.notes
    assert text.startswith("template: over 60 prompts task explains ")
    assert data["axes"][0]["name"] == "task"
    assert 0.4 < data["axes"][0]["share"] < 0.95
    assert sum(axis["share"] for axis in data["axes"]) + data["unexplained"] == pytest.approx(1, abs=0.01)
    assert more[0][0].startswith('task: "Write in capitals." does best, +')
    json.dumps(data)


def test_too_few_prompts_say_nothing_of_slots():
    session = search(Bench(), trials=8)
    assert session.notes == [("template: 8 prompts are too few to tell which slot mattered", None)]


def test_demonstrations_come_from_rows_that_nothing_is_scored_on():
    text = TEXT.replace("Input:", "{{demonstrations}}\n\nInput:", 1)
    numbers = {"demonstrations": {"low": 1, "high": 3, "sets": 2}}
    session = search(Bench(), text=text, parameters=numbers, trials=20)
    shown = {demo.inputs["input"] for p in session.prompts.values() for demo in p.demonstrations}
    assert 4 <= len(shown) <= 6
    for prompt in session.prompts.values():
        own = {demo.inputs["input"] for demo in prompt.demonstrations}
        met = {f"in{row}" for key, row in session.cells if key == prompt.id}
        assert not own & met
    fewer = Bench(rows=4)
    with pytest.raises(ConfigError, match="only 2 search rows can be shown; got 3"):
        search(fewer, text=text, parameters=numbers)


def test_what_is_too_long_is_not_scored_and_what_is_too_dear_only_probed():
    session = search(Bench(), at_most={"characters": 60})
    seed = session.task.seed_prompt
    lengths = [len(p.render(session.task.rows[0])[-1].content) for p in session.prompts.values() if p != seed]
    assert max(lengths) <= 60
    assert any("beyond a cap" in text for text, _ in session.notes)
    session = search(Bench(), at_most={"prompt_tokens": 10})
    words = {p.id: len(p.render(session.task.rows[0])[-1].content.split()) for p in session.prompts.values()}
    dear = [p for p in session.prompts.values() if words[p.id] > 10]
    assert dear
    assert {session.met(p) for p in dear} == {8}
    with pytest.raises(ConfigError, match="the target counts no tokens"):
        search(Bench(tokens=False), at_most={"prompt_tokens": 10})


def test_a_cost_that_is_weighed_keeps_cheap_prompts_to_the_end():
    session = search(Bench(), cost="prompt_tokens", sampler="nsga2")
    whole = [p for p in session.prompts.values() if session.met(p) == 40 and p != session.task.seed_prompt]
    costs = [session.cell(p, session.task.rows[0]).usage.prompt_tokens for p in whole]
    assert max(costs) - min(costs) >= 3
    assert any("capitals" in p.instruction for p in whole)


def test_the_proposer_adds_wordings_at_the_beginning_and_of_the_best_later():
    slots = {**SLOTS, "task": {"alternatives": ["Do it.", "Write in capitals."], "paraphrases": 3, "grow": 2}}
    session = search(Bench(reply=lambda text, i: f"Write in capitals {i}." if i < 8 else f"Now {i}."),
                     slots=slots, grow_every=1)  # fmt: skip
    asked = [text.split("Input: ")[1].split("\n")[0] for text in session.asked]
    assert asked[:8] == ["Do it."] * 4 + ["Write in capitals."] * 4
    assert set(asked[8:]) <= {"Write in capitals.", *(f"Write in capitals {i}." for i in range(8))}
    used = {p.instruction for p in session.prompts.values()}
    assert any("Write in capitals 0." in text for text in used)
    assert any("Now" in text for text in used)


def test_wordings_that_cannot_be_used_are_not():
    slots = {**SLOTS, "task": {"alternatives": ["Do it."], "paraphrases": 2}}
    session = search(Bench(reply=lambda text, i: "Say {{input}}." if i % 2 else "Do it."), slots=slots)
    assert ("slot task: the proposer wrote nothing new that can be used", None) in session.notes
    assert not any("Say" in p.instruction for p in session.prompts.values())


def test_the_seed_prompts_own_layout_and_instruction_are_the_default():
    session = search(Bench(), text=None, slots={"instruction": ["Do it.", "Write in capitals."]})
    assert {p.instruction for p in session.prompts.values()} == {"Do it.", "Write in capitals."}
    session = search(Bench(), text=["{{instruction}}\n{{input}}", "{{input}}\n{{instruction}}"], slots={})
    assert {p.render(session.task.rows[0])[-1].content for p in session.prompts.values()} >= {
        "Do it.\nin0", "in0\nDo it.",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"slots": {**SLOTS, "rol": ["x"]}}, "search.slots.rol: no text shows it"),
        ({"text": "{{rolle}} {{input}}"}, "did you mean 'role'?"),
        ({"text": "{{a}} {{input}}", "slots": {"a": ["x"]}}, "the template leaves nothing to choose"),
        ({"forbid": [{"cue": ["Output:", "Answer:"]}]}, "search.forbid: forbids every prompt"),
        ({"sampler": "grid", "parameters": {"temperature": {"low": 0, "high": 1}}}, "has no end of values"),
    ],
)
def test_a_template_that_does_not_fit_the_task_is_one_line(options, message):
    with pytest.raises(ConfigError) as caught:
        search(Bench(), **options)
    assert message in str(caught.value)


def test_settings_need_a_program_that_has_them():
    session = Bench()
    session.task = SearchTask(make_rows(40), Prompt("Do it.", program=ChainOfThought()), ("input",))
    with pytest.raises(ConfigError, match="the program chain_of_thought has no temperature of its own"):
        search(session, parameters={"temperature": {"low": 0, "high": 1}})


def test_a_run_reports_the_slots_and_a_killed_one_ends_the_same(tmp_path):
    calls = []

    def target(request):
        calls.append(request)
        if len(calls) == cut:
            raise KeyboardInterrupt
        text = user_text(request)
        word = read_input(text)
        obeys = "capitals" in text or chance(text) < 0.3
        return word.upper() if obeys else word

    searcher = build("searchers", "template", {"text": TEXT, "slots": SLOTS, "trials": 24, "batch": 8,
                                               "storage": f"sqlite:///{tmp_path / 's.db'}"})  # fmt: skip
    models = {"target": fake(target, "target"), "proposer": fake(target, "proposer")}

    def setup():
        return make_setup(searcher=searcher, models=models)

    cut = None
    whole = execute(setup())
    bought, cut = len(calls), 150
    calls.clear()
    with pytest.raises(KeyboardInterrupt):
        execute(setup(), RunFolder(tmp_path / "run"))
    cut = None
    resumed = execute(setup(), RunFolder(tmp_path / "run"))
    assert resumed.best == whole.best
    assert "capitals" in resumed.best.instruction
    assert [note.text for note in resumed.search_notes] == [note.text for note in whole.search_notes]
    assert len(calls) == bought + 1
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["search_notes"][0]["data"]["trials"] == 24
    import optuna

    assert [s.n_trials for s in optuna.get_all_study_summaries(f"sqlite:///{tmp_path / 's.db'}")] == [24]


def test_good_prompts_found_elsewhere_race_along_and_lend_their_instructions():
    session = Bench()
    good = Prompt("You are a clerk. Write in capitals.", origin="ape")
    shown = Prompt(
        "Repeat.", demonstrations=(Demonstration(session.task.rows[0].inputs, "out0"),), origin="demos"
    )
    session.task = replace(session.task, starts=(good, shown, Prompt("Do it.")))
    search(session, text="{{role}} {{instruction}}\n\n{{input}}", slots={"role": ["", "You are a cat."]})
    tried = [p for p in session.prompts.values() if p.origin == "template"]
    assert {p.render(session.task.rows[0])[-1].content.removesuffix("\n\nin0") for p in tried} == {
        f"{role}{text}"
        for role in ("", "You are a cat. ")
        for text in ("Do it.", good.instruction, "Repeat.")
    }
    assert session.met(good) == 40
    assert shown.id not in session.prompts  # it shows the answer to a row that all are scored on


def test_what_is_beyond_a_cap_must_not_win():
    session = search(Bench(), at_most={"prompt_tokens": 10})
    words = {p.id: len(p.render(session.task.rows[0])[-1].content.split()) for p in session.prompts.values()}
    assert session.ruled_out == {prompt for prompt, count in words.items() if count > 10}
    assert not search(Bench()).ruled_out


def test_a_cap_that_more_rows_show_to_be_passed_counts_as_well():
    session = Bench()
    plain = session.cell

    def cell(prompt, row):
        long = "capitals" in prompt.instruction and int(row.id) >= 8
        return replace(plain(prompt, row), usage=Usage(40 if long else 5, 1))

    session.cell = cell
    search(session, at_most={"prompt_tokens": 20})
    capitals = {
        p.id for p in session.prompts.values() if "capitals" in p.instruction and session.met(p) == 40
    }
    assert capitals
    assert capitals <= session.ruled_out


def test_what_a_race_drops_by_the_luck_of_its_first_rows_meets_all_rows_as_well():
    lucky, unlucky = [Prompt(f"Lucky {n}.") for n in range(2)], Prompt("Unlucky.")

    def value(text, row):
        place = int(row.id)
        right = {"Lucky": place < 10 or place % 5 > 0, "Unlucky": place not in (0, 5)}
        return float(next((its for name, its in right.items() if text.startswith(name)), place % 2))

    session = Bench(value=value)
    halving = build("selectors", "successive_halving", {"first": 10})
    (first, kept), *_ = halving.rounds(3, 40, 1)
    assert (first, kept) == (16, 2)
    trials = Trials(session, 40, selector=halving, keep=1, cost=None, caps={})
    trials.race([*lucky, unlucky])
    assert [session.met(prompt) for prompt in [*lucky, unlucky]] == [40, 40, 40]
    assert trials.best == [unlucky]


def test_what_is_not_yet_behind_the_best_meets_all_rows_and_what_is_far_behind_does_not():
    """Rows that all get right show no noise; it must not be taken for certainty."""
    perfect, late, poor = Prompt("Perfect."), Prompt("Late."), Prompt("Poor.")

    def value(text, row):
        right = {"Perfect": int(row.id) != 39, "Late": True, "Poor": int(row.id) > 6}
        return float(next((its for name, its in right.items() if text.startswith(name)), False))

    session = Bench(value=value)
    halving = build("selectors", "successive_halving", {"first": 10})
    trials = Trials(session, 40, selector=halving, keep=2, cost=None, caps={})
    first = halving.rounds(5, 40, 2)[0][0]
    outcomes = trials.race([perfect, Prompt("Perfect, too."), Prompt("Perfect as well."), late, poor])
    assert outcomes[-1].rows == first < 40
    assert session.met(late) == 40
    assert trials.best[0] == late
