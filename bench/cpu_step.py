#!/usr/bin/env python3
"""centavo's training step on this CPU beside PyTorch's, or beside what `centavo plan` says of it.

usage: cpu_step.py peer    [--threads N] [--steps N] [--build DIR]
       cpu_step.py predict [--threads N] [--steps N] [--build DIR] [--profile FILE]

peer: sizes 10m and 124m in fp32 and bf16, centavo, PyTorch eager and PyTorch compiled one after another; needs PyTorch in
the Python that runs this. predict: all configurations are predicted before the first is timed; without --profile one is
measured first. Nothing else should run. Programs: ninja -C build/cpu-release bench_cpu_step centavo
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

from step_sizes import SIZES

HERE = pathlib.Path(__file__).resolve().parent
CONFIGURATIONS = [
    "1m fp32", "1m bf16", "10m fp32", "10m bf16", "10m bf16-stochastic", "10m fp32 micro_batch=2 grad_accum_steps=4",
    "10m fp32 recompute=full", "10m bf16 recompute=cheap", "30m fp32", "30m bf16", "30m fp32 seq_len=256 micro_batch=8",
    "30m bf16 recompute=full", "124m fp32", "124m bf16", "124m fp32 recompute=attention",
]


def last_line(command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = done.stdout.strip().splitlines()
    if done.returncode != 0 or not lines:
        sys.exit(f"{' '.join(map(str, command))} failed: {done.stderr.strip()}")
    return json.loads(lines[-1])


def centavo_step(args, size, precision, *keys):
    return last_line([args.build / "bench_cpu_step", size, precision, str(args.threads), str(args.steps), *keys])


def print_cpu():
    facts = {}
    for line in open("/proc/cpuinfo", encoding="utf-8"):
        name, _, value = line.partition(":")
        facts[name.strip()] = value.split()
    flags = [f for f in facts.get("flags", []) if f.startswith(("avx2", "avx512", "amx")) or f == "fma"]
    print(" ".join(facts.get("model name", ["unknown"])), "|", " ".join(flags))


def peer(args):
    print(f"{'case':<12}{'centavo ms':>12}{'floor ms':>10}{'share':>7}{'eager ms':>10}{'compiled ms':>13}{'ratio':>7}")
    for size in ("10m", "124m"):
        for precision in ("fp32", "bf16"):
            own = centavo_step(args, size, precision)
            torch_step = [sys.executable, HERE / "torch_step.py", size, precision, str(args.threads), str(args.steps)]
            eager = last_line(torch_step)["step_ms"]
            compiled = last_line(torch_step + ["--compile"])["step_ms"]
            ratio = min(eager, compiled) / own["step_ms"]
            print(f"{size + ' ' + precision:<12}{own['step_ms']:>12.1f}{own['floor_ms']:>10.1f}"
                  f"{own['share_of_floor']:>7.2f}{eager:>10.1f}{compiled:>13.1f}{ratio:>7.2f}", flush=True)


def run_file(directory, size):
    hidden, layers, heads, intermediate, vocab, batch, length = SIZES[size]
    path = pathlib.Path(directory) / f"{size}.toml"
    path.write_text(f"seq_len = {length}\nmicro_batch = {batch}\nmax_steps = 1000\nlearning_rate = 3e-4\n[model]\n"
                    f"vocab_size = {vocab}\nhidden_size = {hidden}\nintermediate_size = {intermediate}\n"
                    f"num_hidden_layers = {layers}\nnum_attention_heads = {heads}\ntie_word_embeddings = true\n"
                    f"max_position_embeddings = {length}\n", encoding="utf-8")
    return path


def predicted_ms(args, directory, size, precision, *keys):
    command = [args.build / "centavo", "plan", run_file(directory, size), f"precision={precision}",
               f"threads={args.threads}", *keys, "--json", "--profile", args.profile]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return 1e3 * json.loads(done.stdout)["predicted"]["step_seconds"]


def predict(args):
    with tempfile.TemporaryDirectory() as directory:
        if args.profile is None:
            args.profile = pathlib.Path(directory) / "profile.json"
            subprocess.run([args.build / "centavo", "bench", "--device", "cpu", "--threads", str(args.threads), "--out",
                            args.profile], check=True)
        predictions = [predicted_ms(args, directory, *words.split()) for words in CONFIGURATIONS]
    errors = []
    print(f"{'configuration':<46}{'predicted ms':>13}{'median ms':>11}{'best ms':>9}{'error':>9}")
    for words, predicted in zip(CONFIGURATIONS, predictions):
        own = centavo_step(args, *words.split())
        errors.append(predicted / own["step_ms"] - 1)
        print(f"{words:<46}{predicted:>13.1f}{own['step_ms']:>11.1f}{own['best_ms']:>9.1f}{errors[-1]:>+9.1%}", flush=True)
    near = sum(abs(error) <= 0.1 for error in errors)
    print(f"{near} of {len(errors)} within 10 %, median error {statistics.median(map(abs, errors)):.1%}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("peer", "predict"))
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--build", type=pathlib.Path, default=HERE.parent / "build" / "cpu-release")
    parser.add_argument("--profile", type=pathlib.Path)
    args = parser.parse_args()
    print_cpu()
    {"peer": peer, "predict": predict}[args.what](args)


main()
