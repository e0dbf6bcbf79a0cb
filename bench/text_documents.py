#!/usr/bin/env python3
"""Makes a corpus of plain text files cleaner and free of repeats, for runs whose losses are to mean something.

usage: text_documents.py FOLDER OUT [--most-bytes N]

Reads every .txt below FOLDER; the literal <|endoftext|> ends a document, and so does the file. Control characters,
spaces at line ends and runs of blank lines go; a paragraph of 60 characters or more stays where it is first met; documents
that are then short or hold little but figures and signs are left out. OUT gets one .txt a file that `centavo data build`
reads. Of a file at most N bytes are taken (default: all), whole documents spread evenly over it.
"""
import argparse
import hashlib
import pathlib
import re

END = "<|endoftext|>"
LEAST_CHARACTERS = 300
LEAST_LETTERS = 0.6  # share of letters and spaces
REPEATED_FROM = 60  # characters of a paragraph
NO_LETTERS = re.compile(r"[^\w ]+|[\d_]+")
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ufeff\ufffd]")


def cleaned(text):
    text = CONTROL.sub("", text.replace("\r\n", "\n"))
    text = re.sub(r"[ \t]+\n", "\n", text)
    return re.sub(r"\n{3,}", "\n\n", text).strip("\n")


def without_repeats(text, seen):
    kept = []
    for paragraph in text.split("\n\n"):
        if len(paragraph) >= REPEATED_FROM:
            key = hashlib.blake2b(" ".join(paragraph.split()).encode(), digest_size=8).digest()
            if key in seen:
                continue
            seen.add(key)
        kept.append(paragraph)
    return "\n\n".join(kept)


def is_text(document):
    if len(document) < LEAST_CHARACTERS:
        return False
    return len(NO_LETTERS.sub("", document)) >= LEAST_LETTERS * len(document)


def documents_of(path, seen):
    for document in path.read_text(encoding="utf-8", errors="replace").split(END):
        document = without_repeats(cleaned(document), seen)
        if is_text(document):
            yield document


def spread(documents, most_bytes):
    """About `most_bytes` of them: each is taken while fewer bytes are than its place asks for."""
    total = sum(len(d.encode()) for d in documents)
    share, passed, taken = min(1.0, most_bytes / max(total, 1)), 0, 0
    for document in documents:
        size = len(document.encode())
        passed += size
        if taken + size <= share * passed + 1:
            taken += size
            yield document


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--most-bytes", type=float, default=float("inf"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    seen, total = set(), 0
    for path in sorted(arguments.folder.rglob("*.txt")):
        documents = list(spread(list(documents_of(path, seen)), arguments.most_bytes))
        text = "".join(document + "\n" + END + "\n" for document in documents)
        total += len(text.encode())
        print(f"{path.name}: {len(documents)} documents, {len(text) / 1e6:.1f} MB")
        if text:
            (arguments.out / path.name).write_text(text, encoding="utf-8")
    print(f"{total / 1e6:.1f} MB in all")


if __name__ == "__main__":
    main()
