"""What the pages in docs/ show can be done: a page's blocks are tried in order, in a folder of its own.

Commands are run, parts of jobs are read, Python is run, files are written, packages are installed as far as
their entry points go. Every page may use the folder that `promptopt init demo --demo` makes, and `words.csv`.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
import tomllib
from collections.abc import Callable
from contextlib import nullcontext
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import pytest
from postgres import server

from benchmarks.first_verdict import write_rows
from benchmarks.searchers.__main__ import parser as parse_searchers
from benchmarks.verdicts import parser as parse_verdicts
from promptopt.cli.main import main
from promptopt.config import load_job
from promptopt.plugins import KINDS
from promptopt.setup import from_job
from promptopt.strict_yaml import load as load_yaml
from tests import fuzz, load, matrix

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGES = sorted(path.name for path in DOCS.glob("*.md"))
BLOCK = re.compile(r"^```(\w*)(?: file=(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)")
BENCHMARKS = {
    "benchmarks.searchers": parse_searchers,
    "benchmarks.verdicts": parse_verdicts,
    "tests.fuzz": fuzz.parser,
    "tests.load": load.parser,
    "tests.matrix": matrix.parser,
}
"""By module: what reads its command line."""
DATABASE = "postgresql://HOST/DATABASE"
"""Stands for an address: commands that name it meet a real server."""
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    known = set(sys.modules)
    write_rows(Path("words.csv"))
    assert main(["init", "demo", "--demo"]) == 0
    capsys.readouterr()
    yield
    for name in {file.stem for file in tmp_path.glob("*.py")} - known:
        sys.modules.pop(name, None)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_can_be_followed(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    with server() if DATABASE in text else nullcontext(DATABASE) as address:
        follow(page, text.replace(DATABASE, address), capsys)


def follow(page: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Try a page's blocks, one after the other."""
    names: dict[str, Any] = {}
    blocks = list(BLOCK.finditer(text))
    assert blocks, "a page without a block is not a page of ours"
    for block in blocks:
        kind, file, body = block.groups()
        where = f"{page}:{text.count(chr(10), 0, block.start()) + 1}"
        if file is not None:
            Path(file).write_text(body, encoding="utf-8")
        else:
            TRIED[kind](body, where, names)
        said = capsys.readouterr().out
        assert said.strip() or kind not in ("python",) or file or "print(" not in body, where


def _python(body: str, where: str, names: dict[str, Any]) -> None:
    exec(compile(body, where, "exec"), names)


def _bash(body: str, where: str, names: dict[str, Any]) -> None:
    for line in body.splitlines():
        words = shlex.split(line, comments=True)
        if words[:2] == ["python", "-m"]:
            BENCHMARKS[words[2]]().parse_args(words[3:])
        elif words[:2] == ["pip", "install"]:
            (extra,) = re.findall(r"promptopt\[(\w+)\]", words[2])
            assert any(f'extra == "{extra}"' in wanted for wanted in requires("promptopt") or ()), where
        elif words == ["promptopt", "init", "demo", "--demo"]:
            assert Path("demo").is_dir()
        elif words:
            assert words[0] == "promptopt", f"{where}: {line}"
            assert main(words[1:]) == 0, f"{where}: {line}"


def _yaml(body: str, where: str, names: dict[str, Any]) -> None:
    """Put a part of a job into the page's own job, the demo's where it has none, and read the whole."""
    own = Path("promptopt.yaml")
    of_words = any(hint in body for hint in ("{{word}}", "words.csv", "file:", "python", "shorten"))
    if of_words and not own.exists():
        assert main(["init", "--data", "words.csv"]) == 0
    base = own if own.exists() else Path("demo/promptopt.yaml")
    part, whole = base.with_name("part.yaml"), base.with_name("whole.yaml")
    part.write_text(body, encoding="utf-8")
    given, job = load_yaml(part).value, load_yaml(base).value
    kept = [f"{key}: {json.dumps(value)}\n" for key, value in job.items() if key not in given]
    whole.write_text("".join(kept) + body, encoding="utf-8")
    from_job(load_job(whole))


def _csv(body: str, where: str, names: dict[str, Any]) -> None:
    assert set(body.splitlines()) <= set(Path("words.csv").read_text(encoding="utf-8").splitlines()), where


def _toml(body: str, where: str, names: dict[str, Any]) -> None:
    """Install a package as far as its entry points go; the modules are there already."""
    project = tomllib.loads(body)["project"]
    info = Path(f"{project['name'].replace('-', '_')}-{project['version']}.dist-info")
    info.mkdir()
    about = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (info / "METADATA").write_text(about, encoding="utf-8")
    groups = project["entry-points"]
    assert set(groups) <= {f"promptopt.{kind}" for kind in KINDS}, where
    lines = [
        line
        for group, points in groups.items()
        for line in (f"[{group}]", *(f"{name} = {value}" for name, value in points.items()))
    ]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


TRIED: dict[str, Callable[[str, str, dict[str, Any]], None]] = {
    "bash": _bash, "python": _python, "yaml": _yaml, "csv": _csv, "toml": _toml,
}  # fmt: skip


def test_links_lead_somewhere() -> None:
    pages = [*DOCS.glob("*.md"), DOCS.parent / "README.md"]
    for page in pages:
        for target, anchor in LINK.findall(page.read_text(encoding="utf-8")):
            file = (page.parent / target) if target else page
            assert file.exists(), f"{page.name}: {target}"
            if anchor:
                heads = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
                assert anchor in {head.lower().replace(" ", "-") for head in heads}, f"{page.name}: #{anchor}"
