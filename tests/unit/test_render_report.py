"""The page shows what the evidence says, nothing else, and stands whatever the evidence is."""

from __future__ import annotations

import hashlib
import json
import random
import re
from base64 import b64encode
from dataclasses import fields, replace
from html.parser import HTMLParser
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import emit_checkpoint
import pytest
import render_report as script
from enforce_gates import Comparison, Loss
from events import read_artifact
from render_report import MADE_BY, SECTIONS, Evidence, load, main, render
from report_evidence import HOSTILE, healthy, troubled

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.unit


class Page(HTMLParser):
    """A page as a browser sees it: its elements, its text, and its tables as rows by label."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.source = page.decode()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.tables: list[list[dict[str, str]]] = []
        self.text, self.section, self.sections = "", "", dict[str, str]()
        self._cell: list[str] | None = None
        self._rows = list[list[str]]()
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "section":
            self.section = str(dict(attrs).get("id"))
        if tag == "table":
            self._rows = []
        if tag == "tr":
            self._rows.append([])
        if tag in ("th", "td"):
            self._cell = []

    def handle_endtag(self, tag: str) -> None:
        if tag in ("th", "td"):
            self._rows[-1].append("".join(self._cell or ()))
            self._cell = None
        if tag == "table":
            head, *rows = self._rows
            self.tables.append([dict(zip(head, row, strict=True)) for row in rows])

    def handle_data(self, data: str) -> None:
        self.text += data
        self.sections[self.section] = self.sections.get(self.section, "") + data
        if self._cell is not None:
            self._cell.append(data)

    def table(self, label: str) -> list[dict[str, str]]:
        """The first table that has a column of this name."""
        return next(rows for rows in self.tables if label in rows[0])


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    artifacts: Path = troubled(tmp_path_factory.mktemp("troubled"))
    return artifacts


@pytest.fixture(scope="module")
def evidence(bad: Path) -> Evidence:
    return load("project", bad)


@pytest.fixture(scope="module")
def page(evidence: Evidence) -> Page:
    return Page(render(evidence))


def test_a_page_is_written_and_nothing_else_is_touched(
    bad: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in bad.rglob("*") if path.is_file()}
    assert main(["--root", str(bad.parent)]) == 0
    assert re.fullmatch(r".*report\.html: \d+ KiB from 8 artifacts\n", capsys.readouterr().out)
    first = (bad / "report.html").read_bytes()
    assert main(["--root", str(bad.parent), "--quiet"]) == 0
    assert (bad / "report.html").read_bytes() == first, "the same evidence gives the same bytes"
    (bad / "report.html").unlink()
    assert {path: path.read_bytes() for path in bad.rglob("*") if path.is_file()} == before
    assert capsys.readouterr() == ("", "")


def test_without_evidence_the_page_stands_and_the_answer_is_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--root", str(tmp_path), "--artifacts", str(tmp_path / "none")]) == 2
    assert "expected evidence, got none; python scripts/tests/pipeline.py makes it" in capsys.readouterr().err
    assert "no checkpoint yet" in (tmp_path / "none" / "report.html").read_text("utf-8")


def test_a_page_that_cannot_be_written_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["--root", str(tmp_path), "--artifacts", str(tmp_path / "file")]) == 2
    assert re.fullmatch(r"render_report\.py: error: [^\n]+\n", capsys.readouterr().err)


@pytest.mark.parametrize("name", [name for name in MADE_BY if name in {n for s in SECTIONS for n in s.needs}])
def test_any_artifact_may_be_missing_and_the_section_says_so(evidence: Evidence, name: str) -> None:
    documents = {key: value for key, value in evidence.documents.items() if key != name}
    shown = Page(render(replace(evidence, documents=documents)))
    where = [section.id for section in SECTIONS if name in section.needs]
    said = f"There is no {name}; python scripts/tests/{MADE_BY[name]} makes it."
    assert all(said in shown.sections[section] for section in where)
    assert "cannot be shown" not in shown.text


@pytest.mark.parametrize("name", MADE_BY)
def test_any_artifact_may_be_all_there_is(evidence: Evidence, name: str) -> None:
    documents = {key: value for key, value in evidence.documents.items() if key == name}
    assert "cannot be shown" not in Page(render(replace(evidence, documents=documents, incidents=()))).text


def test_damaged_evidence_is_named_where_it_is_missed_and_first_of_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    artifacts = healthy(tmp_path)
    path = artifacts / "durations.json"
    path.write_bytes(path.read_bytes().replace(b'"passed"', b'"failed"', 1))
    (artifacts / "env.signature.json").write_bytes(b'{"artifact": \xff')
    assert main(["--root", str(tmp_path), "--quiet"]) == 1
    shown = Page((artifacts / "report.html").read_bytes())
    for section in ("tests", "durations", "run"):
        assert "durations.json is damaged: expected sha256 " in shown.sections[section]
    assert "env.signature.json is damaged: expected a JSON artifact" in shown.sections["environment"]
    assert "durations.json is damaged." in shown.sections["None"]
    assert str(tmp_path) not in shown.text
    assert capsys.readouterr() == ("", "")


def test_a_broken_chain_of_events_is_told_first(tmp_path: Path) -> None:
    artifacts = healthy(tmp_path)
    lines = (artifacts / "events.log.jsonl").read_bytes().splitlines(keepends=True)
    (artifacts / "events.log.jsonl").write_bytes(b"".join(lines[:3] + lines[4:]))
    assert "The event log does not hold: line 4: expected prev" in Page(render(load("p", artifacts))).sections["None"]


def test_a_partial_capture_is_shown_by_its_own_outcomes_beside_an_older_baseline(evidence: Evidence) -> None:
    durations = {**evidence.documents["durations.json"], "run_id": "later", "partial": {"reason": "soft"}}
    durations["tests"] = durations["tests"][:5]
    shown = Page(render(replace(evidence, documents={**evidence.documents, "durations.json": durations})))
    counted = {row["outcome"]: row["tests"] for row in shown.table("share, %")}
    assert counted == {"failed": "1", "error": "1", "passed": "2", "skipped": "1"}
    assert "The capture is partial: soft; in flight: -." in shown.sections["None"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema_version": "0.9"}, "durations.json has version 0.9, not 1.x: some of it may not be shown."),
        ({"schema_version": None}, "durations.json has version None, not 1.x"),
        ({"partial": {"reason": "killed", "in_flight": "a::b"}}, "durations.json is partial: killed."),
        ({"commit": "f" * 40}, "durations.json is of another commit than baseline.metrics.json."),
        ({"commit": ["f"]}, "durations.json is of another commit than baseline.metrics.json."),
    ],
    ids=["older", "no version", "partial", "commit", "no commit's shape"],
)
def test_what_is_odd_about_an_artifact_is_said(evidence: Evidence, change: dict[str, Any], said: str) -> None:
    documents = {**evidence.documents, "durations.json": {**evidence.documents["durations.json"], **change}}
    assert said in Page(render(replace(evidence, documents=documents))).sections["durations"]


def places(value: object, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a document, no more than two items of a list deep."""
    keys = value.keys() if isinstance(value, dict) else range(min(2, len(value))) if isinstance(value, list) else ()
    for key in keys:
        yield (*path, key)
        yield from places(value[key], (*path, key))  # type: ignore[index]


@pytest.mark.parametrize("name", MADE_BY)
def test_whatever_stands_in_an_artifact_the_page_stands(evidence: Evidence, name: str) -> None:
    if name not in evidence.documents:
        return
    chance = random.Random(name)
    odd: list[Any] = [None, True, -1, 1e300, 10**400, "<b>", [], {}, [None, "x", [[]]], {"id": {"a": []}}, [{}]]
    every = list(places(evidence.documents[name]))
    for path in chance.sample(every, min(2, len(every))):
        document = json.loads(json.dumps(evidence.documents[name]))
        inner = document
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = chance.choice(odd)
        shown = render(replace(evidence, documents={**evidence.documents, name: document}))
        assert shown.endswith(b"</html>\n"), path
        assert b"<b>" not in shown, path


def test_hostile_names_are_text(page: Page) -> None:
    """No name makes an element or an attribute, reorders a line, or reaches a terminal that prints the page."""
    hidden = r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff]"
    assert not re.search(hidden, page.source)
    names = {tag for tag, _ in page.tags}
    assert names <= set(
        "html head meta link title style script body main div header nav section h1 h2 h3 p span strong a ul "
        "li i bdi wbr pre table thead tbody tr th td figure figcaption svg rect line circle text".split()
    )
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert not [
        name for _, attributes in page.tags for name in attributes if name.startswith("on") or name == "style"
    ]
    shown = " ".join(row["did not pass"] for row in page.table("did not pass"))
    assert HOSTILE[0] in shown
    assert "\\u202ereversed\\u2066" in page.text
    assert "\\x1b[31mred" in page.text
    assert f"({len(HOSTILE[6]):,} characters)" in page.text


def test_the_page_refers_to_nothing_but_itself(page: Page) -> None:
    targets = [value for _, attributes in page.tags for key, value in attributes.items() if key in ("href", "src")]
    ids = {f"#{attributes['id']}" for _, attributes in page.tags if "id" in attributes}
    assert set(targets) <= {"data:,", *ids}
    assert "url(" not in page.source
    assert "@import" not in page.source


def test_the_policy_allows_this_style_and_this_script_alone(page: Page) -> None:
    policy = next(str(a["content"]) for tag, a in page.tags if "http-equiv" in a)
    assert "unsafe" not in policy
    assert policy.startswith("default-src 'none'; ")
    for kind in ("style", "script"):
        source = re.search(rf"<{kind}>(.*?)</{kind}>", page.source, re.DOTALL)
        assert source
        hashed = b64encode(hashlib.sha256(source[1].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{hashed}'" in policy


def numbers(rows: list[dict[str, str]], label: str) -> list[float]:
    return [float(row[label].replace(",", "")) for row in rows]


@pytest.mark.parametrize(
    ("name", "label"),
    [("slowest", "in all, s"), ("files", "not covered"), ("flakes", "flips, %"), ("faults", "hard, s")],
)
def test_the_worst_comes_first(page: Page, name: str, label: str) -> None:
    shown = numbers(page.table(label), label)
    shown = shown[:38] if name == "flakes" else shown
    assert shown == sorted(shown, reverse=True)
    assert len(shown) > 1


def test_what_to_look_at_comes_first_the_wrong_before_the_doubtful(page: Page) -> None:
    states = re.findall(r"<li><span class=\"badge (\w+)\">", page.source.partition('id="foundation"')[0])
    assert states == sorted(states)
    assert {"bad", "warn"} <= set(states)
    assert "✗ 5 do not hold, 2 need a look" in page.text


def test_a_long_list_is_cut_and_says_by_how_much(page: Page) -> None:
    assert len(page.table("in all, s")) == 25
    assert f"{len(HOSTILE) + 60 - 25} more in durations.json." in page.sections["durations"]
    assert f"{len(HOSTILE) + 60 + 2 - 40} more in flake.report.json." in page.sections["flakes"]


def test_files_that_are_covered_whole_are_counted_not_listed(page: Page) -> None:
    assert min(numbers(page.table("not covered"), "not covered")) > 0
    assert "The lines of 7 of 60 files are covered whole." in page.sections["coverage"]


def test_runs_that_were_set_aside_are_named_with_the_reason(page: Page) -> None:
    aside = next(rows for rows in page.tables if rows and set(rows[0]) == {"run", "commit", "why"})
    assert aside == [{"run": "run-3.xml", "commit": "c" * 12, "why": "outage"}]


def test_what_the_gate_found_about_coverage_is_told_under_the_gates_own_names(page: Page, evidence: Evidence) -> None:
    assert "Coverage: line lost 3.50 points." in page.sections["None"]
    row = page.table("due today, %")[0]
    assert [row[name] for name in ("due today, %", "to gain", "days left", "at this pace by")] == [
        "90.50", "12", "40", "2099-12-31"
    ]  # fmt: skip
    for key, record in (("metrics", Comparison), ("losses", Loss)):
        read = evidence.rows("gate.verdicts.json", f"coverage.{key}")[0]
        assert set(read) <= {field.name for field in fields(record)}


def test_every_section_with_bad_news_says_so(page: Page) -> None:
    for section in ("tests", "coverage", "properties", "gates"):
        assert "✗ does not hold" in page.sections[section], section
    for section in ("flakes", "failfast"):
        assert "! needs a look" in page.sections[section], section
    assert "Incident r1 is not resolved." in page.sections["None"]


def test_a_refused_environment_and_a_refused_checkpoint_are_told_first(evidence: Evidence) -> None:
    reasons = [{"code": "env_missing", "expected": "TPR_SEED", "actual": "unset", "remedy": "set it"}]
    documents = {**evidence.documents, "env.validation.failure.json": {"reasons": reasons, "schema_version": "1.0"}}
    event = {**evidence.log.events[-1], "trigger": "checkpoint_refused", "unmet": ["AC-1", "<LOCK>"]}
    log = type(evidence.log)([*evidence.log.events, event], "", [])
    shown = Page(render(replace(evidence, documents=documents, log=log)))
    assert "The environment was refused: env_missing." in shown.sections["None"]
    assert "The checkpoint was refused; not met: AC-1, <LOCK>." in shown.sections["None"]
    assert shown.table("not met")[0] == {"not met": "AC-1", "criterion": "a whole, hashed baseline"}


@pytest.fixture(scope="module")
def proven(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any], Page]:
    """A checkpoint's page in Markdown, the checkpoint, and the report on the same artifacts."""
    root = tmp_path_factory.mktemp("proven")
    artifacts = healthy(root, tests=37)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(emit_checkpoint, "HERE", root / "scripts" / "tests")
        assert emit_checkpoint.main(["--root", str(root), "--quiet"]) == 0
    assert main(["--root", str(root), "--quiet"]) == 0
    markdown = (artifacts / "foundation.checkpoint.md").read_text("utf-8")
    checkpoint = read_artifact(artifacts / "foundation.checkpoint.json")
    return markdown, checkpoint, Page((artifacts / "report.html").read_bytes())


def mermaid(markdown: str, title: str) -> dict[str, float]:
    """The numbers of a chart of the checkpoint, by their labels."""
    chart = next(block for block in re.findall("```mermaid\n(.*?)```", markdown, re.DOTALL) if title in block)
    if "pie" in chart:
        return {label: float(value) for label, value in re.findall(r'"(.*?)" : (\S+)', chart)}
    labels = re.findall(r'"([^"]*)"', chart.partition("x-axis [")[2].partition("]")[0])
    values = chart.rpartition("bar [")[2].partition("]")[0].split(",")
    return dict(zip(labels, map(float, values), strict=True))


def seconds(text: str) -> float:
    number, unit = text.removeprefix("under ").removesuffix(" or more").split()
    return float(number) * {"s": 1, "ms": 0.001}[unit]


class TestTheSameNumbersAsTheCheckpoint:
    def test_outcomes(self, proven: tuple[str, dict[str, Any], Page]) -> None:
        shown = {row["outcome"]: float(row["tests"]) for row in proven[2].table("share, %")}
        assert shown == mermaid(proven[0], "Tests by outcome")

    def test_durations(self, proven: tuple[str, dict[str, Any], Page]) -> None:
        """The page's bins are finer: those between two edges of the checkpoint add up to its count."""
        rows = proven[2].table("up to here, %")
        chart = mermaid(proven[0], "Tests by duration")
        edges = [0.0, *emit_checkpoint.BUCKETS.values()]
        bins = [
            (seconds(row["duration"].partition(" to ")[0]) * (1 if "under" not in row["duration"] else 0.5), row)
            for row in rows
        ]
        added = [sum(int(row["tests"]) for at, row in bins if low <= at < high) for low, high in pairwise(edges)]
        assert added == list(chart.values())

    def test_percentiles(self, proven: tuple[str, dict[str, Any], Page]) -> None:
        row = next(rows for rows in proven[2].tables if "phase" in rows[0])[0]
        stated = proven[1]["metrics"]["durations"]
        for rank in ("p50", "p90", "p95", "p99", "max"):
            assert float(row[f"{rank}, s"].replace(",", "")) == pytest.approx(stated[rank], abs=0.0051)

    def test_slowest(self, proven: tuple[str, dict[str, Any], Page]) -> None:
        chart = mermaid(proven[0], "Slowest tests, by rank")
        shown = numbers(proven[2].table("in all, s"), "in all, s")[: len(chart)]
        assert [1000 * value for value in shown] == pytest.approx(list(chart.values()), abs=5.1)
        ids = [row["test"] for row in proven[2].table("in all, s")]
        assert ids[: len(chart)] == [row["id"] for row in proven[1]["metrics"]["slowest"]]

    def test_ladder(self, proven: tuple[str, dict[str, Any], Page]) -> None:
        chart = mermaid(proven[0], "Coverage ladder")
        for row in proven[2].table("target, %")[:2]:
            for step in ("baseline", "now", "target"):
                assert float(row[f"{step}, %"]) == chart[f"{row['coverage']} {step}"]

    def test_failfast(self, proven: tuple[str, dict[str, Any], Page]) -> None:
        rows = proven[2].table("sooner than off, %")
        shown = {row["mode"]: float(row["mean, s"]) for row in rows}
        assert shown == mermaid(proven[0], "Time to the verdict")
        better = {row["mode"]: row["sooner than off, %"] for row in rows}
        assert {mode: float(better[mode]) for mode in ("soft", "hard")} == proven[1]["failfast"][
            "improvement_percent"
        ]

    def test_criteria_and_events(self, proven: tuple[str, dict[str, Any], Page]) -> None:
        judged = [row for s in ("criteria", "definition_of_done", "consistency") for row in proven[1][s]]
        assert {row["id"] for row in judged} < {row["id"] for row in proven[2].table("met")}
        assert "✓ The foundation holds" in proven[2].text
        shown = {row["event"]: (int(row["seen"]), int(row["drills"])) for row in proven[2].table("drills")}
        seen = proven[1]["events"]["seen"]
        assert shown == {name: (row["count"], row["drills"]) for name, row in seen.items()}


@pytest.mark.parametrize(
    ("spans", "shown"),
    [
        ([(0, 1), (1, 1)], [(0, 0.2)]),
        ([(0, 1), (5, 5)], [(0, 0.1), (0.5, 0.5)]),
        ([(0, 8), (1, 1), (2, 2)], [(0, 0.8)]),
    ],
)
def test_a_waterfall_shows_gaps_and_merges_what_touches(
    spans: list[tuple[float, float]], shown: list[tuple[float, float]]
) -> None:
    assert [(x, width) for x, width, _ in script.merged(spans, 10)] == shown


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.0, "0.00 ms"),
        (0.000303, "0.303 ms"),
        (0.0202, "20.2 ms"),
        (0.372, "372 ms"),
        (5, "5.00 s"),
        (321, "5 min 21 s"),
    ],
)
def test_a_duration_is_said_with_three_digits_and_its_unit(value: float, words: str) -> None:
    assert script.duration(value) == words


def test_a_time_has_its_place_on_the_axis_between_its_bins_edges() -> None:
    bins = [4, 5, 6]  # 1 to 2, 2 to 5, 5 to 10 ms
    at = [script.place_of(value / 1000, bins) for value in (1, 2, 3, 5, 9.999)]
    assert at[:2] == pytest.approx([0, 1 / 3])
    assert at == sorted(at)
    assert at[3] == pytest.approx(2 / 3)


def test_runs_of_a_property_are_told_apart() -> None:
    row = {
        "streams": [
            {"outcome": "passed", "runs": [1, 3]},
            {"outcome": "passed", "runs": [2]},
            {"outcome": "error", "runs": [5]},
        ]
    }
    assert script.run_letters(row, 6) == ".d.-F-"


def test_events_of_other_runs_are_left_out_and_counted(evidence: Evidence) -> None:
    last = evidence.log.events[-1]
    other = {**last, "event": "risk_trigger", "context": {**last["context"], "run_id": "another"}}
    shown = Page(render(replace(evidence, log=type(evidence.log)([*evidence.log.events, other], "", []))))
    before = sum(event["event"] == "risk_trigger" for event in evidence.log.events)
    seen = {row["event"]: int(row["seen"]) for row in shown.table("drills")}
    assert seen["risk_trigger"] == before
    assert "1 more of other runs in events.log.jsonl." in shown.sections["events"]
