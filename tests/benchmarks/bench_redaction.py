"""Does a planted secret survive in any evidence of a chain, and is anything masked that is none?

    PYTHON tests/benchmarks/bench_redaction.py [--seed 1] [--each 3]

PYTHON is an interpreter that has the five packages. Writes a project whose tests let secrets slip in every way that a
test can: the text of an exception or its cause, a compared value, output, logging, a warning, the reason of a skip, a
fixture, a line of source in a traceback, a falsifying example, a test's id, the command line. The secrets are random and
put together here, none is real: tokens by published prefix, URLs with user info, headers, PEM blocks, values beside
their names, also split over lines and in JSON, and the values of environment variables whose names say secret. Beside
them stand look-alikes that are none. Then the scripts run over it in the chain's order, one capture is killed with
SIGKILL, and every byte of the artifacts folder and of what the scripts said is searched. Exits 1 on a survivor or a mask
where none belongs.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import random
import signal
import string
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from xml.etree import ElementTree

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts" / "tests"
MASK = "[redacted]"
LETTERS = string.ascii_letters + string.digits
HEX = "0123456789abcdef"


class Planted(NamedTuple):
    """A text with a secret in it, the parts of it that nobody may find again, and whether its own form tells."""

    kind: str
    text: str
    parts: tuple[str, ...]
    formed: bool = False  # told in a test's id, too, where a bare name=value is source code


def word(chance: random.Random, count: int, letters: str = LETTERS) -> str:
    return "".join(chance.choices(letters, k=count))


def tokens(chance: random.Random) -> Iterator[Planted]:
    """By published prefix; each put together from pieces, so that no scanner trips over this file."""
    upper = string.ascii_uppercase + string.digits
    plain: tuple[tuple[str, str, int], ...] = (
        ("gh", "p_", 36),
        ("gh", "o_", 36),
        ("gh", "s_", 36),
        ("github_", "pat_", 60),
        ("gl", "pat-", 20),
    )
    plain += (("gl", "rt-", 20), ("xox", "b-", 40), ("xa", "pp-", 40), ("AI", "za", 35), ("ya", "29.", 50))
    plain += (("GOC", "SPX-", 28), ("sk_", "live_", 24), ("rk_", "test_", 24), ("wh", "sec_", 32), ("np", "m_", 36))
    plain += (("h", "f_", 34), ("dop", "_v1_", 64), ("shp", "at_", 32), ("gl", "sa_", 32), ("sn", "trys_", 60))
    plain += (("dckr_", "pat_", 27), ("ruby", "gems_", 48), ("hv", "s.", 90), ("sq0", "atp-", 22), ("py", "pi-A", 60))
    plain += (("ATA", "TT3", 60), ("sk", "-proj-A1", 44))
    for first, second, count in plain:
        core = word(chance, count)
        yield Planted(f"token {first}{second}", first + second + core, (core,), formed=True)
    core = word(chance, 16, upper)
    yield Planted("token AWS", "AK" + "IA" + core, (core,), formed=True)
    parts = tuple(word(chance, count) for count in (20, 40, 43))
    yield Planted("token JWT", "ey" + f"J{parts[0]}.ey{'J'}{parts[1]}.{parts[2]}", parts, formed=True)
    parts = (word(chance, 22), word(chance, 43))
    yield Planted("token SG.", "S" + f"G.{parts[0]}.{parts[1]}", parts, formed=True)
    core = word(chance, 33)
    yield Planted("token bot", f"{word(chance, 9, string.digits[1:])}:A" + f"A{core}", (core,), formed=True)
    core = word(chance, 24)
    yield Planted("webhook", f"https://hooks.{'slack'}.com/services/T0/B0/{core}", (core,), formed=True)
    core = word(chance, 60)
    yield Planted("webhook", f"https://{'discord'}.com/api/webhooks/123456/{core}", (core,), formed=True)


def named(chance: random.Random) -> Iterator[Planted]:
    """What stands beside its name, in a header, in a URL, over several lines."""
    forms: tuple[str, ...] = (
        "password={}",
        "DB_PASSWORD: {}",
        "'api_key': '{}'",
        '"client_secret": "{}"',
        "passwd = '{}'",
        "pwd={}",
    )
    forms += (
        "apiKey={}",
        "auth_token={};",
        "token='{}'",
        "secret-key: {}",
        "private_key={}",
        "AWS_SECRET_ACCESS_KEY={}",
    )
    forms += (
        "credentials={}",
        "DATABASE_URL=mysql:{}",
        "passphrase: {}",
        '{{\\"password\\": \\"{}\\"}}',
        "access_token={}&x=1",
    )
    forms += ("password:\n    {}", "token =\n{}", '"secret":\n  "{}"', "api_key=\\\n{}")
    forms += (
        "Authorization: Bearer {}",
        "authorization: token {}",
        "Cookie: session={}; theme=dark",
        "Set-Cookie: id={}",
    )
    forms += ("X-Api-Key: {}", "Proxy-Authorization: Digest {}", "-H 'Authorization: Bearer {}'", "bearer {}")
    forms += (
        "https://user:{}@example.org/x",
        "postgres://app:{}@db:5432/app",
        "redis://:{}@cache/0",
        "https://{}@example.org",
    )
    for form in forms:
        core = word(chance, 20)
        yield Planted(form.format("..."), form.format(core), (core,))
    core = base64.b64encode(f"user:{word(chance, 18)}".encode()).decode()
    yield Planted("Basic", f"Authorization: Basic {core}", (core,))
    yield Planted("Basic", f"got Basic {core}", (core,))
    for kind in ("RSA PRIVATE", "OPENSSH PRIVATE", "EC PRIVATE"):
        rows = tuple(word(chance, 64) for _ in range(4))
        begin, end = (f"-----{edge} {kind} KEY-----" for edge in ("BEGIN", "END"))
        yield Planted("PEM", "\n".join((begin, *rows, end)), rows, formed=True)
        rows = tuple(word(chance, 64) for _ in range(4))
        yield Planted("PEM in JSON", json.dumps("\n".join((begin, *rows, end))), rows, formed=True)
    rows = tuple(word(chance, 64) for _ in range(4))
    yield Planted("PEM cut", "\n".join(("-----BEGIN PRIVATE KEY-----", *rows)), rows)


VARIABLES = (
    "ACME_TOKEN DB_PASSWORD MY_API_KEY SERVICE_SECRET DATABASE_URL SESSION_COOKIE DEPLOY_KEY GCP_CREDENTIALS".split()
)


def innocents(chance: random.Random) -> Iterator[str]:
    """What looks like a secret and is none."""
    for count in (7, 12, 32, 40, 64, 128):
        yield word(chance, count, HEX)
    image = base64.b64encode(bytes(chance.choices(range(256), k=60))).decode()
    yield from (
        str(uuid.UUID(int=chance.getrandbits(128))),
        f"sha256:{word(chance, 64, HEX)}",
        f"data:image/png;base64,{image}",
    )
    yield from (f"commit {word(chance, 40, HEX)}", f"at 0x7f{word(chance, 10, HEX)}", f"run-{chance.getrandbits(60)}")
    yield from (
        "tokenizer",
        "secretary",
        "author",
        "authorship",
        "passwordless login",
        "tokenized text",
        "cookies.txt",
    )
    yield from ("tests/test_token.py::test_secret_rotation[password-reset]", "src/auth/password.py:12", "secrets.py")
    yield from (
        "/usr/lib/python3.11/secrets.py",
        "C:/Users/me/token/README.md",
        "https://example.org/a@b/tokens?page=2",
    )
    yield from ("1.2.3.dev4+g1a2b3c4", "v2.0.0-rc.1", "cpython-311-x86_64-linux-gnu", "2026-01-31T23:59:59.000001Z")
    yield from (
        "keyboard: qwerty",
        "monkey=banana",
        "turkey: 5",
        "the author: Jane",
        "tokenizers==0.19.1",
        "bearer of news",
    )
    yield from ("basic arithmetic", "Basic usage", "a secret was kept", "password must not be empty", "token expired")
    yield from (
        "git@example.org:team/repo.git",
        "me@example.org",
        "sk-learn",
        "task-based",
        "risk-of-ruin",
        "npm_config_cache",
    )
    yield from (
        "password is None",
        "expected token, got NUMBER",
        "KeyError: 'token'",
        "assert author == 'x'",
        "hf_hub_download",
    )


WAYS: dict[str, str] = {  # how a test lets a text slip
    "exception": "def test_{n}():\n    raise RuntimeError({text})\n",
    "cause": "def test_{n}():\n    try:\n        raise KeyError({text})\n    except KeyError as e:\n        raise OSError('no') from e\n",
    "compared": "def test_{n}():\n    assert {{'answer': {text}}} == {{'answer': 1}}\n",
    "output": "def test_{n}():\n    print({text})\n    assert 0\n",
    "logging": "def test_{n}():\n    logging.getLogger('x').error({text})\n    assert 0\n",
    "warning": "def test_{n}():\n    warnings.warn({text})\n    assert 0\n",
    "skip": "def test_{n}():\n    pytest.skip({text})\n",
    "xfail": "@pytest.mark.xfail(reason={text})\ndef test_{n}():\n    assert 0\n",
    "fixture": "@pytest.fixture\ndef f_{n}():\n    raise RuntimeError({text})\ndef test_{n}(f_{n}):\n    pass\n",
    "teardown": "@pytest.fixture\ndef f_{n}():\n    yield\n    raise RuntimeError({text})\ndef test_{n}(f_{n}):\n    pass\n",
    "source": "def test_{n}():\n    value = {text}\n    assert not value\n",
    "group": "def test_{n}():\n    raise ExceptionGroup('many', [ValueError({text})])\n",
    "note": "def test_{n}():\n    e = ValueError('no')\n    e.add_note({text})\n    raise e\n",
}
IN_ID = "@pytest.mark.parametrize('p', [pytest.param(1, id={text})])\ndef test_{n}(p):\n    assert {outcome}\n"
HEAD = "import logging, warnings\nimport pytest\n"
PROPERTY = "from hypothesis import given, strategies as st\n"
FALSIFIED = "@given(st.just({text}))\ndef test_{n}(value):\n    raise RuntimeError(value)\n"


class Corpus:
    """The project, what was planted in it and where."""

    def __init__(self, chance: random.Random, each: int) -> None:
        self.planted: list[tuple[str, Planted]] = []
        self.innocent: list[str] = []
        self.environ = {name: word(chance, 24) for name in VARIABLES}
        self.tests, self.properties, self.harmless, self.broken = HEAD, PROPERTY, HEAD, ""
        for way in sorted(WAYS) * each:
            for secret in chance.sample([*tokens(chance), *named(chance)], 20):
                self.plant(chance, secret, way)
        for _ in range(each):
            for secret in (secret for secret in (*tokens(chance), *named(chance)) if secret.formed):
                passes = chance.choice("01")
                way = f"the id of a test that {'passed' if passes == '1' else 'failed'}"
                self.tests += self.test(IN_ID, self.note(way, secret), len(self.planted), outcome=passes)
            for text in innocents(chance):
                self.innocent.append(text)
                self.harmless += self.test(WAYS["exception"], text, len(self.innocent))
                self.harmless += self.test(IN_ID, text, f"{len(self.innocent)}_id", outcome="0")
        for (name, value), way in zip(self.environ.items(), chance.sample(sorted(WAYS), len(VARIABLES)), strict=True):
            self.plant(chance, Planted("variable", f"{name} was {value}.", (value,)), way)
        for name in sorted(WAYS):
            self.environ[f"{name.upper()}_TOKEN"] = value = word(chance, 24)
            self.plant(chance, Planted("variable", f"got {value}", (value,)), name)
        self.environ["ID_TOKEN"] = value = word(chance, 24)
        self.tests += self.test(IN_ID, self.note("id", Planted("variable", value, (value,))), "variable", outcome="1")
        self.note("the command line", Planted("variable", "", (self.environ["ACME_TOKEN"],)))
        self.broken = f"raise RuntimeError({self.note('collection', next(tokens(chance)))!r})\n"

    def plant(self, chance: random.Random, secret: Planted, way: str) -> None:
        self.tests += self.test(WAYS[way], self.note(way, secret), len(self.planted))
        if chance.random() < 0.1:
            self.properties += self.test(FALSIFIED, secret.text, len(self.planted))

    def note(self, way: str, secret: Planted) -> str:
        self.planted.append((way, secret))
        return secret.text

    @staticmethod
    def test(form: str, text: str, number: object, **more: str) -> str:
        return form.format(n=number, text=repr(text), **more)

    def write(self, root: Path) -> None:
        files = {"test_slips.py": self.tests, "test_property.py": self.properties, "test_harmless.py": self.harmless}
        files |= {"broken/test_broken.py": self.broken, "pytest.ini": "[pytest]\n", ".gitignore": "artifacts/\n"}
        files["slow/test_slow.py"] = f"import time\n{self.tests}\ndef test_zzz():\n    time.sleep(60)\n"
        for name, text in files.items():
            (root / name).parent.mkdir(exist_ok=True)
            (root / name).write_text(text)
        for words in (
            "init -q -b main",
            "add -A",
            "-c user.name=a -c user.email=a@b -c commit.gpgsign=false commit -qm a",
        ):
            subprocess.run(["git", *words.split()], cwd=root, check=True)


QUIET = "-q --no-header --no-summary --tb=no -p no:cacheprovider".split()


def chain(root: Path, corpus: Corpus, said: Path) -> None:
    """The scripts in the chain's order, each over what the one before left; what they say is kept."""
    own = corpus.environ | {"TPR_RUN_ID": "chain", "TPR_SEED": "12345", "TPR_FAILFAST_MODE": "off", "COLUMNS": "200"}
    env = {name: value for name, value in os.environ.items() if not name.startswith(("TPR_", "GITHUB_"))} | own
    argument = f"--deselect=test_slips.py::{corpus.environ['ACME_TOKEN']}"

    def run(script: str, *words: str) -> subprocess.Popen[bytes]:
        with said.open("ab") as output:
            command = [sys.executable, str(SCRIPTS / script), "--root", str(root), *words]
            return subprocess.Popen(command, env=env, cwd=root, stdout=output, stderr=output, process_group=0)

    def finish(script: str, *words: str) -> None:
        code = run(script, *words).wait()
        print(f"{script:26}exit {code}", flush=True)

    finish("validate_env.py", "--allow-unrecorded")
    finish("collect_metrics.py", "--", *QUIET, "broken", "test_harmless.py", "--continue-on-collection-errors")
    for mode in ("off", "soft", "hard"):
        finish(
            "collect_metrics.py", "--failfast-mode", mode, "--", *QUIET, "test_slips.py", "test_harmless.py", argument
        )
    finish("collect_metrics.py", "--", *QUIET, "test_slips.py", "test_harmless.py", argument)
    finish("aggregate_properties.py", "--runs", "2", "--", "test_property.py")
    finish("scan_flakes.py")
    finish("enforce_gates.py")
    finish("emit_checkpoint.py")
    finish("render_report.py")
    killed = run("collect_metrics.py", "--", *QUIET, "slow")
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not any(
        b"test_zzz" in path.read_bytes() for path in (root / "artifacts" / ".capture").glob("*/records.jsonl")
    ):
        time.sleep(0.1)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()


def survivors(places: dict[str, bytes], corpus: Corpus) -> Iterator[tuple[str, Planted, str]]:
    """(way, secret, file) of every secret of which a part is found."""
    for way, secret in corpus.planted:
        for part in secret.parts:
            core = part.strip().encode()
            if found := [name for name, data in places.items() if core in data]:
                yield way, secret, found[0]
                break


def masked(artifacts: Path, corpus: Corpus) -> Iterator[str]:
    """The look-alikes that cannot be read any more: in the JUnit file of the last run, by id and by text."""
    cases: dict[str, str] = {}
    for path in (artifacts / "history").glob("*.xml"):
        for case in ElementTree.parse(path).getroot().iter("testcase"):
            if "test_harmless" in (case.get("classname") or ""):
                cases[str(case.get("name"))] = "".join(case.itertext())
    for number, text in enumerate(corpus.innocent, 1):
        if text not in cases.get(f"test_{number}", ""):
            yield f"{text!r} in the text of an exception"
        if f"test_{number}_id[{text}]" not in cases:
            yield f"{text!r} in a test's id"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--each", type=int, default=3, metavar="N", help="how many of each form (default 3)")
    args = parser.parse_args()
    corpus = Corpus(random.Random(args.seed), args.each)
    with tempfile.TemporaryDirectory() as place:
        root, said = Path(place, "project"), Path(place, "said.txt")
        root.mkdir()
        corpus.write(root)
        chain(root, corpus, said)
        artifacts = root / "artifacts"
        files = {str(path.relative_to(place)): path.read_bytes() for path in artifacts.rglob("*") if path.is_file()}
        left = list(survivors({**files, "what the scripts said": said.read_bytes()}, corpus))
        wrong = list(masked(artifacts, corpus))
    told = Counter((way, secret.kind, file) for way, secret, file in left)
    for (way, kind, file), count in sorted(told.items()):
        print(f"survived: {kind!r} by {way}: {count} in {file}")
    for text in wrong:
        print(f"masked: {text}")
    total, innocent = len(corpus.planted), 2 * len(corpus.innocent)
    print(
        f"{len(files)} files, {sum(map(len, files.values())) / 1e6:.1f} MB; masks: {sum(d.count(MASK.encode()) for d in files.values())}"
    )
    print(
        f"| {total:,} planted secrets in the evidence of a whole chain; {innocent} look-alikes | "
        f"{total - len(left):,} masked (recall {(total - len(left)) / total:.4f}); {len(wrong)} masked wrongly | bench_redaction.py |"
    )
    return 1 if left or wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
