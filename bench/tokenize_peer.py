"""Compares the speed of centavo's encoder with the `tokenizers` library's, in one run on the same cores.

Run:  ninja -C build/cpu-release bench_tokenize
      python bench/tokenize_peer.py TOKENIZER.json TEXT [THREADS] [PROGRAM]

Prints MB/s of both, each the best of some passes, and their ratio; stops with an error when the ids differ. The library
encodes all documents with encode_batch and with encode_batch_fast (no offsets); the faster one counts.
"""

import array
import ctypes
import ctypes.util
import os
import pathlib
import subprocess
import sys
import time

DOCUMENT = 64 << 10  # as bench/tokenize.cpp cuts
ROUNDS = 3


def documents_of(text):
    documents = []
    at = 0
    while at < len(text):
        end = min(at + DOCUMENT, len(text))
        line_end = text.rfind(b"\n", at, end)
        if end < len(text) and line_end >= 0:
            end = line_end + 1
        documents.append(text[at:end].decode())
        at = end
    return documents


def ours(program, tokenizer, text, threads):
    out = subprocess.run([program, "speed", tokenizer, text, str(threads)], check=True, capture_output=True, text=True)
    speed, count, ids_hash = out.stdout.split()
    return float(speed), int(count), ids_hash


def xxh3(data):
    library = ctypes.CDLL(ctypes.util.find_library("xxhash"))
    library.XXH3_64bits.restype = ctypes.c_uint64
    return f"{library.XXH3_64bits(data, ctypes.c_size_t(len(data))):016x}"


def theirs(encode, documents):
    start = time.perf_counter()
    encodings = encode(documents, add_special_tokens=False)
    return time.perf_counter() - start, encodings


def main():
    tokenizer, text_path = sys.argv[1:3]
    threads = int(sys.argv[3]) if len(sys.argv) > 3 else len(os.sched_getaffinity(0))
    root = pathlib.Path(__file__).resolve().parents[1]
    program = sys.argv[4] if len(sys.argv) > 4 else str(root / "build/cpu-release/bench_tokenize")
    os.environ["RAYON_NUM_THREADS"] = str(threads)
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    import tokenizers  # reads the environment

    text = pathlib.Path(text_path).read_bytes()
    documents = documents_of(text)
    library = tokenizers.Tokenizer.from_file(tokenizer)
    fastest, our_speed = float("inf"), 0.0
    for _ in range(ROUNDS):  # in turn, so that a busy moment of the machine does not fall on one of them
        speed, count, ids_hash = ours(program, tokenizer, text_path, threads)
        our_speed = max(our_speed, speed)
        for encode in (library.encode_batch, library.encode_batch_fast):
            seconds, encodings = theirs(encode, documents)
            fastest = min(fastest, seconds)
    ids = array.array("i")
    for encoding in encodings:
        ids.extend(encoding.ids)
    same = len(ids) == count and xxh3(ids.tobytes()) == ids_hash
    their_speed = len(text) / 1e6 / fastest
    print(
        f"{len(text) / 1e6:.1f} MB, {len(documents)} documents, {count} ids, {threads} threads: "
        f"centavo {our_speed:.1f} MB/s, tokenizers {tokenizers.__version__} {their_speed:.1f} MB/s, "
        f"ratio {our_speed / their_speed:.1f}, ids {'equal' if same else 'DIFFERENT'}"
    )
    if not same:
        sys.exit(1)


if __name__ == "__main__":
    main()
