"""The report as JUnit XML, so that a CI job shows the verdict and every row that broke.

Suite `verdict`: fails when there is no reliable improvement, when cells failed, when the winner repeats
search rows, when replies are cut before they have answered, when the judge can be talked into scores.
Suite `rows`: a row fails when the winner scores below the seed prompt there; without a score of both it is an
error; a row that both get wrong passes, for nothing got worse.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element, SubElement, indent, tostring

from ..proof.stats import format_number
from ..visible import visible
from .summary import RowResult, Summary


def render_junit(summary: Summary) -> str:
    """Return the report as JUnit XML."""
    suites = Element("testsuites", name=_text(f"promptopt {summary.name}"))
    _verdict(suites, summary)
    rows = SubElement(suites, "testsuite", name=f"{summary.proof_split} rows")
    for one in summary.rows:
        _row(rows, one)
    for suite in suites:
        suite.set("tests", str(len(suite)))
        suite.set("failures", str(len(suite.findall("*/failure"))))
        suite.set("errors", str(len(suite.findall("*/error"))))
    indent(suites)
    return tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


def _verdict(suites: Element, s: Summary) -> None:
    suite = SubElement(suites, "testsuite", name="verdict")
    line = "this run has no verdict" if s.verdict is None else s.verdict.line
    _case(suite, "verdict", "reliable improvement", "" if s.verdict and s.verdict.reliable else line)
    failed = sum(s.failed_cells.values())
    _case(suite, "verdict", "every cell has a score", f"{failed:,} cells have none" if failed else "")
    overlap = (s.result.get("guards") or {}).get("overlap") or {}
    leak = f"the winner repeats row {overlap['example']}: {overlap['text']}" if overlap.get("example") else ""
    _case(suite, "verdict", "no search row leaks into the prompt", leak)
    _case(suite, "verdict", "replies are not cut before they have answered", "; ".join(s.cut_notes))
    if s.judge_check is not None:
        _case(suite, "verdict", "the judge is not talked into scores", s.judge_check.note)


def _case(suite: Element, group: str, name: str, failure: str, kind: str = "failure") -> Element:
    case = SubElement(suite, "testcase", classname=group, name=_text(name))
    if failure:
        SubElement(case, kind, message=_text(failure))
    return case


def _row(suite: Element, one: RowResult) -> None:
    if one.change == "broke" and one.before is not None and one.after is not None:
        scores = [format_number(a.value) for a in (one.before, one.after) if a.value is not None]
        case = _case(suite, "rows", one.id, f"{' -> '.join(scores)}: {one.after.feedback}")
        case[0].text = _text(f"before: {one.before.output}\nafter: {one.after.output}")
    elif one.change == "missing":
        reasons = [a.reason for a in (one.before, one.after) if a is not None and a.reason]
        _case(suite, "rows", one.id, "; ".join(reasons) or "not asked of both prompts", "error")
    else:
        _case(suite, "rows", one.id, "")


def _text(text: str) -> str:
    """Return a text that XML 1.0 can hold: `visible` leaves no control character but line ends and tabs."""
    return visible(text)
