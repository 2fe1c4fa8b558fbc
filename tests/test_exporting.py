"""From a run, a file or a prompt to files where they are wanted."""

import json

import pytest
from worlds import make_world

import promptopt as po
from promptopt.cli.main import main
from promptopt.contracts.exporter import Export
from promptopt.errors import ConfigError, ContractError, DataError, PluginError
from promptopt.exporting import places, source_of


def test_a_runs_winner_is_exported_with_what_is_known_of_its_target(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_world(tmp_path)
    assert main(["run", ".", "-q"]) == 0
    source = source_of("runs/latest")
    assert (source.name, source.prompt.instruction) == ("capitals-001", "Write it in capitals.")
    assert source.model.endswith("models.py:target")
    assert source.decoding.max_tokens == 64
    assert source.notes == ()
    po.export("runs/latest", "text", "mine.txt")
    assert po.compare(["mine.txt", "runs/latest"], job=".", split="select").pairs[0].gain == 0


def test_a_winner_that_is_not_proven_is_exported_with_a_word_of_warning(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_world(tmp_path)
    assert main(["run", ".", "-q", "--set", "search=seed_only"]) == 0
    assert po.export("runs/latest", "text").notes == (
        "the run found no reliable improvement over your prompt",
    )


def test_files_of_every_kind_are_taken(tmp_path):
    prompt = po.Prompt.parse("Say {{word}}:", ["word"])
    prompt.save(tmp_path / "a prompt.json")
    (tmp_path / "b.txt").write_text("Say {{word}}:\n", encoding="utf-8")
    po.export(prompt, "promptfoo", tmp_path / "c.yaml")
    for name in ("a prompt.json", "b.txt", "c.yaml"):
        assert po.export(tmp_path / name, "text").files == {"prompt.txt": b"Say {{word}}:\n"}
    assert source_of(tmp_path / "a prompt.json").name == "a-prompt"


def test_one_file_goes_to_the_name_given_and_several_below_it(tmp_path):
    one, two = {"a.txt": b"1"}, {"a.txt": b"1", "b/c.txt": b"2"}
    assert places(one, tmp_path / "x.md") == {tmp_path / "x.md": b"1"}
    assert places(one, tmp_path) == {tmp_path / "a.txt": b"1"}
    assert places(one, f"{tmp_path}/new/") == {tmp_path / "new" / "a.txt": b"1"}
    assert list(places(two, tmp_path / "new")) == [
        tmp_path / "new" / "a.txt",
        tmp_path / "new" / "b" / "c.txt",
    ]
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="is a file, and the format writes 2"):
        places(two, tmp_path / "file")
    with pytest.raises(ContractError, match="below its folder only"):
        places({"../x": b"", "y": b""}, tmp_path)


def test_what_is_there_is_kept_unless_forced(tmp_path):
    file = tmp_path / "p.txt"
    file.write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigError, match="is there already; use --force"):
        po.export(po.Prompt("Go."), "text", file)
    assert file.read_text(encoding="utf-8") == "mine"
    po.export(po.Prompt("Go."), "text", file, force=True)
    assert file.read_text(encoding="utf-8").startswith("Go.")


def test_what_is_wrong_is_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_world(tmp_path)
    assert main(["run", ".", "-q", "--set", "proposer=python/models.py:interrupted"]) == 130
    with pytest.raises(DataError, match="this run is not done, so it has no winner; promptopt resume"):
        source_of("runs/capitals-001")
    with pytest.raises(DataError, match="nowhere: no such run or prompt"):
        source_of("nowhere")
    with pytest.raises(PluginError, match="no such plug-in; did you mean 'jinja'"):
        po.export(po.Prompt("Go."), "jinja2")
    with pytest.raises(PluginError, match="unknown option 'bse'; did you mean 'base'"):
        po.export(po.Prompt("Go."), "peft", bse="x")


def test_a_format_of_a_third_party_is_found_by_its_entry_point(tmp_path, monkeypatch):
    package = tmp_path / "upper-1.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: upper\nVersion: 1\n", encoding="utf-8")
    (package / "entry_points.txt").write_text("[promptopt.exports]\nupper = upper:Upper\n", encoding="utf-8")
    (tmp_path / "upper.py").write_text(
        "from promptopt.contracts.exporter import Export\n"
        "class Upper:\n"
        "    def export(self, source):\n"
        "        return Export({'p.txt': source.prompt.instruction.upper().encode()})\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert po.export(po.Prompt("Go."), "upper") == Export({"p.txt": b"GO."})


def test_everything_exported_is_ascii_or_utf_8_and_says_nothing_of_this_machine(tmp_path):
    prompt = po.Prompt.parse("Sag {{wort}}, Grüße 🧑:", ["wort"])
    for format in ("text", "messages", "jinja", "python", "dspy", "langchain", "mlflow", "promptfoo"):
        for content in po.export(prompt, format).files.values():
            assert str(tmp_path.home()) not in content.decode()
    assert json.loads(po.export(prompt, "mlflow").files["prompt.json"])["tags"] == {
        "promptopt.prompt": prompt.id
    }


def test_the_limit_of_a_winner_is_that_of_its_program(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_world(tmp_path)
    for program, length, temperature in (
        ("{name: single, max_tokens: 9, temperature: 0.5}", 9, 0.5),
        ("{name: self_consistency, n: 1}", 64, 0.7),
        ("{name: self_consistency, n: 1, trigger: Think.}", 256, 0.7),
    ):
        assert main(["run", ".", "-q", "--set", f"program={program}"]) == 0
        decoding = source_of("runs/latest").decoding
        assert (decoding.max_tokens, decoding.temperature) == (length, temperature)
        assert decoding.reasoning_tokens is None
