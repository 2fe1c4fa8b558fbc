"""Every format gives, loaded by the tool it is for, the messages that were scored."""

import json
import re
import shutil
import sqlite3
from dataclasses import replace
from itertools import product
from pathlib import Path

import foreign
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from toys import proposer_reply, rows, target_reply

import promptopt as po
from promptopt.errors import ConfigError
from promptopt.exporting import export
from promptopt.exports._layout import for_jinja
from promptopt.programs import ChainOfThought, SelfConsistency
from promptopt.prompt import Demonstration, Prompt, Retriever
from promptopt.records import Example, FrozenMap
from promptopt.template import SLOT, Template, slots
from promptopt.testing.model import FakeModel

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning"
)

FORMATS = sorted(foreign.READERS)
HARD = (
    "{", "}", "{{", "}}", "{%", "%}", "{#", "#}", "{{x}}", "$", "$x", "\\", "\\n", '"', "'", "`", "\r\n",
    "\r", "\n", "\n\n", "\t", " ", "é", "日本", "🧑‍🚀", "\u2028", "\u202e", "\x00", "%s", "{0}", "<b>",
    "'''", '"""', "-",
)  # fmt: skip
hard_texts = (
    st.lists(st.sampled_from(HARD) | st.text(max_size=3), max_size=6)
    .map("".join)
    .filter(lambda text: not any("\ud800" <= letter <= "\udfff" for letter in text))
)


def rendered(prompt, row):
    return [one._asdict() for one in prompt.render(Example("1", FrozenMap(row)))]


@pytest.mark.parametrize("format", FORMATS)
def test_what_a_run_scored_is_what_the_tool_sends(tmp_path, format):
    """The winner of a real run, on its test rows: byte for byte requests that its journal holds."""
    study = po.optimize(
        prompt=Prompt("Do something. {x} 100%", (Demonstration(FrozenMap(input="a{b}"), "A{{B}}\n$"),)),
        train=[{**row, "input": row["input"] + ' {"k": "{{v}}"}\\'} for row in rows()],
        target=FakeModel(target_reply), proposer=FakeModel(proposer_reply), folder=tmp_path / "runs",
        reward=lambda example, text: float(text.startswith(example.answer)), name="toy",
    )  # fmt: skip
    assert study.best != study.seed_prompt
    folder = study.folder
    made = export(folder, "messages" if format == "text" else format)
    render = foreign.READERS["messages" if format == "text" else format](made.files, tmp_path)
    with sqlite3.connect(folder / "journal.sqlite") as journal:
        asked = {
            json.dumps(json.loads(request)["messages"])
            for (request,) in journal.execute("SELECT request FROM calls")
        }
    cells = study.candidate(study.best).test.cells
    assert len(cells) > 10
    by_id = {row["id"]: row["input"] + ' {"k": "{{v}}"}\\' for row in rows()}
    for cell in cells:
        sent = render({"input": by_id[cell.example]})
        assert json.dumps([[one["role"], one["content"]] for one in sent]) in asked


@pytest.mark.parametrize("format", [name for name in FORMATS if name != "dspy"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_text_survives(tmp_path, format, data):
    prompt, row = data.draw(prompts()), data.draw(values())
    check(format, prompt, row, tmp_path)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_text_survives_in_dspy(tmp_path, data):
    check("dspy", data.draw(prompts()), data.draw(values()), tmp_path)


def check(format, prompt, row, folder):
    try:
        made = export(prompt, format)
    except ConfigError as refused:  # plain text cannot hold everything; the others can
        if format == "text" or "columns alone" in str(refused):
            return
        raise
    expected = rendered(prompt, row)
    assert foreign.READERS[format](made.files, folder)(row) == expected


@st.composite
def prompts(draw):
    texts = draw(st.lists(hard_texts, min_size=7, max_size=7))
    own = "{{instruction}}" if draw(st.booleans()) else "{{instruction}}\n\n{{demonstrations}}\n\n"
    user = (
        _without_slots(texts[0])
        + own
        + _without_slots(texts[1])
        + "{{q}}"
        + _without_slots(texts[2])
        + "{{r}}"
    )
    system = _without_slots(texts[3]) + draw(st.sampled_from(["", "{{q}}", "{{instruction}}"]))
    shown = (Demonstration(FrozenMap(q=texts[4], r=""), texts[5]),) if draw(st.booleans()) else ()
    user += _without_slots(texts[6])
    assume({*slots(user), *slots(system)} <= {"instruction", "demonstrations", "q", "r"})  # none at a seam
    template = Template(user, system, "{{q}}={{r}}{{output}}")
    return Prompt(draw(hard_texts), shown, template)


def _without_slots(text):
    """Layouts read slots; whatever else a text has in it stays."""
    return SLOT.sub(lambda slot: "{" + slot[1] + "}", text)


def values():
    return st.fixed_dictionaries({"q": hard_texts, "r": hard_texts})


@pytest.mark.parametrize("last", [False, True])
def test_each_pair_of_hard_texts_survives_in_a_jinja_template(last):
    """One by one: what hypothesis finds by luck alone."""
    from jinja2 import Environment

    alphabet = ("{", "}", "{{", "}}", "{%", "%}", "{#", "#}", "\r", "\n", "\r\n", "#", "x", "")
    environment = Environment()
    for text in ("".join(pair) for pair in product(alphabet, alphabet)):
        written = for_jinja(text, last)
        # Nunjucks refuses the end of a comment that nothing began.
        assert re.search(r"\{[{%#]|#\}|\r", re.sub(r'\{\{ "[^"]*" \}\}', "_", written)) is None, text
        template = "{{ q }}" + written + ("" if last else "{{ q }}")
        assert environment.from_string(template).render(q="v") == f"v{text}" + ("" if last else "v"), text


def test_columns_that_are_no_identifiers_go_by_other_names():
    prompt = Prompt.parse("Hi {{first name}} {{class}} {{2nd}}:", ["first name", "class", "2nd"])
    for format in ("jinja", "langchain", "mlflow", "promptfoo", "dspy"):
        (note,) = export(prompt, format).notes
        assert note == (
            "columns go by other names there: 'first name' is first_name, 'class' is class_2, "
            "'2nd' is column_2nd"
        )
    made = export(prompt, "langchain").files
    (message,) = foreign.langchain(made, Path())({"first_name": "A", "class_2": "b", "column_2nd": "c"})
    assert message["content"] == "Hi A b c:"


@pytest.mark.parametrize("format", FORMATS)
def test_what_a_format_cannot_hold_is_refused_with_the_way_out(format):
    prompt = Prompt("Do it.")
    shown = Demonstration(FrozenMap(input="a"), "b")
    for refused, said in [
        (replace(prompt, retriever=Retriever((shown,), 1)), "each row demonstrations of its own"),
        (replace(prompt, program=ChainOfThought()), "takes several calls; got 'chain_of_thought'"),
        (replace(prompt, template=Template(system="{{input}}")), "columns alone"),
    ]:
        with pytest.raises(ConfigError, match=said):
            export(refused, format)


def test_what_a_program_adds_to_the_message_is_exported_with_it():
    prompt = replace(Prompt("Do it."), program=SelfConsistency(n=3, trigger="Think."))
    made = export(prompt, "messages")
    assert foreign.messages(made.files, Path())({"input": "x"})[0]["content"].endswith("Output:\n\nThink.")
    assert made.notes == ("ask 3 times at temperature 0.7; the most frequent answer wins",)


@pytest.mark.parametrize("format", FORMATS)
def test_the_marks_that_take_a_prompt_apart_may_be_in_it(tmp_path, format):
    prompt = Prompt("Say \ue000\ue001 and \U000f0000.")
    render = foreign.READERS[format](export(prompt, format).files, tmp_path)
    assert render({"input": "\ue000"}) == rendered(prompt, {"input": "\ue000"})


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        (Prompt("Say {{x}}."), "look like a slot"),
        (Prompt("Go.", template=Template(system="Be brief.")), "cannot hold a system message"),
        (Prompt("Go.\r\nNow."), "line ends"),
        (Prompt("Go.", template=Template("{{instruction}} {{input}}\n")), "line ends"),
        (Prompt("Go \ud800."), "surrogates"),
    ],
)
def test_text_refuses_what_would_come_back_otherwise(prompt, said):
    with pytest.raises(ConfigError, match=said):
        export(prompt, "text")


def test_a_jinja_layout_stays_one(tmp_path):
    from jinja2 import Environment

    layout = Template("{{instruction}}\n{% if input %}Input: {{ input|upper }}{% endif %}", engine="jinja")
    prompt = Prompt('Say "{{x}}"\r\n{% now %}', template=layout)
    (content,) = export(prompt, "jinja").files.values()
    template = Environment(keep_trailing_newline=True).from_string(content.decode())
    assert [{"role": "user", "content": template.render(input="abc")}] == rendered(prompt, {"input": "abc"})
    with pytest.raises(ConfigError, match="is Jinja of its own; use the format jinja"):
        export(prompt, "langchain")


def test_mlflow_registers_and_loads_what_was_exported(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("mlflow.genai")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    prompt = Prompt.parse("Say {{x}} {% y %} of {{q}}, {{r}}:", ["q", "r", "x"])
    prompt = replace(prompt, instruction="Say {{q}} {% y")
    row = {"q": "{{r}}\\u", "r": "{{q}}", "x": ""}
    given = json.loads(export(prompt, "mlflow").files["prompt.json"])
    mlflow.genai.register_prompt(**given)
    loaded = mlflow.genai.load_prompt(f"prompts:/{given['name']}/1")
    assert loaded.format(**row) == rendered(prompt, row)


def test_promptfoo_renders_by_nunjucks_what_was_exported(tmp_path):
    """By the real library, where Node and nunjucks are at hand (NODE_PATH)."""
    import os

    modules = os.environ.get("NODE_PATH", "")
    if shutil.which("node") is None or not (Path(modules) / "nunjucks").is_dir():
        pytest.skip("needs node, and nunjucks in NODE_PATH")
    made, rows, expected = [], [], []

    @settings(max_examples=300, deadline=None, database=None)
    @given(prompts(), values())
    def collect(prompt, row):
        try:
            made.append(foreign.promptfoo_raw(export(prompt, "promptfoo").files))
        except ConfigError:
            return
        rows.append(row)
        expected.append(rendered(prompt, row))

    collect()
    assert len(made) > 200
    assert foreign.nunjucks(made, rows, modules) == expected
