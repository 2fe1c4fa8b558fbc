"""Prompts as people keep them: texts, and promptfoo configurations."""

import json

import pytest
from worlds import JOB, make_world

import promptopt as po
from promptopt.cli.main import main
from promptopt.config import load_job
from promptopt.errors import BadInput
from promptopt.promptfile import Written, exists, read_prompt, read_written
from promptopt.setup import from_job
from promptopt.template import Template

CHAT = json.dumps(
    [
        {"role": "system", "content": "Be {{tone}}."},
        {"role": "user", "content": "Say {{ '{{' }}x: {{ word }}"},
    ]
)


def write(folder, prompts):
    file = folder / "promptfooconfig.yaml"
    file.write_text("providers: [echo]\nprompts:\n" + prompts, encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("prompts", "expected"),
    [
        ("  - 'Say {{word}}:'\n", Written("Say {{word}}:")),
        ("  - |\n    Say\n    {{ word }}:\n", Written("Say\n{{word}}:")),
        ("  - {label: mine, raw: '{% raw %}{{ a }{% endraw %} {{word}}'}\n", Written("{{ a } {{word}}")),
        ("  - {id: 'Say {{word}}', label: x}\n", Written("Say {{word}}")),
        (f"  - {json.dumps(CHAT)}\n", Written("Say {{x: {{word}}", "Be {{tone}}.")),
        ("  - file://p.txt\n", Written("From a file: {{word}}")),
        ("  - file://p.json\n", Written("Say {{x: {{word}}", "Be {{tone}}.")),
        ("  file://p.txt\n", Written("From a file: {{word}}")),
    ],
)
def test_prompts_of_promptfoo_are_read(tmp_path, prompts, expected):
    (tmp_path / "p.txt").write_text("From a file: {{word}}\n", encoding="utf-8")
    (tmp_path / "p.json").write_text(CHAT, encoding="utf-8")
    assert read_written(write(tmp_path, prompts), "here") == expected


def test_one_of_several_is_named_by_its_label_or_number(tmp_path):
    (tmp_path / "two.txt").write_text("A {{w}}\n---\nB {{w}}\n", encoding="utf-8")
    file = write(tmp_path, "  - {label: long one, raw: 'Say {{w}}'}\n  - Tell {{w}}\n  - file://two.txt\n")
    found = {label: read_written(f"{file}#{label}", "x").text for label in ("long one", "2", "3", "3-2")}
    assert found == {"long one": "Say {{w}}", "2": "Tell {{w}}", "3": "A {{w}}", "3-2": "B {{w}}"}
    assert exists(f"{file}#2")
    with pytest.raises(BadInput, match=r"has 4 prompts.*name one: promptfooconfig.yaml#long one"):
        read_written(file, "x")
    with pytest.raises(BadInput, match="has no prompt 'long'; did you mean 'long one'"):
        read_written(f"{file}#long", "x")


@pytest.mark.parametrize(
    ("prompts", "said"),
    [
        ("  - 'Say {{ word | upper }}'\n", r"uses Nunjucks beyond {{variable}}; got '{{ word \| upper }}'"),
        ("  - 'Say {% if x %}y{% endif %}{{word}}'\n", "beyond {{variable}}"),
        ("  - file://make.py\n", "made by a program, which is not run here"),
        ("  - file://gone.txt\n", "cannot be read as a prompt"),
        ("  - {label: x}\n", "must be a text, or have `raw` or `id`"),
        ('  - \'[{"role": "assistant", "content": "x"}]\'\n', "must be one user message"),
        ('  - \'[{"role": "system", "content": "x"}]\'\n', "has no user message"),
        ("  - '{% raw %}{{word}}{% endraw %} {{word}}'\n", "words that look like a slot"),
        ("  - \"{{ '{{' }}word}} {{word}}\"\n", "words that look like a slot"),
        ("  []\n", "it has no `prompts`"),
        ("  - ''\n", "must be a text|is empty"),
    ],
)
def test_what_cannot_be_taken_over_is_refused(tmp_path, prompts, said):
    with pytest.raises(BadInput, match=said):
        read_written(write(tmp_path, prompts), "here")


def test_what_is_exported_for_promptfoo_comes_back_as_the_seed(tmp_path):
    prompt = po.Prompt("Say {% it %}\r\nwith {braces}", template=Template(system="Be {{tone}} {"))
    po.export(prompt, "promptfoo", tmp_path / "p.yaml")
    back = read_prompt(tmp_path / "p.yaml", "x", ["tone", "input"])
    row = po.Example("1", po.FrozenMap(tone="kind", input="a"))
    assert back.render(row) == prompt.render(row)


def test_a_job_and_the_command_line_take_files_of_both_kinds(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    job = JOB.replace("prompt: Write the word.", "prompt: {file: promptfooconfig.yaml#plain}")
    make_world(tmp_path, job)
    write(tmp_path, "  - {label: plain, raw: 'Write the word.'}\n  - {label: caps, raw: 'In capitals.'}\n")
    assert from_job(load_job(".")).task.seed_prompt.instruction == "Write the word."
    argv = ["score", ".", "-q", "--rows", "5", "--prompt", "promptfooconfig.yaml#caps"]
    assert main(argv) == 0
    assert "In capitals." in capsys.readouterr().out
    ((_, evaluation),) = po.score(tmp_path, [tmp_path / "promptfooconfig.yaml#caps"], rows=5)
    assert evaluation.mean == 1.0
    assert main([*argv[:-1], "gone.yaml"]) == 2
    assert "gone.yaml: no such prompt file" in capsys.readouterr().err


def test_a_text_may_have_a_system_message_beside_it(tmp_path):
    job = JOB.replace("prompt: Write the word.", 'prompt: {text: "Write {{input}}.", system: Be brief.}')
    make_world(tmp_path, job)
    setup = from_job(load_job(tmp_path))
    system, user = setup.task.seed_prompt.render(setup.task.splits.search[0])
    assert system.content == "Be brief."
    assert user.content.startswith("Write word")


def test_a_file_that_is_empty_or_no_text_is_one_line(tmp_path):
    (tmp_path / "empty.txt").write_text("\n", encoding="utf-8")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    with pytest.raises(BadInput, match="here: is empty; write the instruction you use today"):
        read_written(tmp_path / "empty.txt", "here")
    with pytest.raises(BadInput, match=r"cannot be read as a prompt.*save it as UTF-8"):
        read_written(tmp_path / "latin.txt", "here")
