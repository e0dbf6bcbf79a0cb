"""Writes tokenizer.json and tokenizer_cases.json beside this script: what the `tokenizers` library makes of strings.

Run:  python tests/golden/make_tokenizer_goldens.py
README.md says what the files hold. The same version of the library writes the same bytes.
"""

import json
import pathlib
import random

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

HERE = pathlib.Path(__file__).parent
EOT = "<|endoftext|>"
MERGES = 400
SAMPLE = """\
The mill stood at the end of the valley, and nobody in the village could remember a time when its wheel hadn't turned.
They'd say: "If the water's high, we'll grind; if it's low, we're going to wait; I've seen both, and I'm not worried."
In 1987 the river rose 3 metres in 24 hours; 120 sacks of flour were lost, worth 4,500 francs at 37.50 each.

    for (int i = 0; i < 100; ++i) {
        total += values[i] * weights[i];  // the weighted sum
    }

def weighted_sum(values, weights):
\treturn sum(v * w for v, w in zip(values, weights))

Die Mühle stand am Ende des Tales, und niemand im Dorf konnte sich daran erinnern, daß ihr Rad je stillgestanden hätte.
Le moulin se trouvait au bout de la vallée, et personne au village ne se souvenait d'un temps où sa roue fût immobile.
Мельница стояла в конце долины, и никто в деревне не помнил, чтобы её колесо когда-нибудь останавливалось.
Ο μύλος βρισκόταν στην άκρη της κοιλάδας, και κανείς στο χωριό δεν θυμόταν τον τροχό του σταματημένο.
水車小屋は谷の端に立っていて、村の誰もその車輪が止まった時を覚えていなかった。
磨坊坐落在山谷的尽头，村里没有人记得它的轮子曾经停过。
방앗간은 골짜기 끝에 서 있었고, 마을의 누구도 그 바퀴가 멈춘 때를 기억하지 못했다.
كانت الطاحونة في آخر الوادي، ولا يذكر أحد في القرية أن عجلتها توقفت يوما.
"""
FIXED = [
    "", " ", "  ", "\n", " \n ", "a", " a", "  a", "   a b  c   ", "a\tb\t\tc", "\r\n\r\nx", "line\n\n\nline\n", "tail   ",
    "don't you'll we've they're I'm he'd it's", "DON'T YOU'LL", "''s '' 's's 'sa 'rest 'r 'l 'll", " 's 't", "’s it’s",
    "1234567 12ab34 ab12 1.5e-3 $5", "½²Ⅷ١٢٣๑๒ x²", "!?... --- a--b (c) [d] {e}", "<|endoftext|>", "a<|endoftext|>b",
    "<|endoftext|><|endoftext|>", " <|endoftext|> ", "<|endoftext|", "<|endoftext |>", "|<|endoftext|>|", "<<|endoftext|>>",
    "\x00\x01\x1f\x7f", "\x1b[31mred\x1b[0m", "\x1c\x1d\x1e\x1f x", "\x85 \x85x", "\u00a0x \u00a0 x", "\u2003\u2003x",
    "\u3000漢字\u3000かな カナ", "\u200b\u200c\u200d\ufeff x", "\u2028\u2029", "\u180e x", "e\u0301a\u0308 \u0915\u093f",
    "👩‍👩‍👧‍👦 🇩🇪 👍🏽 ❤️ 1️⃣", "\U0001d400\U0001d7ce \U00010400", "\U000105c0\U000323b0\U00016ea0", "ﬁ ß ẞ İ ı ǅ ʰ ª º",
    "\ufffd\ufffe\uffff \U0010ffff", "\ue000\uf8ff", "a" * 100, "ab" * 200, " " * 300, "-" * 255, "-" * 256, "=" * 257,
    "the " * 50, "weighted" * 40, "é" * 200, "水車" * 100, "0" * 300, "\n" * 70 + "x", "x" + "\t" * 40,
]  # fmt: skip


def byte_letters():
    own = [b for b in range(256) if 0x20 < b < 0x7F or 0xA0 < b and b != 0xAD]
    others = [b for b in range(256) if b not in own]
    return {b: chr(b) for b in own} | {b: chr(0x100 + i) for i, b in enumerate(others)}


def splitter():
    return pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=True)


def learnt_merges():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = splitter()
    alphabet = sorted(byte_letters().values())
    tokenizer.train_from_iterator(
        SAMPLE.splitlines(keepends=True),
        trainers.BpeTrainer(vocab_size=256 + MERGES, initial_alphabet=alphabet, show_progress=False),
    )
    return [tuple(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]


def golden_tokenizer():
    """The library's merges in centavo's order of ids: bytes, merges, <|endoftext|>."""
    vocab = {letter: byte for byte, letter in byte_letters().items()}
    merges = []
    for left, right in learnt_merges():
        if left + right not in vocab:
            vocab[left + right] = len(vocab)
            merges.append((left, right))
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tokenizer.pre_tokenizer = splitter()
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(EOT, normalized=False, special=True)])
    return tokenizer


def random_string(rng):
    def character():
        low, high = rng.choice(
            ((0, 128), (128, 0x600), (0x900, 0xE00), (0x2000, 0x2C00), (0x3000, 0xA000), (0x10000, 0x20000), (0, 0x110000))
        )
        code_point = rng.randrange(low, high)
        return "?" if 0xD800 <= code_point < 0xE000 else chr(code_point)

    parts = []
    for _ in range(rng.randrange(1, 10)):
        start = rng.randrange(len(SAMPLE))
        kind = rng.randrange(4)
        if kind == 0:
            parts.append("".join(character() for _ in range(rng.randrange(1, 6))))
        elif kind == 1:
            parts.append("".join(rng.choices(" \t\n\r\u00a0\u3000", k=rng.randrange(1, 5))))
        else:
            parts.append(SAMPLE[start : start + rng.randrange(1, 25)])
    return "".join(parts)


def classes():
    """Ranges [first, last] of the code points that the pattern takes for letters, numbers and spaces."""
    split = splitter().pre_tokenize_str
    ranges = {"letter": [], "number": [], "space": []}
    for c in range(0x110000):
        if 0xD800 <= c < 0xE000 or len(split("!" + chr(c))) == 1:
            continue
        kind = "letter" if len(split("a" + chr(c))) == 1 else "number" if len(split("1" + chr(c))) == 1 else "space"
        if ranges[kind] and ranges[kind][-1][1] == c - 1:
            ranges[kind][-1][1] = c
        else:
            ranges[kind].append([c, c])
    return ranges


def main():
    tokenizer = golden_tokenizer()
    tokenizer.save(str(HERE / "tokenizer.json"))
    rng = random.Random(7)
    texts = FIXED + [SAMPLE] + [random_string(rng) for _ in range(400)]
    cases = [[text, tokenizer.encode(text, add_special_tokens=False).ids] for text in texts]
    rows = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    ranges = json.dumps(classes(), separators=(",", ":"))
    (HERE / "tokenizer_cases.json").write_text(f'{{"classes":{ranges},\n"cases":[\n{rows}\n]}}\n')


if __name__ == "__main__":
    main()
