"""The order of a fail-fast mode: a pure function of the baseline, the change and the collected ids."""

from __future__ import annotations

import functools
import json
import math
import os
import random
import re
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import conftest as platform
else:
    from root_conftest import platform


Change, Order = platform.Change, platform.Order
pytestmark = pytest.mark.unit


def row(path: str, *names: str, seconds: float = 1.0) -> dict[str, Any]:
    return {"path": path, "seconds": seconds, "names": list(names)}


Covered = dict[str, dict[str, str]]  # source file -> {test file: line ranges}


def baseline(files: list[dict[str, Any]], covered: Covered | None = None, *failed: str) -> dict[str, Any]:
    """A map as a capture writes it."""
    number = {file["path"]: index for index, file in enumerate(files)}
    sources = [
        {"path": name, "covered_by": [{"file": number[path], "lines": lines} for path, lines in rows.items()]}
        for name, rows in (covered or {}).items()
    ]
    return {"files": files, "sources": sources, "failed": list(failed), "rootdir": ".", "commit": "c" * 40}


def changed(path: str, *lines: int, words: str = "") -> platform.Change:
    return Change(path, frozenset(lines), frozenset(words.split()), path)


class Item:
    """As much of a pytest item as the order looks at."""

    def __init__(self, nodeid: str, parent: object = None, originalname: str = "") -> None:
        self.nodeid, self.parent, self.originalname = nodeid, parent, originalname


def sort(order: platform.Order, *ids: str) -> list[str]:
    return [item.nodeid for item in order.sort(cast("list[pytest.Item]", [Item(one) for one in ids]))]


A, B, C = row("tests/test_a.py", "test_x"), row("tests/test_b.py", "test_y"), row("tests/test_c.py", "test_z")


@pytest.mark.parametrize(
    ("known", "changes", "expected"),
    [
        pytest.param(
            baseline([A, B, C], {"src.py": {"tests/test_a.py": "1-5", "tests/test_b.py": "1-9"}}),
            [changed("src.py", 5, 6, 7)],
            ["tests/test_b.py", "tests/test_a.py"],
            id="most changed lines first",
        ),
        pytest.param(
            baseline([A, B], {"src.py": {"tests/test_a.py": "1", "tests/test_b.py": "1"}}),
            [changed("src.py", 1, words="y")],
            ["tests/test_b.py", "tests/test_a.py"],
            id="among equals, the name that matches",
        ),
        pytest.param(
            baseline(
                [row("tests/test_a.py", seconds=2), row("tests/test_b.py", seconds=1)],
                {"src.py": {"tests/test_a.py": "1", "tests/test_b.py": "1"}},
            ),
            [changed("src.py", 1)],
            ["tests/test_b.py", "tests/test_a.py"],
            id="among equals, the cheapest",
        ),
        pytest.param(
            baseline([A, B, C], {"src.py": {"tests/test_b.py": "1"}}, "tests/test_a.py::TestX::test_x"),
            [changed("src.py", 1), changed("tests/test_c.py", 3)],
            ["tests/test_b.py", "tests/test_c.py", "tests/test_a.py"],
            id="covering, then edited, then failed last time",
        ),
        pytest.param(
            baseline([A, B]),
            [changed("tests/test_new.py"), changed("tests/test_a.py", 1)],
            ["tests/test_new.py", "tests/test_a.py"],
            id="a new test file counts as edited",
        ),
        pytest.param(
            baseline([A, B], {"pkg/mod.py": {"tests/test_b.py": "1-9"}}),
            [changed("pkg/speedups.c", 40)],
            ["tests/test_b.py"],
            id="a C extension: the tests of its folder",
        ),
        pytest.param(
            baseline([A, B], {"pkg/mod.py": {"tests/test_b.py": "1-9"}}),
            [changed("pkg", 1)],
            ["tests/test_b.py"],
            id="a submodule: the tests of what is in it",
        ),
        pytest.param(
            baseline([row("tests/one/test_a.py"), row("tests/two/test_b.py")]),
            [changed("tests/two/data/table.json", 1)],
            ["tests/two/test_b.py"],
            id="a data file of tests: the tests about it",
        ),
        pytest.param(
            baseline([A, B], {"src.py": {"tests/test_b.py": "5"}}),
            [changed("src.py", 1)],
            ["tests/test_b.py"],
            id="a line that no test reached: the tests of its file",
        ),
        pytest.param(
            baseline([A, B]), [changed("pyproject.toml", 1)], [], id="configuration of all: nothing is nearer"
        ),
    ],
)
def test_likely_files(known: dict[str, Any], changes: list[platform.Change], expected: list[str]) -> None:
    assert list(platform.make_order(known, changes).files) == expected


def test_a_real_hit_comes_before_any_number_of_vague_ones() -> None:
    known = baseline([A, B], {"src.py": {"tests/test_a.py": "9"}, "other.py": {"tests/test_b.py": "1"}})
    changes = [changed("src.py", 9), *(changed("other.py", 50 + number) for number in range(50))]
    assert platform.make_order(known, changes).files[0] == "tests/test_a.py"


def test_within_a_file_the_names_that_share_rare_words_go_first() -> None:
    names = ["test_parse_empty", "test_parse_cookie", "test_parse_header"]
    known = baseline([row("tests/test_a.py", *names)], {"src.py": {"tests/test_a.py": "1"}})
    order = platform.make_order(known, [changed("src.py", 1, words="parse cookie")])
    ids = [f"tests/test_a.py::{name}" for name in names]
    assert sort(order, *ids) == [ids[1], ids[0], ids[2]]


def test_within_a_file_the_tests_whose_code_names_what_changed_go_first() -> None:
    """By rarity among the file's tests; the change's own definitions count twice; a decorator hides nothing."""

    class Holder:
        def test_common(self) -> None:
            jar.put(sys)  # type: ignore[name-defined]  # noqa: F821 - never run

        def test_line(self) -> None:
            sys.exc_info()

        def test_definition(self) -> None:
            [each.take() for each in jar]  # type: ignore[name-defined]  # noqa: F821

        test_other = test_common
        test_wrapped = functools.wraps(test_definition)(lambda: None)

    ids = [f"t.py::Holder::{name}" for name in vars(Holder) if name.startswith("test")]
    items = [Item(one, SimpleNamespace(obj=Holder), one.rpartition("::")[2]) for one in ids]
    known = baseline([row("t.py")], {"src.py": {"t.py": "1"}})
    order = platform.make_order(known, [Change("src.py", frozenset([1]), names={"take": 2, "exc_info": 1, "put": 1})])
    ranked = [item.nodeid for item in order.sort(cast("list[pytest.Item]", items))]
    assert [name.rpartition("_")[2] for name in ranked] == ["definition", "wrapped", "line", "common", "other"]


def test_a_change_names_its_lines_identifiers_and_its_definitions(repo: Repo) -> None:
    """A definition counts 2; text that is not Python names nothing."""
    (repo.root / "pkg" / "mod.py").write_text("def one():\n    return helper.call(2)\n")
    (repo.root / "README.md").write_text("words of prose\n")
    found = platform.read_changes(repo.root, "HEAD", repo.root, repo.map.parent)
    names = {change.path: change.names for change in found}
    assert {"helper": 1, "call": 1, "one": 2}.items() <= names["pkg/mod.py"].items()
    assert names["README.md"] == {}


def test_parameters_of_a_test_say_nothing_about_the_change() -> None:
    order = Order("", ("t.py",), {"cookie": 5.0})
    assert sort(order, "t.py::test_a", "t.py::test_b[cookie]", "t.py::test_cookie[a]")[0] == "t.py::test_cookie[a]"


def test_what_is_not_likely_keeps_its_place_behind_the_likely() -> None:
    order = Order("", ("c.py",), {"late": 1.0})
    ids = ["b.py::test_3", "a.py::test_1", "c.py::test_2", "b.py::test_late"]
    assert sort(order, *ids) == [ids[2], ids[0], ids[1], ids[3]]


def test_a_word_weighs_more_the_fewer_names_have_it() -> None:
    names = ["test_parse_empty", "test_parse_cookie", "test_header"]
    known = baseline([row("tests/test_a.py", *names)], {"src.py": {"tests/test_a.py": "1"}})
    words = platform.make_order(known, [changed("src.py", 1, words="parse cookie absent")]).words
    assert words == pytest.approx({"parse": math.log(1 + 3 / 2), "cookie": math.log(1 + 3 / 1)})


def test_the_first_files_are_the_likeliest_among_those_asked_for() -> None:
    order = Order("", ("c.py", "a.py", "b.py"))
    assert order.first(2) == ["c.py", "a.py"]
    assert order.first(5, ["b.py", "x.py", "a.py"]) == ["a.py", "b.py"]


def test_the_order_says_how_many_files_and_lines_it_rests_on() -> None:
    known = baseline([A, B], {"src.py": {"tests/test_a.py": "1-3"}})
    said = platform.make_order(known, [changed("src.py", 1, 2), changed("README.md", 7)]).text
    assert said == "1 likely files first (2 files changed, 3 lines of the baseline)"
    none = platform.make_order(known, [changed("README.md", 7)]).text
    assert none == "usual (1 files changed, no test known for them)"


def random_case(seed: int) -> tuple[dict[str, Any], list[platform.Change], list[str]]:
    dice = random.Random(seed)
    words = "read write parse cookie header lock".split()
    files = [
        row(
            f"t{number}.py",
            *(f"test_{dice.choice(words)}_{k}" for k in range(dice.randrange(5))),
            seconds=dice.random(),
        )
        for number in range(dice.randrange(1, 8))
    ]
    ranges = [f"{start}-{start + 9}" for start in range(1, 90, 10)]
    covered = {
        f"s{n}.py": {file["path"]: dice.choice(ranges) for file in files if dice.random() < 0.5} for n in range(4)
    }
    changes = [changed(f"s{dice.randrange(5)}.py", dice.randrange(99), words=dice.choice(words)) for _ in range(4)]
    ids = [f"{file['path']}::{name}" for file in files for name in file["names"]] + ["new.py::test_new"]
    return baseline(files, covered), changes, ids


@pytest.mark.parametrize("seed", range(100))
def test_nothing_is_lost_and_twice_the_same(seed: int) -> None:
    """For any baseline and change, the order holds every id once, and does not depend on the input's own order."""
    known, changes, ids = random_case(seed)
    order = platform.make_order(known, changes)
    assert sorted(sort(order, *ids)) == sorted(ids)
    assert len(set(order.files)) == len(order.files)
    mixed = {**known, "sources": known["sources"][::-1]}
    assert platform.make_order(mixed, changes[::-1]) == order


def test_the_order_is_the_same_under_every_hash_seed() -> None:
    known, changes, ids = random_case(3)
    plain = [[c.path, sorted(c.lines), sorted(c.words)] for c in changes]
    code = (
        "import importlib.util, json, sys\n"
        f"spec = importlib.util.spec_from_file_location('c', {str(platform.__file__)!r})\n"
        "c = importlib.util.module_from_spec(spec); sys.modules['c'] = c; spec.loader.exec_module(c)\n"
        "known, changes, ids = json.load(sys.stdin)\n"
        "made = [c.Change(p, frozenset(l), frozenset(w), p) for p, l, w in changes]\n"
        "order = c.make_order(known, made)\n"
        "class Item:\n  def __init__(self, nodeid): self.nodeid = nodeid\n"
        "print(order.files, [i.nodeid for i in order.sort([Item(i) for i in ids])])\n"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            input=json.dumps([known, plain, ids]),
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(said) == 1


def test_ten_thousand_tests_and_a_hundred_thousand_lines_are_ordered_in_200_ms() -> None:
    dice = random.Random(1)
    words = "read write parse cookie header lock path url merge split".split()
    files = [
        row(f"tests/test_{number}.py", *(f"test_{dice.choice(words)}_{dice.choice(words)}_{k}" for k in range(50)))
        for number in range(200)
    ]
    ranges = ",".join(f"{start}-{start + 9}" for start in range(1, 1000, 20))  # 500 lines
    covered = {f"src{n}.py": {f"tests/test_{dice.randrange(200)}.py": ranges for _ in range(4)} for n in range(50)}
    known = baseline(files, covered)
    items = cast("list[pytest.Item]", [Item(f"{file['path']}::{name}") for file in files for name in file["names"]])
    changes = [changed("src1.py", *range(30, 90), words="parse header"), changed("src9.c", 1)]
    assert len(items) == 10_000
    costs = []
    for _ in range(3):
        platform.name_words.cache_clear()
        began = time.process_time()
        platform.make_order(known, changes).sort(items)
        costs.append(time.process_time() - began)
    tracer = 4 if sys.gettrace() else 1  # under coverage every line costs
    assert min(costs) < 0.2 * tracer


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("test_parseHTTPHeader", "parse http header"),
        ("TestCookieJar::test_set_2", "cookie jar set 2"),
        ("tests/test_io.py", "io"),
        ("", ""),
    ],
)
def test_words_of_a_name(name: str, words: str) -> None:
    assert platform.name_words(name) == set(words.split())


SOURCE = """\
class Jar:
    def put(
        self,
        cookie,
    ):
        def inner():
            return cookie
        return inner

    async def take(self):
        pass

TOP = 1
def broken(:
"""


@pytest.mark.parametrize(
    ("lines", "names"),
    [
        ([4], "Jar put"),
        ([7], "Jar put inner"),
        ([8], "Jar put"),
        ([10, 11], "Jar take"),
        ([13], ""),
        ([14], "broken"),
        ([99], ""),
    ],
)
def test_definitions_around_lines_are_those_that_hold_them(lines: list[int], names: str) -> None:
    assert platform.definitions_around(SOURCE.split("\n"), lines) == set(names.split())


@pytest.mark.parametrize(
    ("ranges", "lines", "count"),
    [("", [1], 0), ("3", [2, 3, 4], 1), ("1-3,7", [0, 1, 2, 3, 4, 7], 4), ("5-9", [], 0)],
)
def test_lines_inside_ranges_are_counted(ranges: str, lines: list[int], count: int) -> None:
    assert platform.count_inside(ranges, lines) == count


# What git says


class Repo:
    """A repository with a module, its test, and a map of its first commit."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "pkg").mkdir()
        (root / "pkg" / "mod.py").write_text("def one():\n    return 1\n\n\ndef two():\n    return 2\n")
        (root / "pkg" / "data.json").write_text("{}\n")
        (root / "tests").mkdir()
        (root / "tests" / "test_mod.py").write_text("def test_one():\n    pass\n" + "# a comment\n" * 20)
        (root / "tests" / "test_rest.py").touch()
        self.git("init", "-q")
        self.commit("first")
        self.map = root / "artifacts" / "test.map.json"
        self.map.parent.mkdir()
        self.write_map()

    def git(self, *words: str) -> str:
        line = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false", *words]
        return subprocess.run(line, cwd=self.root, capture_output=True, text=True, check=True).stdout.strip()

    def commit(self, message: str) -> str:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)
        return self.git("rev-parse", "HEAD")

    def write_map(self, **changes: object) -> None:
        files = [row("tests/test_mod.py", "test_one"), row("tests/test_rest.py")]
        known = baseline(files, {"pkg/mod.py": {"tests/test_mod.py": "1-2,5"}})
        known["commit"] = self.git("rev-parse", "HEAD")
        self.map.write_text(json.dumps({**known, **changes}))

    def changes(self) -> dict[str, tuple[list[int], str]]:
        found = platform.read_changes(self.root, "HEAD~0", self.root, self.map.parent)
        return {change.path: (sorted(change.lines), change.node) for change in found}

    def order(self, rootdir: Path | None = None) -> platform.Order:
        return platform.find_order(self.root, rootdir or self.root, [self.map], self.map.parent)


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repo:
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    return Repo(tmp_path)


def test_a_change_is_seen_wherever_it_stands(repo: Repo) -> None:
    """Committed since the baseline, staged, unstaged and untracked changes count alike; artifacts do not."""
    mod = repo.root / "pkg" / "mod.py"
    mod.write_text(mod.read_text().replace("return 1", "return 9"))
    repo.commit("second")
    (repo.root / "pkg" / "data.json").write_text("[]\n")
    repo.git("add", "-A", "--", "pkg")
    (repo.root / "tests" / "test_mod.py").write_text("def test_one():\n    assert 0\n" + "# a comment\n" * 20)
    (repo.root / "tests" / "test_new ü.py").write_text("")
    (repo.root / "pkg" / "__pycache__").mkdir()
    (repo.root / "pkg" / "__pycache__" / "mod.pyc").write_text("")
    base = json.loads(repo.map.read_text())["commit"]
    found = platform.read_changes(repo.root, base, repo.root, repo.map.parent)
    assert {change.path: sorted(change.lines) for change in found} == {
        "pkg/mod.py": [2],
        "pkg/data.json": [1],
        "tests/test_mod.py": [2],
        "tests/test_new ü.py": [],
    }


def test_a_renamed_file_is_known_by_its_old_path_and_by_its_new_one(repo: Repo) -> None:
    repo.git("mv", "tests/test_mod.py", "tests/test_other.py")
    with (repo.root / "tests" / "test_other.py").open("a") as stream:
        stream.write("def test_two():\n    pass\n")
    assert repo.changes() == {"tests/test_mod.py": ([22, 23], "tests/test_other.py")}
    assert repo.order().files == ("tests/test_other.py",)


def test_a_deleted_source_file_brings_its_tests_to_the_front(repo: Repo) -> None:
    (repo.root / "pkg" / "mod.py").unlink()
    assert repo.order().files == ("tests/test_mod.py",)


def test_a_deleted_definition_counts_by_its_name(repo: Repo) -> None:
    (repo.root / "pkg" / "mod.py").write_text("def one():\n    return 1\n")
    (change,) = platform.read_changes(repo.root, "HEAD", repo.root, repo.map.parent)
    assert "two" in change.words


@pytest.mark.parametrize(
    ("names", "diff", "lines", "words"),
    [
        ("io.py io.py", "--- a/io.py\n+++ b/io.py\n@@ -3 +3,2 @@ def late():\n-x\n+y\n+z\n", {3}, "io"),
        ("a.c a.c", "--- a/a.c\t\n+++ b/a.c\t\n@@ -5,0 +6 @@\n+x\n", {5, 6}, "a c"),
        ("new.c new.c", "--- /dev/null\n+++ b/new.c\n@@ -0,0 +1,2 @@\n+x\n+y\n", {0, 1}, "new c"),
        (
            "io.py io.py",
            "--- a/io.py\n+++ /dev/null\n@@ -7,2 +6,0 @@\n-async def putLine():\n-  1\n",
            {7, 8},
            "io put line",
        ),
        ("io.py os.py", "rename from io.py\nrename to os.py\n", set(), "io"),
        ("x.bin x.bin", "Binary files a/x.bin and b/x.bin differ\n", set(), "x bin"),
    ],
    ids="changed added new deleted renamed binary".split(),
)
def test_one_files_difference_is_its_old_lines_and_the_words_about_them(
    names: str, diff: str, lines: set[int], words: str, tmp_path: Path
) -> None:
    old, new = names.split()
    found = platform.change_of(f"a/{old} b/{new}\nindex 1..2\n{diff}", tmp_path)
    assert replace(found, names={}) == Change(old, frozenset(lines), frozenset(words.split()), new)


def test_each_line_of_a_change_counts_for_the_definition_that_holds_it(tmp_path: Path) -> None:
    (tmp_path / "io.py").write_text("def get():\n    1\ndef put():\n    2\ndef end():\n    3\n")
    diff = "a/io.py b/io.py\n--- a/io.py\n+++ b/io.py\n@@ -1,0 +2,3 @@\n+    1\n+def put():\n+    2\n"
    assert platform.change_of(diff, tmp_path).words == {"io", "get", "put"}


def test_an_added_line_counts_for_the_lines_beside_it(repo: Repo) -> None:
    mod = repo.root / "pkg" / "mod.py"
    mod.write_text(mod.read_text().replace("    return 2", "    raise ValueError\n    return 2"))
    assert repo.changes()["pkg/mod.py"][0] == [5, 6]


@pytest.mark.parametrize(
    "option",
    ["diff.noprefix=true", "diff.mnemonicPrefix=true", "diff.external=false", "color.diff=always", "diff.context=9"],
)
def test_the_users_git_configuration_changes_nothing(repo: Repo, option: str) -> None:
    repo.git("config", *option.split("="))
    (repo.root / "pkg" / "mod.py").write_text("def one():\n    return 9\n\n\ndef two():\n    return 2\n")
    assert repo.changes() == {"pkg/mod.py": ([2], "pkg/mod.py")}


def test_a_source_of_odd_bytes_keeps_its_line_numbers(repo: Repo) -> None:
    mod = repo.root / "pkg" / "mod.py"
    mod.write_bytes(b"# \x0c \xe9 \x1c\n" * 3 + b"def one():\n    return 1\n")
    repo.commit("odd")
    mod.write_bytes(b"# \x0c \xe9 \x1c\n" * 3 + b"def one():\n    return 9\n")
    (change,) = platform.read_changes(repo.root, "HEAD", repo.root, repo.map.parent)
    assert (sorted(change.lines), "one" in change.words) == ([5], True)


def test_a_submodule_that_moved_is_one_change(repo: Repo, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = Repo(tmp_path_factory.mktemp("other"))
    repo.git("-c", "protocol.file.allow=always", "submodule", "add", "-q", str(other.root), "sub")
    repo.commit("with a submodule")
    (repo.root / "sub" / "dirty").write_text("")
    assert repo.changes() == {}
    inside = repo.root / "sub"
    (inside / "pkg" / "mod.py").write_text("")
    for words in (["add", "-A"], ["commit", "-q", "-m", "moved"]):
        subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@e.org", *words], cwd=inside, check=True)
    assert list(repo.changes()) == ["sub"]


def test_a_rootdir_elsewhere_names_tests_its_own_way(repo: Repo) -> None:
    (repo.root / "tests" / "test_mod.py").write_text("")
    (found,) = platform.read_changes(repo.root, "HEAD", repo.root / "tests", repo.map.parent)
    assert (found.path, found.node) == ("tests/test_mod.py", "test_mod.py")
    (found,) = platform.read_changes(repo.root, "HEAD", repo.root.parent, repo.map.parent)
    assert found.node == f"{repo.root.name}/tests/test_mod.py"


# Where the order is not known: the usual one, and why, in one line


SPOIL: dict[str, Callable[[Repo], object]] = {
    "no baseline": lambda repo: repo.map.unlink(),
    "gone commit": lambda repo: repo.write_map(commit="1" * 40),
    "captured without git": lambda repo: repo.write_map(commit=None),
    "another root": lambda repo: repo.write_map(files=[row("elsewhere/test_x.py")]),
    "not JSON": lambda repo: repo.map.write_text("{"),
    "other shape": lambda repo: repo.map.write_text("[1]"),
    "key missing": lambda repo: repo.map.write_text('{"commit": "1"}'),
    "no git": lambda repo: (repo.root / ".git").rename(repo.root / "artifacts" / "git"),
    "nothing": lambda repo: repo.map.touch(),
    "unmapped": lambda repo: (repo.root / "setup.cfg").touch(),
}


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("no baseline", "usual (no baseline: capture one with collect_metrics.py)"),
        ("gone commit", "usual (git does not know the baseline's commit 111111111111)"),
        ("captured without git", "usual (the baseline was captured without git)"),
        ("another root", "usual (the baseline is that of another root)"),
        ("not JSON", "usual (test.map.json cannot be used: JSONDecodeError)"),
        ("other shape", "usual (test.map.json cannot be used: TypeError)"),
        ("key missing", "usual (test.map.json cannot be used: KeyError)"),
        ("no git", "usual (git does not know the baseline's commit"),
        ("nothing", "usual (nothing changed)"),
        ("unmapped", "usual (1 files changed, no test known for them)"),
    ],
)
def test_where_the_order_is_not_known_it_is_the_usual_one_and_says_why(repo: Repo, how: str, said: str) -> None:
    SPOIL[how](repo)
    order = repo.order()
    assert order.text.startswith(said)
    assert order.files == ()
    assert "\n" not in order.text


def test_without_git_on_the_path_the_order_is_the_usual_one(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert repo.order().text.startswith("usual (git does not know")


# The mode


@pytest.mark.parametrize(
    ("option", "variable", "mode"),
    [
        (None, None, "off"),
        (None, "soft", "soft"),
        ("hard", "soft", "hard"),
        ("off", "hard", "off"),
        (None, "", "off"),
    ],
)
def test_the_flag_wins_over_the_variable_which_wins_over_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str | None, variable: str | None, mode: str
) -> None:
    monkeypatch.delenv("TPR_FAILFAST_MODE", raising=False)
    if variable is not None:
        monkeypatch.setenv("TPR_FAILFAST_MODE", variable)
    assert platform.failfast_mode(option, tmp_path) == (mode, Order("usual"))


def test_a_bad_mode_names_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TPR_FAILFAST_MODE", "fast")
    with pytest.raises(
        pytest.UsageError, match=re.escape("TPR_FAILFAST_MODE: expected one of off, soft, hard, got 'fast'")
    ):
        platform.failfast_mode(None, tmp_path)


def test_an_open_incident_turns_the_modes_off_and_says_so(tmp_path: Path) -> None:
    (tmp_path / platform.FORCED_OFF).write_text("{}")
    mode, order = platform.failfast_mode("hard", tmp_path)
    assert (mode, order.text) == ("off", "usual (an open incident forces hard off: enforce_gates.py --resolve)")
