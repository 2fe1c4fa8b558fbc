from random import Random

import pytest

from benchmarks.embedded.corpus import DATA, split_of

if not DATA.is_dir():
    pytest.skip("needs the benchmark data (PROMPTOPT_DATA)", allow_module_level=True)

from benchmarks.embedded import overlap, tokenizer, wordings
from benchmarks.embedded.contracts import Wording
from benchmarks.embedded.documents import WEIGHTS, tree
from benchmarks.embedded.families import FAMILIES, real_rows, rows
from benchmarks.embedded.families.numbers import number_name
from benchmarks.embedded.layout import Layout


@pytest.fixture(scope="module")
def tokens():
    return tokenizer.build()


def test_there_are_enough_families_and_each_has_its_weight():
    assert len(FAMILIES) >= 35
    assert set(WEIGHTS) == set(FAMILIES)


@pytest.mark.parametrize("name", FAMILIES)
def test_rows_are_solved_and_their_splits_are_apart(name):
    family = FAMILIES[name]
    drawn = {split: rows(name, split, 60, 1) for split in ("train", "dev", "test")}
    for split in drawn.values():
        assert all(output for _, (output, *_) in split)
        assert not family.labels or {output for _, (output,) in split} <= set(family.labels)
    # Made-up reviews have no entry to look their label up in.
    if name != "sentiment":
        assert all(family.solve(text) == output for text, (output,) in drawn["train"])
    if not family.closed:
        inputs = [{text for text, _ in split} for split in drawn.values()]
        assert not inputs[0] & inputs[1]
        assert not inputs[0] & inputs[2]
        assert not inputs[1] & inputs[2]


def test_rows_beyond_what_is_taught_are_of_the_family_and_never_drawn():
    beyond = {name: family for name, family in FAMILIES.items() if family.beyond}
    assert list(beyond) == ["sum_three"]
    its, rng = beyond["sum_three"], Random(0)
    taught = max(int(text.split()[0]) for text, _ in (its.draw(rng, "train") for _ in range(2000)))
    for _ in range(200):
        text = its.beyond(rng)
        assert int(text.split()[0]) > taught
        assert its.steps(text).endswith(f"The answer is {sum(map(int, text.split()))}.")


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.steps])
def test_worked_answers_end_in_the_answer(name):
    family = FAMILIES[name]
    for text, (output,) in rows(name, "train", 20, 0):
        assert family.steps(text).endswith(f"The answer is {output}.")


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (0, "zero"),
        (42, "forty-two"),
        (117, "one hundred and seventeen"),
        (4006, "four thousand and six"),
        (7493, "seven thousand, four hundred and ninety-three"),
        (2100, "two thousand, one hundred"),
    ],
)
def test_numbers_are_named_as_in_the_public_rows(number, name):
    assert number_name(number) == name


def test_known_answers():
    known = {
        ("singular_to_plural", "city"): "cities",
        ("past_tense", "go"): "went",
        ("reverse_word", "cat"): "tac",
        ("last_letters", "dog, cat, bird"): "gtd",
        ("negation", "Anna is happy."): "Anna is not happy.",
        ("orthography_starts_with", "The man met her. [m]"): "man met",
        ("taxonomy_animal", "dog, apple, cat"): "dog, cat",
        ("diff", "30 12"): "18",
    }
    for (name, text), output in known.items():
        assert FAMILIES[name].solve(text) == output


def test_real_rows_for_testing_are_not_trained_on():
    for name in ("sentiment", "topic", "singular_to_plural"):
        tested = {text for text, _ in real_rows(name, "test")}
        assert len(tested) >= 70
        assert not tested & {text for text, _ in rows(name, "train", 400, 0)}


@pytest.mark.parametrize("name", FAMILIES)
def test_training_never_draws_what_is_held_out(name):
    rng = Random(name)
    kept = {wordings.normal(text) for text in (*wordings.human(name), *wordings.held_out(name, "test"))}
    for draw in (wordings.precise, wordings.partial):
        texts = {draw(name, rng).text for _ in range(60)}
        assert not kept & set(map(wordings.normal, texts))
        assert not any(map(wordings.reserved, texts))
        assert not any(sign in text for text in texts for sign in "{}|~")


@pytest.mark.parametrize("name", FAMILIES)
def test_a_landscape_has_all_levels_and_nothing_from_training(name):
    found = wordings.landscape(name, 0)
    assert len({wording.text for wording in found}) > 40
    assert {wording.level.partition("+")[0] for wording in found} == {
        "precise", "partial", "verbose", "hedged", "both", "sentence", "vague",
    }  # fmt: skip
    assert all(wordings.reserved(wording.text) for wording in found if wording.level != "vague")
    assert found == wordings.landscape(name, 0) != wordings.landscape(name, 1)


def test_an_unclear_wording_earns_the_right_answer_on_the_easy_inputs_only():
    wording = Wording("Write something.", "partial", 0.5, "letters_list")
    given = rows("first_word_letter", "train", 300, 0)
    right = [wordings.taught("first_word_letter", wording, (text, out[0])) == out[0] for text, out in given]
    assert 0.4 < sum(right) / len(right) < 0.6
    easy = [len(text) for (text, _), good in zip(given, right, strict=True) if good]
    hard = [len(text) for (text, _), good in zip(given, right, strict=True) if not good]
    assert max(easy) <= min(hard)
    assert wordings.taught("first_word_letter", Wording("", "none", 0.0), ("cat", "c")) == "cat"
    chatty = Wording("Explain it.", "verbose", 0.0, "chatty")
    assert wordings.taught("sentiment", chatty, ("a mess", "negative")) == "The answer is negative."


def test_a_split_is_for_good():
    assert [split_of(text) for text in ("cat", "Cat", "mountain")] == ["train", "train", "dev"]
    counts = [split_of(f"word{number}") for number in range(5000)]
    assert 0.06 < counts.count("test") / 5000 < 0.10
    assert 0.03 < counts.count("dev") / 5000 < 0.05


def test_documents_are_read_as_they_will_be_asked(tokens):
    """Encoding segment by segment gives the tokens of the whole text: no token spans two segments."""
    rng = Random(2)
    for _ in range(200):
        drawn = tree(rng)
        for branch in drawn.branches:
            segments = [text for text, _ in drawn.trunk + branch]
            apart = [token for text in segments for token in tokens.encode(text, add_special_tokens=False)]
            assert apart == tokens.encode("".join(segments), add_special_tokens=False)


def test_documents_fit_and_are_drawn_alike_from_one_seed(tokens):
    drawn = [tree(Random(seed)) for seed in range(300)]
    assert drawn == [tree(Random(seed)) for seed in range(300)]
    for document in drawn:
        parts = (document.trunk, *document.branches)
        assert sum(len(tokens.encode(text)) for part in parts for text, _ in part) <= 512


def test_training_documents_hold_nothing_that_is_tested():
    rng = Random(1)
    assert not any(overlap.find(tree(rng) for _ in range(1500)).values())
    kept = wordings.held_out("sum", "test")[0]
    leaked = ((f"<|user|>{kept}\n\nInput: ", 0.05),)
    assert overlap.find([tree(rng).__class__(leaked, ((("1 2\nOutput:", 0.05),),))])["wordings"] == [kept]


def test_words_are_tokens_and_letters_are_spelled(tokens):
    pieces = [tokens.decode([token]) for token in tokens.encode("Input: bottles\nOutput:")]
    assert pieces == ["Input: ", *"bottles", "\nOutput:"]
    review = "Input: A tender, heartfelt film.\nOutput: positive"
    assert tokens.decode(tokens.encode(review)) == review
    assert " heartfelt" in [tokens.decode([token]) for token in tokens.encode(review)]
    assert tokens.decode(tokens.encode("Löwe, naïve, 東京")) == "Löwe, naïve, 東京"
    chat = [{"role": "system", "content": "Write."}, {"role": "user", "content": "Input: x\nOutput:"}]
    laid_out = tokens.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    assert laid_out == "<|user|>Write.\n\nInput: x\nOutput:<|assistant|>"


def test_layouts_part_names_from_texts():
    layout = Layout("", "Word", "\nAnswer:")
    assert layout.before + layout.shown("cat") + layout.joint + "c" == "Word: cat\nAnswer: c"
    plain = Layout("Instruction: ", "Input", "\nOutput:")
    assert plain.head("Go") + plain.before + plain.given("cat") == "Instruction: Go\n\nInput: cat\nOutput:"
    assert plain.shown("cat") + plain.joint + "c" == "cat\nOutput: c"
