"""The report in Chromium: quiet, alone, filterable, readable at any width, and deaf to what is hostile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import chromium, open_page
from hostile import BIDI, FORMULA, SCRIPT, make_hostile_run

from promptopt.runfolder import RunFolder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return make_hostile_run(tmp_path_factory.mktemp("page") / "run")[0]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


def address(folder: RunFolder) -> str:
    return folder.report_file.as_uri()


def test_it_opens_without_a_word_to_the_console_or_to_anybody_else(folder: RunFolder, browser: Any) -> None:
    watched = open_page(browser)
    watched.page.goto(address(folder))
    assert watched.said == []
    assert watched.asked == [address(folder)]
    assert watched.page.inner_text("h2").startswith("Use the new prompt")


def test_what_is_hostile_stays_text(folder: RunFolder, browser: Any) -> None:
    watched = open_page(browser)
    watched.page.goto(address(folder))
    assert watched.page.title().startswith("Use the new prompt.")
    assert watched.page.evaluate("document.querySelectorAll('script, img, iframe, object').length") == 0
    text = watched.page.locator("#rows").text_content()
    for shown in (
        SCRIPT,
        FORMULA,
        "\\x1b[31mred\\x1b[2J\\x07",
        BIDI.replace("\u202e", "\\u202e").replace("\u2066", "\\u2066"),
    ):
        assert shown in text
    whole = watched.page.evaluate("document.documentElement.textContent")
    assert not set("\x1b\x07\u202e\u2066\u2028") & set(whole)
    assert "{{ 7*7 }}" in text
    assert "49" not in watched.page.inner_text("#prompt")


def test_the_filter_shows_the_rows_of_one_kind_without_any_script(folder: RunFolder, browser: Any) -> None:
    watched = open_page(browser, scripts=False)
    page = watched.page
    page.goto(address(folder))

    def shown() -> list[str]:
        kinds = [
            item.get_attribute("class") for item in page.locator(".rows > li").all() if item.is_visible()
        ]
        return [kind or "" for kind in kinds]

    every = shown()
    assert set(every) >= {"fixed", "wrong"}
    for kind in ("fixed", "broke", "wrong", "missing"):
        label = page.locator(f"label[for=show-{kind}]")
        if label.count():
            label.click()
            assert shown() == [one for one in every if one == kind]
            assert label.locator("b").inner_text() == str(every.count(kind))
    page.locator("label[for=show-all]").click()
    assert shown() == every


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("dark", [False, True])
def test_nothing_sticks_out_at_any_width(folder: RunFolder, browser: Any, width: int, dark: bool) -> None:
    watched = open_page(browser, width=width, dark=dark)
    page = watched.page
    page.goto(address(folder))
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    wide = page.evaluate(
        "[...document.querySelectorAll('main *')].filter(e => !e.closest('.scroll, svg, .tree') && "
        "e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80))"
    )
    assert wide == []
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, ground[4:-1].split(","))) < 200) is dark


def test_numbers_in_charts_can_be_read_on_a_phone(folder: RunFolder, browser: Any) -> None:
    watched = open_page(browser, width=390)
    page = watched.page
    page.goto(address(folder))
    boxes = page.evaluate(
        """[...document.querySelectorAll('svg')].map(s =>
            [...s.querySelectorAll('text.tick, text.name, text.label')].filter(t => t.textContent).map(t => {
                const r = t.getBoundingClientRect();
                return [t.textContent, r.left, r.top, r.right, r.bottom];
            }))"""
    )
    assert boxes
    for chart in boxes:
        for place, (name, left, top, right, bottom) in enumerate(chart):
            assert bottom - top >= 9, name
            for other, l2, t2, r2, b2 in chart[place + 1 :]:
                apart = right <= l2 + 1 or r2 <= left + 1 or bottom <= t2 + 3 or b2 <= top + 3
                assert apart, (name, other)


def test_it_prints_every_row(folder: RunFolder, browser: Any, tmp_path: Path) -> None:
    watched = open_page(browser)
    page = watched.page
    page.goto(address(folder))
    page.emulate_media(media="print")
    assert not page.locator("label[for=show-all]").is_visible()
    assert all(item.is_visible() for item in page.locator(".rows > li").all())
    paper = page.pdf(path=str(tmp_path / "report.pdf"))
    assert paper[:5] == b"%PDF-"
