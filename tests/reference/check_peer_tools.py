#!/usr/bin/env python3
"""Checks bench/compare_runs.py and bench/text_documents.py on cases computed by hand. Needs Python alone.

usage: check_peer_tools.py
"""
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

BENCH = pathlib.Path(__file__).resolve().parents[2] / "bench"


def run(script, *arguments):
    return subprocess.run([sys.executable, BENCH / script, *map(str, arguments)], capture_output=True, text=True)


def write_lines(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


class Tools(unittest.TestCase):
    def setUp(self):
        self.held = tempfile.TemporaryDirectory()
        self.dir = pathlib.Path(self.held.name)

    def tearDown(self):
        self.held.cleanup()

    # PyTorch's runs are 0.1, 0.1, 0.1 and 0.2 apart: w is 0.1, and 0.2 at the fourth step.
    def band_of(self, ours):
        lower, upper = [4.0, 3.0, 2.0, 1.0], [4.1, 3.1, 2.1, 1.2]
        peers = [{"run": "r", "variant": v, "step": i + 1, "loss": loss}
                 for v, losses in (("a", lower), ("b", upper)) for i, loss in enumerate(losses)]
        write_lines(self.dir / "peer.jsonl", peers)
        write_lines(self.dir / "ours.jsonl", [{"step": i + 1, "loss": loss} for i, loss in enumerate(ours)])
        return run("compare_runs.py", "band", "case", self.dir / "ours.jsonl", "--peer", self.dir / "peer.jsonl")

    def test_a_loss_two_widths_outside_is_within_the_band(self):
        result = self.band_of([4.05, 2.81, 2.29, 1.59])
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        self.assertIn("| 1.95 | 4 of 4 |", result.stdout)

    def test_a_loss_beyond_that_is_not(self):
        result = self.band_of([4.05, 2.79, 2.29, 1.61])
        self.assertEqual(result.returncode, 1)
        self.assertIn("| 2.10 | 2 of 4 |", result.stdout)

    def test_one_run_makes_no_band(self):
        write_lines(self.dir / "one.jsonl", [{"run": "r", "variant": "a", "step": 1, "loss": 2.0}])
        write_lines(self.dir / "ours.jsonl", [{"step": 1, "loss": 2.0}])
        result = run("compare_runs.py", "band", "case", self.dir / "ours.jsonl", "--peer", self.dir / "one.jsonl")
        self.assertEqual(result.returncode, 1)
        self.assertIn("no band", result.stdout)

    def test_seeds_are_paired_and_their_difference_is_the_noise(self):
        peers = []
        for seed, final in ((1, 2.0), (2, 2.25)):
            (self.dir / f"seed-{seed}").mkdir()
            lines = [{"step": 1, "loss": 3.0 + seed}, {"step": 1, "validation_loss": final + 0.0625, "validation_tokens": 9}]
            write_lines(self.dir / f"seed-{seed}" / "metrics.jsonl", lines)
            peers += [{"run": str(seed), "variant": "a", "step": 1, "loss": 3.0 + seed},
                      {"run": str(seed), "variant": "a", "validation_loss": final, "validation_tokens": 9}]
        write_lines(self.dir / "peer.jsonl", peers)
        result = run("compare_runs.py", "seeds", self.dir / "seed-1", self.dir / "seed-2", "--peer", self.dir / "peer.jsonl",
                     "--csv", self.dir / "curves.csv")
        self.assertIn("centavo - PyTorch +0.06250, +0.06250; mean +0.06250; noise between seeds 0.25000, 0.25000",
                      result.stdout)
        self.assertEqual((self.dir / "curves.csv").read_text().splitlines()[1], "1,4.00000,5.00000,4.00000,5.00000")

    def test_documents_lose_repeats_and_what_is_no_text(self):
        repeated = "A paragraph that stands in both of the documents and is long enough to be looked for. " * 2
        first, second = "The first document says this. " * 12, "The second one says something else. " * 12
        (self.dir / "in").mkdir()
        (self.dir / "in" / "a.txt").write_text(
            f"{first}\n\n\n\n{repeated}\x07  \n<|endoftext|>{second}\n\n{repeated}\n<|endoftext|>" + "0123 4567; " * 99)
        result = run("text_documents.py", self.dir / "in", self.dir / "out")
        self.assertEqual(result.returncode, 0, result.stderr)
        documents = (self.dir / "out" / "a.txt").read_text().split("<|endoftext|>")
        self.assertEqual([d.strip() for d in documents], [f"{first.strip()}\n\n{repeated.strip()}", second.strip(), ""])


unittest.main()
