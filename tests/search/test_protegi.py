"""ProTeGi: what it reads errors from, what it asks, and who stays in the beam."""

import pytest
from scripted import Scripted, numbered

from promptopt.contracts.searcher import Searcher
from promptopt.errors import ConfigError, ModelError, PluginError, TemplateError
from promptopt.plugins import build
from promptopt.prompt import Prompt
from promptopt.search._meta import EDIT, GRADIENT
from promptopt.search.protegi import LONG_EDIT, LONG_GRADIENT, ProTeGi
from promptopt.template import Template, fill
from promptopt.testing.searcher import check_searcher


def kind(text):
    if "Say in one sentence" in text:
        return "gradient"
    return "edit" if "The problem is this" in text else "paraphrase"


def reply(text, i):
    """Reasons are numbered by what was asked before; edits name their parent; paraphrases add a mark."""
    if kind(text) == "gradient":
        return f"It is vague in {text.count('Input: ')} ways, case {i}."
    if kind(text) == "edit":
        return f"Improve {text.split('instruction: ')[1].split('.')[0]} {'a' * (1 + len(text) % 5)} {i}."
    return text.split("Input: ")[1].split("\n")[0] + "!" * (i + 1)


def value(prompt, row):
    """The longer, the more rows are right; the seed gets none."""
    return float(int(row.id) < (len(prompt.instruction) - 6) // 8)


def instructions(prompts):
    return [prompt.instruction for prompt in prompts]


@pytest.mark.parametrize(
    "searcher",
    [
        ProTeGi(depth=2),
        ProTeGi(depth=2, beam=1, groups=1, gradients=2, edits=2, paraphrases=0, minibatch=3, successors=1),
    ],
    ids=["default", "narrow"],
)
def test_it_keeps_the_contract(searcher):
    check_searcher(searcher, cuts=3)


def test_it_is_found_by_name_and_its_options_are_checked():
    assert build("searchers", "protegi", {"beam": 2}) == ProTeGi(beam=2)
    assert isinstance(ProTeGi(), Searcher)
    for options in ({"beam": 0}, {"top_p": 0}, {"paraphrases": -1}, {"width": 3}):
        with pytest.raises(PluginError):
            build("searchers", "protegi", options)


def test_the_first_step_goes_from_errors_to_reasons_to_edits_to_paraphrases():
    session = Scripted(reply, value)
    ProTeGi(depth=1, groups=3, errors_per_group=4, paraphrases=2, beam=2).search(session)
    gradients, edits, paraphrases = session.proposals
    assert [options["n"] for options in session.options] == [1, 1, 2]
    assert all(options["temperature"] == 0.7 for options in session.options)
    for asked, step in zip(gradients, edits, strict=True):
        shown = asked.split("wrong:\n\n")[1].split("\n\nSay in one")[0]
        errors = shown.split("\n\n")
        assert len(set(errors)) == 4
        assert set(errors) <= {f"Input: in{i}\nOutput: wrong\nExpected: out{i}" for i in range(8)}
        assert asked == fill(GRADIENT, {"instruction": "Do it.", "errors": shown})
        head, rest = step.split("The problem is this: ")
        assert (
            head
            == fill(EDIT.split("{{gradient}}")[0], {"instruction": "Do it.", "errors": shown})[: len(head)]
        )
        assert rest.startswith("It is vague in 4 ways")
    (pool, k), *_ = session.selected
    edited = [p for p in pool if p.origin == "protegi/edit"]
    reworded = [p for p in pool if p.origin == "protegi/paraphrase"]
    assert (pool[0], k) == (session.task.seed_prompt, 2)
    assert all(p.parents == (pool[0].id,) for p in edited)
    assert {p.parents[0] for p in reworded} <= {p.id for p in edited}
    assert paraphrases == [
        "Generate a variation of the following instruction while keeping the semantic meaning.\n\n"
        f"Input: {p.instruction}\nOutput:"
        for p in edited
    ]


def test_only_rows_that_went_wrong_are_shown_and_few_errors_make_a_small_group():
    session = Scripted(reply, lambda prompt, row: float(row.id not in ("2", "5")))
    ProTeGi(depth=1, groups=2).search(session)
    for text in session.proposals[0]:
        assert {line for line in text.split("\n") if line.startswith("Input: ")} == {
            "Input: in2",
            "Input: in5",
        }


def test_the_best_stay_in_the_beam_and_the_second_step_starts_from_them():
    session = Scripted(reply, value)
    ProTeGi(depth=2, groups=2, beam=2, paraphrases=1).search(session)
    pool, _ = session.selected[0]
    best = sorted(pool, key=lambda prompt: -sum(value(prompt, row) for row in session.task.rows))[:2]
    second = session.proposals[3]
    asked = [text.split("instruction: ")[1].split("\n")[0] for text in second]
    assert asked == [p.instruction for p in best for _ in range(2)]
    minibatches = [(prompts, rows) for prompts, rows in session.scored[:2]]
    assert minibatches[1][0] == best
    pool, k = session.selected[1]
    assert pool[:2] == best
    beam = sorted(pool, key=lambda prompt: -sum(value(prompt, row) for row in session.task.rows))[:k]
    assert session.scored[-1] == (beam, [row.id for row in session.task.rows])


def test_a_step_draws_one_minibatch_for_the_whole_beam_anew():
    session = Scripted(reply, value, rows=numbered(40))
    ProTeGi(depth=3, minibatch=10).search(session)
    drawn = [rows for _, rows in session.scored[:3]]
    assert [len(set(rows)) for rows in drawn] == [10, 10, 10]
    assert len({tuple(rows) for rows in drawn}) == 3


def test_a_prompt_without_errors_is_not_differentiated():
    session = Scripted(reply, lambda prompt, row: float(prompt.instruction != "Do it." or row.id != "0"))
    ProTeGi(depth=6, beam=1).search(session)
    # The first child is perfect, so the second minibatch shows no error and the search ends.
    assert [kind(call[0]) for call in session.proposals] == ["gradient", "edit", "paraphrase"]
    assert [len(prompts) for prompts, _ in session.scored] == [1, 1, 1]


def test_successors_are_capped_for_each_parent():
    session = Scripted(lambda text, i: f"{reply(text, i)} {len(text)}", value)
    ProTeGi(depth=2, beam=2, groups=4, successors=3).search(session)
    for pool, _ in session.selected:
        new = [p for p in pool if p.origin != "user"]
        assert len(new) <= 3 + 2 * 3
    assert len(session.selected[0][0]) == 1 + 3


def test_a_search_that_brings_nothing_new_ends_after_two_steps():
    session = Scripted(lambda text, i: "It is vague." if kind(text) == "gradient" else "Do  it.")
    ProTeGi(depth=6).search(session)
    assert [kind(call[0]) for call in session.proposals] == ["gradient", "edit"] * 2
    assert session.selected == []
    assert instructions(session.scored[-1][0]) == ["Do it."]


def test_an_edit_that_quotes_a_row_is_dropped():
    session = Scripted(
        lambda text, i: (
            "Vague." if kind(text) == "gradient" else f"Write {'it' if i else 'out3 for in3 -> out3'}."
        )
    )
    ProTeGi(depth=1, edits=2, paraphrases=0).search(session)
    assert {its for pool, _ in session.selected for its in instructions(pool)} == {"Do it.", "Write it."}
    assert "quoting a row" in session.notes[-1]


@pytest.mark.parametrize("bad", ["", "...", "<START> cut o"])
def test_replies_that_cannot_be_read_are_an_error(bad):
    with pytest.raises(ModelError, match=r"the proposer's \d+ replies hold no usable instruction"):
        ProTeGi().search(Scripted(lambda text, i: bad))
    with pytest.raises(ModelError, match="hold no usable instruction"):
        ProTeGi().search(Scripted(lambda text, i: "It is vague." if kind(text) == "gradient" else bad))


def test_failed_calls_leave_the_others_their_place():
    def flaky(text, i):
        return None if "Input: in1\n" in text and kind(text) == "gradient" else reply(text, i)

    session = Scripted(flaky, value, rows=numbered(4))
    ProTeGi(depth=1, groups=6, errors_per_group=1).search(session)
    gradients, edits, _ = session.proposals
    asked = [text for text in gradients if "Input: in1\n" not in text]
    assert 0 < len(asked) < 6
    assert len(edits) == len(asked)
    for before, after in zip(asked, edits, strict=True):
        assert before.split("wrong:\n\n")[1].split("\n\n")[0] in after


def test_the_papers_wordings_list_several_texts_in_one_reply():
    def listing(text, i):
        if "reasons why" in text:
            return "<START>It is vague.<END>\n<START>It is short.<END><START>It is\nodd.<END><START>cut"
        return f"<START>Write more {len(text) % 7}.<END><START>Write less.<END>"

    session = Scripted(listing, value)
    ProTeGi(
        depth=1, groups=1, gradients=2, edits=3, paraphrases=0, gradient=LONG_GRADIENT, edit=LONG_EDIT
    ).search(session)
    first, second = session.proposals
    assert [options["n"] for options in session.options] == [1, 1]
    assert "Give 2 reasons" in first[0]
    assert ["is that It is vague." in second[0], "is that It is short." in second[1]] == [True, True]
    assert len(second) == 2
    assert "I wrote 3 different improved prompts" in second[0]
    assert "Write less." in instructions(session.selected[0][0])


@pytest.mark.parametrize(
    ("searcher", "seed", "error", "message"),
    [
        (
            ProTeGi(gradient="Why?"),
            Prompt("Do it."),
            TemplateError,
            r"protegi.gradient: has no {{instruction}}",
        ),
        (ProTeGi(edit="{{instruction}}"), Prompt("Do it."), TemplateError, r"add {{gradient}}"),
        (ProTeGi(error="{{inptu}}"), Prompt("Do it."), TemplateError, "did you mean 'input'"),
        (ProTeGi(), Prompt(template=Template("{{input}}")), ConfigError, "add {{instruction}}"),
    ],
)
def test_what_cannot_work_is_a_clear_error(searcher, seed, error, message):
    with pytest.raises(error, match=message):
        searcher.search(Scripted(seed_prompt=seed))
