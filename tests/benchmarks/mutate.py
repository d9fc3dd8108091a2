"""How many small faults in the functions that decide do the unit tests notice?

    python tests/benchmarks/mutate.py [SCRIPT ...] [--sample N [--seed S]] [--survivors] [--tool PYTHON]

Mutation testing with mutmut, in a throw-away environment made from requirements.lock and the pinned mutmut, on a
throw-away copy of the project: mutants of the functions in DECIDING run against those of the script's own unit tests
that reach the function. A mutant is killed if a test fails or never ends; one that no test reaches survives, and
mutants that change nothing stay in the count. mutmut leaves decorated functions alone: caches are taken off in the
copy, properties stay unmutated. Exits 1 if the score of all is below the limit.

--sample takes so many of each script's mutants, chosen by --seed, and adds the 95 % interval (Wilson) of the score;
all of them take hours. A sample whose survivors were read and mended flatters from then on: measure with another
seed. --survivors prints the diff of each survivor. --tool is an interpreter that has mutmut and the five packages.
"""

from __future__ import annotations

import argparse
import ast
import random
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "scripts" / "tests"))
from scan_flakes import wilson  # noqa: E402

MUTMUT = "mutmut==3.8.1"
LIMIT = 90.0  # percent
SEED = 2026
DECIDING = {  # per script: the functions whose result is a verdict, or a number that one rests on
    "scan_flakes": """
        judge own_results split_streaks chance_of_groups breakage_of find_outages is_outage is_burst poisson_tail
        lasting_runs wilson template _keep _mask_long _mask_word _changes reason_of message_lines element_of
        attempts_of node_prefix _node group_of""",
    "conftest": """
        split expected_seconds runs_of deal Order.first Order.sort weight name_words make_order covered_changes
        nearest_tests rare_words count_inside is_test_file change_of definitions_around outcome_of worse exception_of""",
    "validate_env": """
        reason reasons_of python_reasons minors_of lock_reasons package_reasons holds modified_reasons variable_reasons
        requirement_pins applies toml_pins is_local is_needed read_lock packages_digest recorded_hash canonical_name
        record_hash identity""",
    "events": """
        is_secret_name secret_values redact_text redact _redact_container _field _plain_text canonical content_digest
        sha256 read_artifact read_log _check_line""",
    "collect_metrics": """
        read_records parsed parsed_line why_partial verdict seconds_of duration_stats durations_body duration_row
        markers_body outcome_counts coverage_counts percent line_ranges population new_ladder lowered misfit""",
    "benchmark_failfast": "places_in functions_of numbers spread improvement compare judge",
    "aggregate_properties": """
        mismatches stream_groups problems_of runtime_ms control_text likely_cause changed_fact results_body test_row
        failure_rows falsifying_rows control_body verdict is_plain stable order_free judge failure_kind
        first_difference replays_of""",
    "enforce_gates": """
        number ladder_tree entries ladder_of value_of quotient pick counts_of compare compare_metric removed_covered
        unexplained_drop losses obstacles lowered_by_hand judge_coverage findings judge_environment judge_failfast
        improvements judge_properties unstable judge_events unended judge_integrity coverage_trigger flake_rate
        property_rate rate_trigger interval_text verdicts_of triggers_of removed_incidents""",
    "emit_checkpoint": """
        is_own dig number highest measure measure_properties open_incidents population detection_times improvement
        trigger_drills unended unenforced enforced_commands capture_claims property_claims environment_claims
        lock_claims ladder_claims run_claims gate_claims plan_claims risk_claims find_gaps within limit_text judge
        governance judged_rows derived""",
    "pipeline": "split choose commands chain_environ translate chain worst table",
    "render_report": """
        number amount fixed scale duration moment stack spread place_of merged share worst whole detection
        run_letters loudness notes""",
}
NAMES = """import sys
from mutmut.mutation.file_mutation import mutate_file_contents
print(*mutate_file_contents(sys.argv[1], open(sys.argv[1], encoding="utf-8").read()).mutant_names)"""
SAME = {  # survivors that nobody could tell from the function itself, and why; they stay in the count
    "scan_flakes.split_streaks": "no chance is CHANCE exactly",
    "scan_flakes.breakage_of": "of the very first run it is not asked whether the commit changed inside",
    "scan_flakes.is_outage": "no three of two tests can fail",
    "scan_flakes.poisson_tail": "the bounds are beyond the sum's precision",
    "scan_flakes.wilson": "the bounds only take off what rounding adds",
    "scan_flakes.template": "the forms ignore case",
    "scan_flakes.attempts_of": "no attempts have an X",
    "collect_metrics.parsed": "lines that do not parse at once are parsed one by one",
    "collect_metrics.line_ranges": "the end mark only has to follow on no line",
    "collect_metrics.duration_stats": "the cuts beyond the 99th are not read; four ranks have four names",
    "conftest.make_order": "test files without a changed line all have equally many",
    "conftest.covered_changes": "every test file found would have one line more",
    "conftest.split": "CUTS is never empty",
    "conftest.Order.sort": "the unlikely files' tests all weigh the same, whatever it is",
    "validate_env.holds": "packaging takes a pre-release for None where nothing else is there",
    "validate_env.applies": "packaging, which comes with pytest, gives the same answer as the short way",
    "events._redact_container": "what is a key holds no ring, and a text is masked once more",
    "events._plain_text": "spellings of a codec; ASCII has no surrogates",
    "aggregate_properties.runtime_ms": "the cuts beyond the 95th are not read",
    "aggregate_properties.stable": "the conditions only save time",
    "enforce_gates.ladder_tree": "spellings of a codec; nodes are the same to every loader; every YAML error has a mark",
    "enforce_gates.entries": "no section's name has an X",
    "enforce_gates.improvements": "there are as many means as modes",
    "enforce_gates.flake_rate": "any word is later than every time",
    "enforce_gates.coverage_trigger": "any reason will do",
    "enforce_gates.interval_text": "the bounds only take off what rounding adds",
    "emit_checkpoint.number": "a spelling of the same number",
    "emit_checkpoint.capture_claims": "the report's head ends long before the bound",
    "emit_checkpoint.risk_claims": "a suite of a second allows no more than none",
    "emit_checkpoint.find_gaps": "what is no criterion's is never read",
}
LEFT_OUT = (  # take or measure long, look at imports, or have an id that mutmut cannot ask for: this only lowers the score
    "hostile memory cut_at_any_byte the_drill a_drill eight_processes too_long any_one_byte known_truth in_200_ms one_long_gap "
    "imports_nothing needs_none_of no_shape twenty_thousand u0669"
).split()
DIFFS = """import sys
from mutmut.mutation.diff_apply import get_diff_for_mutant
print(*map(get_diff_for_mutant, sys.argv[1:]), sep="\\n\\n")"""
TESTS = {"conftest": ("conftest", "failfast_order", "shards"), "collect_metrics": ("collect_metrics", "shards")}


def make_environment(folder: Path) -> str:
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = str(folder / "bin" / "python")
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--require-hashes", "-r", str(REPOSITORY / "requirements.lock")], check=True)
    subprocess.run([*pip, MUTMUT], check=True)
    return python


def lay_out(project: Path, script: str) -> None:
    """A copy of the project as mutmut wants it: modules in src/, to which the old places lead."""
    no_bytes = shutil.ignore_patterns("__pycache__")
    shutil.copytree(REPOSITORY / "scripts" / "tests", project / "src", ignore=no_bytes)
    shutil.copy(REPOSITORY / "conftest.py", project / "src")
    shutil.copytree(REPOSITORY / "tests", project / "tests", ignore=no_bytes)
    (project / "mutants" / "scripts").mkdir(parents=True)
    (project / "mutants" / "scripts" / "tests").symlink_to("../src")
    (project / "mutants" / "conftest.py").symlink_to("src/conftest.py")
    source = project / "src" / f"{script}.py"
    source.write_text(narrowed(source.read_text("utf-8"), DECIDING[script].split()), "utf-8")
    loader = project / "tests" / "root_conftest.py"  # it gives conftest.py a name that mutmut does not know
    loader.write_text(loader.read_text("utf-8").replace('"tpr_conftest"', '"conftest"'), "utf-8")
    kept = (
        "pytest.ini requirements.lock requirements.lock.hash coverage-ladder.yaml .python-version README.md".split()
    )
    for name in kept:
        shutil.copy(REPOSITORY / name, project)
    settings = {
        "source_paths": ["src"],
        "only_mutate": [f"src/{script}.py"],
        "pytest_add_cli_args": "-p no:cacheprovider --hypothesis-seed=0".split(),
        "pytest_add_cli_args_test_selection": [
            *(f"tests/unit/test_{name}.py" for name in TESTS.get(script, (script,))),
            *("-k", f"not ({' or '.join(LEFT_OUT)})"),
        ],
        "also_copy": kept,
    }
    rows = [f"{key} =\n    " + "\n    ".join(values) for key, values in settings.items()]
    (project / "setup.cfg").write_text("[mutmut]\n" + "\n".join(rows) + "\n")


def narrowed(source: str, deciding: list[str]) -> str:
    """The source without caches, every function that does not decide marked as none to mutate."""
    source = re.sub(r"(?m)^@(?:lru_)?cache\b.*\n", "", source)
    lines = source.split("\n")
    for name, function in functions_of(ast.parse(source)):
        if name not in deciding:
            heads = range(function.lineno - 1, function.body[0].lineno - 1)
            for number in [number for number in heads if re.search(r":(?:\s+#.*)?$", lines[number])][:1]:
                lines[number] += "  # pragma: no mutate block"
    return "\n".join(lines)


def functions_of(tree: ast.Module) -> list[tuple[str, ast.FunctionDef]]:
    owners = [
        ("", tree.body),
        *((f"{node.name}.", node.body) for node in tree.body if isinstance(node, ast.ClassDef)),
    ]
    return [(owner + node.name, node) for owner, body in owners for node in body if isinstance(node, ast.FunctionDef)]


def mutants_of(tool: str, project: Path, script: str) -> list[str]:
    """mutmut's names of all mutants of the script's deciding functions."""
    path = project / "src" / f"{script}.py"
    names = run([tool, "-c", NAMES, str(path)], project).split()
    bare = {name: name.removeprefix("x").replace("ǁ", ".").lstrip("._").partition("__mutmut_")[0] for name in names}
    if unknown := {name.lstrip("_") for name in DECIDING[script].split()} - {*bare.values()}:
        raise SystemExit(f"{script}: no function to mutate is called {', '.join(sorted(unknown))}; mend DECIDING")
    return [f"{script}.{name}" for name in names]


def results(tool: str, project: Path) -> dict[str, str]:
    """What became of each mutant that was tried."""
    said = run([tool, "-m", "mutmut", "results", "--all", "true"], project)
    rows = re.findall(r"^\s+(\S+): (.+)$", said, re.MULTILINE)
    return {name: status for name, status in rows if status != "not checked"}


def run(command: list[str], project: Path) -> str:
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)[:200]}: exit {done.returncode}\n{(done.stdout + done.stderr)[-4000:]}")
    return done.stdout


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scripts", nargs="*", metavar="SCRIPT", help=f"of {', '.join(DECIDING)}; all if none")
    parser.add_argument("--sample", type=int, default=0, metavar="N", help="of each script's mutants")
    parser.add_argument("--seed", type=int, default=SEED, metavar="S", help=f"which sample; {SEED} if none")
    parser.add_argument("--survivors", action="store_true", help="print each survivor's diff")
    parser.add_argument("--tool", help="an interpreter with mutmut and the five packages")
    args = parser.parse_args()
    if unknown := {*args.scripts} - {*DECIDING}:
        parser.error(f"expected scripts of {', '.join(DECIDING)}; got {', '.join(sorted(unknown))}")
    total = caught = 0
    with tempfile.TemporaryDirectory() as folder:
        tool = args.tool or make_environment(Path(folder) / "venv")
        print(f"{'script':<22}{'mutants':>9}{'tried':>7}{'killed':>8}{'percent':>9}", flush=True)
        for script in args.scripts or DECIDING:
            project = Path(folder) / script
            lay_out(project, script)
            names = mutants_of(tool, project, script)
            chosen = random.Random(args.seed).sample(names, min(args.sample, len(names))) if args.sample else names
            run([tool, "-m", "mutmut", "run", "--max-children", "1", *chosen], project)
            found = results(tool, project)
            alive = [name for name, status in found.items() if status not in ("killed", "timeout")]
            total, caught = total + len(found), caught + len(found) - len(alive)
            print(row_of(script, len(names), len(found), len(found) - len(alive)), flush=True)
            if args.survivors and alive:
                print(run([tool, "-c", DIFFS, *alive], project))
                reasons = {name: why for name, why in SAME.items() if name.startswith(f"{script}.")}
                print(*(f"some change nothing: {name}: {why}" for name, why in reasons.items()), sep="\n", flush=True)
    print(row_of("all", "", total, caught))
    return int(100 * caught < LIMIT * total)


def row_of(script: str, mutants: object, tried: int, killed: int) -> str:
    low, high = wilson(killed, tried) or (0.0, 0.0)
    interval = "" if mutants == tried else f"  ({low:.1f} to {high:.1f})"
    return f"{script:<22}{mutants:>9}{tried:>7}{killed:>8}{100 * killed / tried:>9.1f}{interval}"


if __name__ == "__main__":
    raise SystemExit(main())
