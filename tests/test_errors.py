"""The shape of messages, and exit codes."""

import pytest

from promptopt import errors
from promptopt.errors import BadInput, MissingExtra, PromptOptError, did_you_mean, shorten


def test_a_message_says_where_what_got_and_do():
    error = errors.DataError("rows.jsonl:3", "no column 'x'", got=["a", "b"], do="rename it")
    assert str(error) == "rows.jsonl:3: no column 'x'; got ['a', 'b']; rename it"
    assert (error.where, error.problem, error.got, error.do) == (
        "rows.jsonl:3",
        "no column 'x'",
        ["a", "b"],
        "rename it",
    )


def test_what_is_not_given_is_left_out_but_falsy_values_are_shown():
    assert str(errors.ConfigError("seed", "must be an integer")) == "seed: must be an integer"
    assert str(errors.ConfigError("seed", "must be positive", got=0)) == "seed: must be positive; got 0"
    assert str(errors.ConfigError("name", "is empty", got="")) == "name: is empty; got ''"


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("ConfigError", 2),
        ("DataError", 2),
        ("TemplateError", 2),
        ("PluginError", 2),
        ("ModelError", 3),
        ("AuthError", 3),
        ("UnsupportedError", 2),
        ("BudgetExhausted", 4),
        ("JournalError", 2),
        ("SealedSplit", 1),
        ("ContractError", 1),
    ],
)
def test_every_error_has_its_exit_code(name, code):
    kind = getattr(errors, name)
    assert kind("here", "wrong").exit_code == code
    assert issubclass(kind, PromptOptError)


def test_bad_input_is_a_value_error_too():
    with pytest.raises(ValueError, match="here: wrong"):
        raise BadInput("here", "wrong")


def test_a_missing_extra_prints_the_pip_command():
    error = MissingExtra("target hf/x", "torch", "local")
    assert str(error) == 'target hf/x: needs the package torch; pip install "promptopt[local]"'
    assert error.exit_code == 2


def test_the_tree_in_the_docstring_names_every_error():
    kinds = [v for v in vars(errors).values() if isinstance(v, type) and issubclass(v, PromptOptError)]
    assert len(kinds) > 10
    for kind in kinds:
        assert kind.__name__ in errors.__doc__


def test_long_values_are_cut_to_one_line():
    assert shorten("short") == "'short'"
    cut = shorten("x\n" * 500)
    assert len(cut) == 200
    assert cut.endswith("…")
    assert "\n" not in cut


def test_a_typo_gets_a_suggestion_and_anything_else_the_list():
    assert did_you_mean("exact_mtch", ["exact_match", "contains"]) == "did you mean 'exact_match'?"
    assert did_you_mean("zzz", ["b", "a"]) == "choose from a, b"
