"""Checks that centavo's encoder gives the ids of the `tokenizers` library.

Run:  ninja -C build/cpu-release bench_tokenize
      python bench/tokenizer_conformance.py [PROGRAM]

Over 30 MB of mixed text of this machine, 10^5 random strings, every code point in three surroundings and long runs; with
vocabularies of several sizes, learnt by centavo from that text. Exits 1 at the first string that differs.
"""

import array
import pathlib
import random
import struct
import subprocess
import sys
import tempfile

import tokenizer_text
from tokenizers import Tokenizer

MEGABYTES = 30
STRINGS = 100_000
SIZES = (256, 257, 300, 1000, 8192, 32000)
FULL = (1000, 32000)  # the sizes for which all texts are compared
EOT = "<|endoftext|>"

RANGES = [(0, 0x80), (0x80, 0x250), (0x370, 0x530), (0x590, 0x700), (0x900, 0xE80), (0x1000, 0x1400), (0x2000, 0x2070),
          (0x2150, 0x2190), (0x2460, 0x2800), (0x3000, 0x3130), (0x4E00, 0x9FFF), (0xAC00, 0xD7A4), (0xFB00, 0x10000),
          (0x10000, 0x11000), (0x16000, 0x17000), (0x1D400, 0x1D800), (0x1E000, 0x1F000), (0x1F300, 0x1FB00),
          (0x20000, 0x32400), (0xE0000, 0xE0200), (0x10FF00, 0x110000)]  # fmt: skip
SPACES = " \t\n\r\v\f\x1c\x85\xa0\u1680\u2003\u2028\u202f\u205f\u3000\u200b\ufeff\u180e"
FRAGMENTS = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'LL", "’s", "'", "''", " '", "\r\n", "\n\n", "  ", EOT,
             "<|endoftext|", "<|", "|>", "endoftext", "é", "e\u0301", "👩‍👩‍👧", "🇩🇪", "½", "²", "Ⅷ", "١٢٣", "123", "0x1F", "a_b",
             "don't", "I'll", "\x00", "\x1b[0m", "\u00ad", "...", "---", "ﬁ", "ß", "İ", "ǅ", "ʰ", "ª"]  # fmt: skip


def is_character(code_point):
    return not 0xD800 <= code_point < 0xE000


def random_character(rng):
    low, high = rng.choice(RANGES) if rng.random() < 0.8 else (0, 0x110000)
    code_point = rng.randrange(low, high)
    return chr(code_point) if is_character(code_point) else "?"


def random_string(rng, words):
    parts = []
    for _ in range(rng.randrange(1, 20)):
        kind = rng.random()
        if kind < 0.3:
            parts.append(random_character(rng) * rng.choice((1, 1, 1, 2, 5)))
        elif kind < 0.45:
            parts.append("".join(rng.choices(SPACES, k=rng.randrange(1, 5))))
        elif kind < 0.6:
            parts.append(rng.choice(FRAGMENTS))
        elif kind < 0.7:
            parts.append(rng.choice(("a", " ", "aa", "ab", "\n", "-", "=", "0")) * rng.randrange(1, 300))
        else:
            word = rng.choice(words)
            start = rng.randrange(len(word))
            parts.append(rng.choice(("", " ", "  ", "\n")) + word[start : start + rng.randrange(1, 30)])
    return "".join(parts)


def every_code_point():
    """In strings of 256, with a letter, a digit and punctuation before it and a space behind."""
    for before in ("a", "1", "!", " ", "'s "):
        for start in range(0, 0x110000, 256):
            yield "".join(f"{before}{chr(c)} {chr(c)}x" for c in range(start, start + 256) if is_character(c))


def long_pieces():
    rng = random.Random(2)
    yield "a" * 1_000_000
    yield " " * 1_000_000 + "x"
    yield "ab" * 300_000
    yield "".join(rng.choices("abcdefgh", k=500_000))
    yield "".join(rng.choices("etaoin", k=100_000)) + " 12" * 10
    yield "é" * 50_000 + "語" * 50_000
    for size in range(250, 262):
        yield "".join(rng.choices("etaoinshrdlu", k=size))
        yield "-" * size
    for size in range(1, 40):
        yield "".join(rng.choices("etaoinshrdlu", k=size))
        yield " " + "".join(rng.choices("дорогй", k=size))
    yield ""


def encode_ours(program, tokenizer, strings):
    texts = [s.encode() for s in strings]
    sent = b"".join(struct.pack("<I", len(t)) + t for t in texts)
    got = subprocess.run([program, "ids", tokenizer], input=sent, check=True, capture_output=True).stdout
    numbers = array.array("i", got)
    at = 0
    for _ in strings:
        yield numbers[at + 1 : at + 1 + numbers[at]].tolist()
        at += 1 + numbers[at]
    assert at == len(numbers)


def compare(program, path, name, strings):
    library = Tokenizer.from_file(path)
    size = sum(len(s.encode()) for s in strings)
    for start in range(0, len(strings), 20_000):
        part = strings[start : start + 20_000]
        theirs = library.encode_batch_fast(part, add_special_tokens=False)
        for text, encoding, ids in zip(part, theirs, encode_ours(program, path, part)):
            if encoding.ids != ids:
                sys.exit(f"{name}: {text[:200]!r}\n  tokenizers {encoding.ids[:50]}\n  centavo    {ids[:50]}")
            decoded = library.decode(ids, skip_special_tokens=False)
            if len(text) < 1000 and decoded != text:
                sys.exit(f"{name}: {text!r} decodes to {decoded!r}")
    print(f"  {name}: {len(strings)} strings, {size / 1e6:.1f} MB identical", flush=True)


def main():
    root = pathlib.Path(__file__).resolve().parents[1]
    program = sys.argv[1] if len(sys.argv) > 1 else str(root / "build/cpu-release/bench_tokenize")
    text = tokenizer_text.gather(MEGABYTES)
    rng = random.Random(1)
    words = [w for w in text[:: max(1, len(text) // 2_000_000)].split() if w] + text[: 1 << 20].split()
    strings = [random_string(rng, words) for _ in range(STRINGS)]
    documents = [text[i : i + 50_000] for i in range(0, len(text), 50_000)]
    with tempfile.TemporaryDirectory() as place:
        source = pathlib.Path(place) / "text"
        source.write_text(text, newline="")
        for size in SIZES:
            path = str(pathlib.Path(place) / f"{size}.json")
            subprocess.run([program, "train", str(size), source, path], check=True, capture_output=True)
            print(f"vocabulary of {size}")
            compare(program, path, "random strings", strings)
            compare(program, path, "long pieces", list(long_pieces()))
            if size in FULL:
                compare(program, path, "every code point", list(every_code_point()))
                compare(program, path, "mixed text", documents)


if __name__ == "__main__":
    main()
