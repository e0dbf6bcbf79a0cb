"""Gathers mixed text of this machine for the tokenizer's measurements: documentation, sources, manuals, translations.

Run:  python bench/tokenizer_text.py OUT.txt [MB]      (default 40)
"""

import gettext
import gzip
import pathlib
import random
import sys


def read(path):
    raw = path.read_bytes()
    if path.suffix == ".gz":
        raw = gzip.decompress(raw)
    if path.suffix == ".mo":
        messages = gettext.GNUTranslations(path.open("rb"))._catalog.values()
        return "\n".join(m for m in messages if isinstance(m, str))
    return raw.decode("utf-8")


def texts(root, patterns, share):
    """Files in a fixed random order until their text has `share` characters."""
    files = sorted(f for pattern in patterns for f in pathlib.Path(root).glob(pattern) if f.is_file())
    random.Random(root).shuffle(files)
    size = 0
    for file in files:
        if size >= share:
            return
        try:
            text = read(file)[: 1 << 20]
        except (ValueError, OSError, EOFError, AssertionError, AttributeError):
            continue  # not text
        size += len(text)
        yield text


def gather(megabytes):
    share = megabytes * 1_000_000 // 5
    parts = []
    for root, patterns in (
        ("/usr/share/locale", ["*/LC_MESSAGES/*.mo"]),
        ("/usr/share/man", ["**/*.gz"]),
        ("/usr/share/doc", ["**/*.txt", "**/*.html", "**/*.gz", "**/copyright", "**/README*"]),
        (sys.prefix, ["lib/**/*.py", "lib/**/*.md", "lib/**/*.json"]),
        ("/usr/include", ["**/*.h"]),
        ("/usr/lib/python3", ["**/*.py"]),
        ("/usr/share", ["**/*.po", "**/*.txt", "i18n/**/*", "perl/**/*"]),
    ):
        parts += texts(root, patterns, share)
    random.Random(0).shuffle(parts)
    return "\n".join(parts)[: megabytes * 1_000_000]


if __name__ == "__main__":
    size = int(sys.argv[2]) if len(sys.argv) > 2 else 40
    pathlib.Path(sys.argv[1]).write_text(gather(size), newline="")
