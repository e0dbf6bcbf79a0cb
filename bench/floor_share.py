#!/usr/bin/env python3
"""The floor of a step and the share of it that was reached, from the logs of bench_gpu_step.

usage: floor_share.py LOG...

LOG holds, one behind the other, what `bench_gpu_step CASE SECONDS` and `bench_gpu_step CASE floor` printed. The floor is
the sum over kinds of op of what the kind takes alone (bench/gpu_floor.h), or in the step where that is less: short
products are slower alone, where each is launched for itself.
"""
import json
import re
import sys

IN_STEP = re.compile(r"(\w+) +\d+ +([\d.]+) +[\d.]+ +\d+$")  # kind, calls, ms, TFLOP/s, GB/s
ALONE = re.compile(r"(\w+) +([\d.]+) ms$")


def milliseconds(lines, pattern):
    return {match[1]: float(match[2]) for line in lines if (match := pattern.match(line.strip()))}


def main():
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        sys.exit(__doc__)
    for log in sys.argv[1:]:
        with open(log, encoding="utf-8") as file:
            lines = file.readlines()
        step, alone = milliseconds(lines, IN_STEP), milliseconds(lines, ALONE)
        results = [json.loads(line) for line in lines if line.startswith("{")]
        step_ms = next((r["step_ms"] for r in results if "step_ms" in r), None)
        if step_ms is None or not alone or alone.keys() - step.keys():
            sys.exit(f"{log}: it needs what bench_gpu_step CASE SECONDS and CASE floor printed")
        floor = sum(min(ms, step[kind]) for kind, ms in alone.items())
        print(f"{log}: floor {floor:.1f} ms, step {step_ms:.1f} ms, {100 * floor / step_ms:.0f} %")


if __name__ == "__main__":
    main()
