"""The workflows, executed: a runner on this machine runs every job of a small project that adopted the platform."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import yaml
from events import LOG_NAME, read_artifact, read_log

pytestmark = pytest.mark.system

ROOT = Path(__file__).resolve().parents[2]
PLATFORM = """
scripts .github conftest.py pytest.ini requirements.lock requirements.lock.hash .python-version .gitignore
tests/samples/failfast_seeded CHANGELOG.testing-platform-refactor.md
""".split()
CHAIN = "environment baseline failfast properties gates checkpoint report".split()
STAND_INS = {  # what the actions do, with folders of this machine in place of the host's storage
    "setup-python": """
        python3.11 --version
        if [ -d "$VENV" ]; then  # an environment that another job made, as if made here
          cp -al "$VENV" .venv
          rm .venv/pipeline.stamp
          sed "\\$s#.*#$PWD/.venv#" "$VENV/pipeline.stamp" > .venv/pipeline.stamp
        fi
        """,
    "upload-artifact": """
        [ -d "$VENV" ] || [ ! -e .venv/pipeline.stamp ] || cp -a .venv "$VENV"
        [ -n "$(ls -A "$WITH_PATH")" ]
        rm -rf "$STORE/$WITH_NAME"
        cp -a "$WITH_PATH" "$STORE/$WITH_NAME"
        """,
    "download-artifact": """
        mkdir -p "$WITH_PATH"
        for name in $WITH_NAME $WITH_PATTERN; do
          for found in "$STORE"/$name; do cp -a "$found/." "$WITH_PATH"; done
        done
        """,
    "cache/restore": '[ ! -d "$STORE/cache" ] || cp -a "$STORE/cache/." .\n',
    "cache/save": """
        mkdir -p "$STORE/cache"
        for path in $WITH_PATH; do [ ! -e "$path" ] || cp -a --parents "$path" "$STORE/cache"; done
        """,
    "attest": '[ -s "$WITH_PREDICATE_PATH" ]; (cd artifacts; sha256sum --quiet -c "../$WITH_SUBJECT_CHECKSUMS")\n',
}


class Adopted:
    """A small project with the platform's files, and a runner for its workflows."""

    def __init__(self, folder: Path, act: str, venv: Path) -> None:
        self.root, self.store, self.folder = folder / "project", folder / "store", folder
        self.evidence, self.act, self.venv = self.store / "evidence", act, venv
        for name in PLATFORM:
            source, target = ROOT / name, self.root / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "artifacts"))
            else:
                shutil.copyfile(source, target)
        shutil.copytree(ROOT / "tests" / "samples" / "workflow", self.root, dirs_exist_ok=True)
        self.store.mkdir()
        self.git("init", "-q", "-b", "main")

    def git(self, *words: str) -> None:
        who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        subprocess.run(["git", *who, *words], cwd=self.root, check=True)

    def run(self, *words: str, workflow: str = "test-platform.yml") -> dict[str, str]:
        """Commit, run a workflow; each job that ran with its result."""
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", "change")
        line = [self.act, *words, "-W", f".github/workflows/{workflow}", "-P", "ubuntu-latest=-self-hosted"]
        line += [
            "--no-cache-server",
            "--concurrent-jobs",
            "1",
            "--env",
            f"STORE={self.store}",
            "--env",
            f"VENV={self.venv}",
        ]
        line += [*self.local_actions()]
        env = {name: value for name, value in os.environ.items() if not name.startswith(("TPR_", "GITHUB_", "CI"))}
        done = subprocess.run(line, cwd=self.root, env=env, capture_output=True, text=True, check=False, timeout=600)
        (self.folder / "act.log").write_text(done.stdout + done.stderr)
        ended = re.findall(r"^\[[^/]*/(.*?)\s*\].*Job (succeeded|failed)", done.stdout, re.MULTILINE)
        names = {job.get("name", key): key for key, job in self.jobs(workflow).items()}
        return {names.get(name, name): result for name, result in ended}

    def jobs(self, workflow: str) -> dict[str, dict[str, str]]:
        text = (self.root / ".github" / "workflows" / workflow).read_text("utf-8")
        return dict(yaml.safe_load(text)["jobs"])

    def local_actions(self) -> list[str]:
        """Stand-ins for the actions that the workflows use, each with all inputs that it is given."""
        flags = []
        text = "".join(path.read_text("utf-8") for path in (self.root / ".github" / "workflows").iterdir())
        for name, script in STAND_INS.items():
            place = self.folder / "actions" / name
            place.mkdir(parents=True, exist_ok=True)
            inputs = sorted(set(re.findall(rf"uses: actions/{name}@.*\n((?: {{10,}}.*\n|        with:\n)*)", text)))
            keys = sorted(set(re.findall(r"^ {10}([a-z-]+):", "".join(inputs), re.MULTILINE)))
            environ = {f"WITH_{key.upper().replace('-', '_')}": f"${{{{ inputs.{key} }}}}" for key in keys}
            step = {"shell": "bash", "env": environ, "run": textwrap.dedent(script)}
            action = {"name": name, "description": "stands in", "inputs": {key: {"default": ""} for key in keys}}
            action |= {"runs": {"using": "composite", "steps": [step]}}
            (place / "action.yml").write_text(json.dumps(action))
            repository = "actions/" + name.partition("/")[0]
            commits = set(re.findall(rf"uses: {repository}[/a-z]*@([0-9a-f]+)", text))
            for commit in commits:
                flags += [
                    "--local-repository",
                    f"{repository}@{commit}={self.folder / 'actions' / name.partition('/')[0]}",
                ]
        return flags


STANDS_IN = """
import sys
from pathlib import Path
from events import Run
here = Path(sys.argv[sys.argv.index("--root") + 1])
log = Run("stands_in", here, here / "artifacts").log
for name in {events!r}:
    log.info(name)
"""
QUICK = {  # a script that takes its time: the events that it is here reduced to
    "benchmark_failfast.py": ["failfast_mode_applied", "early_exit_detected"],
    "aggregate_properties.py": ["property_test_start", "property_test_complete"],
}


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first environment that a job makes is kept for the others."""
    return tmp_path_factory.mktemp("store") / "venv"


@pytest.fixture
def adopted(tmp_path: Path, venv: Path) -> Adopted:
    if os.environ.get("ACT") == "true":
        pytest.skip("runs in a job of act's, which cannot start another act")
    if not (act := shutil.which("act")):
        (pytest.fail if os.environ.get("CI") else pytest.skip)("act is not on PATH: no workflow can be run here")
    return Adopted(tmp_path, act, venv)


def test_every_job_succeeds_on_a_sound_project(adopted: Adopted) -> None:
    assert adopted.run("push") == dict.fromkeys([*CHAIN, "test", "attest", "verdict"], "succeeded")
    reading = read_log(adopted.evidence / LOG_NAME)
    assert reading.problems == []
    assert {event["context"]["run_id"] for event in reading.events} == {"1-1"}
    assert read_artifact(adopted.evidence / "foundation.checkpoint.json")["verdict"] == "proven"
    command = [sys.executable, str(ROOT / "scripts/tests/emit_checkpoint.py"), "--verify", str(adopted.evidence)]
    assert subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode == 0


def test_a_drifted_environment_stops_everything_before_a_test_runs(adopted: Adopted) -> None:
    (adopted.root / "requirements.lock.hash").write_text(f"{'0' * 64}  requirements.lock\n")
    assert adopted.run("push") == {"environment": "failed", "report": "succeeded", "verdict": "failed"}
    refused = read_artifact(adopted.evidence / "env.validation.failure.json")["reasons"]
    assert [reason["code"] for reason in refused] == ["lock_hash_mismatch"]


def test_a_failing_test_stops_the_chain_and_keeps_its_evidence(adopted: Adopted) -> None:
    with (adopted.root / "tests" / "unit" / "test_stock.py").open("a") as tests:
        tests.write("\n\ndef test_more() -> None:\n    assert merge({}, {}) == {1: 1}\n")
    expected = {"environment": "succeeded", "baseline": "failed", "report": "succeeded"}
    assert adopted.run("push") == {**expected, "test": "failed", "verdict": "failed"}
    assert read_artifact(adopted.evidence / "baseline.metrics.json")["outcomes"]["failed"] == 1


def shorten(adopted: Adopted, dropped: str = "") -> None:
    """Put stand-ins for the scripts that take their time; they log what those would, but for `dropped`."""
    for name, events in QUICK.items():
        body = STANDS_IN.format(events=[event for event in events if event != dropped])
        (adopted.root / "scripts" / "tests" / name).write_text(body)


def failed_gates(adopted: Adopted) -> list[str]:
    result = adopted.run("push")
    assert {name for name, ended in result.items() if ended == "failed"} == {"gates", "verdict"}
    assert "checkpoint" not in result
    rows = read_artifact(adopted.evidence / "gate.verdicts.json")["gates"]
    return [row["gate"] for row in rows if row["verdict"] == "fail"]


def test_a_missing_event_stops_before_the_checkpoint(adopted: Adopted) -> None:
    shorten(adopted, dropped="early_exit_detected")
    assert failed_gates(adopted) == ["events"]


def test_a_coverage_drop_stops_before_the_checkpoint(adopted: Adopted) -> None:
    shorten(adopted)
    (adopted.root / "tests" / "property" / "test_invariants.py").unlink()
    tests = adopted.root / "tests" / "unit" / "test_stock.py"
    tests.write_text(tests.read_text().partition("def test_the_largest")[0])
    assert failed_gates(adopted) == ["coverage"]


VOLATILE = {"generated_at", "sha256", "digest"}  # all in which two runs of one commit may differ: times, and digests


def lasting(value: object) -> object:
    """A document without what is volatile, at any depth."""
    if isinstance(value, list):
        return [lasting(item) for item in value]
    if isinstance(value, dict):
        return {key: lasting(item) for key, item in value.items() if key not in VOLATILE}
    return value


def test_the_workflow_and_the_pipeline_come_to_one_verdict(adopted: Adopted) -> None:
    shorten(adopted)
    assert adopted.run("push")["gates"] == "succeeded"
    command = [
        sys.executable,
        "scripts/tests/pipeline.py",
        "--quiet",
        "--python",
        str(adopted.venv / "bin" / "python"),
    ]
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("TPR_", "GITHUB_"))}
    environ["TPR_RUN_ID"] = "1-1"
    subprocess.run(command, cwd=adopted.root, env=environ, stdout=subprocess.DEVNULL, check=False, timeout=600)
    there = lasting(read_artifact(adopted.evidence / "gate.verdicts.json"))
    assert there == lasting(read_artifact(adopted.root / "artifacts" / "gate.verdicts.json"))


CALLER = """
on: push
jobs:
  capture:
    permissions: {contents: read}
    uses: ./.github/workflows/sharded-capture.yml
    with: {shards: 2, pytest-arguments: "tests -q"}
"""


def test_shards_of_a_suite_are_captured_by_one_job_each_and_merged(adopted: Adopted) -> None:
    (adopted.root / ".github" / "workflows" / "caller.yml").write_text(CALLER)
    assert set(adopted.run("push", workflow="caller.yml").values()) == {"succeeded"}
    shards = sorted(path.name for path in adopted.store.glob("shard-*"))
    assert shards == ["shard-1", "shard-2"]
    merged = read_artifact(adopted.store / "sharded-evidence" / "baseline.metrics.json")
    assert (merged["partial"], merged["outcomes"]["passed"], merged["coverage"]["line_percent"]) == (None, 5, 100.0)


def test_the_nightly_search_runs(adopted: Adopted) -> None:
    assert adopted.run("workflow_dispatch", "--input", "examples=20", workflow="nightly-fuzz.yml") == {
        "fuzz": "succeeded"
    }
    assert read_artifact(adopted.store / "fuzz-findings" / "property.results.json")["mode"] == "fuzz"
