"""What does it all look like? One page for people, from whatever evidence an artifacts folder holds.

    python scripts/tests/render_report.py [--root DIR] [--artifacts DIR]

The page is one file: it loads nothing, needs no script to be read, and its content security policy allows only its
own style and script, by their hashes. The same evidence gives the same bytes. What is missing, partial, damaged or
of another version is said in the section that needs it.

Reads:  the JSON artifacts, incidents/*/incident.json and events.log.jsonl of the artifacts folder.
Writes: report.html there. No event: the page must not change the log that it shows.
Exits:  0 the page is written; 1 it is, and says which evidence is damaged; 2 there is no evidence, or no page.
"""

from __future__ import annotations

import math
import os
import re
import sys
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from itertools import accumulate, pairwise

sys.path.insert(0, os.path.realpath(__file__).rpartition(os.sep)[0])  # where python -P does not look
from events import (
    LOG_NAME,
    TAXONOMY,
    Arguments,
    EvidenceError,
    LogReading,
    complain,
    read_artifact,
    read_log,
    show,
    write_atomic,
)

TYPE_CHECKING = False  # what --help does not need is imported where it is used
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

PROG, PAGE = "render_report.py", "report.html"
BASELINE, DURATIONS, FLAKES = "baseline.metrics.json", "durations.json", "flake.report.json"
FAILFAST, PROPERTIES, VERDICTS = "failfast.summary.json", "property.results.json", "gate.verdicts.json"
SIGNATURE, REFUSED, CHECKPOINT = "env.signature.json", "env.validation.failure.json", "foundation.checkpoint.json"
MARKERS, REFERENCE, INCIDENT = "markers.usage.json", "reference.metrics.json", "incident.json"
MADE_BY = {
    CHECKPOINT: "emit_checkpoint.py",
    VERDICTS: "enforce_gates.py",
    BASELINE: "collect_metrics.py",
    DURATIONS: "collect_metrics.py",
    MARKERS: "collect_metrics.py",
    REFERENCE: "collect_metrics.py",
    FLAKES: "scan_flakes.py",
    FAILFAST: "benchmark_failfast.py",
    PROPERTIES: "aggregate_properties.py",
    SIGNATURE: "validate_env.py",
    REFUSED: "validate_env.py",
}
KNOWN_VERSION = "1"  # the first number of a schema_version; the second only adds
SHOWN, CLIPPED = 40, 240  # rows of a table; characters of a foreign text
STEPS = 400  # parts of a track that the eye can tell apart
EDGES = tuple(float(f"{step}e{power}") for power in range(-4, 3) for step in (1, 2, 5))  # of durations, in seconds
CRITERIA = {
    "AC-1": "a whole, hashed baseline",
    "AC-2": "a failure shows sooner",
    "AC-3": "properties hold, thirty identical times",
    "AC-4": "a checkpoint, after all others",
    "AC-5": "a drifted environment is refused",
    "AC-6": "the coverage ladder is recorded",
    "AC-7": "every event was seen",
}
OUTCOMES = ("failed", "error", "xpassed", "passed", "skipped", "xfailed")
PHASES = {"all": "all", "setup": "phases.setup", "call": "phases.call", "teardown": "phases.teardown"}
MODES = ("off", "pytest -x", "soft", "hard", "limit")  # limit: the fastest failing test alone
BAD, WARN, INFO, GOOD, NONE = SEVERITY = ("bad", "warn", "info", "good", "none")
SIGNS = {BAD: "✗", WARN: "!", INFO: "·", GOOD: "✓", NONE: "·"}
WORDS = {BAD: "does not hold", WARN: "needs a look", INFO: "measured", GOOD: "holds", NONE: "no evidence"}
JUDGED = {"pass": GOOD, "quiet": GOOD, "resolved": GOOD, "read": GOOD, "not there": NONE}
JUDGED |= dict.fromkeys(("fail", "fired", "open", "damaged"), BAD)
FLAKE_KINDS = {"F": BAD, "r": WARN, ".": "ok", "o": "off"}  # letters of a strip
STYLE = """
:root{color-scheme:light dark;--paper:#fcfbf9;--card:#fff;--ink:#1c2430;--soft:#566172;--rule:#e2dfd8;--rail:#edeae4;
--blue:#3b6ea8;--sky:#8fb8de;--bad:#b3321f;--warn:#9a6200;--good:#1f6f54;--orange:#d9822b;--off:#a9a69f}
@media screen and (prefers-color-scheme:dark){:root{--paper:#14181f;--card:#1b212a;--ink:#e4e7ec;--soft:#9aa5b4;
--rule:#2d3541;--rail:#262d38;--blue:#6fa3dc;--sky:#3f6489;--bad:#f08a75;--warn:#e0ad52;--good:#6cc3a0;
--orange:#e39a4b;--off:#6d7480}}
*{box-sizing:border-box}html{-webkit-text-size-adjust:100%;scroll-behavior:smooth}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,
"Noto Sans","Liberation Sans",sans-serif;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
main{max-width:1240px;margin:0 auto;padding:40px 32px 96px}
h1{font-size:30px;line-height:1.2;margin:0;font-weight:650;letter-spacing:-.01em}
h2{font-size:21px;line-height:1.3;margin:0 0 16px;font-weight:650}h3{font-size:15px;margin:32px 0 8px;font-weight:600}
p{margin:0 0 12px;max-width:80ch}.facts,.more,figcaption,.legend{color:var(--soft);font-size:14px}
.verdict{font-size:20px;margin:20px 0 0}section{margin-top:56px;padding-top:20px;border-top:1px solid var(--rule)}
.badge{white-space:nowrap;font-weight:600;color:var(--soft)}h2 .badge{font-size:14px;margin-left:8px}
.badge.bad{color:var(--bad)}.badge.warn{color:var(--warn)}.badge.good{color:var(--good)}
.tiles{display:grid;grid-template-columns:repeat(4,minmax(0,1fr));gap:12px;margin-top:32px}
.tiles a{padding:14px 16px 16px;background:var(--card);border:1px solid var(--rule);border-radius:8px;color:inherit;
text-decoration:none;font-size:14px;line-height:1.4;border-top:3px solid var(--rule)}
.tiles a.bad{border-top-color:var(--bad)}.tiles a.warn{border-top-color:var(--orange)}
.tiles a.good{border-top-color:var(--good)}.tiles a:hover{border-color:var(--blue)}
.tiles strong{display:block;font-size:26px;line-height:1.25;font-weight:650;margin:2px 0}
.tiles span{color:var(--soft)}.tiles .name{display:flex;justify-content:space-between;color:var(--ink)}
a:focus-visible,button:focus-visible,input:focus-visible{outline:2px solid var(--blue);outline-offset:2px}
.findings{margin:0 0 16px;padding:0;list-style:none}.findings a{color:inherit;text-decoration-color:var(--off)}
.findings li{display:grid;grid-template-columns:8.5em minmax(0,1fr);gap:0 8px;padding:5px 0}
table{border-collapse:collapse;min-width:min(100%,480px);font-size:14px;margin:0 0 12px}
th,td{text-align:left;vertical-align:top;padding:6px 16px 6px 0;border-bottom:1px solid var(--rule);font-weight:400}
thead th{color:var(--soft);vertical-align:bottom;border-color:var(--off);overflow-wrap:normal}
th:last-child,td:last-child{padding-right:0}.n{text-align:right}.n,.w{white-space:nowrap}.t{min-width:11em}
table:has(td svg){width:100%}td:has(svg){width:26%;min-width:120px}tbody th:has(.id){min-width:200px}
.id{font:13px ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono","Liberation Mono",monospace;line-height:1.6}
.id i{font-style:normal;color:var(--soft)}
pre{font-size:13px;white-space:pre-wrap;background:var(--rail);padding:12px;border-radius:6px}
th button{all:unset;cursor:pointer}th button:hover{color:var(--ink)}
th[aria-sort] button::after{content:" \\2193"}th[aria-sort=ascending] button::after{content:" \\2191"}
input{font:inherit;font-size:14px;color:inherit;background:var(--card);border:1px solid var(--rule);border-radius:6px;
padding:4px 10px;margin:0 0 8px;width:280px;max-width:100%;display:block}
svg{display:block;width:100%}.track{height:12px;margin-top:5px}.strip{height:18px;margin-top:2px}
svg.key{display:inline-block;width:10px;height:10px;margin-right:5px}
.legend span{margin-right:14px;white-space:nowrap}h3 .legend{font-weight:400;margin-left:8px}
figure{margin:0 0 20px}figcaption{margin-bottom:8px}figcaption .legend:not(:first-child){margin-left:8px}
.two{display:grid;grid-template-columns:minmax(0,3fr) minmax(0,2fr);gap:40px;align-items:start}
text{font-size:12px;fill:var(--soft);paint-order:stroke;stroke:var(--paper);stroke-width:4px}.axis{stroke:var(--off)}.grid{stroke:var(--rule)}
.mark{stroke:var(--ink);stroke-dasharray:2 3;opacity:.6}.line{stroke-width:2}.dashed{stroke-dasharray:5 4;opacity:.7}
.line.c1{stroke:var(--blue)}.line.c2{stroke:var(--orange)}.rail{fill:var(--rail)}.off{fill:var(--off)}
rect.bad,.lost,.o-failed{fill:var(--bad)}rect.warn,.o-error,.c2,.p-setup,.m-soft{fill:var(--orange)}
.b1,.c1,.p-call,.o-passed,.m-hard{fill:var(--blue)}.p-teardown,.o-skipped,.m-pyte{fill:var(--off)}
.ok,.o-xfailed,.o-xpassed{fill:var(--sky)}.m-off{fill:var(--soft)}.m-limi{fill:var(--good)}
@media(max-width:1000px){.tiles{grid-template-columns:repeat(2,minmax(0,1fr))}
.two{grid-template-columns:minmax(0,1fr);gap:16px}}
@media(max-width:900px){main{padding:24px 16px 64px}h1{font-size:25px}section{margin-top:40px}
.tiles strong{font-size:22px}.findings li{grid-template-columns:minmax(0,1fr)}table{min-width:0;width:100%}
table:not(.small){thead{position:absolute;clip-path:inset(50%);height:1px;width:1px;overflow:hidden}
tr{display:flex;flex-wrap:wrap;gap:2px 18px;padding:10px 0;border-bottom:1px solid var(--rule)}
th,td,td:last-child,td:has(svg){border:0;padding:0;min-width:0;text-align:left;white-space:normal;width:auto}
tbody th,td:has(svg){width:100%;flex:none}
td::before{content:attr(data-l) " ";color:var(--soft)}td:has(svg)::before{font-size:12px}}}
@media print{body{font-size:11pt}main{max-width:none;padding:0}input{display:none}section{margin-top:24pt}
tr,figure,.tiles a{break-inside:avoid}h2,h3{break-after:avoid}}
@media(prefers-reduced-motion:reduce){html{scroll-behavior:auto}}
"""
SCRIPT = """
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0], value = (row, i) => row.cells[i].textContent.replaceAll(",", "");
  if (body.rows.length < 4) continue;
  [...table.tHead.rows[0].cells].forEach((head, i) => {
    if (body.rows[0].cells[i].querySelector("svg")) return;
    const button = document.createElement("button");
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") === "descending", sign = up ? 1 : -1;
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const compare = new Intl.Collator("en", {numeric: true}).compare;
      const order = (a, b) => head.className === "n" ? (parseFloat(a) || 0) - (parseFloat(b) || 0) : compare(a, b);
      body.append(...[...body.rows].sort((a, b) => sign * order(value(a, i), value(b, i))));
    });
  });
  if (body.rows.length < 16) continue;
  const input = document.createElement("input");
  input.type = "search";
  input.name = "filter";
  input.placeholder = "Show only rows with ...";
  input.ariaLabel = "Show only the rows of the next table that contain";
  input.addEventListener("input", () => {
    for (const row of body.rows) row.hidden = !row.textContent.toLowerCase().includes(input.value.toLowerCase());
  });
  table.before(input);
}
"""


class Html(str):
    """Markup that is safe as it stands. Every other text is escaped on its way into the page."""

    __slots__ = ()


NOTHING = Html()
Column = str | Callable[..., object]  # of a table: a path in its rows, or what makes a cell of a row
Columns = dict[str, Column]  # by label
Found = tuple[str, str]  # a state, and what to look at in words
Span = tuple[float, float, str]  # of a picture: from, width, kind
RAIL = (0.0, 1.0, "rail")


def visible(value: object, limit: int = CLIPPED) -> str:
    """Foreign text, harmless: what would act, hide or reorder is its escape; of a long one the middle goes."""
    text = str(value)
    if len(text) > limit:
        text = f"{text[: limit * 2 // 3]} … {text[-limit // 4 :]} ({len(text):,} characters)"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def plain(value: object) -> str:
    """A value in words."""
    if value is None or value in ("", [], {}):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.2f}".rstrip("0").rstrip(".")
    if isinstance(value, Mapping):
        return ", ".join(f"{str(key).replace('_', ' ')} {plain(item)}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(plain, value[:8])) + f" and {len(value) - 8} more" * (len(value) > 8)
    return f"{value:,}" if isinstance(value, int) else str(value)


def tag(name: str, *inside: object, **attributes: object) -> Html:
    """An element. In an attribute's name a last _ goes, others become hyphens; None leaves the attribute out."""
    shown = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items() if value is not None}
    opening = "".join(f' {key}="{escape(str(value))}"' for key, value in shown.items())
    return Html(f"<{name}{opening}>{join(*inside)}</{name}>")


def join(*parts: object) -> Html:
    return Html("".join(part if isinstance(part, Html) else escape(visible(plain(part))) for part in parts))


def ident(value: object) -> Html:
    """A test id or a path: its last part stands out, and a line may break between its parts."""
    text = join(str(value))
    folder, name = re.fullmatch(r"(?s)([^\[]*(?:/|::))?(.*)", text).groups("")  # type: ignore[union-attr]
    folder, name = (re.sub("(/|::|_)", r"\1<wbr>", part) for part in (folder, name))
    return Html(f'<bdi dir="ltr" class="id"><i>{folder}</i>{name}</bdi>')


def badge(state: str, words: str = "") -> Html:
    return tag("span", f"{SIGNS[state]} {words or WORDS[state]}", class_=f"badge {state}")


def legend(kinds: Mapping[str, str]) -> Html:
    swatch = '<svg class="key" aria-hidden="true"><rect class="{}" width="10" height="10"/></svg>'
    keys = [tag("span", Html(swatch.format(kind)), name) for kind, name in kinds.items()]
    return tag("span", *keys, class_="legend")


def dig(document: object, path: str) -> Any:
    """The value at a dotted path, or None."""
    for key in path.split("."):
        document = document.get(key) if isinstance(document, dict) else None
    return document


def number(value: object) -> float | None:
    known = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15
    return float(value) if known else None  # type: ignore[arg-type]


def amount(row: object, path: str) -> float:
    return number(dig(row, path)) or 0.0


def rows_of(value: object) -> list[dict[str, Any]]:
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def fixed(value: object, digits: int = 2, factor: float = 1) -> str:
    return "-" if (known := number(value)) is None else f"{factor * known:,.{digits}f}"


def same(labels: str) -> Columns:
    """Columns that are called as their keys are."""
    return {label: label for label in labels.split()}


def digits(path: str, count: int = 2, factor: float = 1) -> Column:
    return lambda row: fixed(dig(row, path), count, factor)


def named(path: str) -> Column:
    return lambda row: ident(dig(row, path))


def judged_as(path: str) -> Column:
    return lambda row: badge(JUDGED.get(str(dig(row, path)), WARN), plain(dig(row, path)))


def yes_no(path: str) -> Column:
    met = {True: badge(GOOD, "yes"), False: badge(BAD, "no")}
    return lambda row: met.get(dig(row, path))


def scale(most: float) -> tuple[str, Callable[[str], Column]]:
    """The unit of a column whose greatest value is so many seconds, and what writes a path of its rows in it."""
    unit, factor = ("s", 1) if most >= 1 else ("ms", 1000)
    return unit, lambda path: digits(path, 2 if factor * most >= 10 else 3, factor)


def duration(seconds: float) -> str:
    """Seconds as people say them, with three digits."""
    if seconds >= 120:
        return f"{seconds // 60:,.0f} min {seconds % 60:.0f} s"
    value, unit = (seconds, "s") if seconds >= 1 else (1000 * seconds, "ms")
    return f"{value:.{2 - min(2, max(-1, math.floor(math.log10(value or 1))))}f} {unit}"


def moment(text: object) -> float | None:
    """Unix seconds of a time, or of a date in UTC."""
    try:
        return datetime.fromisoformat(str(text) + ("" if "T" in str(text) else "T00:00:00Z")).timestamp()
    except ValueError:
        return None


def minute(text: object) -> str:
    return str(text)[:16].replace("T", " ")


def table(rows: Sequence[Any], columns: Columns, where: str = "", limit: int = SHOWN) -> Html:
    """The first rows, and how many more are where. A label ending in # is of numbers; a first cell names its row."""
    if not rows:
        return Html()
    labels = {label.rstrip(" #"): label.endswith("#") for label in columns}
    heads = [tag("th", label, scope="col", class_="n" if right else None) for label, right in labels.items()]
    body = []
    for row in rows[:limit]:
        cells: list[Html] = []
        for (label, right), column in zip(labels.items(), columns.values(), strict=True):
            value = dig(row, column) if isinstance(column, str) else column(row)
            words = None if isinstance(value, Html) else "w" if len(plain(value)) <= 20 else "t"
            name, about = ("td", {"data_l": label}) if cells else ("th", {"scope": "row"})
            cells.append(tag(name, value, **about, class_="n" if right else words))
        body.append(tag("tr", *cells))
    more = tag("p", f"{len(rows) - limit:,} more in {where}.", class_="more") if len(rows) > limit else Html()
    small = "small" if len(labels) <= 4 and all([*labels.values()][1:]) else None
    return join(tag("table", tag("thead", tag("tr", *heads)), tag("tbody", *body), class_=small), more)


# The x of a picture goes from 0 to 1 and is written in percent: it takes any width, and its letters keep their size.


def percent(x: float) -> str:
    return f"{100 * min(1.0, max(0.0, x)):.2f}".rstrip("0").rstrip(".") + "%"


def block(x: float, width: float, kind: str, y: float = 0, height: float | str = "100%", *, title: str = "") -> Html:
    inside = tag("title", title) if title else Html()
    return tag("rect", inside, x=percent(x), width=percent(min(width, 1 - x)), y=y, height=height, class_=kind)


def track(*spans: Span) -> Html:
    """A bar, a stacked bar, a row of a waterfall or of a timeline: for a table's cell, beside its numbers."""
    shown = [block(min(x, 0.995), max(width, 0.005), kind) for x, width, kind in spans if width > 0]
    return tag("svg", *shown, class_="track", aria_hidden="true")


def stack(parts: Mapping[str, float], whole: float) -> list[Span]:
    """Parts by kind, one after the other."""
    ends = [0.0, *accumulate(value / (whole or 1) for value in parts.values())]
    return [(x, end - x, kind) for (x, end), kind in zip(pairwise(ends), parts, strict=True)]


def strip(letters: str, kinds: Mapping[str, str]) -> Html:
    """A row of a heat map, one cell a letter, told apart by height as well as by colour."""
    step, heights = 1 / max(1, len(letters)), {BAD: 18, WARN: 12, "off": 7, "ok": 3}
    known = [(place * step, kinds[letter]) for place, letter in enumerate(letters) if letter in kinds]
    cells = [block(x, 0.84 * step, kind, 18 - heights[kind], heights[kind]) for x, kind in known]
    return tag("svg", *cells, class_="strip", role="img", aria_label=letters)


def say(x: float, y: float, text: str, **more: object) -> Html:
    return tag("text", text, x=percent(x), y=y, **more)


def picture(title: str, drawn: Iterable[Html], base: float, ticks: Mapping[float, str], keys: Html = NOTHING) -> Html:
    """A figure over an axis: `ticks` are its names by x."""
    anchors = {x: "start" if x < 0.06 else "end" if x > 0.94 else "middle" for x in ticks}
    axis = [say(x, base + 17, name, text_anchor=anchors[x]) for x, name in ticks.items()]
    line = tag("line", x1=0, x2="100%", y1=base, y2=base, class_="axis")
    shown = tag("svg", *drawn, line, *axis, role="img", aria_label=title, height=base + 24)
    return tag("figure", tag("figcaption", tag("span", title), " ", keys), shown)


def lines(
    title: str, paths: Mapping[str, Sequence[tuple[float, float]]], ticks: Mapping[float, str], keys: Html
) -> Html:
    """Paths of (x, percent) by kind, all but dashed ones ending in a dot, on the part of the scale that they need."""
    values = [value for points in paths.values() for _, value in points]
    low, high = max(0, math.floor(min(values)) - 1), min(100, math.ceil(max(values)) + 1)
    marks = (low, (low + high) / 2, high)
    levels = {value: round(22 + 130 * (high - value) / (high - low), 1) for value in (*values, *marks)}
    drawn = []
    for value in marks:
        drawn += [tag("line", x1=0, x2="100%", y1=levels[value], y2=levels[value], class_="grid")]
        drawn += [say(0, levels[value] - 4, f"{value:g} %")]
    inner = {kind: [(0.1 + 0.88 * x, levels[value]) for x, value in points] for kind, points in paths.items()}
    for kind, points in inner.items():
        for (x1, y1), (x2, y2) in pairwise(points):
            drawn.append(tag("line", x1=percent(x1), x2=percent(x2), y1=y1, y2=y2, class_=f"line {kind}"))
        if "dashed" not in kind:
            drawn.append(tag("circle", cx=percent(points[-1][0]), cy=points[-1][1], r=5, class_=kind))
    return picture(title, drawn, 152, {0.1 + 0.88 * x: name for x, name in ticks.items()}, keys)


@dataclass(frozen=True)
class Evidence:
    """What an artifacts folder holds: documents whose digests hold, why others do not, incidents, the log."""

    title: str
    documents: Mapping[str, dict[str, Any]]
    problems: Mapping[str, str]
    incidents: Sequence[dict[str, Any]]
    log: LogReading

    def get(self, name: str, path: str) -> Any:
        return dig(self.documents.get(name), path)

    def number(self, name: str, path: str) -> float | None:
        return number(self.get(name, path))

    def rows(self, name: str, path: str) -> list[dict[str, Any]]:
        return rows_of(self.get(name, path))

    @property
    def mine(self) -> list[dict[str, Any]]:
        """The events of the judged run; without a checkpoint, of the runs that the artifacts are from."""
        documents = [self.documents[CHECKPOINT]] if CHECKPOINT in self.documents else self.documents.values()
        runs = [document.get("run_id") for document in documents]
        return [event for event in self.log.events if event["context"].get("run_id") in runs]


@dataclass(frozen=True)
class Part:
    """A section's answer: its state, its number and caption for the tile on top, its body, what to look at first."""

    state: str
    figure: str
    caption: str
    body: Sequence[Html] = ()
    findings: Sequence[Found] = ()


def heading(text: str, kinds: Mapping[str, str] | None = None) -> Html:
    return tag("h3", text, " ", legend(kinds) if kinds else Html())


def show_foundation(e: Evidence) -> Part:
    sections = ("criteria", "definition_of_done", "consistency", "gates")
    judged = [row for name in sections for row in e.rows(CHECKPOINT, name) if "met" in row]
    judged.sort(key=lambda row: row["met"] is True)
    columns = {**same("id criterion met value limit"), "met": yes_no("met")}
    if judged:
        held, verdict = sum(row["met"] is True for row in judged), plain(e.get(CHECKPOINT, "verdict"))
        found = [(BAD, f"{len(judged) - held} criteria of the checkpoint do not hold.")] if held < len(judged) else []
        caption = f"{held} of {len(judged)} criteria hold"
        return Part(BAD if found else GOOD, verdict, caption, [table(judged, columns)], found)
    refusals = [event for event in e.mine if event.get("trigger") == "checkpoint_refused"]
    if not refusals:
        return Part(NONE, "-", "no checkpoint yet")
    unmet = [{"id": str(name), "words": CRITERIA.get(str(name))} for name in refusals[-1]["unmet"]]
    body = [table(unmet, {"not met": "id", "criterion": "words"})]
    body.append(tag("p", "python scripts/tests/emit_checkpoint.py says what is missing, and what mends it."))
    finding = (BAD, f"The checkpoint was refused; not met: {plain([row['id'] for row in unmet])}.")
    return Part(BAD, "refused", f"{len(unmet)} criteria are not met", body, [finding])


def show_tests(e: Evidence) -> Part:
    """Outcomes of the newest capture: a partial one in soft mode leaves them in durations.json alone."""
    tests, partial = e.rows(DURATIONS, "tests"), e.get(DURATIONS, "partial")
    counts = Counter(str(row.get("outcome")) for row in tests)
    if not tests or e.get(BASELINE, "run_id") == e.get(DURATIONS, "run_id"):
        counts = Counter({name: int(e.number(BASELINE, f"outcomes.{name}") or 0) for name in OUTCOMES})
    if not (total := counts.total()):
        return Part(NONE, "-", "no test has been captured")
    rows = [{"outcome": name, "tests": counts[name], "share": 100 * counts[name] / total} for name in OUTCOMES]
    rows = [row for row in rows if row["tests"]]
    kinds = {f"o-{row['outcome']}": str(row["outcome"]) for row in rows}
    bar = track(*stack({kind: counts[name] for kind, name in kinds.items()}, total))
    failing = [row for row in tests if row.get("outcome") in ("failed", "error")]
    unit, at = scale(max((amount(row, "seconds") for row in failing), default=0))
    columns: Columns = {"did not pass": named("id"), "outcome": "outcome", f"took, {unit} #": at("seconds")}
    body = [
        tag("figure", tag("figcaption", legend(kinds)), bar),
        table(rows, {"outcome": "outcome", "tests #": "tests", "share, % #": digits("share")}),
        table(failing, columns, DURATIONS),
    ]
    wrong = counts["failed"] + counts["error"]
    findings = [(BAD, f"{wrong:,} of {total:,} tests did not pass.")] if wrong else []
    if partial:
        reason, test = (plain(dig(partial, key)) for key in ("reason", "in_flight"))
        findings.append((WARN, f"The capture is partial: {reason}; in flight: {test}."))
    caption = f"of {total:,} tests passed" + f", {wrong:,} did not" * bool(wrong)
    return Part(findings[0][0] if findings else GOOD, f"{counts['passed']:,}", caption, body, findings)


def spread(tests: Iterable[Mapping[str, Any]]) -> dict[int, int]:
    """How many tests took how long, by the place of their seconds in EDGES, without gaps."""
    counts = Counter(bisect_right(EDGES, amount(row, "seconds")) for row in tests)
    return {place: counts[place] for place in range(min(counts), max(counts) + 1)} if counts else {}


def edge_name(place: int) -> str:
    return f"{EDGES[place]:g} s" if EDGES[place] >= 1 else f"{1000 * EDGES[place]:g} ms"


def bin_name(place: int) -> str:
    if 0 < place < len(EDGES):
        return f"{edge_name(place - 1)} to {edge_name(place)}"
    return f"{edge_name(-1)} or more" if place else f"under {edge_name(0)}"


def place_of(seconds: float, bins: Sequence[int]) -> float:
    """Where on an axis of these bins, 0 to 1; within a bin by the logarithm."""
    place, inner = bisect_right(EDGES, seconds), 0.5
    if 0 < place < len(EDGES):
        inner = math.log(seconds / EDGES[place - 1]) / math.log(EDGES[place] / EDGES[place - 1])
    return (place - bins[0] + inner) / len(bins)


def show_durations(e: Evidence) -> Part:
    tests, rows, seen = e.rows(DURATIONS, "tests"), [], 0
    counts = spread(tests)
    if not counts:
        return Part(NONE, "-", "no test has been timed")
    for place, count in counts.items():
        seen += count
        shares = {"share": 100 * count / len(tests), "until": 100 * seen / len(tests)}
        rows.append({"bin": bin_name(place), "tests": count, **shares})
    parts = {"duration": "bin", "tests #": "tests", "share, % #": digits("share"), "up to here, % #": digits("until")}
    ranks = {rank: e.number(DURATIONS, f"all.{rank}") or 0.0 for rank in ("p50", "p90", "p95", "p99", "max")}
    unit, at = scale(ranks["max"])
    phases = [{"phase": phase, **(e.get(DURATIONS, path) or {})} for phase, path in PHASES.items()]
    numbers = {f"{rank}, {unit} #": at(rank) for rank in (*ranks, "mean", "total")}
    body = [tag("div", histogram(counts, ranks), table(rows, parts), class_="two")]
    body += [table(phases, {"phase": "phase", **numbers}), *slowest(tests)]
    caption = f"and less for 95 % of tests; the slowest takes {duration(ranks['max'])}"
    return Part(INFO, duration(ranks["p95"]), caption, body)


def histogram(counts: Mapping[int, int], ranks: Mapping[str, float]) -> Html:
    """Upright bars, one a bin; ranks are named lines from the top to the axis."""
    bins, step, base, most = list(counts), 1 / len(counts), 160 + 15 * len(ranks), max(counts.values())
    drawn, marks = [], []
    for spot, (place, count) in enumerate(counts.items()):
        height, words = round(max(1.5 * (count > 0), 150 * count / most), 1), f"{bin_name(place)} {count:,}"
        drawn.append(block((spot + 0.06) * step, 0.88 * step, "b1", base - height, height, title=words))
    for row, (rank, value) in enumerate(ranks.items()):
        x, y = place_of(value, bins), 15 * row
        side = {"text_anchor": "end", "dx": -5} if x > 0.7 else {"text_anchor": "start", "dx": 5}
        drawn.append(tag("line", x1=percent(x), x2=percent(x), y1=4 + y, y2=base, class_="mark"))
        marks.append(say(x, 14 + y, f"{rank} {duration(value)}", **side))
    shown = [place for place in bins if place and (math.log10(EDGES[place - 1]) % 1 < 1e-9 or len(bins) < 4)]
    ticks = {(place - bins[0]) * step: edge_name(place - 1) for place in shown}
    return picture("Number of tests by duration, on a logarithmic scale", [*drawn, *marks], base, ticks)


def slowest(tests: Sequence[Mapping[str, Any]]) -> list[Html]:
    order = sorted(tests, key=lambda row: (-amount(row, "seconds"), str(row.get("id"))))
    most = amount(order[0], "seconds")
    unit, at = scale(most)
    kinds = {f"p-{phase}": phase for phase in PHASES if phase != "all"}
    columns: Columns = {
        "test": named("id"),
        f"0 to {duration(most)}": lambda row: track(*stack({k: amount(row, p) for k, p in kinds.items()}, most)),
        f"in all, {unit} #": at("seconds"),
        **{f"{phase}, {unit} #": at(phase) for phase in kinds.values()},
    }
    return [heading("The slowest tests", kinds), table(order, columns, DURATIONS, 25)]


def show_run(e: Evidence) -> Part:
    """The run as a waterfall: when each test file was at work."""
    tests = [row for row in e.rows(DURATIONS, "tests") if number(row.get("start")) is not None]
    if not tests:
        return Part(NONE, "-", "no start of a test is known")
    tests.sort(key=lambda row: row["start"])
    begin = tests[0]["start"]
    whole = max(row["start"] + amount(row, "seconds") for row in tests) - begin or 1.0
    files: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for row in tests:
        files[str(row.get("id")).partition("::")[0]].append((row["start"] - begin, amount(row, "seconds")))
    rows: list[dict[str, Any]] = []
    for path, spans in files.items():
        busy = sum(seconds for _, seconds in spans)
        rows.append({"path": path, "at": spans[0][0], "spans": spans, "tests": len(spans), "busy": busy})
    shown = sorted(sorted(rows, key=lambda row: -row["busy"])[:SHOWN], key=lambda row: row["at"])
    unit, at = scale(whole)
    busy_unit, busy_at = scale(max(row["busy"] for row in rows))
    columns: Columns = {
        "test file": named("path"),
        f"0 to {duration(whole)}": lambda row: track(*merged(row["spans"], whole)),
        f"from, {unit} #": at("at"),
        f"busy, {busy_unit} #": busy_at("busy"),
        "tests #": "tests",
    }
    workers = len({row.get("worker") for row in tests})
    told = f"{len(rows):,} test files, {workers} worker{'s' * (workers > 1)}; shown are the busiest, as they began."
    return Part(INFO, duration(whole), "", [tag("p", told), table(shown, columns)])


def merged(spans: Sequence[tuple[float, float]], whole: float) -> list[Span]:
    """Spans (start, seconds) in order, as parts of the whole; what the eye cannot tell apart is one."""
    found: list[list[float]] = []
    for start, seconds in spans:
        if found and start <= found[-1][1] + whole / STEPS:
            found[-1][1] = max(found[-1][1], start + seconds)
        else:
            found.append([start, start + seconds])
    return [(start / whole, max(end - start, whole / STEPS) / whole, "b1") for start, end in found]


def show_coverage(e: Evidence) -> Part:
    judged, rows = {row.get("metric"): row for row in e.rows(VERDICTS, "coverage.metrics")}, []
    for kind in ("line", "branch"):
        steps = {step: e.get(BASELINE, f"ladder.{step}.{kind}") for step in ("baseline", "target")}
        now = e.number(BASELINE, f"coverage.{kind}_percent")
        rows.append({**judged.get(kind, {}), **steps, "kind": kind, "now": now})
    if rows[0]["now"] is None:
        return Part(NONE, "-", "no coverage has been measured")
    columns: Columns = {"coverage": "kind"}
    columns |= {f"{step}, % #": digits(step.replace(" ", "_")) for step in ("now", "baseline", "due today", "target")}
    columns |= {"to gain #": "to_gain", "days left #": "days_left", "at this pace by": "proposed_horizon"}
    body, findings = [ladder_chart(e), table(rows, columns)], []
    for metric, row in judged.items():
        if row.get("dropped") or row.get("missed"):
            what = f"lost {fixed(row.get('drop'))} points" if row.get("dropped") else "missed its target"
            findings.append((BAD, f"Coverage: {metric} {what}."))
    if losses := sorted(e.rows(VERDICTS, "coverage.losses"), key=lambda row: -amount(row, "lost")):
        lost: Columns = {"file": named("path"), "metric": "metric", "covered before, not now #": "lost"}
        body += [heading("Where it was lost"), table(losses, lost, VERDICTS)]
    state = BAD if findings else GOOD if judged else INFO
    caption = f"of lines, {fixed(rows[1]['now'])} % of branches; target {fixed(rows[0]['target'])} %"
    return Part(state, f"{fixed(rows[0]['now'])} %", caption, [*body, *files_covered(e)], findings)


def ladder_chart(e: Evidence) -> Html:
    """The ladder from its baseline to its target, and every measure that the log recorded, this one last."""
    from datetime import UTC  # not at the top: an older Python has none, and is to be told that it is too old

    places = ("ladder.baseline.recorded", "ladder.horizon", "generated_at")
    recorded, horizon, now = (moment(e.get(BASELINE, place)) for place in places)
    if recorded is None or horizon is None or now is None:
        return Html()
    told = [event for event in e.log.events if event["event"] == "coverage_ladder_recorded" and "measured" in event]
    measured = [(moment(event["timestamp"]) or now, event["measured"]) for event in told]
    measured.append((now, {kind: e.get(BASELINE, f"coverage.{kind}_percent") for kind in ("line", "branch")}))
    begin, end = min(recorded, measured[0][0]), max(horizon, now)
    promise = [(at, e.get(BASELINE, f"ladder.{step}")) for at, step in ((recorded, "baseline"), (horizon, "target"))]
    shown = {}
    for kind, colour in (("line", "c1"), ("branch", "c2")):
        for path, steps in ((f"{colour} dashed", promise), (colour, measured)):
            rates = [((at - begin) / (end - begin), number(dig(step, kind))) for at, step in steps]
            if points := [(x, rate) for x, rate in rates if rate is not None]:
                shown[path] = points
    ticks = {x: datetime.fromtimestamp(at, UTC).date().isoformat() for x, at in ((0.0, begin), (1.0, end))}
    keys = legend({"c1": "lines", "c2": "branches"})
    return lines("Coverage in percent; dashed, the pace to the target", shown, ticks, keys) if shown else Html()


def files_covered(e: Evidence) -> list[Html]:
    before = {str(row.get("path")): share(row, "statements") for row in e.rows(REFERENCE, "coverage.files")}
    files = []
    for row in e.rows(BASELINE, "coverage.files"):
        covered = int(amount(row, "statements_covered"))
        rates = {"lines": share(row, "statements"), "taken": share(row, "branches")}
        rates["before"] = before.get(str(row.get("path")))
        files.append({**row, **rates, "covered": covered, "missed": int(amount(row, "statements")) - covered})
    files.sort(key=lambda row: (-row["missed"], str(row.get("path"))))
    open_ = [row for row in files if row["missed"]]
    most = max((amount(row, "statements") for row in open_[:SHOWN]), default=0)
    bars = {"b1": "covered", "lost": "missed"}
    columns: Columns = {
        "file": named("path"),
        f"0 to {most:,.0f} statements": lambda row: track(
            *stack({kind: row[key] for kind, key in bars.items()}, most)
        ),
        "not covered #": "missed",
        "statements #": "statements",
        "lines, % #": digits("lines"),
        "lines before, % #": digits("before"),
        "branches, % #": digits("taken"),
    }
    whole = f"The lines of {len(files) - len(open_):,} of {len(files):,} files are covered whole."
    title = heading("Per file, the most uncovered first", {"b1": "covered", "lost": "not covered"})
    return [title, table(open_, columns, BASELINE), tag("p", whole, class_="more")] if files else []


def share(row: Mapping[str, Any], what: str) -> float | None:
    return 100 * amount(row, f"{what}_covered") / amount(row, what) if amount(row, what) else None


def show_flakes(e: Evidence) -> Part:
    runs, flaky, suspected = (e.rows(FLAKES, name) for name in ("runs", "flaky", "suspected"))
    if not runs:
        return Part(NONE, "-", "no run of the past has been read")
    rows = [*worst(flaky), *worst(suspected)]
    length = max((len(str(row.get("strip"))) for row in rows), default=0)
    columns: Columns = {
        "test": named("id"),
        f"last {length} runs, oldest first": lambda row: strip(str(row.get("strip", ""))[-STEPS:], FLAKE_KINDS),
        "failures #": "failures",
        "runs #": "runs",
        "flips, % #": digits("flip_rate", 2, 100),
        "why": lambda row: row.get("why") or row.get("evidence"),
    }
    low, high = (fixed(value) for value in e.get(FLAKES, "rate.ci95") or (None, None))
    rate = f"{fixed(e.get(FLAKES, 'rate.percent'))} % of {plain(e.get(FLAKES, 'rate.observed'))} tests are flaky"
    body = [tag("p", f"{rate} (95 % interval {low} to {high} %); {len(suspected):,} more are suspected.")]
    keys = {BAD: "failed", WARN: "passed on a rerun", "ok": "passed", "off": "outage, set aside"}
    body += [heading("Tests by runs", keys), table(rows, columns, FLAKES)] if rows else []
    body += clusters(e.rows(FLAKES, "clusters"))
    if broken := sorted(e.rows(FLAKES, "breakages"), key=lambda row: -amount(row, "runs")):
        columns = {"test": named("id"), "kind": "kind", "runs #": "runs", "since": "since"}
        body += [heading("Broken for a while, not flaky"), table(broken, columns, FLAKES, 10)]
    if aside := [run for run in runs if run.get("set_aside")]:
        columns = {"run": "file", "commit": lambda row: str(row.get("commit") or "-")[:12], "why": "set_aside"}
        body += [heading("Outages, set aside"), table(aside, columns, FLAKES, 10)]
    if unreadable := e.rows(FLAKES, "unreadable"):
        body += [heading("Not readable"), table(unreadable, {"file": "file", "reason": "reason"}, FLAKES, 10)]
    findings = [(WARN, f"{len(flaky):,} tests are flaky; most of all {rows[0].get('id')}")] if flaky else []
    caption = f"flaky tests in {len(runs):,} runs, {len(suspected):,} suspected"
    return Part(WARN if flaky else GOOD, f"{len(flaky):,}", caption, body, findings)


def worst(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: (-amount(row, "flip_rate"), -amount(row, "failures"), str(row.get("id"))))


def clusters(rows: Sequence[dict[str, Any]]) -> list[Html]:
    most = max((amount(row, "count") for row in rows), default=0)
    columns: Columns = {
        "reason": lambda row: tag("span", row.get("template"), class_="id"),
        f"0 to {most:,.0f} failures": lambda row: track((0, amount(row, "count") / most, "b1")),
        "failures #": "count",
        "tests #": lambda row: len(row.get("tests") or ()),
        "runs #": lambda row: len(row.get("runs") or ()),
        "last seen": lambda row: str(row.get("last_seen"))[:10],
    }
    return [heading("Why they fail"), table(rows, columns, FLAKES, 15)] if rows else []


def whole(values: Iterable[object]) -> list[float]:
    """The numbers, if all of them are."""
    known = [number(value) for value in values]
    return [] if None in known else known  # type: ignore[return-value]


def detection(fault: Mapping[str, Any], mode: str) -> float | None:
    """Median seconds to the verdict on this fault."""
    from statistics import median

    seconds = whole(dig(fault, f"runs.{mode}.seconds") or ())
    return median(seconds) if seconds else None


def show_failfast(e: Evidence) -> Part:
    from statistics import fmean

    faults = e.rows(FAILFAST, "benchmark.faults")
    times = {mode: [detection(fault, mode) for fault in faults] for mode in MODES}
    means = {mode: round(fmean(known), 4) for mode, found in times.items() if (known := whole(found))}
    last, elapsed = stopped(e), e.number(FAILFAST, "elapsed_to_detection_s")
    if "off" not in means:
        if not last or elapsed is None:
            return Part(NONE, "-", "not measured")
        return Part(INFO, duration(elapsed), "until the last failure showed", last)
    most, rows = max(means.values()), []
    for mode, mean in means.items():
        sooner = 100 * (means["off"] - mean) / means["off"]
        goal = e.number(FAILFAST, f"benchmark.targets.{mode}.target_percent")
        facts = {"mode": mode, "mean": mean, "goal": goal, "met": None if goal is None else sooner >= goal}
        rows.append({**facts, "sooner": None if mode == "off" else sooner})
    columns: Columns = {
        "mode": "mode",
        f"0 to {duration(most)}": lambda row: track((0, row["mean"] / most, f"m-{row['mode'][:4].strip()}")),
        "mean, s #": digits("mean", 3),
        "sooner than off, % #": digits("sooner"),
        "target, % #": digits("goal"),
        "met": yes_no("met"),
    }
    limit = "limit: a fresh pytest with only the fastest failing test. Process start to process end."
    missed = [str(row["mode"]) for row in rows if row["met"] is False]
    findings = [(WARN, f"Fail-fast misses its target in {' and '.join(missed)}.")] if missed else []
    quick = "hard" if "hard" in means else "off"
    caption = f"until a failure shows in {quick} mode, {duration(means['off'])} in off"
    body = [table(rows, columns), tag("p", limit, class_="more"), *per_fault(faults, times), *last]
    return Part(WARN if missed else GOOD, duration(means[quick]), caption, body, findings)


def per_fault(faults: Sequence[Mapping[str, Any]], times: Mapping[str, Sequence[float | None]]) -> list[Html]:
    rows = [dict(zip(MODES, found, strict=True)) for found in zip(*times.values(), strict=True)]
    rows = [{**row, "fault": fault.get("fault")} for row, fault in zip(rows, faults, strict=True)]
    rows.sort(key=lambda row: -amount(row, "hard"))
    most = max(amount(row, mode) for row in rows for mode in MODES)
    kinds = {f"m-{mode[:4].strip()}": mode for mode in MODES}
    columns: Columns = {
        "fault": named("fault"),
        f"0 to {duration(most)}": lambda row: track(
            RAIL, *((amount(row, m) / most, 0.01, k) for k, m in kinds.items())
        ),
        **{f"{mode}, s #": digits(mode, 3) for mode in MODES},
    }
    return [heading("Per fault, the latest in hard mode first", kinds), table(rows, columns, FAILFAST)]


def stopped(e: Evidence) -> list[Html]:
    """The last run that stopped at a failure."""
    if not (first := e.get(FAILFAST, "first_failure")):
        return []
    facts = {"mode": e.get(FAILFAST, "mode"), "first failure": ident(dig(first, "id")), "says": dig(first, "message")}
    facts |= {"shown after, s": fixed(e.get(FAILFAST, "elapsed_to_detection_s"))}
    facts |= {"tests run": e.get(FAILFAST, "tests_run"), "order": e.get(FAILFAST, "order")}
    return [heading("The last run that stopped at a failure"), fact_table(facts)]


def fact_table(facts: Mapping[str, object]) -> Html:
    rows = [{"what": name.replace("_", " "), "value": value} for name, value in facts.items() if value is not None]
    return table(rows, {"what": "what", "value": "value"})


def show_properties(e: Evidence) -> Part:
    rows, runs = e.rows(PROPERTIES, "tests"), int(e.number(PROPERTIES, "runs") or 0)
    if not rows:
        return Part(NONE, "-", "no property has been run")
    rows.sort(key=lambda row: (not row.get("problems"), -amount(row, "runtime_ms.mean"), str(row.get("id"))))
    columns: Columns = {
        "property": named("id"),
        f"{runs} runs, first to last": lambda row: strip(run_letters(row, runs), {"F": BAD, "d": WARN, ".": "ok"}),
        "state": lambda row: badge(BAD, plain(row["problems"])) if row.get("problems") else badge(GOOD),
        "examples a run #": "examples.run",
        **{f"{rank}, ms #": digits(f"runtime_ms.{rank}") for rank in ("mean", "p95", "max")},
    }
    keys = {"ok": "passed, same examples", WARN: "other examples", BAD: "did not pass"}
    facts = [plain(e.get(PROPERTIES, path)) for path in ("mismatches", "false_failures.percent", "control.shown")]
    said = "Seed {}: {} mismatches, {} % false failures; another seed gives other examples: {}."
    body = [tag("p", said.format(e.get(PROPERTIES, "seed"), *facts)), tag("p", legend(keys))]
    body.append(table(rows, columns, PROPERTIES))
    for row in rows[:SHOWN]:
        for example in rows_of(row.get("falsifying_examples"))[:3]:
            shown = Html(escape(visible(plain(example), 2000)))
            body += [tag("p", "Falsified: ", ident(row.get("id"))), tag("pre", shown)]
    wrong = sum(bool(row.get("problems")) for row in rows)
    findings = [(BAD, f"{wrong} of {len(rows)} properties do not hold.")] if wrong else []
    caption = f"of {len(rows)} properties hold in {runs} runs"
    return Part(BAD if wrong else GOOD, f"{len(rows) - wrong}", caption, body, findings)


def run_letters(row: Mapping[str, Any], runs: int) -> str:
    """Per run: . passed on the commonest stream of examples, d on another, F did not pass, - is not known."""
    letters = dict.fromkeys(range(1, min(runs, STEPS) + 1), "-")
    for place, stream in enumerate(rows_of(row.get("streams"))):
        letter = "F" if stream.get("outcome") not in ("passed", "xfailed") else "d" if place else "."
        letters |= {run: letter for run in stream["runs"] if run in letters}
    return "".join(letters.values())


def show_gates(e: Evidence) -> Part:
    gates, triggers = e.rows(VERDICTS, "gates"), e.rows(VERDICTS, "triggers")
    if not gates and not e.incidents:
        return Part(NONE, "-", "no gate has judged")
    findings = [
        (BAD, f"Incident {row['id']} is not resolved.") for row in e.incidents if row.get("state") != "resolved"
    ]
    for row in (row for row in gates if row.get("verdict") != "pass"):
        state = BAD if row.get("enforcement") == "hard" else WARN
        findings.append((state, f"Gate {row.get('gate')}, {row.get('verdict')}: {plain(row.get('value'))}"))
    order = {"pass": 2, "insufficient data": 1}
    gates.sort(key=lambda row: (order.get(str(row.get("verdict")), 0), row.get("enforcement") != "hard"))
    columns = {**same("gate verdict enforcement value limit remedy"), "verdict": judged_as("verdict")}
    body = [table(gates, columns)]
    columns = {"trigger": "name", **same("state value limit evidence"), "state": judged_as("state")}
    body += [heading("Rollback triggers"), table(triggers, columns)] if triggers else []
    incidents = sorted(e.incidents, key=lambda row: row.get("state") == "resolved")
    columns = {"incident": "id", "state": judged_as("state"), "resolved because": "resolution.reason"}
    columns["triggers"] = lambda row: [trigger.get("name") for trigger in rows_of(row.get("triggers"))]
    body += [heading("Incidents"), table(incidents, columns)] if incidents else []
    state = min((row[0] for row in findings), key=SEVERITY.index, default=GOOD)
    passed = sum(row.get("verdict") == "pass" for row in gates)
    return Part(state, f"{passed} of {len(gates)}", "gates pass", body, findings)


def show_environment(e: Evidence) -> Part:
    keys = "python os platform tools lock_sources extra required_variables seed signature".split()
    facts = fact_table({key: e.get(SIGNATURE, key) for key in keys})
    if reasons := e.rows(REFUSED, "reasons"):
        columns = {"refused because": "code", **same("expected actual remedy")}
        finding = (BAD, f"The environment was refused: {plain([row.get('code') for row in reasons])}.")
        return Part(BAD, "refused", "", [table(reasons, columns), facts], [finding])
    state = GOOD if e.get(SIGNATURE, "recorded") else INFO if SIGNATURE in e.documents else NONE
    return Part(state, plain(e.get(SIGNATURE, "python.full")), "", [facts])


def show_events(e: Evidence) -> Part:
    mine, findings = e.mine, [(BAD, f"The event log does not hold: {row}.") for row in e.log.problems[:3]]
    if any(event["event"] == "logging_deficit" for event in mine):
        findings.append((BAD, "Events were missing: a logging_deficit stands in the log."))
    if not mine:
        return Part(BAD if findings else NONE, "-", "", (), findings)
    begin = moment(mine[0]["timestamp"]) or 0.0
    timed = [
        {**event, "at": (moment(event["timestamp"]) or begin) - begin, "kind": loudness(event)} for event in mine
    ]
    whole, rows = max(timed[-1]["at"], 1e-3), []
    for name in sorted(TAXONOMY):
        seen = [event for event in timed if event["event"] == name]
        drills = sum(event["kind"] == "off" for event in seen)
        ends = {"first": seen[0]["at"], "last": seen[-1]["at"]} if seen else {}
        rows.append({"event": name, "seen": len(seen), "drills": drills, "spots": seen, **ends})
    columns: Columns = {"event": "event", f"0 to {duration(whole)}": lambda row: timeline(row["spots"], whole)}
    columns |= {"seen #": "seen", "drills #": "drills"}
    columns |= {"first, s #": digits("first", 3), "last, s #": digits("last", 3)}
    body = [tag("p", legend({"b1": "info", WARN: "warning", BAD: "error", "off": "drill"})), table(rows, columns)]
    loud = [event for event in timed if event["kind"] in (BAD, WARN)][::-1]
    columns = {"at, UTC": lambda row: row["timestamp"][11:19]}
    columns |= {"level": lambda row: badge(row["kind"], plain(dig(row, "context.level")))}
    columns |= {"event": "event", "script": "context.script"}
    hidden = {"timestamp", "event", "context", "at", "kind"}
    columns["says"] = lambda row: {key: value for key, value in row.items() if key not in hidden}
    body += [heading("Warnings and errors, the latest first"), table(loud, columns, LOG_NAME, 15)] if loud else []
    other = len(e.log.events) - len(mine)
    body += [tag("p", f"{other:,} more of other runs in {LOG_NAME}.", class_="more")] if other else []
    return Part(BAD if findings else GOOD, f"{len(mine):,}", "", body, findings)


def loudness(event: Mapping[str, Any]) -> str:
    levels = {"warning": WARN, "error": BAD}
    return "off" if event.get("drill") else levels.get(str(event["context"].get("level")), "b1")


def timeline(seen: Sequence[Mapping[str, Any]], whole: float) -> Html:
    spots = sorted({(round(STEPS * event["at"] / whole) / STEPS, event["kind"]) for event in seen})
    return track(RAIL, *((x, 0.01, kind) for x, kind in spots))


def show_evidence(e: Evidence) -> Part:
    rows = []
    for name, script in MADE_BY.items():
        document = e.documents.get(name, {})
        state = "damaged" if name in e.problems else "read" if document else "not there"
        rows.append({**document, "name": name, "by": script, "state": state})
    rows.sort(key=lambda row: row["state"] != "damaged")
    columns: Columns = {"artifact": "name", "state": judged_as("state"), "version": "schema_version", "by": "by"}
    columns |= {"made at, UTC": lambda row: minute(row.get("generated_at", "-")), "run": "run_id"}
    columns |= {"commit": lambda row: str(row.get("commit") or "-")[:12], "files differed": "dirty"}
    return Part(BAD if e.problems else INFO, f"{len(e.documents)}", "", [table(rows, columns)])


@dataclass(frozen=True)
class Section:
    """One question of the page, the artifacts that it needs, and what answers it."""

    id: str
    title: str
    needs: tuple[str, ...]
    show: Callable[[Evidence], Part]
    tile: bool = True


SECTIONS = (
    Section("foundation", "Foundation", (CHECKPOINT,), show_foundation),
    Section("tests", "Tests", (BASELINE, DURATIONS), show_tests),
    Section("durations", "How long tests take", (DURATIONS,), show_durations),
    Section("coverage", "Coverage", (BASELINE,), show_coverage),
    Section("flakes", "Flakes", (FLAKES,), show_flakes),
    Section("failfast", "How soon a failure shows", (FAILFAST,), show_failfast),
    Section("properties", "Properties", (PROPERTIES,), show_properties),
    Section("gates", "Gates and incidents", (VERDICTS,), show_gates),
    Section("run", "The run, file by file", (DURATIONS,), show_run, tile=False),
    Section("environment", "Environment", (SIGNATURE,), show_environment, tile=False),
    Section("events", "Events", (), show_events, tile=False),
    Section("evidence", "Evidence", (), show_evidence, tile=False),
)


def answer(section: Section, e: Evidence) -> Part:
    """A section's part. A document of another version, or a forged one, must not take the page with it."""
    try:
        return section.show(e)
    except Exception as error:
        what = f"{section.title}: {' and '.join(section.needs) or LOG_NAME} cannot be shown ({type(error).__name__})."
        return Part(WARN, "?", "cannot be shown", (), [(WARN, what)])


def notes(section: Section, e: Evidence) -> list[Found]:
    """What a reader must know about the evidence of a section, each in one line."""
    found = []
    for name in section.needs:
        document = e.documents.get(name, {})
        version = str(document.get("schema_version"))
        if name in e.problems:
            found.append((BAD, f"{name} is damaged: {e.problems[name]}"))
        elif not document:
            found.append((NONE, f"There is no {name}; python scripts/tests/{MADE_BY[name]} makes it."))
        elif version.partition(".")[0] != KNOWN_VERSION:
            found.append((WARN, f"{name} has version {version}, not {KNOWN_VERSION}.x: some of it may not be shown."))
        if document.get("partial"):
            found.append((WARN, f"{name} is partial: {plain(dig(document, 'partial.reason'))}."))
        commit = str(document.get("commit", ""))
        commits = {commit, str(e.get(BASELINE, "commit") or commit)}
        if document and name != SIGNATURE and len(commits) > 1:  # a signature that still holds is from an earlier run
            found.append((WARN, f"{name} is of another commit than {BASELINE}."))
    return found


def items(found: Sequence[Found], limit: int = 100) -> Html:
    rows = [tag("li", badge(state), tag("span", words)) for state, words in found[:limit]]
    more = [tag("li", "", tag("span", f"{len(found) - limit} more below."))] if len(found) > limit else []
    return tag("ul", *rows, *more, class_="findings") if found else Html()


def render(e: Evidence) -> bytes:
    """The page: the verdict, an answer per tile, what to look at first, the sections."""
    parts = {section: answer(section, e) for section in SECTIONS}
    told = [(state, words, section.id) for section, part in parts.items() for state, words in part.findings]
    told += [(BAD, f"{name} is damaged.", "evidence") for name in e.problems]
    findings: list[Found] = [(state, tag("a", words, href=f"#{place}")) for state, words, place in told]
    findings.sort(key=lambda found: SEVERITY.index(found[0]))
    tiles = [tile(section, part) for section, part in parts.items() if section.tile]
    body = [header(e, findings, parts[SECTIONS[0]]), tag("nav", *tiles, class_="tiles", aria_label="Answers")]
    if findings:
        body.append(tag("section", tag("h2", "Look here first"), items(findings, 12)))
    for section, part in parts.items():
        head = tag("h2", section.title, " ", badge(part.state) if part.state in (BAD, WARN, GOOD) else Html())
        body.append(tag("section", head, items(notes(section, e)), *part.body, id=section.id))
    return f"<!DOCTYPE html>\n{whole_page(e.title, body)}\n".encode()


def header(e: Evidence, findings: Sequence[Found], foundation: Part) -> Html:
    newest = max(e.documents.values(), key=lambda document: str(document.get("generated_at")), default={})
    commit = str(newest.get("commit"))[:12] + ", with changes" * bool(newest.get("dirty"))
    at = minute(newest.get("generated_at"))
    facts = f"commit {commit} · run {newest.get('run_id')} · {at} UTC" if newest else "no artifacts"
    state = findings[0][0] if findings else foundation.state
    counts = Counter(found[0] for found in findings)
    told = f"{counts[BAD]} do not hold, {counts[WARN]} need a look" if findings else "Nothing wrong was found"
    verdict = badge(state, "The foundation holds" if state == GOOD else told)
    return tag("header", tag("h1", e.title), tag("p", facts, class_="facts"), tag("p", verdict, class_="verdict"))


def tile(section: Section, part: Part) -> Html:
    sign = tag("span", SIGNS[part.state], class_=f"badge {part.state}", title=WORDS[part.state])
    name = tag("span", section.title, " ", sign, class_="name")
    return tag(
        "a", name, tag("strong", part.figure), tag("span", part.caption), href=f"#{section.id}", class_=part.state
    )


def whole_page(title: str, body: Sequence[Html]) -> Html:
    from base64 import b64encode
    from hashlib import sha256

    style, script = (b64encode(sha256(source.encode()).digest()).decode() for source in (STYLE, SCRIPT))
    policy = f"default-src 'none'; style-src 'sha256-{style}'; script-src 'sha256-{script}'; img-src data:"
    head = f"""<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
"""
    top = tag("head", Html(head), tag("title", f"{title}: test report"), tag("style", Html(STYLE)))
    return tag("html", top, tag("body", tag("main", *body), tag("script", Html(SCRIPT))), lang="en")


def load(title: str, artifacts: Path) -> Evidence:
    read: dict[str, dict[str, Any]] = {}
    problems: dict[str, str] = {}
    incidents = {path: f"incidents/{path.parent.name}" for path in sorted(artifacts.glob(f"incidents/*/{INCIDENT}"))}
    for path, name in {**{artifacts / name: name for name in MADE_BY}, **incidents}.items():
        try:
            read |= {name: read_artifact(path)} if path.exists() else {}
        except EvidenceError as error:
            problems[name] = str(error).removeprefix(f"{path}: ")
    known = [{**read.pop(name, {"state": "damaged"}), "id": path.parent.name} for path, name in incidents.items()]
    return Evidence(title, read, problems, known, read_log(artifacts / LOG_NAME))


def main(argv: Sequence[str] | None = None) -> int:
    args = Arguments(__doc__ or "", "render_report").parse_args(argv)
    artifacts = args.artifacts or args.root / "artifacts"
    try:
        evidence = load(args.root.name, artifacts)
        page = render(evidence)
        artifacts.mkdir(parents=True, exist_ok=True)
        write_atomic(artifacts / PAGE, page)
        if not (evidence.documents or evidence.problems or evidence.log.events):
            raise EvidenceError(
                f"{artifacts}: expected evidence, got none; python scripts/tests/pipeline.py makes it"
            )
        if not args.quiet:
            show(f"{artifacts / PAGE}: {len(page) / 1024:,.0f} KiB from {len(evidence.documents)} artifacts")
    except EvidenceError as error:
        return complain(PROG, str(error))
    except OSError as error:
        return complain(PROG, f"{artifacts / PAGE}: cannot be written: {error.strerror}; pass another --artifacts")
    except KeyboardInterrupt:
        return complain(PROG, "interrupted; run it again")
    return 1 if evidence.problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
