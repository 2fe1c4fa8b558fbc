"""APE: what it shows the proposer, what it makes of the replies, and how it searches on."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptopt.contracts.searcher import Searcher, SearchTask
from promptopt.errors import ConfigError, ModelError, PluginError, TemplateError, UnsupportedError
from promptopt.plugins import build
from promptopt.prompt import Prompt
from promptopt.records import Budget, Cell, Evaluation, Example, FrozenMap, Score
from promptopt.search._text import copies_pair, number_word, read_instruction, show_rows
from promptopt.search.ape import APE
from promptopt.template import Template
from promptopt.testing.searcher import check_searcher

ROWS = tuple(Example(str(i), FrozenMap(input=f"in{i}"), (f"out{i}", f"other{i}")) for i in range(8))
SEED = Prompt("Do it.")


class Script:
    """A session whose proposer replies from a list and whose scores are a function of the instruction."""

    def __init__(
        self,
        reply=lambda text, i: f"Try {i}.",
        *,
        value=len,
        rows=ROWS,
        seed_prompt=SEED,
        insert=False,
        **task,
    ):
        self.task = SearchTask(rows, seed_prompt, ("input",), **task)
        self.rng = random.Random(0)
        self.remaining = Budget()
        self.reply, self.value, self.insert = reply, value, insert
        self.asked, self.selected, self.scored, self.probed = [], [], [], []
        self.notes = []

    def propose(self, chats, n=1, *, suffixes=None, **options):
        before = sum(len(call[0]) for call in self.asked)
        self.asked.append((chats, n, suffixes, options))
        return [
            [
                r
                for r in (self.reply(chat[0].content, (before + c) * n + i) for i in range(n))
                if r is not None
            ]
            for c, chat in enumerate(chats)
        ]

    def evaluation(self, prompt, reward):
        cell = Cell(prompt.id, "0", score=Score(self.value(prompt.instruction)))
        return Evaluation(prompt.id, reward or "task", (cell,))

    def score(self, prompts, rows=None, reward=None):
        self.scored.append((list(prompts), rows, reward))
        return [self.evaluation(prompt, reward) for prompt in prompts]

    def select(self, prompts, k, reward=None, rows=None):
        self.selected.append((list(prompts), k, reward))
        best = sorted(prompts, key=lambda prompt: -self.value(prompt.instruction))[:k]
        return [self.evaluation(prompt, reward) for prompt in best]

    def note(self, text):
        self.notes.append(text)

    def can(self, role, what):
        self.probed.append((role, what))
        return self.insert

    @property
    def texts(self):
        return [chat[0].content for call in self.asked for chat in call[0]]


def instructions(prompts):
    return [prompt.instruction for prompt in prompts]


# --- the contract -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ape",
    [
        APE(num_prompts_per_subsample=8),
        APE(mode="insert", num_subsamples=2, num_prompts_per_subsample=8),
        APE(mode="forward", num_prompts_per_subsample=8, reward="log_likelihood", rounds=2),
        APE(num_subsamples=1, num_demos=50, num_prompts_per_subsample=8, rounds=0, keep=1),
    ],
    ids=["default", "insert", "likelihood", "small"],
)
def test_it_keeps_the_contract(ape):
    check_searcher(ape, cuts=4)


def test_it_is_found_by_name_and_its_options_are_checked():
    assert build("searchers", "ape", {"num_demos": 3, "mode": "forward"}) == APE(mode="forward", num_demos=3)
    assert isinstance(APE(), Searcher)
    for options in ({"num_demos": 0}, {"mode": "backward"}, {"top_p": 1.5}, {"rounds": -1}, {"demos": 3}):
        with pytest.raises(PluginError):
            build("searchers", "ape", options)


# --- algorithm 1 ------------------------------------------------------------------------------------


def test_forward_generation_shows_a_subsample_in_the_papers_words():
    session = Script()
    APE(mode="forward", num_subsamples=1, num_demos=5, num_prompts_per_subsample=2, rounds=0).search(session)
    (text,) = session.texts
    head, *pairs, tail = text.split("\n\n")
    assert head == (
        "I gave a friend an instruction and five inputs. The friend read the instruction and wrote an output "
        "for every one of the inputs. Here are the input-output pairs:"
    )
    assert tail == "The instruction was to"
    assert len(set(pairs)) == 5
    assert set(pairs) <= {f"Input: in{i}\nOutput: out{i}" for i in range(8)}
    assert session.probed == []


def test_every_subsample_is_drawn_anew_and_gets_its_completions():
    session = Script()
    APE(mode="forward", rounds=0).search(session)
    ((_, n, suffixes, options),) = session.asked
    assert (len(set(session.texts)), n, suffixes) == (3, 30, None)
    assert options == {"temperature": 0.9, "top_p": 0.9, "max_tokens": 100}
    again = Script()
    APE(mode="forward", rounds=0).search(again)
    assert again.texts == session.texts
    again.rng.seed(1)
    APE(mode="forward", rounds=0).search(again)
    assert again.texts[3:] != session.texts


def test_few_rows_are_named_by_their_number():
    session = Script(rows=ROWS[:2])
    APE(mode="forward", num_subsamples=1, rounds=0).search(session)
    assert session.texts[0].startswith("I gave a friend an instruction and two inputs.")


def test_rows_without_an_answer_are_not_shown():
    bare = tuple(Example(f"b{i}", FrozenMap(input=f"bare{i}")) for i in range(20))
    session = Script(rows=(*bare, *ROWS[:3]))
    APE(rounds=0).search(session)
    assert not any("bare" in text for text in session.texts)


def test_the_seed_competes_with_the_proposals_which_are_its_children():
    session = Script(lambda text, i: ["Write it.", "Do it.", "Write it.", ""][i % 4])
    APE(mode="forward", rounds=0).search(session)
    ((pool, k, reward),) = session.selected
    assert instructions(pool) == ["Do it.", "Write it."]
    assert (pool[1].origin, pool[1].parents, k, reward) == ("ape/forward", (SEED.id,), 2, None)
    assert pool[1].template == SEED.template


def test_resampling_starts_from_the_best_and_names_its_parents():
    def reply(text, i):
        if "variation" not in text:
            return "Try " + "x" * (i % 10)
        return text.split("Input: ")[1].split("\nOutput:")[0] + "+" * (i % 2 + 1)

    session = Script(reply)
    APE(mode="forward", rounds=2, keep=3, variations=2).search(session)
    assert len(session.asked) == 3
    first, second = (call[0] for call in session.asked[1:])
    assert first[0][0].content == (
        "Generate a variation of the following instruction while keeping the semantic meaning.\n\n"
        "Input: Try xxxxxxxxx\nOutput:"
    )
    assert [call[1] for call in session.asked[1:]] == [2, 2]
    assert len(first) == len(second) == 3
    best = session.scored[-1][0][0]
    assert best.instruction == "Try xxxxxxxxx++++"
    assert best.origin == "ape/resample"
    parent = next(p for p in session.selected[1][0] if p.id == best.parents[0])
    assert parent.instruction == "Try xxxxxxxxx++"
    assert instructions(session.selected[1][0])[:3] == ["Try xxxxxxxxx", "Try xxxxxxxx", "Try xxxxxxx"]


def test_resampling_ends_when_nothing_new_comes():
    session = Script(lambda text, i: "Try it.")
    APE(mode="forward", rounds=9).search(session)
    assert len(session.asked) == 2
    assert len(session.selected) == 1


def test_the_kept_are_scored_on_every_row_by_the_tasks_reward():
    session = Script()
    APE(mode="forward", reward="log_likelihood", rounds=1, keep=4).search(session)
    assert {reward for _, _, reward in session.selected} == {"log_likelihood"}
    ((prompts, rows, reward),) = session.scored
    assert (len(prompts), rows, reward) == (4, None, None)


# --- insertion --------------------------------------------------------------------------------------


def test_insertion_splits_the_text_at_the_mark():
    session = Script(insert=True)
    ape = APE(
        mode="insert", insert="Smith was told: [INSERT]\n\n{{demonstrations}}\n\n{{description}}", rounds=0
    )
    tricky = (Example("t", FrozenMap(input="[INSERT] {{number}}"), ("x",)),)
    session.task = SearchTask(tricky, SEED, ("input",), "Be [INSERT].")
    ape.search(session)
    ((_, _, suffixes, _),) = session.asked
    assert session.texts == ["Smith was told: "] * 3
    assert suffixes == ["\n\nInput: [INSERT] {{number}}\nOutput: x\n\nBe [INSERT]."] * 3
    assert {prompt.origin for prompt in session.selected[0][0]} == {"user", "ape/insert"}


def test_the_default_insertion_is_the_papers():
    session = Script(insert=True)
    APE(mode="insert", num_subsamples=1, rounds=0).search(session)
    assert session.texts == ["I instructed my friend to "]
    assert session.asked[0][2][0].startswith(".\n\nThe friend read the instruction and wrote an output")


def test_auto_takes_turns_where_the_proposer_can_insert():
    able = Script(insert=True)
    APE(num_subsamples=3, rounds=0).search(able)
    assert [(len(chats), suffixes is not None) for chats, _, suffixes, _ in able.asked] == [
        (2, False),
        (1, True),
    ]
    assert able.probed == [("proposer", "insert")]
    unable = Script(insert=False)
    APE(num_subsamples=3, rounds=0).search(unable)
    assert [(len(chats), suffixes) for chats, _, suffixes, _ in unable.asked] == [(3, None)]


def test_insertion_asked_of_a_proposer_that_cannot_is_an_error():
    with pytest.raises(UnsupportedError, match="cannot insert text; set mode to forward"):
        APE(mode="insert").search(Script(insert=False))


# --- errors -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ape", "session", "error", "message"),
    [
        (
            APE(),
            Script(rows=(Example("1", FrozenMap(input="x")),)),
            ConfigError,
            "no search row has an answer",
        ),
        (
            APE(),
            Script(seed_prompt=Prompt(template=Template("{{input}}"))),
            ConfigError,
            "add {{instruction}}",
        ),
        (APE(forward="Guess."), Script(), TemplateError, "ape.forward: shows no rows"),
        (APE(forward="{{demonstration}}"), Script(), TemplateError, "shows no rows"),
        (APE(forward="{{demonstrations}} {{nmber}}"), Script(), TemplateError, "did you mean 'number'"),
        (
            APE(mode="insert", insert="{{demonstrations}}"),
            Script(insert=True),
            TemplateError,
            "needs [INSERT] once",
        ),
        (
            APE(),
            Script(lambda text, i: "..."),
            ModelError,
            "90 replies hold no usable instruction; got '...'",
        ),
        (APE(), Script(lambda text, i: None), ModelError, "0 replies hold no usable instruction"),
    ],
)
def test_what_cannot_work_is_a_clear_error(ape, session, error, message):
    with pytest.raises(error) as caught:
        ape.search(session)
    assert message in str(caught.value)


# --- reading proposals ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "instruction"),
    [
        ("write the second letter.", "write the second letter."),
        ("  to write the plural", "write the plural"),
        ("To find the Capital.", "find the Capital."),
        ('"Write the plural."', "Write the plural."),
        ("“Write ‘yes’ or ‘no’.”", "Write ‘yes’ or ‘no’."),
        ("`Find it`.", "Find it"),
        ("'yes' or 'no'", "'yes' or 'no'"),
        ("Write it.\n\nInput: a\nOutput: b", "Write it."),
        ("Write it.\nInput: a\nOutput: b", "Write it."),
        ("Write it:\n- first\n- last\n\nThis works because", "Write it:\n- first\n- last"),
        ("Sure! Here is a variation:\n\n**Instruction:** Write it.\n\nHope this helps!", "Write it."),
        ("The instruction was to write the plural of it.", "write the plural of it."),
        ('The instruction was likely: "Write the opposite."', "Write the opposite."),
        ("The instruction was:\n\nWrite it.", "Write it."),
        ('"Instruction: Write it."', "Write it."),
        ("Output: Write it.", "Write it."),
        ("Output the sum.", "Output the sum."),
        ("The output is the plural of the input.", "The output is the plural of the input."),
        ("```\nWrite it.\n```", "Write it."),
        ("<think>\nHm.\n\nWell.\n</think>\n\nWrite it.", "Write it."),
        ("写出复数形式", "写出复数形式"),
        ("Input: a\nOutput: b", None),
        ("", None),
        (" \n\n ", None),
        ('"..."', None),
        ("42", None),
        ("x" * 501, None),
    ],
)
def test_the_instruction_is_read_out_of_a_reply(reply, instruction):
    assert read_instruction(reply, 500) == instruction


@given(st.text(alphabet=st.sampled_from("abc \n\t\"'`*:.InputOutput{}“”tosure"), max_size=60))
def test_reading_survives_anything_and_gives_trimmed_text(reply):
    text = read_instruction(reply, 50)
    if text is not None:
        assert text == text.strip()
        assert 0 < len(text) <= 50


@pytest.mark.parametrize(
    ("text", "copied"),
    [
        ("write out3 when you see in3, else out1", False),
        ("write the output, like in3 -> out3", True),
        ("e.g. Input: In3\nOutput: OTHER3", True),
        ("if in3 then out4", False),
        ("in3 is about out3", False),
        ("turn in33 to out3", False),
        ("turn in3 to out3", True),
    ],
)
def test_a_quoted_pair_is_seen(text, copied):
    assert copies_pair(text, ROWS) is copied


def test_proposals_that_quote_a_row_are_dropped():
    session = Script(lambda text, i: ["Write it.", "in3 becomes out3"][i % 2])
    APE(mode="forward", rounds=0).search(session)
    assert instructions(session.selected[0][0]) == ["Do it.", "Write it."]
    assert session.notes == ["ape: 89 of 90 proposals held back: 45 quoting a row, 44 repeated"]


def test_under_a_cap_on_calls_it_proposes_what_it_can_tell_apart():
    session = Script()
    session.remaining = Budget(calls=300)
    APE(mode="forward", rounds=0).search(session)
    assert [n for _, n, _, _ in session.asked] == [6]  # 3 subsamples; 20 candidates at 15 calls
    session.remaining = Budget(calls=100)
    APE(mode="forward").search(session)
    assert [(len(chats), n) for chats, n, _, _ in session.asked[1:]] == [(3, 2), (5, 1)]


def test_rows_with_several_fields_are_shown_with_their_names():
    row = Example("1", FrozenMap(user_name="Ann", text="{{text}}"), ("x",))
    assert show_rows([row], ["user_name", "text"]) == "User name: Ann\nText: {{text}}\nOutput: x"
    assert [number_word(n) for n in (1, 5, 10, 11)] == ["one", "five", "ten", "11"]
