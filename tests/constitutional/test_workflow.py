"""The workflow runs the pipeline's stages, in its order, with its commands, and cannot pass by accident."""

from __future__ import annotations

import copy
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import emit_checkpoint
import pipeline
import pytest
import yaml

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.constitutional

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = ROOT / ".github" / "workflows"
SOURCE = (WORKFLOWS / "test-platform.yml").read_text("utf-8")
COMMAND = "python3.11 scripts/tests/pipeline.py"
HISTORY = {
    "path": "artifacts/history",
    "key": "history-${{ github.ref_name }}-${{ github.run_id }}-${{ github.run_attempt }}",
}

PREPARED = (
    ("actions/checkout", {"persist-credentials": False}, None),
    (
        "actions/setup-python",
        {"python-version-file": ".python-version", "cache": "pip", "cache-dependency-path": "requirements.lock"},
        None,
    ),
)
STRICT = {"if-no-files-found": "error", "include-hidden-files": True, "overwrite": True}
GRANTS = {"attest": {"attestations": "write", "id-token": "write"}, "verdict": {}}
PREDICATE = 'import json, sys; json.dump(json.load(sys.stdin)["predicate"], sys.stdout)'
UNSIGNED = "github.event_name != 'pull_request' && !github.event.repository.fork && !github.event.repository.private"


def load(source: str) -> dict[str, Any]:
    document = yaml.safe_load(source)
    document["on"] = document.pop(True)  # YAML 1.1 reads the word as a boolean
    return dict(document)


def faults(workflow: dict[str, Any]) -> list[str]:
    """Everything in which a workflow falls short of the pipeline or of the house's rules."""
    return [*top_faults(workflow), *job_faults(workflow["jobs"]), *chain_faults(workflow["jobs"])]


def top_faults(workflow: dict[str, Any]) -> Iterator[str]:
    run_id = "${{ github.run_id }}-${{ github.run_attempt }}"
    environ = {
        "TPR_RUN_ID": run_id,
        "TPR_FAILFAST_MODE": f"${{{{ inputs.mode || '{pipeline.DEFAULTS['TPR_FAILFAST_MODE']}' }}}}",
        "TPR_SEED": f"${{{{ inputs.seed || '{pipeline.DEFAULTS['TPR_SEED']}' }}}}",
    }
    yield from differs("permissions", workflow.get("permissions"), {})
    yield from differs("env", workflow.get("env"), environ)
    yield from differs("shell", workflow.get("defaults"), {"run": {"shell": "bash"}})  # with pipefail
    yield from differs("events", set(workflow["on"]), {"push", "pull_request", "workflow_dispatch"})
    yield from differs("branches", workflow["on"].get("push"), {"branches": ["main"]})
    inputs = (workflow["on"].get("workflow_dispatch") or {}).get("inputs", {})
    yield from differs("modes", inputs.get("mode", {}).get("options"), ["off", "soft", "hard"])
    yield from differs("mode", inputs.get("mode", {}).get("type"), "choice")
    yield from differs("seed", inputs.get("seed", {}).get("default"), pipeline.DEFAULTS["TPR_SEED"])
    group = workflow.get("concurrency", {})
    yield from differs("concurrency", group.get("group"), "${{ github.workflow }}-${{ github.ref }}")
    yield from differs("cancel", group.get("cancel-in-progress"), "${{ github.event_name == 'pull_request' }}")


def differs(what: str, actual: object, expected: object) -> Iterator[str]:
    if actual != expected:
        yield f"{what}: expected {expected!r}, got {actual!r}"


def job_faults(jobs: dict[str, Any]) -> Iterator[str]:
    for name, job in jobs.items():
        if not 1 <= job.get("timeout-minutes", 0) <= 60:
            yield f"{name}: no timeout of at most an hour"
        yield from differs(f"{name}: permissions", job.get("permissions"), GRANTS.get(name, {"contents": "read"}))
        yield from differs(f"{name}: machine", job.get("runs-on"), "ubuntu-latest")
        for part in (job, *job["steps"]):
            if "continue-on-error" in part or "secrets." in str(part) or "${{" in part.get("run", ""):
                yield f"{name}: an error that is ignored, a secret, or an expression in a command"


def chain_faults(jobs: dict[str, Any]) -> Iterator[str]:
    names = [stage.name for stage in pipeline.STAGES]
    chained = [stage.name for stage in pipeline.STAGES if stage.chained]
    yield from differs("jobs", set(jobs), {*names, "attest", "verdict"})
    for stage in pipeline.STAGES:
        job = jobs.get(stage.name, {"steps": []})
        above = ([None, *chained][chained.index(stage.name)]) if stage.chained else "environment"
        yield from differs(f"{stage.name}: needs", job.get("needs"), above)
        yield from differs(f"{stage.name}: if", job.get("if"), "always()" if stage.always else None)
        yield from stage_faults(stage, above, job["steps"])
    yield from attest_faults(jobs.get("attest", {"steps": []}))
    verdict = jobs.get("verdict", {"steps": [{}]})
    yield from differs("verdict: needs", verdict.get("needs"), names)
    yield from differs("verdict: if", verdict.get("if"), "always()")
    yield from differs("verdict: steps", len(verdict["steps"]), 1)
    step = verdict["steps"][0] if verdict["steps"] else {}
    yield from differs("verdict: env", step.get("env"), {"RESULTS": "${{ join(needs.*.result, ' ') }}"})
    said = f'echo "{", ".join(names)}: $RESULTS"\n[ "$RESULTS" = "{" ".join(["success"] * len(names))}" ]\n'
    yield from differs("verdict: run", step.get("run"), said)


def attest_faults(job: dict[str, Any]) -> Iterator[str]:
    """Only a branch of the repository itself can be signed for; elsewhere the job is skipped."""
    expected = [
        ("actions/download-artifact", {"name": "evidence", "path": "artifacts/"}),
        (f"python3 -c '{PREDICATE}' < artifacts/{emit_checkpoint.STATEMENT} > predicate.json", None),
        (
            "actions/attest",
            {
                "subject-checksums": f"artifacts/{emit_checkpoint.SUMS}",
                "predicate-type": emit_checkpoint.PREDICATE_TYPE,
                "predicate-path": "predicate.json",
            },
        ),
    ]
    yield from differs("attest: needs", job.get("needs"), ["checkpoint", "report"])  # which hands on the same name
    yield from differs("attest: if", job.get("if"), UNSIGNED)
    yield from differs("attest: steps", [(deed(step), step.get("with")) for step in job["steps"]], expected)


def stage_faults(stage: pipeline.Stage, before: str | None, steps: list[dict[str, Any]]) -> Iterator[str]:
    """The steps of a stage's job, each by what it does, in order."""
    expected: list[tuple[str, object, str | None]] = [*PREPARED]
    kept = stage.name == "baseline"
    if before and stage.chained:
        expected.append(("actions/download-artifact", {"name": "evidence", "path": "artifacts/"}, None))
    if kept:
        fallback = "history-${{ github.ref_name }}-\nhistory-\n"
        expected.append(("actions/cache/restore", {**HISTORY, "restore-keys": fallback}, None))
    expected.append((f"{COMMAND} {stage.name}", None, None))
    if kept:
        expected.append(("actions/cache/save", HISTORY, "always()"))
    evidence = {"name": "evidence" if stage.chained else f"evidence-{stage.name}", "path": "artifacts/"}
    expected.append(("actions/upload-artifact", {**evidence, **STRICT}, "always()"))
    actual = [(deed(step), step.get("with"), step.get("if")) for step in steps]
    for index, row in enumerate(expected):
        yield from differs(f"{stage.name}: step {index + 1}", actual[index] if index < len(actual) else None, row)
    yield from differs(f"{stage.name}: steps", len(steps), len(expected))


def nightly_faults(workflow: dict[str, Any]) -> Iterator[str]:
    """Everything in which the nightly search falls short of what it is for."""
    examples = "artifacts/fuzz/.hypothesis/examples"
    key = "fuzz-examples-${{ github.run_id }}-${{ github.run_attempt }}"
    evidence = {"name": "fuzz-findings", "path": "artifacts/fuzz/"}
    command = '.venv/bin/python scripts/tests/aggregate_properties.py --fuzz --examples "$EXAMPLES"'
    expected = [
        *PREPARED,
        (f"{COMMAND} environment", None, None),
        ("actions/cache/restore", {"path": examples, "key": key, "restore-keys": "fuzz-examples-\n"}, None),
        (command, None, None),
        ("actions/cache/save", {"path": examples, "key": key}, "always()"),
        ("actions/upload-artifact", {**evidence, **STRICT}, "always()"),
    ]
    yield from differs("permissions", workflow.get("permissions"), {})
    yield from differs("env", workflow.get("env"), {"TPR_RUN_ID": "${{ github.run_id }}-${{ github.run_attempt }}"})
    yield from differs("shell", workflow.get("defaults"), {"run": {"shell": "bash"}})
    yield from differs("schedule", workflow["on"].get("schedule"), [{"cron": "23 3 * * *"}])
    yield from differs("examples", workflow["on"]["workflow_dispatch"]["inputs"]["examples"]["default"], "2000")
    group = {"group": "${{ github.workflow }}", "cancel-in-progress": False}
    yield from differs("concurrency", workflow.get("concurrency"), group)
    yield from differs("jobs", set(workflow["jobs"]), {"fuzz"})
    yield from job_faults(workflow["jobs"])
    steps = workflow["jobs"]["fuzz"]["steps"]
    yield from differs("steps", [(deed(step), step.get("with"), step.get("if")) for step in steps], expected)
    yield from differs("searches", steps[4].get("env"), {"EXAMPLES": "${{ inputs.examples || '2000' }}"})
    yield from differs("looks", str(steps[4]["run"]).partition(" -- ")[2], "tests/property")


def sharded_faults(workflow: dict[str, Any]) -> Iterator[str]:
    """Everything in which the sharded capture falls short of one machine's, or could lose a shard unnoticed."""
    key = "sharded-${{ github.ref_name }}-${{ github.run_id }}-${{ github.run_attempt }}"
    kept = {"path": "artifacts/durations.json\nartifacts/test.map.json\nartifacts/history\n", "key": key}
    fallback = {"restore-keys": "sharded-${{ github.ref_name }}-\nsharded-\n"}
    plan, collect = (
        {"name": "sharded-plan", "path": "artifacts/"},
        ".venv/bin/python scripts/tests/collect_metrics.py",
    )
    arguments = "mapfile -t arguments < <(xargs -r printf '%s\\n' <<< \"$ARGUMENTS\")"
    validate = (f"{COMMAND} environment", None, None)
    steps: dict[str, list[tuple[str, object, str | None]]] = {
        "plan": [
            *PREPARED,
            ("actions/cache/restore", {**kept, **fallback}, None),
            validate,
            ('echo "numbers=[$(seq -s, "$SHARDS")]" >> "$GITHUB_OUTPUT"', None, None),
            ("actions/upload-artifact", {**plan, **STRICT}, None),
        ],
        "shard": [
            *PREPARED,
            ("actions/download-artifact", plan, None),
            validate,
            (f'{arguments}\n{collect} --shard "$SHARD" -- "${{arguments[@]}}"\n', None, None),
            (
                "actions/upload-artifact",
                {"name": "shard-${{ matrix.number }}", "path": "artifacts/shards/", **STRICT},
                "always()",
            ),
        ],
        "merge": [
            *PREPARED,
            ("actions/download-artifact", plan, None),
            (
                "actions/download-artifact",
                {"pattern": "shard-*", "path": "artifacts/shards/", "merge-multiple": True},
                None,
            ),
            validate,
            (f"{collect} --merge artifacts/shards/*", None, None),
            ("actions/cache/save", kept, "always()"),
            ("actions/upload-artifact", {"name": "sharded-evidence", "path": "artifacts/", **STRICT}, "always()"),
        ],
        "verdict": [
            ('echo "plan, shard, merge: $RESULTS"\n[ "$RESULTS" = "success success $MERGED" ]\n', None, None)
        ],
    }
    jobs = workflow["jobs"]
    unless = "${{ !cancelled() && needs.plan.result == 'success' && inputs.mode == 'off' }}"
    environ: dict[str, dict[str, str]] = {
        "count": {"SHARDS": "${{ inputs.shards }}"},
        "shard": {
            "SHARD": "${{ matrix.number }}/${{ inputs.shards }}",
            "ARGUMENTS": "${{ inputs.pytest-arguments }}",
        },
        "verdict": {
            "RESULTS": "${{ join(needs.*.result, ' ') }}",
            "MERGED": "${{ inputs.mode == 'off' && 'success' || 'skipped' }}",
        },
    }
    yield from differs("permissions", workflow.get("permissions"), {})
    run_id = {"TPR_RUN_ID": "${{ github.run_id }}"}
    keys = {"TPR_FAILFAST_MODE": "${{ inputs.mode }}", "TPR_SEED": "${{ inputs.seed }}"}
    yield from differs("env", workflow.get("env"), run_id | keys)
    yield from differs("shell", workflow.get("defaults"), {"run": {"shell": "bash"}})
    asked = workflow["on"]["workflow_call"]["inputs"]
    defaults = {name: (facts["type"], facts["default"]) for name, facts in asked.items()}
    texts = {"pytest-arguments": "", "mode": "off", "seed": pipeline.DEFAULTS["TPR_SEED"]}
    yield from differs("inputs", defaults, {"shards": ("number", 4)} | {n: ("string", t) for n, t in texts.items()})
    group = {"group": "sharded-${{ github.workflow }}-${{ github.ref }}"}
    cancel = {"cancel-in-progress": "${{ github.event_name == 'pull_request' }}"}
    yield from differs("concurrency", workflow.get("concurrency"), group | cancel)
    yield from job_faults(jobs)
    yield from differs("jobs", set(jobs), set(steps))
    for name, expected in steps.items():
        actual = [(bare(step), step.get("with"), step.get("if")) for step in jobs[name]["steps"]]
        yield from differs(name, actual, expected)
    given = [step["env"] for name in ("plan", "shard", "verdict") for step in jobs[name]["steps"] if "env" in step]
    yield from differs("steps' env", given, list(environ.values()))
    yield from differs("count", jobs["plan"]["steps"][4].get("id"), "count")
    yield from differs("outputs", jobs["plan"].get("outputs"), {"numbers": "${{ steps.count.outputs.numbers }}"})
    matrix = {"matrix": {"number": "${{ fromJSON(needs.plan.outputs.numbers) }}"}}
    yield from differs(
        "matrix", jobs["shard"].get("strategy"), {"fail-fast": "${{ inputs.mode != 'off' }}", **matrix}
    )
    order = [("plan", None, None), ("shard", "plan", None), ("merge", ["plan", "shard"], unless)]
    for name, needs, when in [*order, ("verdict", ["plan", "shard", "merge"], "always()")]:
        yield from differs(f"{name}: needs", (jobs[name].get("needs"), jobs[name].get("if")), (needs, when))


def bare(step: dict[str, Any]) -> str:
    """A step's action, or its whole command without its comments."""
    return re.sub(r"@[0-9a-f]{40}$| +# .*", "", str(step.get("uses") or step.get("run")))


def deed(step: dict[str, Any]) -> str:
    """A step's action, or its command up to the arguments for pytest."""
    return str(step.get("uses") or step.get("run")).partition("@")[0].partition(" -- ")[0]


CHECKS: dict[str, Callable[[dict[str, Any]], list[str]]] = {
    "test-platform.yml": faults,
    "nightly-fuzz.yml": lambda workflow: [*nightly_faults(workflow)],
    "sharded-capture.yml": lambda workflow: [*sharded_faults(workflow)],
}


@pytest.mark.parametrize("name", CHECKS)
def test_a_workflow_does_what_it_is_for(name: str) -> None:
    assert CHECKS[name](load((WORKFLOWS / name).read_text("utf-8"))) == []


COSMETIC = {"name", "description"}  # words for people


def shortened(node: Any, path: str = "") -> Iterator[str]:
    """Remove each key and each list item in turn, in place; yields where, and puts it back."""
    places = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else []
    for place in places:
        if place in COSMETIC and not path.endswith("/with"):
            continue
        held = copy.copy(node)
        yield from shortened(node[place], f"{path}/{place}")
        del node[place]
        yield f"{path}/{place}"
        node.clear()
        node.update(held) if isinstance(node, dict) else node.extend(held)


@pytest.mark.parametrize("name", CHECKS)
def test_whatever_is_removed_from_a_workflow_is_missed(name: str) -> None:
    workflow = load((WORKFLOWS / name).read_text("utf-8"))
    unnoticed = []
    for where in shortened(workflow):
        try:
            noticed = bool(CHECKS[name](workflow))
        except (KeyError, TypeError, IndexError):
            noticed = True
        if not noticed:
            unnoticed.append(where)
    assert unnoticed == []
    assert CHECKS[name](workflow) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("persist-credentials: false", "persist-credentials: true"),
        ("contents: read", "contents: write"),
        ("timeout-minutes: 30", "timeout-minutes: 360"),
        ("pipeline.py baseline", "pipeline.py baseline || true"),
        ("needs: [environment, baseline, ", "needs: [environment, "),
        ("        if: always()\n", ""),
        ("success success success", "success success skipped"),
        ("pipeline.py environment", "pipeline.py environment --root ${{ inputs.seed }}"),
        ("runs-on: ubuntu-latest\n    timeout-minutes: 5", "runs-on: ubuntu-latest\n    continue-on-error: true"),
    ],
)
def test_what_is_loosened_in_the_workflow_is_seen(old: str, new: str) -> None:
    assert old in SOURCE
    assert faults(load(SOURCE.replace(old, new, 1)))


def unpinned(source: str) -> list[str]:
    """Uses of actions that are not a commit with its version in a comment."""
    uses = re.findall(r"^.*\buses:.*$", source, re.MULTILINE)
    pinned = re.compile(r"\s*(?:- )?uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
    return [line for line in uses if not pinned.fullmatch(line)]


@pytest.mark.parametrize("file", sorted(WORKFLOWS.glob("*.yml")), ids=lambda file: file.name)
def test_every_action_is_pinned_by_commit_the_same_everywhere(file: Path) -> None:
    source = file.read_text("utf-8")
    assert unpinned(source) == []
    everywhere = "".join(other.read_text("utf-8") for other in WORKFLOWS.glob("*.yml"))
    commits = set(re.findall(r"uses: ([\w.-]+/[\w.-]+)[\w./-]*@(\S+) # (\S+)", everywhere))
    assert [action for action, times in Counter(name for name, *_ in commits).items() if times > 1] == []


@pytest.mark.parametrize(
    "line",
    [
        "uses: actions/checkout@v7",
        "uses: actions/checkout@main",
        f"uses: actions/checkout@{'a' * 40}",
        f"- uses: actions/checkout@{'a' * 39} # v1.0.0",
        "uses: ./.github/actions/local",
    ],
)
def test_a_loose_pin_is_found(line: str) -> None:
    assert unpinned(line) == [line]
