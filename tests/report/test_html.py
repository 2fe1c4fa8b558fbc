from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hostile import ACTS, make_hostile_run
from toys import TryAll, make_setup

from promptopt.proof.calibration import reliability
from promptopt.report.html import CLIP, clip, mark_escapes, render_html
from promptopt.report.reading import read_run
from promptopt.report.summary import Answer, Calibration, Summary
from promptopt.run import execute
from promptopt.runfolder import RunFolder


class Tags(HTMLParser):
    """Collects what a page is made of."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.urls: set[str] = set()
        self.ids: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.urls |= {value or "" for name, value in attrs if name in ("href", "src", "action")}
        self.ids += [value or "" for name, value in attrs if name == "id"]


@pytest.fixture(scope="module")
def summary(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    return read_run(make_hostile_run(tmp_path_factory.mktemp("html") / "run")[0].path)


def test_the_page_is_whole_closed_to_the_world_and_free_of_scripts(summary: Summary) -> None:
    page = render_html(summary)
    found = Tags(page)
    assert {"script", "img", "iframe", "form", "base"} & found.tags == set()
    assert not [name for name in found.attributes if name.startswith("on")]
    assert {url for url in found.urls if not url.startswith(("#", "data:,"))} == set()
    assert {url[1:] for url in found.urls if url.startswith("#")} <= set(found.ids)
    assert len(found.ids) == len(set(found.ids))
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    assert policy[1].startswith(
        "default-src &#39;none&#39;; style-src &#39;unsafe-inline&#39;; img-src data:"
    )
    assert "script-src" not in policy[1]
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert not set(ACTS) & set(page)


def test_every_part_of_the_issue_is_there(summary: Summary) -> None:
    found = Tags(render_html(summary))
    parts = {
        "verdict",
        "prompt",
        "progress",
        "tokens",
        "gap",
        "rows",
        "slices",
        "tree",
        "cost",
        "checks",
        "again",
    }
    assert parts <= set(found.ids)
    assert "race" not in found.ids
    measured = Calibration(summary.best.id if summary.best else "", "x", reliability([0.5] * 20, [True] * 20))
    assert "calibration" in Tags(render_html(replace(summary, calibrations=(measured,)))).ids


def test_a_race_shows_its_searchers(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    execute(make_setup(entrants={"one": TryAll(2), "two": TryAll(5)}), folder)
    page = render_html(read_run(folder.path))
    assert "race" in Tags(page).ids
    assert "Each searcher on an equal share of the budget" in page


def test_where_nothing_won_the_page_says_keep_it(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    execute(make_setup(searcher=TryAll(0)), folder)
    page = render_html(read_run(folder.path))
    assert "Keep your prompt." in page
    assert "new prompt" not in page
    assert "slices" not in Tags(page).ids


def test_long_texts_are_cut_and_say_so(summary: Summary) -> None:
    long = Answer("x" * 1_000_000, 1.0)
    page = render_html(replace(summary, rows=(replace(summary.rows[0], after=long),)))
    assert f"{1_000_000 - CLIP:,} more characters" in page
    assert len(page) < 400_000
    assert clip("<" * 3, 2) == '&lt;&lt;<span class="soft"> … 1 more characters</span>'


def test_escapes_are_marked_and_cannot_be_faked() -> None:
    assert mark_escapes("a\x1bb") == 'a<span class="esc">\\x1b</span>b'
    assert (
        mark_escapes("\ue000&\ue001")
        == '<span class="esc">\\ue000</span>&amp;<span class="esc">\\ue001</span>'
    )
