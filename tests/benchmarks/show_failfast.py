"""The README's table and picture of detection times, from the summaries that benchmark_failfast.py wrote.

    python tests/benchmarks/show_failfast.py NAME=FAILFAST.SUMMARY.JSON ...

CPU seconds, since several programs share the machine that measures. The picture is that of the first summary.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

MODES = {"off": "off", "pytest -x": "`pytest -x`", "soft": "soft", "hard": "hard", "limit": "the failing test alone"}


def row(name: str, benchmark: dict[str, Any]) -> str:
    cpu = benchmark["overall_cpu"]
    seconds = [f"{cpu['modes'][mode]['median']:.1f}" for mode in MODES]
    gains = [cpu["improvement_percent"][f"{mode} against off"] for mode in ("soft", "hard")]
    sooner = [f"{gain['median']:.0f} % ({gain['mean']:.0f} %)" for gain in gains]
    sooner.append(f"{100 * (1 - cpu['modes']['limit']['median'] / cpu['modes']['off']['median']):.0f} %")
    ratios = [f"{ratio:.2f}" for ratio in cpu["ratios"].values()]
    return f"| {' | '.join([name, str(len(benchmark['faults'])), *seconds, *sooner, *ratios])} |"


def table(benchmarks: dict[str, dict[str, Any]]) -> str:
    titles = ["suite", "faults", *MODES.values(), "soft sooner, median (mean)", "hard sooner, median (mean)"]
    titles += ["no order can do better than", "hard against `pytest -x`, times", "hard against the limit, times"]
    head = f"| {' | '.join(titles)} |\n|{'---|' * len(titles)}"
    return "\n".join([head, *(row(name, benchmark) for name, benchmark in benchmarks.items())])


def picture(name: str, benchmark: dict[str, Any]) -> str:
    values = [benchmark["overall_cpu"]["modes"][mode]["median"] for mode in MODES]
    labels = ", ".join(f'"{label.strip("`")}"' for label in MODES.values())
    return "\n".join(
        [
            "```mermaid",
            "xychart-beta horizontal",
            f'    title "{name}: CPU seconds until the verdict, median of {len(benchmark["faults"])} faults"',
            f"    x-axis [{labels}]",
            f'    y-axis "seconds" 0 --> {math.ceil(max(values))}',
            f"    bar [{', '.join(f'{value:.1f}' for value in values)}]",
            "```",
        ]
    )


def main() -> int:
    if not sys.argv[1:] or not all("=" in word for word in sys.argv[1:]):
        print(__doc__)
        return 2
    pairs = (word.split("=", 1) for word in sys.argv[1:])
    benchmarks = {name: json.loads(Path(path).read_bytes())["benchmark"] for name, path in pairs}
    print(f"{table(benchmarks)}\n\n{picture(*next(iter(benchmarks.items())))}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
