"""Writes unicode_classes.cpp beside this script: what the `tokenizers` library takes for a letter, a number, a space.

Run:  python src/data/make_unicode_classes.py      (needs the Python package tokenizers; clang-format)
Asks its ByteLevel pre-tokenizer about every code point, so that the table cannot differ from the library.
"""

import pathlib
import subprocess

import tokenizers
from tokenizers.pre_tokenizers import ByteLevel

LETTER, NUMBER, SPACE, OTHER = range(4)
PAGE = 256
PER_WORD = 32  # code points of two bits in a u64
UNICODE = "16.0"  # of Oniguruma in tokenizers 0.23: it knows the letters of U+105C0 (16.0), not those of U+323B0 (17.0)


def class_of(code_point, splitter):
    if 0xD800 <= code_point < 0xE000:
        return OTHER  # not a character
    for kind, neighbour in ((LETTER, "a"), (NUMBER, "1"), (OTHER, "!")):
        if len(splitter.pre_tokenize_str(neighbour + chr(code_point))) == 1:
            return kind
    return SPACE


def words(page):
    for start in range(0, PAGE, PER_WORD):
        yield sum(kind << (2 * i) for i, kind in enumerate(page[start : start + PER_WORD]))


def main():
    splitter = ByteLevel(add_prefix_space=False, use_regex=True)
    classes = [class_of(c, splitter) for c in range(0x110000)]
    assert classes[0x105C0] == LETTER and classes[0x323B0] == OTHER
    end = max(c for c, kind in enumerate(classes) if kind != OTHER) // PAGE * PAGE + PAGE
    pages, index = {}, []
    for start in range(0, end, PAGE):
        index.append(pages.setdefault(tuple(classes[start : start + PAGE]), len(pages)))
    assert len(pages) <= 256
    table = ", ".join(f"0x{word:016x}" for page in pages for word in words(page))
    out = pathlib.Path(__file__).with_name("unicode_classes.cpp")
    out.write_text(f"""\
// Written by make_unicode_classes.py from tokenizers {tokenizers.__version__}: the classes of Unicode {UNICODE}.
#include "data/unicode_classes.h"

#include <array>
#include <cstddef>

namespace centavo {{
namespace {{

constexpr char32_t kEnd = 0x{end:x};  // from here on everything is `other`
constexpr size_t kPage = {PAGE};
constexpr size_t kPerWord = {PER_WORD};

// The page of each {PAGE} code points.
constexpr std::array<uint8_t, {len(index)}> kPageOf = {{{", ".join(map(str, index))}}};

// Two bits a code point, the first in the lowest.
constexpr std::array<uint64_t, {len(pages) * PAGE // PER_WORD}> kClasses = {{{table}}};

}}  // namespace

CharClass class_of(char32_t code_point) {{
  if (code_point >= kEnd) return CharClass::other;
  const size_t place = kPageOf[code_point / kPage] * kPage + code_point % kPage;
  return static_cast<CharClass>(kClasses[place / kPerWord] >> (2 * (place % kPerWord)) & 3);
}}

}}  // namespace centavo
""")
    subprocess.run(["clang-format", "-i", out], check=True)


if __name__ == "__main__":
    main()
