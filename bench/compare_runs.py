#!/usr/bin/env python3
"""centavo's losses beside PyTorch's on the same tokens from the same weights.

usage: compare_runs.py seeds RUN... --peer LOG [--csv FILE] [--points N]
       compare_runs.py band CASE LOSSES --peer LOG [--csv FILE]

seeds: RUN/metrics.jsonl of runs of `centavo train` that differ in the seed alone, and torch_run.py's log of as many runs in
the same order. Prints the final validation losses, how far the programs are apart for each seed, and the noise: how far two
seeds of one program are apart. The curves go to FILE, thinned to N rows, each the mean of the steps since the row before.

band: LOSSES is what `bench_peer losses` printed. PyTorch's runs of the log are the same computation rounded in other places,
so how far they are apart is what rounding does. Let lo and hi be the least and greatest of their losses at a step, and w the
widest hi - lo up to that step, of the first three steps at least. A loss is within the band when it lies in
[lo - 2 w, hi + 2 w]. At one step alone a further run with independent normal errors of the same size leaves [lo - 2 w, hi +
2 w] in 5 of 100 cases where PyTorch has three runs, in 1.6 of 100 where it has four (drawn at random); w of the steps before
makes it fewer. Prints one row for docs/benchmarks.md; `excess` is the greatest distance from [lo, hi] in units of w: within
is at most 2, and inside [lo, hi] it is 0.
"""
import argparse
import csv
import itertools
import json
import pathlib
import statistics
import sys

FIRST_STEPS = 3
ALLOWED = 2  # widths beyond lo and hi
F32_SPACING = 2.0**-23  # losses are read as f32


def lines_of(path):
    for line in pathlib.Path(path).read_text().splitlines():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            return  # the last line of a run that was cut short


class Run:
    def __init__(self, name, lines):
        self.name = name
        self.losses = {line["step"]: line["loss"] for line in lines if "loss" in line}
        validations = [line for line in lines if "validation_loss" in line]
        self.validation = validations[-1] if validations else None
        self.facts = next((line for line in lines if "tokens_per_s" in line), {})

    def final(self):
        return self.validation["validation_loss"] if self.validation else float("nan")


def peer_runs(path):
    key = lambda line: (line["variant"], line["run"])
    lines = list(lines_of(path))
    keys = list(dict.fromkeys(map(key, lines)))
    return [Run(" ".join(k), [line for line in lines if key(line) == k]) for k in keys]


def common_steps(runs):
    return sorted(set.intersection(*(set(run.losses) for run in runs)))


def write_rows(path, header, rows):
    with open(path, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


# ---------------------------------------------------------------- seeds
def thinned(runs, points):
    """Rows of step and mean losses since the row before; finer at the beginning, where losses fall fast."""
    steps = common_steps(runs)
    ends = sorted({steps[min(len(steps) - 1, round(len(steps) * (i / points) ** 2))] for i in range(1, points + 1)})
    before = 0
    for end in ends:
        part = [step for step in steps if before < step <= end]
        yield [end] + [f"{statistics.fmean(run.losses[step] for step in part):.5f}" for run in runs]
        before = end


def apart(a, b, steps):
    return [a.losses[step] - b.losses[step] for step in steps]


def row_of_differences(label, a, b):
    steps = common_steps([a, b])
    differences = [abs(d) for d in apart(a, b, steps)]
    tail = steps[-max(1, len(steps) // 10):]
    mean_tail = statistics.fmean(apart(a, b, tail))
    print(f"{label:<36} step 1 {differences[0]:.6f}  median {statistics.median(differences):.5f}  "
          f"greatest {max(differences):.5f}  mean of the last tenth {mean_tail:+.5f}  "
          f"validation {a.final() - b.final():+.5f}")


def compare_seeds(arguments):
    ours = [Run(f"centavo {pathlib.Path(run).name}", list(lines_of(f"{run}/metrics.jsonl"))) for run in arguments.runs]
    peers = peer_runs(arguments.peer)
    for run in [*ours, *peers]:
        seen = run.validation["validation_tokens"] if run.validation else 0
        rate = f", {run.facts['tokens_per_s']} tokens/s" if run.facts else ""
        last = max(run.losses, default=0)
        print(f"{run.name:<28} {last} steps, last training loss {run.losses.get(last, float('nan')):.5f}, "
              f"final validation loss {run.final():.5f} of {seen} tokens{rate}")
    for a, b in zip(ours, peers):
        row_of_differences(f"{a.name} - {b.name}", a, b)
    for group in (ours, peers):
        for a, b in itertools.combinations(group, 2):
            row_of_differences(f"{a.name} - {b.name} (noise)", a, b)
    noise = [abs(a.final() - b.final()) for group in (ours, peers) for a, b in itertools.combinations(group, 2)]
    paired = [a.final() - b.final() for a, b in zip(ours, peers)]
    if noise and paired:
        print(f"validation: centavo - PyTorch {', '.join(f'{d:+.5f}' for d in paired)}; mean "
              f"{statistics.fmean(paired):+.5f}; noise between seeds {', '.join(f'{n:.5f}' for n in noise)}")
    if arguments.csv:
        runs = [*ours, *peers]
        write_rows(arguments.csv, ["step", *(run.name for run in runs)], thinned(runs, arguments.points))
    return 0


# ---------------------------------------------------------------- band
def band(peers, steps):
    """For each step lo, hi and w."""
    spans = [(min(run.losses[s] for run in peers), max(run.losses[s] for run in peers)) for s in steps]
    widths = [hi - lo for lo, hi in spans]
    for i, (lo, hi) in enumerate(spans):
        yield lo, hi, max(hi * F32_SPACING, *widths[:max(i + 1, FIRST_STEPS)])


def compare_band(arguments):
    ours = Run("centavo", list(lines_of(arguments.losses)))
    peers = [run for run in peer_runs(arguments.peer) if len(run.losses) >= len(ours.losses)]  # not those cut short
    steps = common_steps([ours, *peers]) if peers else []
    if len(peers) < 2 or not steps:
        print(f"{arguments.case}: {len(peers)} runs of PyTorch, {len(ours.losses)} steps of centavo: no band")
        return 1
    rows, worst, within = [], 0.0, 0
    for step, (lo, hi, width) in zip(steps, band(peers, steps)):
        loss = ours.losses[step]
        excess = max(lo - loss, loss - hi, 0.0) / width
        worst, within = max(worst, excess), within + (excess <= ALLOWED)
        rows.append([step, f"{loss:.6f}", *(f"{run.losses[step]:.6f}" for run in peers), f"{width:.6f}", f"{excess:.3f}"])
    if arguments.csv:
        write_rows(arguments.csv, ["step", "centavo", *(run.name for run in peers), "width", "excess"], rows)
    names = ", ".join(run.name.split()[0] for run in peers)
    first, last = rows[0], rows[-1]
    print(f"| {arguments.case} | {len(steps)} | {first[1]} -> {last[1]} | {names} | "
          f"{' / '.join(last[2:-2])} | {last[-2]} | {worst:.2f} | {within} of {len(steps)} |")
    return 0 if within == len(steps) else 1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    seeds = commands.add_parser("seeds")
    seeds.add_argument("runs", nargs="+")
    seeds.add_argument("--points", type=int, default=40)
    in_band = commands.add_parser("band")
    in_band.add_argument("case")
    in_band.add_argument("losses")
    for command in (seeds, in_band):
        command.add_argument("--peer", required=True)
        command.add_argument("--csv")
    arguments = parser.parse_args()
    return compare_seeds(arguments) if arguments.command == "seeds" else compare_band(arguments)


if __name__ == "__main__":
    sys.exit(main())
