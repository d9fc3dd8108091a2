"""Which tests cannot be believed? Reads the JUnit files of past runs; tells flaky from broken from outage.

    python scripts/tests/scan_flakes.py [--history DIR] [--last N] [--since WHEN] [--json]

A file is parsed once: what it said is kept in .flakes.sqlite beside it. PLAN.md names the rules.

Reads:  every JUnit XML file under the history folder (default: ARTIFACTS/history), whichever tool wrote it; one
        file is one run. Nothing outside that folder.
Writes: flake.report.json.
Exits:  0 the scan is done; 1 never: a flaky test is for enforce_gates.py to judge; 2 it could not be told.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import stat
import sys
from collections import Counter, defaultdict
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import cache, lru_cache
from itertools import groupby, pairwise
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, os.path.realpath(__file__).rpartition(os.sep)[0])  # where python -P does not look
from events import Arguments, EvidenceError, Run, complain, one_line, redact_text, secret_values, sha256, show

TYPE_CHECKING = False  # what --help does not need is imported where it is used
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime
    from typing import IO, Any, TypeVar

    Keep = Callable[[str, str], str]  # package, its tests as text: the digest by which they are found again
    Result = TypeVar("Result")

# 1.0: first
VERSION = "1.0"
ARTIFACT = "flake.report.json"
STORE = ".flakes.sqlite"

STREAK = 3  # consecutive failing runs that are one breakage, where nothing else failed
CHANCE = 0.05  # failures and passes that change places more seldom than this would be chance: a breakage
OUTAGE_SHARE, OUTAGE_TESTS = 0.2, 5  # this share of a run's tests, and at least so many, failed together
BURST_CHANCE = 1e-6  # so many failures in one run, against the usual number, are no chance
SIGNATURE_CHANCE, SIGNATURE_TESTS = 1e-4, 3  # the same for one signature, and at least so many tests

CHUNK = 1 << 16
MAX_TOKEN = 4 << 20  # expat before 2.6 reads one tag again with every chunk; a whole message may stand in one
MAX_DEPTH, MAX_WORDS = 200, 10_000  # open elements; different names of elements and attributes
MAX_NAMES = 50_000  # test names in memory
MAX_UNWRITTEN = 4 << 20  # characters of lists of tests, before they are written
MAX_RECORDS = 20_000  # failing tests of one run that are remembered by name
MAX_TEXT = 32 << 10  # of a failure's text: so much of its start and of its end
REPEATED = 10  # so many tests that stand twice in a suite, if they are most of it: the suite ran twice
CONTROL = bytes(ord("?") if 0 < code < 32 and code not in (9, 10, 13) else code for code in range(256))

COMMIT_KEYS = ("commit", "git.commit", "git_commit", "vcs.revision", "revision", "github_sha", "ci_commit_sha")
STRIP, MAX_REASONS = 30, 20  # runs and reasons that the table shows


# One test: the verdict.


class Seen(NamedTuple):
    """A test in one run: its attempts in order, p passed and f failed; aside: an outage's result, not its own."""

    run: int
    commit: str | None
    attempts: str
    aside: bool = False

    @property
    def failed(self) -> bool:
        return self.attempts[-1] == "f"

    @property
    def recovered(self) -> bool:
        return "f" in self.attempts and not self.failed


class Breakage(NamedTuple):
    """Consecutive failing runs that are one event: a regression, an outside breakage, or broken from the start."""

    kind: str
    runs: tuple[int, ...]
    ongoing: bool


@dataclass(frozen=True)
class Verdict:
    """What a test is: flaky, suspected or neither (''), by which evidence, in which runs, beside which breakages."""

    kind: str = ""
    evidence: str = ""
    runs: tuple[int, ...] = ()
    breakages: tuple[Breakage, ...] = ()


def judge(sequence: Sequence[Seen]) -> Verdict:
    """The verdict on one test from its runs in order."""
    seen = own_results(sequence)
    loose, bunched = split_streaks([one.failed for one in seen])
    breakages = tuple(breakage_of(seen, streak) for streak in bunched)
    recovered = tuple(one.run for one in seen if one.recovered)
    if recovered:
        return Verdict("flaky", "passed_on_rerun", recovered, breakages)
    passed_on = {one.commit for one in seen if not one.failed} - {None}
    failures = [seen[place] for streak in loose for place in streak if not seen[place].aside]
    disagreed = tuple(one.run for one in failures if one.commit in passed_on and one.attempts == "f")
    if disagreed:
        return Verdict("flaky", "same_commit", disagreed, breakages)
    returned = [streak for streak in loose if streak[0] > 0 and streak[-1] < len(seen) - 1]
    if len(loose) > 1 or any(len(streak) == 1 for streak in returned):
        return Verdict("suspected", "across_commits", tuple(one.run for one in failures), breakages)
    return Verdict(breakages=breakages + tuple(breakage_of(seen, streak) for streak in loose))


def own_results(sequence: Sequence[Seen]) -> list[Seen]:
    """Without what is set aside; but a failure in an outage amid failures of its own belongs to their streak."""
    groups = ([*group] for _, group in groupby(sequence, key=lambda one: one.failed))
    return [
        one for group in groups for one in group if not one.aside or (one.failed and not all(o.aside for o in group))
    ]


def split_streaks(failed: Sequence[bool]) -> tuple[list[list[int]], list[list[int]]]:
    """Streaks of failures that chance explains, and those that it does not: a flake scatters, a breakage bunches.

    The longest streak is taken out while failures and passes change places so seldom that independent failures
    would hardly ever do so, and where it is the only one and has STREAK runs.
    """
    bunched: list[list[int]] = []
    kept = [*range(len(failed))]
    while True:
        groups = [(failing, [*places]) for failing, places in groupby(kept, failed.__getitem__)]
        loose = [places for failing, places in groups if failing]
        longest = max(loose, key=len, default=[])
        failures = sum(map(len, loose))
        alone = len(loose) == 1 and failures >= STREAK
        if len(longest) < 2 or not (alone or chance_of_groups(failures, len(kept) - failures, len(groups)) < CHANCE):
            return loose, sorted(bunched)
        bunched.append(longest)
        kept = [place for place in kept if place not in longest]


def chance_of_groups(failures: int, passes: int, groups: int) -> float:
    """P(at most so many unbroken groups) in a random order of failures and passes (Wald and Wolfowitz 1940)."""
    if not failures or not passes:
        return 1.0
    ways = 0
    for count in range(2, groups + 1):
        some, more = count // 2, (count + 1) // 2  # groups of one kind and of the other
        ways += math.comb(failures - 1, some - 1) * math.comb(passes - 1, more - 1)
        ways += math.comb(failures - 1, more - 1) * math.comb(passes - 1, some - 1)
    return ways / math.comb(failures + passes, failures)


def breakage_of(seen: Sequence[Seen], streak: Sequence[int]) -> Breakage:
    first = streak[0]
    inside = first > 0 and seen[first].commit is not None and seen[first - 1].commit == seen[first].commit
    kind = "broken" if first == 0 else "outside" if inside else "regression"
    return Breakage(kind, tuple(seen[place].run for place in streak), streak[-1] == len(seen) - 1)


# One run: was it an outage?


class Outage(NamedTuple):
    """Tests that failed together in one run, for a reason that is not theirs."""

    run: int
    kind: str  # outage: the whole run is set aside; partial outage: these tests' results in it are
    tests: frozenset[str]


def find_outages(
    ran: Sequence[int], failed: Sequence[Mapping[str, Collection[str]]], lasting: Sequence[Collection[str]]
) -> list[Outage]:
    """The outages among runs: `ran` tests each, `failed` names those that failed and by which signatures.

    Tests that fail for long anyway (`lasting`, per run) are broken, with no outage: they do not count.
    """
    sudden = [
        {test: why for test, why in tests.items() if test not in lasting[run]} for run, tests in enumerate(failed)
    ]
    whole = {run for run, tests in enumerate(sudden) if is_outage(ran[run], len(tests))}
    counts = {run: len(tests) for run, tests in enumerate(sudden) if run not in whole}
    hit: defaultdict[int, set[str]] = defaultdict(set)
    for run, count in counts.items():
        if is_burst(count, [other for place, other in counts.items() if place != run]):
            hit[run].update(sudden[run])
    signatures = Counter((why, run) for run in counts for whys in sudden[run].values() for why in {*whys})
    totals = Counter(why for why, run in signatures.elements())
    for (why, run), count in signatures.items():
        usual = (totals[why] - count + 1) / max(1, len(counts) - 1)
        if count >= SIGNATURE_TESTS and poisson_tail(count, usual) < SIGNATURE_CHANCE:
            hit[run].update(test for test, whys in failed[run].items() if why in whys)
    outages = [Outage(run, "outage", frozenset(failed[run])) for run in whole]
    return sorted(outages + [Outage(run, "partial outage", frozenset(tests)) for run, tests in hit.items()])


def is_outage(ran: int, failed: int) -> bool:
    share = failed / max(1, ran)
    return (
        failed >= MAX_RECORDS
        or (share >= OUTAGE_SHARE and failed >= OUTAGE_TESTS)
        or (share > 0.5 and failed >= SIGNATURE_TESTS)
    )


def is_burst(failed: int, others: Sequence[int]) -> bool:
    """Whether so many failures are no chance, by what is usual: the other runs' median, or what none seen allows."""
    if failed < OUTAGE_TESTS or not others:
        return False
    return poisson_tail(failed, max(sorted(others)[len(others) // 2], 3 / len(others))) < BURST_CHANCE


def poisson_tail(count: int, mean: float) -> float:
    """P(X >= count) for a Poisson variable."""
    term = math.exp(count * math.log(mean) - mean - math.lgamma(count + 1))
    tail = 0.0
    while term > tail * 1e-12:
        tail += term
        count += 1
        term *= mean / count
    return min(1.0, tail)


def lasting_runs(ran: Sequence[int], failed: Collection[int]) -> set[int]:
    """Of the runs in which a test failed, those of streaks of STREAK runs, or all if it never passed."""
    if len(failed) == len(ran):
        return {*failed}
    streaks = [[*runs] for failing, runs in groupby(ran, failed.__contains__) if failing]
    return {run for streak in streaks if len(streak) >= STREAK for run in streak}


def wilson(hits: int, total: int) -> tuple[float, float] | None:
    """95 % interval of a share, in percent (Wilson 1927); None of nothing."""
    if not total:
        return None
    z = 1.959964
    share = hits / total
    middle = share + z * z / (2 * total)
    spread = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    scale = 100 / (1 + z * z / total)
    return max(0.0, (middle - spread) * scale), min(100.0, (middle + spread) * scale)


# The reason of a failure: its exception and message, with all that changes from run to run as `#`.

Reason = tuple[str, str]  # template, and the message it came from

KEPT = {ord(digit): 0xE000 + int(digit) for digit in "0123456789"}  # digits that mean something, while masking
BACK = {kept: chr(digit) for digit, kept in KEPT.items()}
MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?"
    r"|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)"
)
WEEKDAY = r"(?:mon|tues?|wed(?:nes)?|thu(?:rs)?|fri|sat(?:ur)?|sun)(?:day)?"
ZONE = r"(?:[ap]\.?m|z|utc|gmt|[cemw]es?t|[ecmp][sd]t|bst|ist|jst|msk|(?-i:[A-Z][a-z]+/[A-Z]\w+))"
UNIT = r"(?:[num]?s|µs|m?secs?|(?:(?:milli|micro|nano)?second|min|minute|hr|hour|day)s?|[kmgt]i?b|bytes?)"
ROOT = r"(?:/private)?(?:/tmp|/var/folders/[^/\s]+/[^/\s]+/[TC]|/dev/shm|\\Temp)[/\\]"
VOLATILE = (  # a form and its mask, in this order; then every word with a digit goes
    (r"\x1b\[[0-9;?]*[ -/]*[@-~]|#x1b\[[0-9;]*m", ""),  # colours, and as pytest writes them into XML
    (r"([?&][\w.-]+=)[^&\s'\"]+", r"\1#"),
    (r"[/\\](?:home|users)[/\\][^/\\\s]+", "/home/#"),
    (rf"(?:{ROOT})?pytest-of-[^/\\]+[/\\]pytest-[^/\\\s]+(?:[/\\]popen-gw\d+)?(?:[/\\][\w.-]+(?=[/\\]))?", "/tmp/#"),
    (rf"{ROOT}tmp[.-]?\w{{6,12}}\b", "/tmp/#"),
    (ROOT, "/tmp/"),
    (r"(?:datetime\.)?(?:datetime|date|time|timedelta)\((?:[^()]|\([^()]*\))*\)", "#"),
    (r"\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b|\b[0-9a-f]{2}(?:[:-][0-9a-f]{2}){5}\b", "#"),
    (rf"\b{WEEKDAY}\.?,?\s+(?=\d|{MONTH})", ""),
    (rf"\b{MONTH}\b\.?(?=[\s,/-]+\d)|(?<=\d[\s/.-]){MONTH}\b", "#"),
    (rf"(?<=[\d#])\s?(?:{UNIT}|{ZONE})\b|(?<=\s\d{{4}})\sat(?=\s\d?\d:\d)", ""),
    (r"(?<![\w:.])(?=[a-f:]*\d)(?:[0-9a-f]{0,4}:){2,7}[0-9a-f]{0,4}(?![\w:])", "#"),
)
STATUS = r"(?:10[0-3]|20[0-8]|226|30[0-8]|4(?:0\d|1[0-8]|2[1-689]|31|51)|5(?:0[0-8]|1[01]|2\d|30))"  # of HTTP
MEANT = (  # numbers that tell one reason from another
    rf"\b{STATUS}(?:\s*[=!]=\s*|>? but was:? <?){STATUS}\b",
    (
        r"\b(?:errno|winerror|exit(?:ed)?(?:\s+with)?(?:\s+(?:status|code))?|exit_?code|status(?:[_\s]?code)?"
        r"|return_?code|err(?:or)?[_\s]?(?:code|no)|error|code|rc|signal|http(?:/[\d.]+)?|response)\b"
        r"[\s:=#('\"\[<]{0,4}(?:-?\d{1,5}|0x[0-9a-f]{8})\b"
    ),
    r"(?:Error|Exception)\W{0,4}\(-?\d{1,5}(?=,\s*b?['\"])",
    r"\bsqlstate\W{0,3}\w{5}(?:\W{1,3}\d{1,5}\b)?|(?-i:\b(?:ORA|PLS|ERR|WSA|E)[-_]?\d{3,5}\b)",
)
WEB = r"\b(?:https?|status|response|request|url|gateway|server|endpoint|api|get|post|put|patch|delete)\b"
MASKS = r"#(?:[\s,:;/|+.'\"_-]*#)+"
WORD = r"[a-z]*\d[a-z0-9]*|[a-f]{12,}|(?-i:\b(?!http)[bcdfghjklmnpqrstvwxz]{5,}\b)"  # with a digit, or unspeakable


@cache
def form(text: str) -> re.Pattern[str]:
    """A compiled form; a scan without failures compiles none."""
    return re.compile(text, re.IGNORECASE)


@lru_cache(4096)
def template(message: str, own: tuple[str, ...] = ()) -> str:
    """`message` with its volatile parts as `#`; `own` are the test's own names, which are volatile too."""
    text = message.translate(BACK)
    for name in own:
        text = text.replace(name, "#")
    if typed := form(r"(?:[a-z_]\w*\.)+[a-z_]\w*(?=:)|\w*(?:Error|Exception)\b").match(text):
        text = typed[0].translate(KEPT) + text[typed.end() :]
    for volatile, mask in VOLATILE:
        text = form(volatile).sub(mask, text)
    for meant in MEANT:
        text = form(meant).sub(_keep, text)
    if form(WEB).search(text):
        text = form(rf"(?<![\w#.:/=-]){STATUS}(?![\w:/%]|[.-]\d)").sub(_keep, text)
    text = form(r"[a-z0-9_+/=-]{16,}").sub(_mask_long, text)
    text = form(WORD).sub(lambda found: _mask_word(found[0]), text)
    text = form(r"(?<![\w#])[-+]#").sub("#", " ".join(text.split()))
    text = form(r"\[#\]").sub("#", form(MASKS).sub("#", text))
    return form(MASKS).sub("#", text).translate(BACK)


def _keep(found: re.Match[str]) -> str:
    return found[0].translate(KEPT)


def _mask_long(found: re.Match[str]) -> str:
    """A token, a base64 text, a nano id: long, and thrown together."""
    text = found[0]
    mixed = re.search("[0-9]", text) and not text.islower() and not text.isupper()
    return "#" if mixed and _changes(text) >= 0.4 * len(text) else text


@lru_cache(4096)
def _mask_word(word: str) -> str:
    """gw3 -> #, order42 -> order#, 3fa9c1 -> #, qSniR9 -> #."""
    letters = word.rstrip("0123456789")
    spoken = letters.isalpha() and re.search("[aeiouyAEIOUY]", letters) and _changes(word) < 0.4 * len(word)
    return f"{letters}#" if spoken and not re.fullmatch("[0-9a-f]{6,}|[0-9A-F]{6,}", word) else "#"


def _changes(word: str) -> int:
    """How often a word changes between small letters, capitals and digits."""
    kinds = [c.islower() - c.isupper() for c in word if c.isalnum()]
    return sum(map(int.__ne__, kinds, kinds[1:]))


E_LINE = re.compile(r"^E(?:\s+(.*))?$")
SAYS_NOTHING = re.compile(r"(?:test )?(?:failed|failure|error)?\W*|contains \d+ failed subtests?", re.IGNORECASE)
DULL = frozenset("assert assertionerror where and not true false none failed expected equals".split())
CUT = "full report in element text]"  # how pytest 9.2 ends a message that it cut


def reason_of(kind: str, message: str, text: str, name: str) -> Reason | None:
    """Why a test failed, from the element's text first (a message may be cut); None if it says nothing."""
    said, words = [], 0
    for line in message_lines(message, text)[:8]:  # later lines are diffs and values
        said.append(line)
        words += sum(word.lower() not in DULL for word in re.findall(r"[A-Za-z]{3,}", line))
        if words >= 3:
            break
    full = " ".join(said)[:500]
    if SAYS_NOTHING.fullmatch(full):
        return None
    if kind and kind.rpartition(".")[2] not in full:
        full = f"{kind[:100]}: {full}"
    own = [part for part in (name, name.partition("[")[0]) if len(part) >= 6]
    return template(full, tuple(own)), full


def message_lines(message: str, text: str) -> list[str]:
    """The lines of the last exception: pytest's E lines, the message, or what a text of another tool begins with."""
    lines = text.splitlines()
    blocks = groupby(lines, lambda line: E_LINE.match(line) is not None)
    marked = [[*rows] for is_marked, rows in blocks if is_marked]
    if marked:
        block = [E_LINE.sub(r"\1", line).strip() for line in marked[-1]]
        typed = re.match(r"[A-Za-z_][\w.]*(?::|$)", block[0])
        crash = [] if typed else re.findall(r"^\S.*:\d+: ([A-Za-z_][\w.]*)$", text, re.MULTILINE)
        return [f"{crash[-1]}: {block[0]}", *block[1:]] if crash else block
    if phase := re.fullmatch(r'failed on (?:setup|teardown) with "(.*?)"?', message, re.DOTALL):
        message = phase[1]
    if not SAYS_NOTHING.fullmatch(message) and not message.endswith(CUT):
        lines = message.splitlines()
    elif "Traceback (most recent call last)" in text:
        lines = [line for line in lines if re.match(r"[A-Za-z_][\w.]*(?::|$)", line)][-1:]
    return [line.strip() for line in lines if line.strip() and not line.startswith(("=== ", "--- FAIL"))]


# One file: what it says about its run.


class UnreadableError(Exception):
    """The file cannot be used; its text is the reason."""


class Record(NamedTuple):
    """A test that did not simply pass: its attempts in order (p passed, f failed), templates of why they failed."""

    test: str
    attempts: str
    reasons: tuple[str, ...] = ()


@dataclass
class Report:
    """What one file says. `groups` names the tests that ran, as digests of lists in the store."""

    run_id: str = ""
    commit: str | None = None
    dirty: bool = False
    timestamp: str | None = None
    tests: int = 0
    passed: int = 0
    failed: int = 0
    errored: int = 0
    skipped: int = 0
    rerun: int = 0
    ran: int = 0  # tests, each once, that were not skipped
    records: list[Record] = field(default_factory=list)
    examples: dict[str, str] = field(default_factory=dict)  # template: one message
    groups: list[str] = field(default_factory=list)


class Child(NamedTuple):
    """One of the OUTCOMES below a <testcase>."""

    tag: str
    teardown: bool = False
    reason: Reason | None = None


OUTCOMES = frozenset("failure error skipped flakyFailure flakyError rerunFailure rerunError".split())


class Element(NamedTuple):
    """One <testcase>: its attempts, why they failed, whether it is no more than the error of a tear-down."""

    kind: str
    attempts: str
    reasons: tuple[Reason, ...] = ()
    teardown: bool = False


SILENT = Element("passed", "p")  # no child says otherwise


def element_of(children: Sequence[Child]) -> Element:
    """Surefire: a flakyFailure is a failed attempt before the pass, a rerunFailure one more after the failure."""
    tags = [child.tag for child in children]
    retries = sum(tag.startswith(("flaky", "rerun")) for tag in tags)
    reasons = tuple(child.reason for child in children if child.reason)
    for kind in ("failure", "error"):
        if kind in tags:
            return Element(kind, "f" + "f" * retries, reasons, all(child.teardown for child in children))
    if retries:
        return Element("passed", "f" * retries + "p", reasons)
    return Element("skipped", "s") if tags else SILENT


def attempts_of(elements: Sequence[Element], retried: bool) -> str:
    """The attempts of one test from its elements in one suite; `retried`: a silent twin is a failed attempt.

    pytest-rerunfailures writes a retried attempt as an element without a child; a failure and the error of its
    tear-down are two elements, but one attempt.
    """
    one = [e for i, e in enumerate(elements) if not (e.teardown and i and elements[i - 1].kind == "failure")]
    earlier, last = one[:-1], one[-1].attempts
    if last == "s" or (not retried and all(element is SILENT for element in earlier)):
        return last
    before = ("f" if element is SILENT and retried else element.attempts.strip("s") for element in earlier)
    return "".join(before) + last


TEST_MODULE = re.compile(r"((?:[^\W\d]\w*\.)*(?:test_\w*|\w+_tests?|conftest))(?:\.(.+))?")
LOWER_MODULE = re.compile(r"([a-z_]\w*(?:\.[a-z_]\w*)*)(?:\.(.+))?")


def node_prefix(classname: str) -> str:
    """tests.test_x.TestA -> tests/test_x.py::TestA; a classname that is not pytest's stays.

    The module is the last part that is named like a test module, else all parts up to the first capital one,
    where classes begin.
    """
    split = TEST_MODULE.fullmatch(classname) or LOWER_MODULE.fullmatch(classname)
    return _node(split[1], split[2]) if split else classname


def _node(module: str, classes: str | None) -> str:
    path = module.replace(".", "/") + ".py"
    return f"{path}::{classes.replace('.', '::')}" if classes else path


def group_of(classname: str, file: str, pytest: bool) -> str:
    """What stands before a test's name in its id, and tells tests of one name apart.

    A node id needs no file, so a test is the same with pytest's `file` attribute and without. The file of another
    tool's test belongs to its id, unless it is absolute.
    """
    path = file.replace("\\", "/")
    module = path.removesuffix(".py").replace("/", ".")
    if path.endswith(".py") and f"{classname}.".startswith(f"{module}."):
        return _node(module, classname[len(module) + 1 :])
    absolute = path.startswith("/") or path[1:2] == ":"
    if path and not (absolute and classname):
        return f"{path}::{classname}" if classname else path
    return node_prefix(classname) if pytest or TEST_MODULE.fullmatch(classname) else classname


CHILDREN = ""  # no attribute is called so


class Reader:
    """Feeds one JUnit file through expat. `keep` takes the tests of a package and returns their digest.

    A passed test costs as little as can be: its start tag appends its attributes to `cases`, and after every
    chunk of the file these move to `tests`. Only the text of a failure is read.
    """

    def __init__(self, keep: Keep) -> None:
        self.report, self.keep = Report(), keep
        self.suite, self.rooted, self.pytest = "", False, False
        self.cases: list[dict[str, Any]] = []  # attributes of the tests read last; the last one may be open
        self.tests: defaultdict[tuple[str, str], dict[str, list[Element] | None]]  # of this suite; None: passed
        self.tests = defaultdict(dict)  # by classname and file, then by name
        self.ran: defaultdict[str, set[str]] = defaultdict(set)  # group: names
        self.records: dict[str, Record] = {}
        self.others = self.ended = 0
        self.ends: list[str] = []
        from defusedxml.ElementTree import XMLParser

        self.parser = XMLParser(forbid_dtd=True).parser  # expat as defusedxml arms it
        self.parser.DefaultHandlerExpand = None
        self.parser.ordered_attributes = False
        self.skip_text()

    def skip_text(self) -> None:
        append, other = self.cases.append, self.start_other

        def start(tag: str, given: dict[str, Any]) -> None:
            if tag == "testcase":
                append(given)
            else:
                other(tag.rpartition("}")[2], given)

        self.parser.StartElementHandler, self.parser.EndElementHandler = start, self.ends.append
        self.parser.CharacterDataHandler = None

    def start_other(self, tag: str, given: dict[str, Any]) -> None:
        if tag == "testcase":  # in a namespace
            self.cases.append(given)
            return
        self.others += 1
        if not self.rooted and tag not in ("testsuites", "testsuite"):
            raise UnreadableError(f"not JUnit: its root is <{one_line(tag, 40)}>")
        self.rooted = True
        if tag in ("testsuite", "testsuites"):
            self.flush()
            self.suite = given.get("name", "")
            self.pytest = self.pytest or "pytest" in self.suite
            self.report.timestamp = self.report.timestamp or moment(given.get("timestamp", ""))
        elif tag == "property" and not self.cases:  # those of a test come after it
            take_property(self.report, given.get("name", "").lower(), given.get("value", ""))
        elif tag == "skipped" and self.cases:
            self.cases[-1].setdefault(CHILDREN, []).append(Child(tag))
        elif tag in OUTCOMES and self.cases:
            self.read_text(tag, given)

    def read_text(self, tag: str, given: Mapping[str, str]) -> None:
        """Collect the text of the outcome that has just begun, without what the test printed."""
        case, message = self.cases[-1], given.get("message", "")
        pieces: list[str] = []
        opened: list[str] = []

        def start(nested: str, _: object) -> None:
            self.others += 1
            opened.append(nested.rpartition("}")[2])

        def text(piece: str) -> None:
            if "system-out" not in opened and "system-err" not in opened:
                pieces.append(piece)
                if len(pieces) > 64:
                    pieces[:] = [_clip("".join(pieces))]

        def end(ended: str) -> None:
            self.ends.append(ended)
            if opened:
                opened.pop()
                return
            self.skip_text()
            reason = reason_of(given.get("type", ""), message, _clip("".join(pieces)), case.get("name", ""))
            child = Child(tag, message.startswith("failed on teardown"), reason)
            case.setdefault(CHILDREN, []).append(child)

        self.parser.StartElementHandler, self.parser.EndElementHandler = start, end
        self.parser.CharacterDataHandler = text

    def feed(self, stream: IO[bytes], clean: bytes | None) -> None:
        fed = unread = spilled = 0
        while data := stream.read(max(CHUNK, unread)):
            fed += len(data)
            self.parser.Parse(data.translate(clean) if clean else data, False)
            self.ended += len(self.ends)
            self.ends.clear()
            unread = fed - self.parser.CurrentByteIndex
            self.check(unread)
            self.sort_out(keep=1)
            if self.report.tests - spilled > MAX_NAMES:
                spilled = self.report.tests
                self.flush(keep=1)
                self.spill()
        if not fed:
            raise UnreadableError("empty")
        self.parser.Parse(b"", True)

    def check(self, unread: int) -> None:
        if unread > MAX_TOKEN:
            raise UnreadableError(f"a single tag or comment of more than {MAX_TOKEN >> 20} MiB")
        if self.report.tests + len(self.cases) + self.others - self.ended > MAX_DEPTH:
            raise UnreadableError(f"elements nested more than {MAX_DEPTH} deep")
        if len(self.parser.intern) > MAX_WORDS:
            raise UnreadableError(f"more than {MAX_WORDS} different names of elements and attributes")

    def sort_out(self, keep: int = 0) -> None:
        """Move all `cases` but the last `keep` to `tests`."""
        count = max(0, len(self.cases) - keep)
        for case in self.cases[:count]:
            tests = self.tests[case.get("classname", ""), case.get("file", "")]
            name = case.get("name", "")
            if name not in tests and CHILDREN not in case:
                tests[name] = None
                continue
            elements = tests.get(name) or [SILENT] * (name in tests)
            elements.append(element_of(case.get(CHILDREN, ())))
            tests[name] = elements
        del self.cases[:count]
        self.report.tests += count

    def flush(self, keep: int = 0) -> None:
        """Settle the suite read so far: which tests ran, and the attempts of those that did not simply pass."""
        self.sort_out(keep)
        odd = {}
        for (classname, file), tests in self.tests.items():
            group = group_of(classname or ("" if file else self.suite), file, self.pytest)
            mine = {name: elements for name, elements in tests.items() if elements}
            odd.update({(group, name): elements for name, elements in mine.items()})
            self.ran[group].update(tests.keys() - mine.keys() if mine else tests)
            self.ran[group].discard("")
        twins = [rows for rows in odd.values() if len(rows) > 1 and all(row is SILENT for row in rows[:-1])]
        repeated = len(twins) >= REPEATED and len(twins) * 2 > sum(map(len, self.tests.values()))
        for (group, name), rows in odd.items():
            self.settle(group, name, rows, not repeated)
        self.tests.clear()

    def settle(self, group: str, name: str, rows: Sequence[Element], once: bool) -> None:
        """`once`: the suite did not run twice, so that twins are retried attempts if pytest wrote them."""
        report = self.report
        retried = once and (self.pytest or ".py" in group)
        attempts = attempts_of(rows, retried)
        kinds = Counter(row.kind for row in rows)
        report.failed += kinds["failure"]
        report.errored += kinds["error"]
        report.skipped += kinds["skipped"]
        if not name:
            return
        if retried:
            report.passed -= sum(row is SILENT for row in rows[:-1])
        report.rerun += max(0, attempts.count("f") - (attempts[-1] == "f"))
        if attempts != "s":
            self.ran[group].add(name)
        if "f" in attempts:
            self.remember(Record(f"{group}\0{name}", attempts), [reason for row in rows for reason in row.reasons])

    def remember(self, record: Record, reasons: Sequence[Reason]) -> None:
        known = self.records.get(record.test)
        if known and (known.attempts[-1] == "f" or record.attempts[-1] == "p"):
            return  # it ran in another suite too: the worse of two results stands
        if not known and len(self.records) >= MAX_RECORDS:
            return
        self.records[record.test] = record._replace(reasons=tuple(dict.fromkeys(mask for mask, _ in reasons)))
        for mask, message in reasons:
            self.report.examples.setdefault(mask, message)

    def spill(self) -> None:
        """Hand the names of the tests that ran to the store, package by package."""
        for package, groups in groupby(sorted(self.ran), _package):
            lists = [[group, *sorted(self.ran[group])] for group in groups]
            self.report.ran += sum(map(len, lists)) - len(lists)
            self.report.groups.append(self.keep(package, "\1".join(map("\0".join, lists))))
        self.ran.clear()

    def close(self) -> Report:
        self.flush()
        self.spill()
        report = self.report
        report.passed += report.tests - report.failed - report.errored - report.skipped
        report.records = [*self.records.values()]
        return report


def _package(group: str) -> str:
    return group[: max(0, group.rfind("/"), group.rfind("."))]


def _clip(text: str) -> str:
    return text if len(text) <= 2 * MAX_TEXT else text[:MAX_TEXT] + "\n" + text[-MAX_TEXT:]


def take_property(report: Report, name: str, value: str) -> None:
    """A property of the run; the first one of a name counts."""
    if name.removeprefix("env.") in COMMIT_KEYS:
        report.commit = report.commit or value or None
    elif name == "run_id":
        report.run_id = report.run_id or value
    elif name == "dirty":
        report.dirty = report.dirty or value.lower() == "true"


def moment(text: str) -> str | None:
    """A time stamp in UTC with microseconds (text order is time order); one without an offset is taken as UTC."""
    from datetime import datetime

    with suppress(ValueError, OverflowError):
        return _utc(datetime.fromisoformat(text.strip()))
    return None


def _utc(when: datetime) -> str:
    from datetime import UTC

    aware = when if when.tzinfo else when.replace(tzinfo=UTC)
    return aware.astimezone(UTC).isoformat(timespec="microseconds")[:26] + "Z"


def read_report(path: Path, keep: Keep) -> Report:
    """Read one JUnit file; UnreadableError says why it cannot be used."""
    from xml.parsers.expat import ExpatError

    from defusedxml import DefusedXmlException

    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(descriptor, "rb", buffering=0) as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise UnreadableError("not a regular file")
        for clean in (None, CONTROL):  # some reporters write raw control characters
            stream.seek(0)
            reader = Reader(keep)
            try:
                reader.feed(stream, clean)
                return reader.close()
            except ExpatError as error:
                reason = f"not well-formed: {error}"
            except DefusedXmlException as error:
                reason = f"refused: {type(error).__name__}"
            except (LookupError, ValueError) as error:
                reason = f"encoding: {error}"
            if "invalid token" not in reason:
                break
        stream.seek(0)
        raise UnreadableError("gzip, not XML: unpack it" if stream.read(2) == b"\x1f\x8b" else reason)


# What was read before, kept beside the history.


class DamagedError(Exception):
    """The kept data is not what was written."""


SCHEMA = """
    DROP TABLE IF EXISTS version; DROP TABLE IF EXISTS files; DROP TABLE IF EXISTS lists;
    CREATE TABLE version (reader);
    CREATE TABLE files (name PRIMARY KEY, size, mtime, body, digest);
    CREATE TABLE lists (digest PRIMARY KEY, package, body);
    CREATE INDEX packages ON lists (package);
"""


@cache
def reader_version() -> str:
    """Which reader wrote the kept data: this very file, so that no change of a rule meets old data."""
    return _digest(Path(__file__).read_text(encoding="utf-8"))


def _digest(*parts: str) -> str:
    from hashlib import blake2b

    return blake2b("\1".join(parts).encode(), digest_size=16).hexdigest()


class Store:
    """Every file's report and the lists of tests it names, in SQLite; without a path in a temporary database."""

    def __init__(self, path: Path | None) -> None:
        import sqlite3

        self.db = sqlite3.connect(path or "", timeout=10)
        self.close = self.db.close
        self.unwritten: dict[str, tuple[str, str]] = {}

    def prepare(self) -> None:
        """Make the tables, if they are not there or are another version's."""
        self.db.execute("PRAGMA synchronous = OFF")  # what a crash damages is read anew
        with suppress(self.db.OperationalError):  # a new file has no tables
            if self.db.execute("SELECT reader FROM version").fetchone() == (reader_version(),):
                return
        self.db.executescript(SCHEMA)
        with self.db:
            self.db.execute("INSERT INTO version VALUES (?)", (reader_version(),))

    def keep(self, package: str, body: str) -> str:
        """Take a list of tests; returns the digest by which reports name it."""
        digest = _digest(package, body)
        self.unwritten[digest] = package, body
        if len(body) > MAX_UNWRITTEN or len(self.unwritten) > MAX_UNWRITTEN >> 10:
            with self.db:
                self._write_lists()
        return digest

    def _write_lists(self) -> None:
        rows = ((digest, *row) for digest, row in self.unwritten.items())
        self.db.executemany("INSERT OR IGNORE INTO lists VALUES (?, ?, ?)", rows)
        self.unwritten.clear()

    def put(self, name: str, mark: tuple[int, int], outcome: Report | str) -> None:
        body = json.dumps(outcome if isinstance(outcome, str) else vars(outcome), separators=(",", ":"))
        with self.db:
            self._write_lists()
            self.db.execute("REPLACE INTO files VALUES (?, ?, ?, ?, ?)", (name, *mark, body, _digest(name, body)))

    def get(self, name: str, mark: tuple[int, int]) -> Report | str | None:
        """What the file said, or why it cannot be read; None if it was not read yet or has changed since."""
        row = self.db.execute("SELECT size, mtime, body, digest FROM files WHERE name = ?", (name,)).fetchone()
        if row is None or row[:2] != mark:
            return None
        if _digest(name, row[2]) != row[3]:
            raise DamagedError
        outcome = json.loads(row[2])
        if isinstance(outcome, str):
            return outcome
        records = [Record(test, attempts, tuple(reasons)) for test, attempts, reasons in outcome.pop("records")]
        return Report(**outcome, records=records)

    def forget(self, present: Collection[str]) -> None:
        """Drop what belongs to files that are gone."""
        if gone := [(name,) for (name,) in self.db.execute("SELECT name FROM files") if name not in present]:
            used = "SELECT value FROM files, json_each(body, '$.groups')"
            with self.db:
                self.db.executemany("DELETE FROM files WHERE name = ?", gone)
                self.db.execute(f"DELETE FROM lists WHERE digest NOT IN ({used})")

    def census(self, reports: Sequence[Report], wanted: Iterable[str]) -> tuple[int, dict[str, int]]:
        """How many tests ran in `reports`, and in which of them (a bit each) those in `wanted` did."""
        runs: defaultdict[str, int] = defaultdict(int)
        for place, report in enumerate(reports):
            for digest in report.groups:
                runs[digest] |= 1 << place
        asked: defaultdict[str, set[str]] = defaultdict(set)
        for test in wanted:
            group, _, name = test.partition("\0")
            asked[group].add(name)
        observed, ran = 0, defaultdict[str, int](int)
        for _, rows in groupby(self._lists(runs), itemgetter(0)):
            names: defaultdict[str, set[str]] = defaultdict(set)
            for _, digest, body in rows:
                for group, *tests in (part.split("\0") for part in body.split("\1")):
                    names[group].update(tests)
                    for name in asked[group].intersection(tests) if group in asked else ():
                        ran[f"{group}\0{name}"] |= runs[digest]
                if sum(map(len, names.values())) > 4 * MAX_NAMES:
                    self._move_to_disk(names)
            observed += self._count(names)
        return observed, ran

    def _lists(self, digests: Collection[str]) -> Iterator[tuple[str, str, str]]:
        """(package, digest, body) of each of these lists, package by package."""
        found = 0
        for package, digest, body in self.db.execute("SELECT package, digest, body FROM lists ORDER BY package"):
            if digest in digests:
                if _digest(package, body) != digest:
                    raise DamagedError
                found += 1
                yield package, digest, body
        if found != len(digests):
            raise DamagedError

    def _move_to_disk(self, names: dict[str, set[str]]) -> None:
        self.db.execute("CREATE TEMP TABLE IF NOT EXISTS names (name PRIMARY KEY) WITHOUT ROWID")
        rows = ((f"{group}\0{name}",) for group, tests in names.items() for name in tests)
        self.db.executemany("INSERT OR IGNORE INTO names VALUES (?)", rows)
        names.clear()

    def _count(self, names: dict[str, set[str]]) -> int:
        if not self.db.in_transaction:
            return sum(map(len, names.values()))
        self._move_to_disk(names)
        (count,) = self.db.execute("SELECT count(*) FROM names").fetchone()
        self.db.rollback()
        return int(count)


def with_store(folder: Path, work: Callable[[Store], Result]) -> Result:
    """Do `work` with the data kept beside the history; anew if it is damaged, without it if that cannot be."""
    import sqlite3

    path = folder / STORE
    if not path.is_symlink() and (path.is_file() or not path.exists()):
        with suppress(sqlite3.OperationalError):  # locked for long, a read-only folder, a full disk
            for _ in range(2):
                try:
                    return with_database(path, work)
                except sqlite3.OperationalError:
                    raise
                except (sqlite3.DatabaseError, DamagedError, KeyError, TypeError, ValueError):
                    with suppress(OSError):
                        path.unlink()
    return with_database(None, work)


def with_database(path: Path | None, work: Callable[[Store], Result]) -> Result:
    with closing(Store(path)) as store:
        store.prepare()
        return work(store)


# The history: which files, which runs, which tests failed in them.


@dataclass(frozen=True)
class Window:
    """Which runs to look at: the last so many, none from before a moment."""

    last: int
    since: str | None


@dataclass(frozen=True)
class History:
    """The window's runs in order, what could not be read, and what the tests that ever failed did."""

    files: Sequence[str]
    reports: Sequence[Report]
    unreadable: Mapping[str, str]
    observed: int
    ran: Mapping[str, int]  # test that failed at least once: the runs in which it ran, one bit each
    failed: Sequence[Mapping[str, Record]]  # per run


def find_files(folder: Path) -> dict[str, os.stat_result | OSError]:
    """What is called XML under `folder`, by its path in it; hidden folders and links are not entered."""
    found: dict[str, os.stat_result | OSError] = {}
    errors: list[OSError] = []
    for place, folders, files in os.walk(folder, onerror=errors.append):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in (*folders, *files):
            if name.lower().endswith((".xml", ".xml.gz")) and not name.startswith("."):
                path = Path(place, name)
                with suppress(FileNotFoundError):  # removed meanwhile
                    found[path.relative_to(folder).as_posix()] = path.lstat()
    for error in errors:
        if error.filename == str(folder):
            raise error
        found[Path(error.filename).relative_to(folder).as_posix()] = error
    return dict(sorted(found.items()))


def read_history(store: Store, folder: Path, window: Window, tell: Callable[[str], None]) -> History:
    """Read what is new in `folder`, then gather the window's runs from what is kept."""
    from datetime import UTC, datetime

    reports: dict[str, Report] = {}
    unreadable: dict[str, str] = {}
    files = find_files(folder)
    for number, (name, state) in enumerate(files.items(), 1):
        tell(f"reading {number} of {len(files)}")
        outcome = read_once(store, folder / name, name, state)
        if isinstance(outcome, str):
            unreadable[name] = one_line(outcome)
        elif not isinstance(state, OSError):
            outcome.timestamp = outcome.timestamp or _utc(datetime.fromtimestamp(state.st_mtime, UTC))
            outcome.run_id = outcome.run_id or name.removesuffix(".xml")
            reports[name] = outcome
    store.forget(files)
    chosen = choose(reports, window)
    failed = [{record.test: record for record in reports[name].records} for name in chosen]
    observed, ran = store.census([reports[name] for name in chosen], {test for tests in failed for test in tests})
    return History(chosen, [reports[name] for name in chosen], unreadable, observed, ran, failed)


def read_once(store: Store, path: Path, name: str, state: os.stat_result | OSError) -> Report | str:
    if isinstance(state, OSError):
        return f"folder: {state.strerror}"
    if not stat.S_ISREG(state.st_mode):
        return "a link, a folder or a device; only regular files are read"
    if re.search("[\ud800-\udfff]", name):
        return "its name is not UTF-8; rename it"
    mark = (state.st_size, state.st_mtime_ns)
    outcome = store.get(name, mark)
    if outcome is None:
        try:
            outcome = read_report(path, store.keep)
        except UnreadableError as error:
            outcome = str(error)
        except OSError as error:
            return error.strerror or str(error)  # not the file's fault: look again next time
        store.put(name, mark, outcome)
    return outcome


def choose(reports: Mapping[str, Report], window: Window) -> list[str]:
    """The window's files, oldest first; runs of one moment in the natural order of their names."""

    def order(name: str) -> tuple[str, list[str | int], str]:
        parts = re.split(r"([0-9]+)", name)
        return reports[name].timestamp or "", [int(p) if i % 2 else p for i, p in enumerate(parts)], name

    recent = [name for name in reports if (reports[name].timestamp or "") >= (window.since or "")]
    return sorted(recent, key=order)[-window.last :]


# The report.


class Scan:
    """What a history says, worked out once: reasons, outages, verdicts. `body` is that of flake.report.json."""

    def __init__(self, history: History) -> None:
        self.history, self.runs = history, range(len(history.files))
        self.commits = [None if report.dirty else report.commit for report in history.reports]
        self.reasons = [{test: record.reasons for test, record in tests.items()} for tests in history.failed]
        self.examples = {reason: text for report in history.reports for reason, text in report.examples.items()}
        self.failing: defaultdict[str, dict[int, Record]] = defaultdict(dict)  # test: run
        for run, tests in enumerate(history.failed):
            for test, record in tests.items():
                self.failing[test][run] = record
        self.outages = {outage.run: outage for outage in self.find_outages()}
        own = [test for test, runs in self.failing.items() if any(not self.is_aside(run, test) for run in runs)]
        self.sequences = {test: self.sequence(test) for test in own}
        self.seen = {test: [one for one in self.sequences[test] if not one.aside] for test in own}
        self.verdicts = {test: judge(self.sequences[test]) for test in self.seen}
        self.ids = self.shown_ids()

    def ran_in(self, test: str) -> list[int]:
        mask = self.history.ran[test]
        return [run for run in self.runs if mask >> run & 1]

    def find_outages(self) -> list[Outage]:
        lasting: list[set[str]] = [set() for _ in self.runs]
        for test, runs in self.failing.items():
            if len(runs) >= STREAK or len(runs) == self.history.ran[test].bit_count():
                for run in lasting_runs(self.ran_in(test), runs):
                    lasting[run].add(test)
        return find_outages([report.ran for report in self.history.reports], self.reasons, lasting)

    def is_aside(self, run: int, test: str) -> bool:
        outage = self.outages.get(run)
        return outage is not None and (outage.kind == "outage" or test in outage.tests)

    def sequence(self, test: str) -> list[Seen]:
        """A test's results; changed files are like no other run of their commit."""
        records = self.failing[test]
        return [
            Seen(
                run,
                self.commits[run],
                records[run].attempts if run in records else "p",
                run in self.outages and self.is_aside(run, test),
            )
            for run in self.ran_in(test)
        ]

    def shown_ids(self) -> dict[str, str]:
        """What to call each test; two that would look the same get a number."""
        taken: Counter[str] = Counter()
        ids = {}
        for test in sorted(self.seen):
            shown = "::".join(part for part in test.split("\0") if part)
            taken[shown] += 1
            ids[test] = shown if taken[shown] == 1 else f"{shown} ({taken[shown]})"
        return ids

    def body(self) -> dict[str, Any]:
        """The report's body; lists of tests are sorted by id."""
        history = self.history
        rows: dict[str, list[dict[str, Any]]] = {kind: [] for kind in ("flaky", "suspected")}
        for test in sorted(self.ids, key=self.ids.__getitem__):
            if self.verdicts[test].kind:
                rows[self.verdicts[test].kind].append(self.test_row(test))
        flaky = rows["flaky"]
        interval = wilson(len(flaky), history.observed)
        return {
            "runs": [self.run_row(run) for run in self.runs],
            "unreadable": [{"file": file, "reason": reason} for file, reason in sorted(history.unreadable.items())],
            "tests_observed": history.observed,
            "flaky": flaky,
            "suspected": rows["suspected"],
            "breakages": sorted(self.breakage_rows(), key=itemgetter("id", "first_run")),
            "rate": {
                "flaky": len(flaky),
                "observed": history.observed,
                "percent": round(100 * len(flaky) / history.observed, 4) if history.observed else None,
                "ci95": [round(bound, 4) for bound in interval] if interval else None,
            },
            "clusters": self.cluster_rows(),
        }

    def run_row(self, run: int) -> dict[str, Any]:
        report, note = self.history.reports[run], None
        if outage := self.outages.get(run):
            why = Counter(reason for test in outage.tests for reason in self.reasons[run][test])
            reason = min(why, key=lambda reason: (-why[reason], reason), default="for unknown reasons")
            note = f"{outage.kind}: {len(outage.tests)} of {report.ran} tests failed together: {reason}"
        fields = "run_id commit timestamp tests passed failed errored skipped rerun".split()
        return {
            "file": self.history.files[run],
            **{name: getattr(report, name) for name in fields},
            "set_aside": note,
        }

    def signatures(self, test: str) -> list[str]:
        """The signatures of a test's failures that count, the most frequent first."""
        counts = Counter(signature(why) for one in self.seen[test] for why in self.reasons[one.run].get(test, ()))
        return sorted(counts, key=lambda name: (-counts[name], name))

    def test_row(self, test: str) -> dict[str, Any]:
        verdict, seen = self.verdicts[test], self.seen[test]
        results = "".join(one.attempts for one in seen)
        failed = [one for one in seen if "f" in one.attempts]
        letters = ["-"] * len(self.runs)
        for one in self.sequences[test]:
            letters[one.run] = "o" if one.aside else "F" if one.failed else "r" if one.recovered else "."
        return {
            "id": self.ids[test],
            "evidence": verdict.evidence,
            "why": in_words(verdict, len(seen)),
            "runs": len(seen),
            "passes": results.count("p"),
            "failures": results.count("f"),
            "flip_rate": round(sum(a != b for a, b in pairwise(results)) / max(1, len(results) - 1), 4),
            "first_failed": self.history.reports[failed[0].run].timestamp,
            "last_failed": self.history.reports[failed[-1].run].timestamp,
            "signatures": self.signatures(test),
            "strip": "".join(letters[-STRIP:]),
        }

    def breakage_rows(self) -> Iterator[dict[str, Any]]:
        for test, verdict in self.verdicts.items():
            for kind, runs, ongoing in verdict.breakages:
                first = self.history.reports[runs[0]]
                yield {
                    "id": self.ids[test],
                    "kind": kind,
                    "ongoing": ongoing,
                    "runs": len(runs),
                    "first_run": self.history.files[runs[0]],
                    "last_run": self.history.files[runs[-1]],
                    "commit": first.commit,
                    "since": first.timestamp,
                    "signatures": self.signatures(test),
                }

    def cluster_rows(self) -> list[dict[str, Any]]:
        """Failures by reason, without those of outages; the largest first."""
        found: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
        for test, seen in self.seen.items():
            for one in seen:
                for reason in self.reasons[one.run].get(test, ()):
                    found[reason].append((one.run, test))
        rows = []
        for reason, failures in found.items():
            runs = sorted({run for run, _ in failures})
            rows.append(
                {
                    "signature": signature(reason),
                    "template": reason,
                    "count": len(failures),
                    "tests": sorted({self.ids[test] for _, test in failures}),
                    "runs": [self.history.files[run] for run in runs],
                    "first_seen": self.history.reports[runs[0]].timestamp,
                    "last_seen": self.history.reports[runs[-1]].timestamp,
                    "example": self.examples[reason],
                }
            )
        return sorted(rows, key=lambda row: (-row["count"], row["signature"]))


@cache
def signature(reason: str) -> str:
    """A short name for a template."""
    return sha256(reason.encode(errors="replace"))[:12]


def in_words(verdict: Verdict, runs: int) -> str:
    count = len(verdict.runs)
    return {
        "passed_on_rerun": f"passed on a rerun in {count} of {runs} runs",
        "same_commit": f"failed {count} of {runs} runs on unchanged commits",
        "across_commits": f"failed {count} of {runs} runs, on no commit that is known to have passed",
    }[verdict.evidence]


# What people read.


def visible(text: str, limit: int = 160) -> str:
    """`text` for a terminal: what would act on it, or hide, as an escape; cut at `limit`."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)
    return one_line(shown, limit)


def ago(then: str | None, now: datetime) -> str:
    from datetime import datetime

    seconds = (now - datetime.fromisoformat(then)).total_seconds() if then else 0
    for name, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {name}{'s' if count > 1 else ''} ago"
    return "just now"


def table(body: Mapping[str, Any], now: datetime) -> Iterator[str]:
    """The report in lines, the worst first."""
    runs, rate = body["runs"], body["rate"]
    aside = [row for row in runs if row["set_aside"]]
    if not runs:
        yield "no run to read: nothing is known about flakes yet"
    else:
        yield f"{len(runs)} runs, {len(aside)} with an outage set aside; {rate['observed']} tests observed"
    if rate["ci95"]:
        low, high = rate["ci95"]
        yield f"{rate['flaky']} flaky: {rate['percent']:.2f} % (95 % interval {low:.2f} to {high:.2f})"
    for kind in ("flaky", "suspected"):
        if body[kind]:
            yield f"\n{kind.upper()}  . passed  F failed  r passed on a rerun  o set aside  - did not run"
        for row in sorted(body[kind], key=lambda row: (-row["failures"], row["id"])):
            yield f"  {visible(row['id'])}"
            yield f"    {row['strip']}  {row['why']}, last {ago(row['last_failed'], now)}{_names(row['signatures'])}"
    yield from _section("BROKEN, not flaky", (_broken(row, now) for row in body["breakages"] if row["ongoing"]))
    yield from _section("REASONS", map(_reason, body["clusters"][:MAX_REASONS]))
    yield from _section("SET ASIDE", (f"{visible(r['file'])}: {visible(r['set_aside'], 240)}" for r in aside))
    yield from _section("UNREADABLE", (f"{visible(r['file'])}: {visible(r['reason'])}" for r in body["unreadable"]))


def _section(title: str, entries: Iterable[str]) -> Iterator[str]:
    lines = [f"  {entry}" for entry in entries]
    yield from [f"\n{title}", *lines] if lines else []


def _broken(row: Mapping[str, Any], now: datetime) -> str:
    place = f" at {visible(row['commit'], 12)}" if row["commit"] and row["kind"] == "regression" else ""
    since = f"{row['kind']}{place}: {row['runs']} runs, since {ago(row['since'], now)}"
    return f"{visible(row['id'])}\n    {since}{_names(row['signatures'])}"


def _reason(row: Mapping[str, Any]) -> str:
    size = f"{row['count']} failures of {len(row['tests'])} tests in {len(row['runs'])} runs"
    return f"[{row['signature']}] {size}\n    {visible(row['template'])}"


def _names(signatures: Sequence[str]) -> str:
    return f"  [{', '.join(signatures[:3])}]" if signatures else ""


# The command.


def parser() -> Arguments:
    flags = Arguments(__doc__ or "", "scan_flakes")
    flags.add_argument(
        "--history", type=Path, metavar="DIR", help="folder of JUnit files (default: ARTIFACTS/history)"
    )
    flags.add_argument("--last", type=_count, default=30, metavar="N", help="look at the last N runs (default: 30)")
    flags.add_argument("--since", type=_since, metavar="WHEN", help="none before: 2026-01-31, or 12h, 7d, 4w ago")
    flags.add_argument("--json", action="store_true", help="the report to standard output, no table")
    return flags


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 10**6:
        raise argparse.ArgumentTypeError(f"{text}: expected a number from 1 on")
    return int(text)


def _since(text: str) -> str:
    from datetime import UTC, datetime, timedelta

    if age := re.fullmatch(r"([0-9]{1,4})([hdw])", text):
        unit = {"h": "hours", "d": "days", "w": "weeks"}[age[2]]
        return _utc(datetime.now(UTC) - timedelta(**{unit: int(age[1])}))
    when = moment(text)
    if when is None:
        raise argparse.ArgumentTypeError(f"{text}: expected a date such as 2026-01-31, or an age such as 7d")
    return when


def progress(quiet: bool) -> Callable[[str], None]:
    """Tells how far the scan is, on a terminal only."""
    if quiet or not sys.stderr.isatty():
        return lambda _: None
    return lambda text: print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def scan(folder: Path, given: bool, window: Window, tell: Callable[[str], None]) -> dict[str, Any]:
    """The body of the report on a folder; only the default folder may be missing."""
    if not folder.is_dir():
        if given or folder.exists():
            found = "a file" if folder.exists() else "nothing"
            raise EvidenceError(f"{folder}: expected a folder of JUnit files, got {found}; pass another --history")
        return Scan(History([], [], {}, 0, {}, [])).body()
    try:
        return Scan(with_store(folder, lambda store: read_history(store, folder, window, tell))).body()
    except OSError as error:
        raise EvidenceError(f"{folder}: cannot be read: {error.strerror}; pass another --history") from None
    finally:
        tell("")


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    artifacts = args.artifacts or args.root / "artifacts"
    history, window = args.history or artifacts / "history", Window(args.last, args.since)
    try:
        run = Run("scan_flakes", args.root, artifacts)
    except EvidenceError as error:
        return complain("scan_flakes.py", str(error))
    fields: dict[str, Any] = {"status": "error", "reason": "unexpected"}
    try:
        body = scan(history, args.history is not None, window, progress(args.quiet))
        document = run.write(ARTIFACT, VERSION, body)
        fields = {"status": "ok", **counts(body)}
        if args.json:
            show(json.dumps(document, indent=1))
        elif not args.quiet:
            from datetime import UTC, datetime

            secrets = secret_values(os.environ)
            show("\n".join(redact_text(line, secrets) for line in table(body, datetime.now(UTC))))
    except (EvidenceError, KeyboardInterrupt) as error:
        fields["reason"] = str(error) or "interrupted; what was read is kept"
        return complain("scan_flakes.py", fields["reason"])
    finally:
        with suppress(EvidenceError):
            run.log.info("flake_scan_complete", **fields)
    return 0


def counts(body: Mapping[str, Any]) -> dict[str, Any]:
    """What the event says of a report."""
    lengths = {key: len(body[key]) for key in ("runs", "unreadable", "flaky", "suspected", "clusters")}
    aside = sum(row["set_aside"] is not None for row in body["runs"])
    return {
        **lengths,
        "set_aside": aside,
        "tests_observed": body["tests_observed"],
        "percent": body["rate"]["percent"],
    }


if __name__ == "__main__":
    raise SystemExit(main())
