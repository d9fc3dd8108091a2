"""Histories of JUnit files with known truth: written from seeds, or by real pytest runs.

`Plan` says how large and how nasty a history is, `make` draws one, `write` puts it into a folder. The truth is
per test: whether it is flaky, and why each of its failures came to be. Nothing here knows scan_flakes.py.
"""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape, quoteattr

if TYPE_CHECKING:
    from pathlib import Path

START = datetime(2026, 1, 5, 7, 30, tzinfo=UTC)


@dataclass(frozen=True)
class Plan:
    """The size of a history and the odds of what happens in it."""

    tests: int = 2_000
    runs: int = 100
    runs_per_commit: tuple[int, int] = (1, 4)
    flaky: float = 0.03  # share of the tests
    odds: tuple[float, float] = (0.02, 0.5)  # of a flaky test's failure in one attempt, log-uniform
    retries: float = 0.0  # share of the runs that retry a failed test, up to twice
    regressions: int = 6  # commits that break 1 to 15 tests until a later commit mends them, or never
    fixes: int = 2  # commits that mend 1 to 15 tests that failed from the start
    outages: int = 1  # runs in which 20 to 95 % of the tests fail
    partial: int = 0  # runs in which 2 to 8 % of the tests fail, for one reason that is new
    outside: int = 0  # tests that break in the middle of a commit for 3 to 10 runs, alone or in small groups
    reasons: int = 14  # of flaky tests and regressions
    skips: float = 0.01  # share of the tests that are skipped now and then
    new: float = 0.02  # share of the tests that come, go or are renamed on the way


PLAIN = Plan()
HARD = Plan(partial=2, outside=30, retries=0.1)


@dataclass
class Result:
    """One test in one run: its attempts (p passed, f failed, s skipped) and what each failed attempt said."""

    attempts: str = "p"
    messages: list[str] = field(default_factory=list)
    cause: str = ""  # flaky, regression, fix, outage, partial, outside


@dataclass
class RunPlan:
    """One run: what happened to the tests that did not simply pass, and who was absent."""

    number: int
    commit: str
    when: datetime
    results: dict[int, Result] = field(default_factory=dict)
    absent: set[int] = field(default_factory=set)


@dataclass
class Corpus:
    """A history and its truth; tests are numbers, `ids` names them as pytest does."""

    plan: Plan
    ids: list[str]
    runs: list[RunPlan]
    flaky: dict[int, int]  # test: its reason
    broken: dict[int, int]  # test of a regression or a fix: its reason
    victims: dict[str, set[int]]  # outage, partial, outside: its tests


# What failures say. A reason is a kind of failure with its meaningful words and numbers; each occurrence of it
# carries other times, addresses, paths, ids, ports and durations, in one of the spellings that such things have.

Slot = Callable[[random.Random], str]


def moment(rng: random.Random) -> str:
    """Any moment in one of the usual spellings."""
    when = START + timedelta(seconds=rng.uniform(0, 3e7))
    styles: tuple[Callable[[], str], ...] = (
        when.isoformat,
        lambda: when.strftime("%Y-%m-%d %H:%M:%S"),
        lambda: when.strftime("%Y-%m-%d %H:%M:%S,") + f"{rng.randrange(1000):03}",
        lambda: when.strftime("%Y-%m-%dT%H:%M:%S.") + f"{rng.randrange(10**6):06}Z",
        lambda: when.strftime("%a, %d %b %Y %H:%M:%S GMT"),
        lambda: when.strftime("%a %b %e %H:%M:%S %Y"),
        lambda: when.strftime("%b %e %H:%M:%S"),
        lambda: when.strftime("%d/%b/%Y:%H:%M:%S +0000"),
        lambda: when.strftime("%m/%d/%Y %I:%M:%S %p"),
        lambda: when.strftime("%d.%m.%Y %H:%M"),
        lambda: when.strftime("%Y%m%dT%H%M%SZ"),
        lambda: when.strftime("%H:%M:%S.") + f"{rng.randrange(1000):03}",
        lambda: str(int(when.timestamp())),
        lambda: f"{when.timestamp():.3f}",
        lambda: f"{int(when.timestamp() * 1000)}",
        lambda: when.strftime("%B %d, %Y at %I:%M %p"),
        lambda: f"datetime.datetime({when.year}, {when.month}, {when.day}, {when.hour}, {when.minute})",
    )
    return rng.choice(styles)()


def address(rng: random.Random) -> str:
    return f"0x{rng.randrange(1 << 40, 1 << 47):x}"


def port(rng: random.Random) -> str:
    return str(rng.randrange(1024, 65536))


def host(rng: random.Random) -> str:
    dotted = ".".join(str(rng.randrange(1, 255)) for _ in range(4))
    return rng.choice((dotted, f"[fd00::{rng.randrange(1 << 16):x}:{rng.randrange(1 << 16):x}]", dotted))


def letters(rng: random.Random, count: int, alphabet: str = string.ascii_lowercase + string.digits + "_") -> str:
    return "".join(rng.choice(alphabet) for _ in range(count))


def folder(rng: random.Random, noun: str) -> str:
    """A temporary place that a stable noun names."""
    number = rng.randrange(400)
    return rng.choice(
        (
            f"/tmp/pytest-of-runner/pytest-{number}/test_it_{rng.randrange(99)}0/{noun}.db",
            f"/tmp/pytest-of-ci/pytest-{number}/popen-gw{rng.randrange(8)}/test_x0/{noun}.db",
            f"/tmp/tmp{letters(rng, 8)}/{noun}.db",
            f"/var/folders/{letters(rng, 2)}/{letters(rng, 12)}/T/tmp{letters(rng, 8)}/{noun}.db",
        )
    )


def uuid(rng: random.Random) -> str:
    text = f"{rng.getrandbits(128):032x}"
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def lasted(rng: random.Random) -> str:
    seconds = rng.uniform(0.01, 90)
    whole = f"{int(seconds // 60)}m{int(seconds % 60)}s"
    return rng.choice(
        (f"{seconds:.2f}s", f"{seconds:.3f} seconds", f"{int(seconds * 1000)}ms", f"{int(seconds * 1000)} ms", whole)
    )


SLOTS: dict[str, Slot] = {
    "when": moment,
    "address": address,
    "port": port,
    "host": host,
    "id": lambda rng: str(rng.randrange(1, 10**6)),
    "hex": lambda rng: f"{rng.getrandbits(48):012x}",
    "req": lambda rng: f"req-{letters(rng, 6, '0123456789abcdef')}",
    "uuid": uuid,
    "lasted": lasted,
    "small": lambda rng: str(rng.randrange(1, 40)),
    "float": lambda rng: f"{rng.uniform(0, 9):.{rng.randrange(2, 9)}f}",
    "worker": lambda rng: f"gw{rng.randrange(16)}",
    "line": lambda rng: str(rng.randrange(1, 900)),
    "orders": lambda rng: folder(rng, "orders"),
    "users": lambda rng: folder(rng, "users"),
    "ledger": lambda rng: folder(rng, "ledger"),
}

REASONS = (
    "ConnectionResetError: [Errno 104] Connection reset by peer while talking to {host}:{port}",
    "ConnectionRefusedError: [Errno 111] Connection refused: {host}:{port} (attempt {small})",
    "OSError: [Errno 98] error while attempting to bind on address ('127.0.0.1', {port}): address already in use",
    "OSError: [Errno 28] No space left on device, {id} bytes wanted by worker {worker}",
    "requests.exceptions.HTTPError: 502 Server Error: Bad Gateway for url: http://{host}:{port}/v1/orders/{uuid}",
    "requests.exceptions.HTTPError: 503 Server Error: Service Unavailable for url: http://{host}:{port}/v1/orders/{id}",
    "AssertionError: assert 500 == 200",
    "AssertionError: assert 429 == 200",
    "AssertionError: expected status 200, got 504 after {lasted} from {host}:{port}",
    "AssertionError: HTTP 401 for request {uuid} at {when}",
    "sqlite3.OperationalError: unable to open database file {orders}",
    "sqlite3.OperationalError: unable to open database file {users}",
    "sqlite3.OperationalError: unable to open database file {ledger}",
    "TimeoutError: job {req} did not finish within {lasted}",
    "asyncio.exceptions.TimeoutError: <Task pending name='Task-{small}' coro=<poll() at {address}>> waited {lasted}",
    "AssertionError: lock held since {when} by pid {id}",
    "AssertionError: clock went backwards: {when} is before {when}",
    "AssertionError: cache entry {uuid} expired at {when}",
    "psycopg2.errors.DeadlockDetected: deadlock detected, process {id} waits for ShareLock on transaction {id}",
    "pymysql.err.OperationalError: (1205, 'Lock wait timeout exceeded; try restarting transaction {id}')",
    "pymysql.err.OperationalError: (1213, 'Deadlock found when trying to get lock; try restarting transaction {id}')",
    "subprocess.CalledProcessError: Command '['helper', '--port', '{port}']' returned non-zero exit status 3.",
    "subprocess.CalledProcessError: Command '['helper', '--port', '{port}']' died with exit status 137.",
    "RuntimeError: worker {worker} crashed while running at {address}",
    "AssertionError: assert {float} < 0.5",
    "StopAsyncIteration: stream {uuid} closed early after {small} messages",
    "KeyError: 'session-{hex}'",
    "ValueError: token issued at {when} is not yet valid",
    "BlockingIOError: [Errno 11] Resource temporarily unavailable",
    "grpc.RpcError: StatusCode.UNAVAILABLE (code=14) connect failed to {host}:{port} at {when}",
    "grpc.RpcError: StatusCode.DEADLINE_EXCEEDED (code=4) after {lasted} talking to {host}:{port}",
    "RuntimeError: can't start new thread (thread {id} of {small})",
    "AssertionError: order of events differs: event {small} before event {small}",
    "FileNotFoundError: [Errno 2] No such file or directory: '{orders}'",
    "PermissionError: [Errno 13] Permission denied: '{orders}'",
    "ssl.SSLError: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed, valid from {when}",
)
OUTAGE_REASONS = (
    "socket.gaierror: [Errno -3] Temporary failure in name resolution for db-{hex}.internal",
    "docker.errors.APIError: 500 Server Error: container {hex} is not running",
    "psycopg2.OperationalError: could not connect to server at {host} port {port}: {when}",
    "OSError: [Errno 30] Read-only file system: '{orders}'",
    "MemoryError: worker {worker} ran out of memory at {address}",
    "redis.exceptions.ConnectionError: Error 113 connecting to {host}:{port}. No route to host.",
    "OSError: [Errno 24] Too many open files: '{users}'",
    "RuntimeError: fixture server did not come up within {lasted}",
)
OUTSIDE_REASONS = (
    "requests.exceptions.SSLError: certificate of mirror.example expired at {when}",
    "AssertionError: exchange rate of {when} is missing",
    "urllib.error.HTTPError: HTTP Error 403: rate limit of {id} exceeded",
    "AssertionError: assert 410 == 200",
    "LookupError: feed has no entry for {when}",
)


def occurrence(reason: str, rng: random.Random) -> str:
    """The reason as it reads this time."""
    for name, slot in SLOTS.items():
        while "{" + name + "}" in reason:
            reason = reason.replace("{" + name + "}", slot(rng), 1)
    return reason


# Drawing a history.


def make(plan: Plan, seed: int) -> Corpus:
    """The history that `seed` draws from `plan`."""
    rng = random.Random(seed)
    runs = _runs(plan, rng)
    order = rng.sample(range(plan.tests), plan.tests)
    count = round(plan.flaky * plan.tests)
    kinds = rng.sample(range(len(REASONS)), min(plan.reasons, len(REASONS)))
    corpus = Corpus(plan, _ids(plan, rng), runs, {test: rng.choice(kinds) for test in order[:count]}, {}, {})
    steady = order[count:]
    _come_and_go(corpus, steady, rng)
    odds = {test: plan.odds[0] * (plan.odds[1] / plan.odds[0]) ** rng.random() for test in corpus.flaky}
    events = _events(corpus, steady, kinds, rng)
    for run in runs:
        retried = rng.random() < plan.retries
        for test, (reason, cause) in events[run.number].items():
            if test not in run.absent:
                attempts = "fff" if retried else "f"
                run.results[test] = Result(attempts, [occurrence(reason, rng) for _ in attempts], cause)
        for test, chance in odds.items():
            attempts = _roll(chance, 3 if retried else 1, rng)
            if "f" in attempts and test not in run.absent and test not in run.results:
                messages = [occurrence(REASONS[corpus.flaky[test]], rng) for attempt in attempts if attempt == "f"]
                run.results[test] = Result(attempts, messages, "flaky")
        for test in rng.sample(steady, round(rng.random() * 2 * plan.skips * len(steady))):
            if test not in run.absent:
                run.results.setdefault(test, Result("s"))
    return corpus


def _runs(plan: Plan, rng: random.Random) -> list[RunPlan]:
    commits: list[str] = []
    while len(commits) < plan.runs:
        commits += [f"{rng.getrandbits(160):040x}"] * rng.randint(*plan.runs_per_commit)
    return [RunPlan(n, commit, START + timedelta(hours=3 * n)) for n, commit in enumerate(commits[: plan.runs])]


def _ids(plan: Plan, rng: random.Random) -> list[str]:
    ids: list[str] = []
    while len(ids) < plan.tests:
        module = f"tests/area_{rng.randrange(12)}/test_part_{len(ids)}.py"
        classes = rng.choice(("", "::TestThings", "::TestThings::TestInner"))
        names = (f"test_case_{n}" + rng.choice(("", "", f"[{n}-x::y]", "[ünï]")) for n in range(rng.randint(5, 40)))
        ids += (f"{module}{classes}::{name}" for name in names)
    return ids[: plan.tests]


def _come_and_go(corpus: Corpus, steady: Sequence[int], rng: random.Random) -> None:
    for test in rng.sample(steady, round(corpus.plan.new * len(steady))):
        change = rng.randrange(1, corpus.plan.runs)
        gone = corpus.runs[:change] if rng.random() < 0.6 else corpus.runs[change:]
        for run in gone:
            run.absent.add(test)


def _roll(chance: float, tries: int, rng: random.Random) -> str:
    attempts = ""
    while len(attempts) < tries and "p" not in attempts:
        attempts += "f" if rng.random() < chance else "p"
    return attempts


def _events(
    corpus: Corpus, steady: Sequence[int], kinds: Sequence[int], rng: random.Random
) -> list[dict[int, tuple[str, str]]]:
    """Per run: the tests that fail whatever their luck, with reason and cause; what comes later wins."""
    plan, runs = corpus.plan, corpus.runs
    events: list[dict[int, tuple[str, str]]] = [{} for _ in runs]
    starts = [n for n in range(1, len(runs)) if runs[n].commit != runs[n - 1].commit]
    middles = [n for n in range(1, len(runs)) if runs[n].commit == runs[n - 1].commit]
    pool = iter(rng.sample(steady, len(steady)))

    def breaks(first: int, last: int, tests: Sequence[int], reason: str, cause: str) -> None:
        for run in range(first, last):
            for test in tests:
                events[run][test] = reason, cause

    for number in range(plan.regressions + plan.fixes if starts else 0):
        kind = rng.choice(kinds)
        tests = [next(pool) for _ in range(rng.randint(1, 15))]
        corpus.broken.update(dict.fromkeys(tests, kind))
        later = rng.choice(starts)
        if number < plan.regressions:
            ends = [*[n for n in starts if n > later][:8], len(runs)]
            breaks(later, rng.choice(ends), tests, REASONS[kind], "regression")
        else:
            breaks(0, later, tests, REASONS[kind], "fix")
    left = plan.outside if middles else 0
    while left:
        tests = [next(pool) for _ in range(min(left, rng.choice((1, 1, 1, 2, 3, 6))))]
        left -= len(tests)
        first = rng.choice(middles)
        last = min(len(runs), first + rng.randint(3, 10))
        reason = rng.choice((rng.choice(OUTSIDE_REASONS), REASONS[rng.choice(kinds)]))
        corpus.victims.setdefault("outside", set()).update(tests)
        breaks(first, last, tests, reason, "outside")
    new = rng.sample(OUTAGE_REASONS, len(OUTAGE_REASONS))
    for number in range(plan.partial + plan.outages):
        cause = "partial" if number < plan.partial else "outage"
        share = rng.uniform(0.02, 0.08) if cause == "partial" else rng.uniform(0.2, 0.95)
        tests = rng.sample(range(plan.tests), round(share * plan.tests))
        corpus.victims.setdefault(cause, set()).update(tests)
        run = rng.randrange(len(runs))
        reasons = [new[number % len(new)]] if cause == "partial" else rng.sample(new, 3)
        for test in tests:
            breaks(run, run + 1, [test], rng.choice(reasons), cause)
    return events


# Writing it down.


def write(corpus: Corpus, folder: Path, dialect: str = "pytest") -> None:
    """One JUnit file per run: `pytest` as its xunit2 with pytest-rerunfailures, `capture` as collect_metrics.py."""
    for run in corpus.runs:
        (folder / f"run-{run.number}.xml").write_text(render(corpus, run, dialect), encoding="utf-8")


def render(corpus: Corpus, run: RunPlan, dialect: str) -> str:
    cases = []
    for test, name in enumerate(corpus.ids):
        if test not in run.absent:
            cases.append(_case(name, run.results.get(test, Result()), dialect))
    stamp = run.when.isoformat(timespec="microseconds")
    return (
        '<?xml version="1.0" encoding="utf-8"?><testsuites name="pytest tests">'
        f'<testsuite name="pytest" tests="{len(cases)}" timestamp="{stamp}" hostname="box"><properties>'
        f'<property name="commit" value="{run.commit}"/></properties>{"".join(cases)}</testsuite></testsuites>'
    )


def _case(name: str, result: Result, dialect: str) -> str:
    file, *classes, function = name.partition("[")[0].split("::")
    classname = ".".join([file.removesuffix(".py").replace("/", "."), *classes])
    attributes = f"classname={quoteattr(classname)} name={quoteattr(function + name[len(name.partition('[')[0]) :])}"
    if dialect == "capture":
        attributes += f" file={quoteattr(file)}"
    attributes += ' time="0.001"'
    if result.attempts == "s":
        return f'<testcase {attributes}><skipped type="pytest.skip" message="not today">x</skipped></testcase>'
    if dialect == "pytest":
        early = f"<testcase {attributes} />" * (len(result.attempts) - 1)
        if result.attempts[-1] == "p":
            return f"{early}<testcase {attributes} />"
        return f"{early}<testcase {attributes}>{_failure('failure', result.messages[-1], file)}</testcase>"
    tags = ["flakyFailure"] * 3 if result.attempts[-1] == "p" else ["failure", "rerunFailure", "rerunFailure"]
    children = (_failure(tag, message, file) for tag, message in zip(tags, result.messages, strict=False))
    return f"<testcase {attributes}>{''.join(children)}</testcase>"


def _failure(tag: str, message: str, file: str) -> str:
    crash = f"{file}:17: {message.partition(':')[0]}"
    text = f"    def test_it():\n        prepare()\n>       act()\nE       {message}\n\n{crash}"
    return f"<{tag} message={quoteattr(message)}>{escape(text)}</{tag}>"
