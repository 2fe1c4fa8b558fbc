"""Plug-ins are found by entry point, one at a time; their errors surface, with a cure."""

import importlib.metadata
import sys
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from types import ModuleType
from typing import Annotated, Literal

import pytest
from pydantic import Field

from promptopt import plugins
from promptopt.errors import MissingExtra, PluginError
from promptopt.plugins import build, construct, installed, load


@dataclass
class Climber:
    steps: Annotated[int, Field(ge=1)] = 3
    mode: Literal["up", "down"] = "up"
    rate: float | None = None
    kind: type = int


class Plain:
    def __init__(self, needed, *, extra=1):
        self.needed, self.extra = needed, extra


def anything(**options):
    return options


@pytest.fixture
def third_party(monkeypatch):
    """Install entry points of other packages: name -> value; modules: name -> contents or an error."""
    real = importlib.metadata.entry_points

    def install(points, group="promptopt.searchers", **modules):
        more = [EntryPoint(name, value, group) for name, value in points]

        def entry_points(**params):
            found = list(real(**params))
            return importlib.metadata.EntryPoints(found + [p for p in more if p.matches(**params)])

        monkeypatch.setattr(plugins, "entry_points", entry_points)
        for name, contents in modules.items():
            module = ModuleType(name)
            vars(module).update(contents)
            monkeypatch.setitem(sys.modules, name, module)

    return install


def test_built_ins_are_found_like_any_other():
    assert {"ape", "seed_only", "paraphrases"} <= set(installed("searchers"))
    assert list(installed("rewards")) == sorted(installed("rewards"))
    for kind in plugins.KINDS:
        assert installed(kind)


def test_looking_imports_nothing(third_party):
    third_party([("bomb", "module_that_is_not_there:Bomb")])
    assert "bomb" in installed("searchers")
    assert load("searchers", "seed_only").__name__ == "SeedOnly"


def test_a_third_party_plug_in_is_built_by_name(third_party):
    third_party([("climb", "their_module:Climber")], their_module={"Climber": Climber})
    assert build("searchers", "climb", {"steps": "5", "mode": "down"}) == Climber(5, "down")


def test_a_typo_gets_a_suggestion():
    with pytest.raises(PluginError, match=r"searcher 'aep': no such plug-in; did you mean 'ape'\?"):
        load("searchers", "aep")
    with pytest.raises(PluginError, match=r"selector 'zzz': no such plug-in; choose from full, "):
        load("selectors", "zzz")


def test_an_unknown_option_gets_a_suggestion():
    with pytest.raises(
        PluginError, match=r"searcher ape: unknown option 'num_demo'; did you mean 'num_demos'\?"
    ):
        build("searchers", "ape", {"num_demo": 3})
    with pytest.raises(PluginError, match=r"searcher seed_only: unknown option 'n'; choose from \(none\)"):
        build("searchers", "seed_only", {"n": 3})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": "many"}, r"climber\.steps: input should be a valid integer.*; got 'many'"),
        ({"steps": 0}, r"climber\.steps: input should be greater than or equal to 1; got 0"),
        ({"steps": 2.5}, r"climber\.steps: "),
        ({"mode": "sideways"}, r"climber\.mode: input should be 'up' or 'down'; got 'sideways'"),
        ({"rate": "fast"}, r"climber\.rate: "),
    ],
)
def test_an_ill_typed_option_is_named(options, message):
    with pytest.raises(PluginError, match=message):
        construct(Climber, options, "climber")


def test_plain_classes_and_functions_are_built_too():
    assert construct(Plain, {"needed": [1]}, "plain").needed == [1]
    assert construct(anything, {"a": 1}, "anything") == {"a": 1}
    with pytest.raises(PluginError, match=r"plain: needs needed; add"):
        construct(Plain, {"extra": 2}, "plain")


def test_a_type_pydantic_does_not_know_is_the_constructors_business():
    @dataclass
    class Odd:
        inner: Plain | None = None

    inner = Plain(1)
    assert construct(Odd, {"inner": inner}, "odd").inner is inner


@pytest.mark.parametrize(
    ("package", "extra"), [("torch", "local"), ("trl", "train"), ("sacrebleu", "text"), ("ray", "scale")]
)
def test_a_missing_extra_prints_the_pip_command(third_party, monkeypatch, package, extra):
    third_party([("heavy", f"{package}.not_there:Heavy")])
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra) as caught:
        load("searchers", "heavy")
    assert str(caught.value).endswith(f'needs the package {package}; pip install "promptopt[{extra}]"')


def test_a_plug_in_that_cannot_be_imported_says_why(third_party):
    third_party(
        [("gone", "module_that_is_not_there:X"), ("empty", "their_module:Climber"), ("twice", "json:loads")],
        their_module={},
    )
    with pytest.raises(PluginError, match="searcher 'gone': cannot be imported: No module named") as caught:
        load("searchers", "gone")
    assert isinstance(caught.value.__cause__, ImportError)
    with pytest.raises(PluginError, match=r"searcher 'empty': cannot be imported: .*'Climber'"):
        load("searchers", "empty")


def test_two_packages_that_offer_one_name_are_an_error(third_party):
    third_party([("ape", "their_module:Climber")], their_module={"Climber": Climber})
    with pytest.raises(PluginError, match=r"searcher 'ape': offered more than once; .*uninstall all but one"):
        load("searchers", "ape")
    assert load("searchers", "seed_only").__name__ == "SeedOnly"


def test_the_same_entry_point_seen_twice_is_one(third_party):
    third_party([("ape", "promptopt.search.ape:APE")])
    assert load("searchers", "ape").__name__ == "APE"


def test_errors_inside_a_plug_in_surface_as_they_are(third_party):
    class Broken:
        def __init__(self):
            raise ZeroDivisionError("their bug")

    third_party([("broken", "their_module:Broken")], their_module={"Broken": Broken})
    with pytest.raises(ZeroDivisionError, match="their bug"):
        build("searchers", "broken")
