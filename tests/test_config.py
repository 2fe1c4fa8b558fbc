from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from promptopt import strict_yaml
from promptopt.adapter import Adapter
from promptopt.config import job_from_dict, json_schema, load_job
from promptopt.errors import BadInput, ConfigError
from promptopt.job import DEFAULT_MODELS, Job
from promptopt.programs import SelfConsistency
from promptopt.prompt import Prompt
from promptopt.proof.pareto import Objective
from promptopt.records import Example, FrozenMap, Price

MINIMAL = """\
data: rows.jsonl
prompt: "Answer: {{question}}"
target: embedded/small
reward: exact_match
search: seed_only
"""


def write(folder: Path, text: str, name: str = "promptopt.yaml") -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def job(folder: Path, text: str, *overrides: str) -> Job:
    return load_job(write(folder, text), overrides)


def test_short_forms_and_defaults(tmp_path: Path) -> None:
    found = job(tmp_path, MINIMAL)
    assert found.name == tmp_path.name
    assert found.data.path == str(tmp_path / "rows.jsonl")
    assert (found.target.provider, found.target.name, found.target.options) == ("embedded", "small", {})
    assert found.roles["proposer"] is found.target
    assert "judge" not in found.roles
    assert (found.selector.name, found.finalists, found.samples, found.seed) == (
        "paired_race",
        5,
        1,
        0,
    )
    prompt = found.build_prompt(("question",))
    assert prompt == Prompt.parse("Answer: {{question}}", ["question"])


def test_the_long_forms(tmp_path: Path) -> None:
    found = job(
        tmp_path,
        """\
name: my run
data:
  search: a.jsonl
  test: /abs/b.csv
  inputs: question
  answer: [answer, alternative]
  sizes: {search: 10, test: 20}
prompt:
  instruction: Answer.
  user: "{{instruction}} {{question}}"
  system: Be brief.
  demonstrations:
    - inputs: {question: 007}
      output: 1.10
target:
  model: openai/gpt-4o-mini
  price: {input: 1, output: 2.50}
  decoding: {max_tokens: 9, stop: "\\n"}
reward: exact_match
search: {name: ape, num_subsamples: 2}
program: {name: self_consistency, n: 3}
budget: {usd: 1.50, calls: 100}
""",
    )
    assert found.data.search == str(tmp_path / "a.jsonl")
    assert found.data.test == "/abs/b.csv"
    assert found.data.answer == ("answer", "alternative")
    assert found.data.sizes.search == 10
    assert found.target.decoding.stop == ("\n",)
    assert found.prices["target"] == Price(1.0, 2.5)
    assert found.budget.to_record().usd == 1.5
    assert found.search.options == {"num_subsamples": 2}
    prompt = found.build_prompt(("question",))
    assert prompt.program == SelfConsistency(n=3)
    assert prompt.demonstrations[0].inputs["question"] == "007"
    assert prompt.demonstrations[0].output == "1.10"
    messages = prompt.render(Example("1", FrozenMap(question="why")))
    assert [m.content for m in messages] == ["Be brief.", "Answer. why"]


def test_an_objective_in_a_word_in_parts_and_from_the_command_line(tmp_path: Path) -> None:
    assert job(tmp_path, MINIMAL).objective.to_record() == Objective()
    found = job(tmp_path, f"{MINIMAL}objective: pareto\n", "objective.prefer=cheap")
    assert found.objective.to_record() == Objective("pareto", "prompt_tokens", "cheap")
    assert job_from_dict(found.to_lock(), "/") == found
    priced = MINIMAL.replace("embedded/small", "{model: embedded/small, price: {input: 1, output: 2}}")
    dollars = job(tmp_path, f"{priced}objective: {{name: pareto, cost: usd}}\n")
    assert dollars.objective.to_record() == Objective("pareto", "usd")


PROMPT = '"Answer: {{question}}"'


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("target:", "targt:", "line 3: unknown key 'targt'; did you mean 'target'?"),
        ("data: rows.jsonl", "data: {path: a, sizes: {serch: 1}}", "unknown key 'serch' in data.sizes"),
        ("reward: exact_match\n", "", "the job needs the key 'reward'; it is how a reply is judged"),
        ("embedded/small", "gpt2", "line 3: target model 'gpt2' is not provider/name"),
        ("embedded/", "embeded/", "line 3: unknown provider 'embeded'; did you mean 'embedded'?"),
        ("exact_match", "exact_mach", "line 4: unknown reward 'exact_mach'; did you mean 'exact_match'?"),
        ("seed_only", "apee", "line 5: unknown searcher 'apee'; did you mean 'ape'?"),
        (
            "seed_only",
            "\n  name: ape\n  num_subsample: 3",
            "line 7: unknown option 'num_subsample' of the searcher 'ape'; did you mean 'num_subsamples'?",
        ),
        ("seed_only", "{name: ape, num_subsamples: few}", "line 5: searcher ape.num_subsamples:"),
        ("seed_only", "[ape, seed_onli]", "line 5: unknown searcher 'seed_onli'; did you mean 'seed_only'?"),
        (
            "seed_only",
            "\n  - ape\n  - name: ape\n    num_subsample: 3",
            "line 8: unknown option 'num_subsample' of the searcher 'ape'; did you mean 'num_subsamples'?",
        ),
        ("seed_only", "[ape, {nam: ape}]", "line 5: search.1 needs the key 'name'"),
        ("seed_only", "[]", "line 5: search must not be empty; got []"),
        ("seed_only", "[ape, [ape]]", "line 5: search.1 must hold `key: value` lines"),
        (
            "embedded/small",
            "{model: embedded/small, decodng: {}}",
            "line 3: unknown option 'decodng' of the model 'embedded'; did you mean 'decoding'?",
        ),
        (PROMPT, '""', "line 2: prompt is empty"),
        (PROMPT, "{instruction: a, text: b}", "line 2: prompt needs exactly one of"),
        (PROMPT, "{file: missing.txt}", "line 2: no such prompt file"),
        ("rows.jsonl", "{search: a.jsonl}", "line 1: data needs a `test` file"),
        (
            "rows.jsonl",
            "{path: a.jsonl, allow_duplicates: yes}",
            "line 1: data.allow_duplicates must be true or false",
        ),
    ],
)
def test_a_mistake_in_a_key_is_one_line_with_its_cure(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    check_refused(tmp_path, MINIMAL.replace(old, new), message)


@pytest.mark.parametrize(
    ("added", "message"),
    [
        ("budget:\n  cals: 5", "line 7: unknown key 'cals' in budget; did you mean 'calls'?"),
        ("budget: {calls: many}", "line 6: budget.calls must be a whole number; got 'many'"),
        ("budget: {calls: 0}", "line 6: budget.calls must be greater than or equal to 1; got 0"),
        ("seed: true", "line 6: seed must be a number"),
        ("budget: 5", "line 6: budget must hold `key: value` lines; got 5"),
        ("finalists:", "line 6: finalists must be a whole number; got nothing"),
        ("selector: halving", "line 6: unknown selector 'halving'"),
        ("objective: paretoo", "line 6: objective.name must be 'reward' or 'pareto'; got 'paretoo'"),
        ("objective: {nmae: pareto}", "line 6: unknown key 'nmae' in objective; did you mean 'name'?"),
        ("objective: {prefer: cheap}", "line 6: objective objective.prefer: weighs a cost"),
        (
            "objective:\n  name: pareto\n  cost: usd",
            "line 8: objective.cost: the price of the target is 0; got 'usd'; give the target a `price`",
        ),
        ("program: singel", "line 6: program: unknown program 'singel'; did you mean 'single'?"),
        ("proposer: {model: embedded/small, decoding: {top_p: 0.5}}", "line 6: the searcher decides how"),
        (
            "budget: {usd: 1}\nproposer: openai/mine",
            "line 6: the price of the proposer 'openai/mine' is not known; add `proposer: {model: openai/mi",
        ),
    ],
)
def test_a_mistake_in_an_added_part_is_one_line_too(tmp_path: Path, added: str, message: str) -> None:
    check_refused(tmp_path, f"{MINIMAL}{added}\n", message)


def test_a_file_without_keys_is_refused(tmp_path: Path) -> None:
    check_refused(tmp_path, "", "is empty; `promptopt init`")
    check_refused(tmp_path, "- a\n", "must hold `key: value` lines")


def check_refused(folder: Path, text: str, message: str) -> None:
    with pytest.raises(BadInput) as caught:
        job(folder, text)
    assert message in str(caught.value)
    assert str(caught.value).startswith("promptopt.yaml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "target",
    [
        "{model: openai/m, api_key: abc}",
        "{model: openai/m, headers: {Authorization: Bearer abc}}",
        "{model: openai/m, base_url: 'https://me:abc@example.org/v1'}",
        "{model: openai/m, note: sk-aaaaaaaaaaaaaaaaaaaaaaaaabc}",
    ],
)
def test_secrets_are_refused_and_never_shown(tmp_path: Path, target: str) -> None:
    with pytest.raises(ConfigError, match=r"holds a secret.*api_key_env") as caught:
        job(tmp_path, MINIMAL.replace("embedded/small", target))
    assert "abc" not in str(caught.value)


def test_prices_come_from_the_job_the_list_or_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)

    def price(target: str) -> Price | None:
        return job(tmp_path, MINIMAL.replace("embedded/small", target)).prices.get("target")

    assert price("embedded/small") == Price()
    assert price("openai/gpt-4o-mini") == Price(0.15, 0.60)
    assert price("{model: openai/gpt-4o-mini, base_url: 'http://127.0.0.1:9/v1'}") is None
    assert price("{model: openai/other, price: {input: 3, output: 4}}") == Price(3, 4)
    assert price("openai/other") is None
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    assert price("openai/gpt-4o-mini") is None


def test_overrides_open_short_forms_and_are_named_in_errors(tmp_path: Path) -> None:
    found = job(
        tmp_path,
        MINIMAL,
        "target.decoding.max_tokens=5",
        "seed=3",
        "search=ape",
        'target.decoding.stop=["a", "b"]',
    )
    assert (found.target.model, found.target.decoding.max_tokens) == ("embedded/small", 5)
    assert found.target.decoding.stop == ("a", "b")
    assert (found.seed, found.search.name) == (3, "ape")
    found = job(tmp_path, MINIMAL, "search=[ape, {name: ape, rounds: 0}]")
    assert [(spec.name, spec.options) for spec in found.searchers] == [("ape", {}), ("ape", {"rounds": 0})]
    assert job_from_dict(found.to_lock(), "/") == found
    with pytest.raises(ConfigError, match=r"^--set targt\.model=x: unknown key 'targt'"):
        job(tmp_path, MINIMAL, "targt.model=x")
    with pytest.raises(ConfigError, match=r"^--set seed=x: seed must be a whole number; got 'x'"):
        job(tmp_path, MINIMAL, "seed=x")
    with pytest.raises(ConfigError, match="not key=value"):
        job(tmp_path, MINIMAL, "seed")
    with pytest.raises(ConfigError, match="has no keys of its own"):
        job(tmp_path, MINIMAL + "seed: 1\n", "seed.x=1")


def test_the_lock_holds_every_default_and_reads_back_the_same(tmp_path: Path) -> None:
    text = MINIMAL.replace("seed_only", "{name: ape, num_subsamples: 2}")
    text += "budget: {usd: 0.1}\nproposer: embedded/small\n"
    (tmp_path / "sub").mkdir()
    found = job(tmp_path / "sub", text)
    lock = found.to_lock()
    assert json.loads(json.dumps(lock)) == lock
    assert lock["finalists"] == 5
    assert job_from_dict(lock) == found
    write(tmp_path, strict_yaml.dump(lock), "config.lock.yaml")
    assert load_job(tmp_path / "config.lock.yaml") == found


def test_a_prompt_file_becomes_part_of_the_job(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("Say {{question}}\n", encoding="utf-8")
    found = job(tmp_path, MINIMAL.replace('"Answer: {{question}}"', "{file: p.txt}"))
    assert found.prompt.text == "Say {{question}}"
    saved = Prompt.parse("Say {{question}}", ["question"]).child(origin="x", program=SelfConsistency(n=2))
    saved.save(tmp_path / "p.json")
    found = job(tmp_path, MINIMAL.replace('"Answer: {{question}}"', "{file: p.json}"))
    assert found.build_prompt(("question",)) == saved
    assert job_from_dict(found.to_lock()) == found
    (tmp_path / "p.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"line 2: the prompt file cannot be read"):
        job(tmp_path, MINIMAL.replace('"Answer: {{question}}"', "{file: p.txt}"))


def test_a_prompt_file_with_trained_weights_is_refused_for_a_job_has_no_place_for_them(
    tmp_path: Path,
) -> None:
    adapter = Adapter("prompt_tuning", "0" * 64, "model", vectors=2)
    saved = replace(Prompt("Answer."), adapter=adapter).to_dict()
    (tmp_path / "soft.json").write_text(json.dumps(saved), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"line 2: holds trained weights, which a job file cannot name"):
        job(tmp_path, MINIMAL.replace('"Answer: {{question}}"', "{file: soft.json}"))


def test_the_mistakes_of_plain_data_are_named_too() -> None:
    with pytest.raises(ConfigError, match=r"^job: unknown key 'targt'; did you mean 'target'\?"):
        job_from_dict({"targt": "x"})


def test_a_folder_stands_for_the_job_file_in_it(tmp_path: Path) -> None:
    write(tmp_path, MINIMAL)
    assert load_job(tmp_path) == load_job(tmp_path / "promptopt.yaml")


def test_embedded_alone_is_the_best_default(tmp_path: Path) -> None:
    found = job(tmp_path, MINIMAL.replace("embedded/small", "embedded"))
    assert found.target.model == DEFAULT_MODELS["embedded"] == "embedded/small"


def test_a_model_folder_beside_the_job_file_is_found(tmp_path: Path) -> None:
    found = job(tmp_path, MINIMAL.replace("embedded/small", "hf/./weights"))
    assert found.target.model == f"hf/{tmp_path / 'weights'}"


def test_functions_in_files_are_found_beside_the_job_file(tmp_path: Path) -> None:
    code = "def judge(example, text):\n    return 1.0\ndef say(text):\n    return text\n"
    (tmp_path / "mine.py").write_text(code, encoding="utf-8")
    text = MINIMAL.replace("exact_match", "{name: python, function: mine.py:judge}")
    found = job(tmp_path, text.replace("embedded/small", "python/mine.py:say"))
    assert found.reward.options == {"function": f"{tmp_path / 'mine.py'}:judge"}
    assert found.target.model == f"python/{tmp_path / 'mine.py'}:say"
    assert job_from_dict(found.to_lock()) == found
    check_refused(tmp_path, text.replace(":judge", ":juge"), "line 4: reward python")


def test_the_schema_describes_every_key_and_offers_plug_ins() -> None:
    schema = json_schema()
    assert schema["required"] == ["data", "prompt", "target", "reward"]
    assert schema["additionalProperties"] is False
    one, *_, several = schema["properties"]["search"]["anyOf"]
    assert "ape" in one["enum"]
    assert several["items"]["anyOf"][0] == one
    assert {"type": "string"} in schema["properties"]["target"]["anyOf"]
    undescribed = [
        key
        for name, part in {"Job": schema, **schema["$defs"]}.items()
        for key, value in part["properties"].items()
        if not _described(value, schema)
    ]
    assert undescribed == []


def _described(value: dict[str, Any], schema: dict[str, Any]) -> bool:
    references = [v["$ref"] for v in [value, *value.get("anyOf", ())] if "$ref" in v]
    return "description" in value or any(
        "description" in schema["$defs"][r.rsplit("/", 1)[1]] for r in references
    )


def test_a_search_file_alone_needs_a_test_size_of_zero(tmp_path: Path) -> None:
    text = MINIMAL.replace("data: rows.jsonl", "data: {search: a.jsonl}")
    with pytest.raises(ConfigError, match=r"needs a `test` file beside `search`.*sizes: \{test: 0\}"):
        job(tmp_path, text)
    without = job(tmp_path, text, "data.sizes.test=0")
    assert without.data.sizes.test == 0
    assert without.data.test is None
    with pytest.raises(ConfigError, match=r"data\.sizes\.test must be greater than or equal to 0; got -1"):
        job(tmp_path, text, "data.sizes.test=-1")


def test_replies_that_reason_have_room_unless_the_job_says_how_long_replies_are(tmp_path: Path) -> None:
    def lengths(*overrides: str) -> tuple[int, int | None]:
        found = job(tmp_path, MINIMAL, *overrides)
        assert job_from_dict(found.to_lock(), "/") == found
        decoding = found.target.decoding.to_record(found.seed)
        return decoding.max_tokens, decoding.reasoning_tokens

    assert lengths() == lengths("target.decoding.temperature=0.5") == (64, 256)
    assert lengths("target.decoding.max_tokens=16") == (16, None)
    assert lengths("target.decoding.reasoning_tokens=99") == (64, 99)
    assert lengths("target.decoding={max_tokens: 16, reasoning_tokens: 99}") == (16, 99)
    with pytest.raises(ConfigError, match="reasoning_tokens"):
        job(tmp_path, MINIMAL, "target.decoding.reasoning_tokens=0")


def test_a_job_locked_before_there_was_room_to_reason_goes_on_as_it_began(tmp_path: Path) -> None:
    lock = job(tmp_path, MINIMAL).to_lock()
    del lock["target"]["decoding"]["reasoning_tokens"]
    again = job_from_dict(lock, "/")
    assert again.target.decoding.to_record(0).reasoning_tokens is None
    assert again.to_lock() == lock
