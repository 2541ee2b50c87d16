"""Golden tokens by HuggingFace's `tokenizers`, and two small vocabularies (no code of this project).

    python3 -m venv /tmp/golden && /tmp/golden/bin/pip install tokenizers==0.23.3 unicodedata2==15.0.0
    /tmp/golden/bin/python tests/golden/make_tokenizers.py DATA tests/golden/tokenizers

DATA holds `text/` (WikiText-2's wiki.valid.tokens, and books that are in the public domain) and `tokenizers/gpt2`,
`tokenizers/bert-base-uncased` with the published vocabularies. The small vocabularies `gpt2` and `bert` are trained on
tinyshakespeare.txt where they are not there (training breaks ties at random). Code points are those assigned in Unicode 15 for which the package follows Unicode 15's categories:
its tables are of other versions for a few (`bert_skipped`).
"""
import hashlib
import json
import random
import struct
import sys
from pathlib import Path

import tokenizers
import unicodedata2 as unicodedata
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

DATA, OUT = Path(sys.argv[1]), Path(sys.argv[2])
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
BLOCK = 4096


def byte_level():
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)


def bert_parts(model):
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def gpt2(folder, special):
    tokenizer = Tokenizer(models.BPE.from_file(str(folder / "encoder.json"), str(folder / "vocab.bpe")))
    tokenizer.pre_tokenizer = byte_level()
    if special:
        tokenizer.add_special_tokens(["<|endoftext|>"])
    return tokenizer


def bert(folder, special):
    tokenizer = bert_parts(models.WordPiece.from_file(str(folder / "vocab.txt"), unk_token="[UNK]",
                                                      max_input_chars_per_word=100))
    if special:
        tokenizer.add_special_tokens(SPECIAL)
    return tokenizer


def train_small():
    lines = (DATA / "text/tinyshakespeare.txt").read_text().splitlines(keepends=True)
    for name in ("gpt2", "bert"):
        (OUT / name).mkdir(parents=True)
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = byte_level()
    bpe.train_from_iterator(lines, trainers.BpeTrainer(
        vocab_size=600, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    state = json.loads(bpe.to_str())["model"]
    vocabulary = dict(state["vocab"])
    vocabulary["<|endoftext|>"] = len(vocabulary)
    (OUT / "gpt2/encoder.json").write_text(json.dumps(vocabulary))
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in state["merges"]]
    (OUT / "gpt2/vocab.bpe").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    piece = bert_parts(models.WordPiece(unk_token="[UNK]"))
    piece.train_from_iterator(lines, trainers.WordPieceTrainer(vocab_size=500, special_tokens=SPECIAL, show_progress=False))
    ids = sorted(piece.get_vocab().items(), key=lambda item: item[1])
    (OUT / "bert/vocab.txt").write_text("".join(token + "\n" for token, _ in ids))


def random_text(rng, length):
    """Valid UTF-8 of every length of characters, with runs of white space."""
    text = ""
    while len(text) < length:
        kind = rng.randrange(8)
        if kind == 0:
            text += rng.choice([" ", "  ", "\n", "\t", "\r\n", "\u00a0", "\u3000", "\u2009"]) * rng.randrange(1, 4)
        elif kind < 4:
            text += chr(rng.randrange(32, 127))
        else:
            code = rng.randrange(0x80, [0x800, 0x3000, 0x10000, 0x20000][rng.randrange(4)])
            if unicodedata.category(chr(code)) not in ("Cs", "Cn") and code not in SKIPPED:
                text += chr(code)
    return text


def texts():
    rng = random.Random(0)
    yield "empty", ""
    for i, text in enumerate(["Hello, world!", "It's we'll they've I'm you'd don't we're 'S 'T ''s '", "a'b 's t' 'll'",
                              "x  y   z ", "   ", " ", "\n", "\n\n\nx", "x\n\n\n", "x \n y", "\t\tint x;\r\n\r\n", "a\u00a0b\u00a0 c",
                              "\u2003\u2003em", "1234567890 3.14 1e-5 ½ ² Ⅷ ٣٤ 四", "!!! ... ?! -- $5.00 (a+b)=c_d",
                              "<|endoftext|>", "a<|endoftext|>b <|endoftext|><|endoftext|>", "[MASK] [CLS]x[SEP][PAD] [mask]",
                              "##ing #hash ##", "naïve café Ångström ÀÉÎÕÜ ñ ß ẞ ǅ İstanbul ıI", "e\u0301 a\u0323\u0307 a\u0307\u0323 q\u0307\u0323",
                              "Σίσυφος ΣΑΣ", "Привет, мир", "שָׁלוֹם", "مرحبا بالعالم", "नमस्ते दुनिया", "สวัสดีชาวโลก", "中文分词 和 English混合",
                              "日本語のテスト。カタカナ", "한국어 테스트", "豈更車 丽", "𠀀𪜀𫝀𫠠𫤠", "👍 👨‍👩‍👧‍👦 🏳️‍🌈 🇩🇪 ☺️ e\u20e3", "zero\u200bwidth\u200djoin\ufeffbom",
                              "a\x00b\x01c\x7fd\x85e\x0bf\x0cg\x1ch", "\ufffd\uffff\U0010ffff\ue000", "\u1680 \u180e \u2028\u2029\u202f\u205f",
                              "a" * 99, "a" * 100, "a" * 101, "é" * 100, "é" * 101, "e\u0301" * 100, "ab" * 300, "the" * 50 + " " + "=" * 77,
                              " " * 100 + "x", "for (int i = 0; i < n; ++i) {\n    sum += a[i] * 2.5f;  // comment\n}\n",
                              "def f(x):\n\treturn {'a': x**2, \"b\": [x]}\n\n\n", "https://example.org/a?b=c&d=%20#e", "“quotes” — dash… ‘single’",
                              " = Robert Boulter = \n \n Robert Boulter is an English film , television and theatre actor . @-@ @,@ \n"]):
        yield f"text {i}", text
    for i in range(40):
        yield f"random {i}", random_text(rng, rng.randrange(1, 60))
    characters = [chr(c) for c in ASSIGNED if c not in SKIPPED]
    for i in range(20):
        yield f"characters {i}", "".join(rng.choice(characters) for _ in range(25))


def sha1_of(ids):
    return hashlib.sha1(struct.pack(f"<{len(ids)}i", *ids)).hexdigest()


def around(c):
    return f"a{c}b 1{c}2 -{c}- {c}{c}x  {c}"


GPT2_WORDS = byte_level()
BERT_NORMAL, BERT_WORDS = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()


def bert_words(text):
    return [word for word, _ in BERT_WORDS.pre_tokenize_str(BERT_NORMAL.normalize_str(text))]


def as_unicode_15(code):
    """Whether the package treats a code point by the categories of Unicode 15."""
    c, category = chr(code), unicodedata.category(chr(code))
    gone = c in "\x00\ufffd" or (category in ("Cc", "Cf", "Co") and c not in "\t\n\r")
    folded = "".join(x.lower() for x in unicodedata.normalize("NFD", c) if unicodedata.category(x) != "Mn")
    if category == "Mn" or gone:
        expected = ["ab"]
    elif c in "\t\n\r" or category in ("Zs", "Zl", "Zp"):
        expected = ["a", "b"]
    else:
        found = bert_words(f"a{c}b")
        punctuation = category.startswith("P") or (code < 128 and not c.isalnum())
        alone = found == ["a", folded, "b"]
        return "".join(found) == f"a{folded}b" and (alone == punctuation or (alone and category == "Lo"))  # ideographs
    return bert_words(f"a{c}b") == expected


ASSIGNED = [c for c in range(0x110000) if unicodedata.category(chr(c)) not in ("Cn", "Cs")]
SKIPPED = {c for c in ASSIGNED if not as_unicode_15(c)}


def ranges(codes):
    result = []
    for code in codes:
        if result and result[-1][1] == code - 1:
            result[-1][1] = code
        else:
            result.append([code, code])
    return result


def code_points():
    """Per block of code points the SHA-1 of how the words of around(c) lie, a line for each c."""
    blocks = {}
    for code in ASSIGNED:
        entry = blocks.setdefault(code // BLOCK, [hashlib.sha1(), hashlib.sha1()])
        text = around(chr(code))
        lengths = [len(word) for word, _ in GPT2_WORDS.pre_tokenize_str(text)]  # a character stands for a byte
        entry[0].update((" ".join(map(str, lengths)) + "\n").encode())
        if code not in SKIPPED:
            entry[1].update(("\x1f".join(bert_words(text)) + "\n").encode())
    return {str(block): [h.hexdigest() for h in hashes] for block, hashes in blocks.items()}


if not (OUT / "gpt2").exists():
    train_small()
FOLDERS = {"gpt2": DATA / "tokenizers/gpt2", "bert": DATA / "tokenizers/bert-base-uncased"}
plain = {"gpt2": gpt2(FOLDERS["gpt2"], False), "bert": bert(FOLDERS["bert"], False),
         "small_gpt2": gpt2(OUT / "gpt2", False), "small_bert": bert(OUT / "bert", False)}
recognised = {"gpt2": gpt2(FOLDERS["gpt2"], True), "bert": bert(FOLDERS["bert"], True),
              "small_gpt2": gpt2(OUT / "gpt2", True), "small_bert": bert(OUT / "bert", True)}
recognised["small_gpt2"].save(str(OUT / "gpt2_tokenizer.json"), pretty=False)
recognised["small_bert"].save(str(OUT / "bert_tokenizer.json"), pretty=False)
cases = []
for name, text in texts():
    case = {"name": name, "text": text}
    for key, tokenizer in plain.items():
        case[key] = tokenizer.encode(text, add_special_tokens=False).ids
        special = recognised[key].encode(text, add_special_tokens=False).ids
        if special != case[key]:
            case[key + "_recognised"] = special
    cases.append(case)
files = []
for path in sorted((DATA / "text").iterdir()):
    text = path.read_bytes().decode()
    entry = {"file": path.name}
    for key, tokenizer in plain.items():
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        entry[key] = {"tokens": len(ids), "sha1": sha1_of(ids)}
    files.append(entry)
manifest = {"generator": "tests/golden/make_tokenizers.py", "tokenizers": tokenizers.__version__,
            "unicode": unicodedata.unidata_version, "bert_skipped_code_points": len(SKIPPED)}
result = {"manifest": manifest, "block": BLOCK, "assigned": ranges(ASSIGNED), "bert_skipped": ranges(sorted(SKIPPED)),
          "code_points": code_points(), "cases": cases, "files": files}
(OUT / "vectors.json").write_text(json.dumps(result, ensure_ascii=True, separators=(",", ":")).replace('{"name"', '\n{"name"') + "\n")
print(manifest)
