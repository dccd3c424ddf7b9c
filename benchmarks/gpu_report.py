"""What one GPU does with the engines: every part of ``gpu_stages`` under its own time limit, one JSON and one page.

    python benchmarks/gpu_report.py --out FOLDER [--device cuda] [--minutes 9] [--quick] [--only STAGE ...]

A part runs in a process of its own and writes each result as soon as it has it, so that one that fails, hangs or is cut
off loses nothing that was known before.  ``benchmarks/gpu.sh`` sets up the packages and calls this.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

LIMITS_S = {
    "single": 80.0,
    "batches": 90.0,
    "precision": 60.0,
    "tests": 90.0,
    "large": 60.0,
    "electrostatics": 25.0,
    "fused": 115.0,
}
"""Time limit of every part, in the order in which they are run: what is wanted most comes first."""
_LEAST_S = 10.0  # a part that has less is left out
_END_S = 8.0  # kept for the page


def run_stage(name: str, given: Any, path: Path) -> None:
    """One part, in this process; its results are written as they come."""
    from gpu_stages import STAGES

    results: dict[str, Any] = {}

    def tell(key: str, value: Any) -> None:
        results[key] = value
        unfinished = path.with_suffix(".part")
        unfinished.write_text(json.dumps(results, indent=1))
        unfinished.replace(path)
        print(f"{name}: {key}: {json.dumps(value)[:300]}", flush=True)

    try:
        STAGES[name](given, tell)
    except Exception as error:  # whatever it is: it goes into the report, and the other parts go on
        tell("error", "".join(traceback.format_exception(error))[-4000:])
        raise SystemExit(1) from None


def machine(device: str) -> dict[str, Any]:
    """What the numbers are of."""
    import numpy
    import torch

    found: dict[str, Any] = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "cpu": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        "device": device,
        "time": time.strftime("%Y-%m-%d %H:%M"),
    }
    if device.startswith("cuda"):
        if not torch.cuda.is_available():
            raise SystemExit("gpu_report: no CUDA device; a rehearsal without one: --device cpu --quick")
        properties = torch.cuda.get_device_properties(0)
        found |= {
            "device": properties.name,
            "memory_GB": round(properties.total_memory / 1e9, 1),
            "multiprocessors": properties.multi_processor_count,
            "cuda": torch.version.cuda,
        }
    return found


def run_all(options: argparse.Namespace, out: Path) -> dict[str, Any]:
    """All parts one after the other, each in its own process; this one needs nothing that may be missing."""
    began = time.monotonic()
    report: dict[str, Any] = {"machine": machine(options.device), "quick": options.quick, "stages": {}}
    for name in options.only or LIMITS_S:
        left = 60.0 * options.minutes - _END_S - (time.monotonic() - began)
        limit = min(LIMITS_S[name], left)
        path, log = out / f"{name}.json", out / f"{name}.log"
        path.unlink(missing_ok=True)
        entry: dict[str, Any] = {"status": "left out: no time", "seconds": 0.0, "results": {}}
        if limit >= _LEAST_S:
            command = [sys.executable, __file__, "--out", str(out), "--device", options.device, "--stage", name]
            command += ["--seconds", f"{limit:.0f}", *(["--quick"] if options.quick else [])]
            since = time.monotonic()
            with log.open("w") as lines:
                process = subprocess.Popen(command, stdout=lines, stderr=subprocess.STDOUT, start_new_session=True)
                try:
                    entry["status"] = "done" if process.wait(limit) == 0 else "failed"
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, 9)
                    process.wait()
                    entry["status"] = f"cut off after {limit:.0f} s"
            entry["seconds"] = round(time.monotonic() - since, 1)
            if path.exists():
                entry["results"] = json.loads(path.read_text())
            elif entry["status"] != "done":
                entry["results"] = {"error": log.read_text()[-4000:]}
        report["stages"][name] = entry
        print(f"{name}: {entry['status']}, {entry['seconds']} s", flush=True)
        write(report, out)
    return report


def write(report: dict[str, Any], out: Path) -> None:
    """The JSON and the page, whole at any time."""
    for name, text in (("gpu.json", json.dumps(report, indent=1)), ("gpu.md", page(report))):
        unfinished = out / f"{name}.part"
        unfinished.write_text(text)
        unfinished.replace(out / name)


def page(report: dict[str, Any]) -> str:
    """The report in words and tables."""
    found = report["machine"]
    lines = [f"# {found['device']}", "", ", ".join(f"{key} {value}" for key, value in found.items()), ""]
    if report["quick"]:
        lines += ["A rehearsal: the numbers mean nothing.", ""]
    for name, entry in report["stages"].items():
        lines += [f"## {name}", "", f"{entry['status']}, {entry['seconds']} s", ""]
        results = entry["results"]
        rows = {key: value for key, value in results.items() if isinstance(value, dict) and "longest" not in value}
        columns = list(dict.fromkeys(column for value in rows.values() for column in value))
        if rows:
            lines += [f"| | {' | '.join(columns)} |", "|---|" + "---:|" * len(columns)]
            for key, value in rows.items():
                lines.append(f"| {key} | {' | '.join(_text(value.get(column)) for column in columns)} |")
            lines.append("")
        for key, value in results.items():
            if key in rows:
                continue
            if isinstance(value, dict):
                head = ", ".join(f"{word} {_text(number)}" for word, number in value.items() if word != "longest")
                lines += [f"{key}: {head}", "", "| kernel | per step | us per step |", "|---|---:|---:|"]
                for row in value["longest"]:
                    lines.append(f"| `{row['kernel']}` | {_text(row['per_step'])} | {_text(row['us_per_step'])} |")
                lines.append("")
            elif isinstance(value, str) and "\n" in value:
                lines += [f"{key}:", "", "```", value, "```", ""]
            else:
                lines += [f"- {key}: {_text(value)}"]
        lines.append("")
    return "\n".join(lines)


def _text(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def main() -> None:
    """All parts, or one of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--quick", action="store_true", help="few steps, small cells: a rehearsal")
    parser.add_argument("--only", nargs="+", default=None, metavar="STAGE")
    parser.add_argument("--stage", default=None, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=60.0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.stage is not None:
        from gpu_stages import Given

        given = Given(options.device, options.quick, options.seconds, options.out)
        run_stage(options.stage, given, options.out / f"{options.stage}.json")
        return
    report = run_all(options, options.out)
    print(f"{options.out / 'gpu.md'} and gpu.json")
    if any(entry["status"] != "done" for entry in report["stages"].values()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
