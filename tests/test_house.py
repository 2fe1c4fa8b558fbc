from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("torch", "transformers", "trl", "optuna", "openai")
FOLDERS = {
    "promptopt": ROOT / "promptopt",
    "promptopt.search": ROOT / "search",
    "promptopt.rewards": ROOT / "rewards",
}


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@cache
def sources() -> dict[str, Path]:
    """Return every module of the package by its import name."""
    found = {}
    for package, folder in FOLDERS.items():
        for path in sorted(folder.rglob("*.py")):
            inside = path.relative_to(folder)
            if package == "promptopt" and inside.parts[0] in ("search", "rewards"):
                continue
            parts = [package, *inside.with_suffix("").parts]
            found[".".join(part for part in parts if part != "__init__")] = path
    return found


@cache
def imports(module: str, path: Path, *, top_level: bool = False) -> set[str]:
    """Return the modules of this package that a module imports, absolute names."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes: list[ast.AST] = list(tree.body) if top_level else list(ast.walk(tree))
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            found |= {origin, *(f"{origin}.{alias.name}" for alias in node.names)}
    return found & set(sources())


def test_the_packages_in_pyproject_are_those_on_disk() -> None:
    on_disk = {name for name, path in sources().items() if path.name == "__init__.py"}
    assert set(project()["tool"]["setuptools"]["packages"]) == on_disk


def test_every_python_folder_is_a_package() -> None:
    lonely = {path.parent for path in sources().values() if not (path.parent / "__init__.py").exists()}
    assert lonely == set()


def test_the_core_imports_no_searcher_and_no_reward() -> None:
    for module, path in sources().items():
        if not module.startswith(("promptopt.search", "promptopt.rewards")):
            named = {
                name
                for name in imports(module, path)
                if name.startswith(("promptopt.search", "promptopt.rewards"))
            }
            assert named == set(), module


@pytest.mark.parametrize(
    "package",
    [
        "promptopt.search",
        "promptopt.rewards",
        "promptopt.models",
        "promptopt.selection",
        "promptopt.exports",
        "promptopt.trackers",
    ],
)
def test_plug_ins_hang_on_the_contracts_and_never_on_each_other_or_the_engine(package: str) -> None:
    engine = (
        "calls",
        "journal",
        "ledger",
        "run",
        "stages",
        "contest",
        "reserve",
        "session",
        "scoring",
        "setup",
        "optimize",
        "plan",
        "study",
        "cli",
    )
    others = {"search", "rewards", "models", "selection"} - {package.rpartition(".")[2]}
    forbidden = tuple(f"promptopt.{name}" for name in (*engine, *others))
    for module, path in sources().items():
        if module.startswith(package):
            reached = {
                n
                for n in imports(module, path)
                if n in forbidden or n.startswith(tuple(f"{f}." for f in forbidden))
            }
            assert reached == set(), module


def test_the_statistics_of_proof_are_handed_records_and_reach_for_nothing_else() -> None:
    allowed = {"errors", "ledger", "prompt", "records"}
    for module, path in sources().items():
        if module.startswith("promptopt.proof"):
            reached = {name.split(".")[1] for name in imports(module, path) if "." in name}
            assert reached - {"proof"} <= allowed, module


def test_nothing_imports_the_command_line_and_imports_have_no_cycle() -> None:
    graph = {module: imports(module, path, top_level=True) - {module} for module, path in sources().items()}
    for module, reached in graph.items():
        if not module.startswith("promptopt.cli"):
            assert not any(name.startswith("promptopt.cli") for name in reached), module
    # A package's own names file is left out: importing a sibling runs it, which is no arrow in the design.
    inner = {m: {n for n in reached if sources()[n].name != "__init__.py"} for m, reached in graph.items()}
    done: set[str] = set()

    def walk(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, f"import cycle: {' -> '.join([*trail, module])}"
        if module not in done:
            for name in sorted(inner[module]):
                walk(name, (*trail, module))
            done.add(module)

    for module in sorted(inner):
        walk(module, ())


def test_no_file_has_outgrown_a_screenful_of_thought() -> None:
    files = [*sources().values(), *(ROOT / "benchmarks").glob("*.py")]
    too_long = {
        str(p.relative_to(ROOT)): n for p in files if (n := len(p.read_text("utf-8").splitlines())) > 450
    }
    assert too_long == {}


@pytest.mark.parametrize(
    "what", ["import promptopt", "from promptopt.cli.main import main; main(['--help'])"]
)
def test_starting_loads_no_heavy_package(what: str) -> None:
    code = f"{what}\nimport sys\nprint('LOADED', [name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines()[-1] == "LOADED []"


def test_every_dependency_is_pinned() -> None:
    pins = {
        line.split("==")[0].lower()
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    data = project()
    wanted = [*data["project"]["dependencies"], *data["dependency-groups"]["dev"]]
    for group in data["project"]["optional-dependencies"].values():
        wanted += group
    names = {re.split(r"[\[<>=~! ]", text, maxsplit=1)[0].lower() for text in wanted} - {"promptopt"}
    assert names - pins == set()
    assert "torch==2.13.0" in (ROOT / "constraints.txt").read_text().splitlines()


def test_the_readme_names_every_verb_and_opens_with_the_two_commands() -> None:
    from promptopt.cli.main import app

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "make demo" in text[:1000]
    assert "make test" in text[:1000]
    verbs = {command.name for command in app.registered_commands}
    assert {verb for verb in verbs if f"| `{verb}` |" not in text} == set()


def test_a_built_wheel_holds_all_that_is_needed(tmp_path: Path) -> None:
    """Built from a copy, so that no `build/` of an earlier day can lend a file."""
    for name in ("promptopt", "search", "rewards"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, tmp_path / "src" / name, symlinks=True, ignore=ignore)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path / "src" / name)
    out = tmp_path / "out"
    out.mkdir()
    code = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"
    env = {**os.environ, "PYTHONWARNINGS": "ignore"}
    subprocess.run(
        [sys.executable, "-c", code, str(out)],
        cwd=tmp_path / "src", env=env, check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    (wheel,) = out.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {f"{name.replace('.', '/')}" for name in sources()}
    missing = {m for m in modules if f"{m}.py" not in names and f"{m}/__init__.py" not in names}
    assert missing == set()
    assert {
        "promptopt/py.typed",
        "promptopt/demo/demo.yaml",
        "promptopt/exports/dspy_program.py.txt",
        "promptopt/demo/start.yaml",
        "promptopt/demo/rows.jsonl",
        "promptopt/demo/README.md",
        "promptopt/report/templates/report.html",
        "promptopt/report/templates/style.css",
        "promptopt/view/templates/view.js",
        "promptopt/view/templates/now.html",
        "promptopt/models/kernels.c",
        "promptopt/models/embedded/small/model.safetensors",
        "promptopt/models/embedded/small/tokenizer.json",
        "promptopt/models/embedded/small/config.json",
        "promptopt/models/embedded/small/MODEL.md",
    } <= names
    assert {name.split("/")[0] for name in names if not name.startswith("promptopt-")} == {"promptopt"}
