#!/usr/bin/env python3
"""Writes tests/data/tokenizers/parts.json (development only): random small tokenizers made of every
supported normalizer, pre-tokenizer, post-processor and kind of added token, with random texts and
the ids of Hugging Face `tokenizers` 0.23.3.

  make_tokenizer_parts.py SEED COUNT > parts.json

Left out: what the program refuses on purpose because Hugging Face's own ids are then an accident
(tokens that normalize alike or to nothing, several processors that add tokens, a Metaspace "first"
behind another pre-tokenizer).
"""
import json, random, sys
from tokenizers import Tokenizer

rng = random.Random(int(sys.argv[1]))
pick, chance = rng.choice, lambda p: rng.random() < p

def byte_alphabet():
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in plain]
    return {**{b: chr(b) for b in plain}, **{b: chr(256 + i) for i, b in enumerate(rest)}}

ALPHABET = list(byte_alphabet().values())
LETTERS = [chr(c) for c in range(32, 127)] + list("▁éßıйщ日本한अबि")
BYTES = ["<0x%02X>" % b for b in range(256)]
PATTERNS = [
    r"\s+", r"\p{L}+", r"\p{N}{1,3}", r"\w+|[^\w\s]+", r"[^\s\p{L}]+", r"x*", r"", r"(?i:'s|'t)|\S",
    r"(?:\r?\n)+(?!\r?\n)", r"[A-Z][a-z]*", r"\d", r"\p{P}", r"\p{^L}+", r"\P{M}\p{M}*", r"(?<=e)\s",
    r"[\W\d]+", r"[^\S\n]+", r"\d{1,2}+", r"a|ab|abc", r"^\w|\w$", r".", r"[\h]{2}", r"[[:space:]]+",
    r"'(?:[sdmt]|ll|ve|re)|\s?\p{L}++|\s+$", r"\u00e9|\x{65e5}", r"[\p{S}\p{P}]{2,}",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "[一-龥぀-ゟ゠-ヿ]+", r"[\p{L}&&[^\p{Han}]]+", r"[\p{Han}]+|\p{Hangul}|[\p{Hiragana}\p{Katakana}]+",
    r" ?[^(\s|[.,!?…。，、।۔،])]+", r"[a-t&&[^c-e]&&b-z]+", r"[^a-y&&c-z]", r"(?i:[^a-y&&c-z])", r"[%-&\[\]]|[]a]"]
BEHAVIORS = ["Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"]
CONTENTS = ["<s>", "</s>", " the", "cat", "Cat", "é", "e\u0301", "▁▁", "  ", "a<", "日本", "\n\n", ".", "İ", "ﬁ"]

def pattern():
    if chance(.75): return {"Regex": pick(PATTERNS)}
    return {"String": pick([" ", "e", "th", ".", "\n", "▁"])}

def model():
    tokens = list(dict.fromkeys(ALPHABET + LETTERS)) if chance(.5) else \
        [c for c in LETTERS if chance(.7)] + (BYTES if chance(.7) else BYTES[:0xd0]) + ["<unk>"]
    have, chars, merges = set(tokens), [t for t in tokens if len(t) == 1], []
    pool = [c for c in "etaoinshr▁Ġ '12." if c in have]
    for _ in range(rng.randrange(40)):
        a, b = (pick(chars if chance(.2) else pool) for _ in "ab")
        if len(a + b) > 8: continue
        if a + b not in have:
            have.add(a + b); tokens.append(a + b); pool.append(a + b)
        merges.append([a, b])
    rng.shuffle(tokens)
    if chance(.5) and not any(" " in x for m in merges for x in m): merges = [" ".join(m) for m in merges]
    return {"type": "BPE", "unk_token": "<unk>" if "<unk>" in have and chance(.8) else None,
            "fuse_unk": chance(.5), "byte_fallback": chance(.6), "ignore_merges": chance(.3),
            "vocab": {t: i for i, t in enumerate(tokens)}, "merges": merges}

def normalizer(depth=0):
    kind = pick(["NFC", "NFD", "NFKC", "NFKD", "Lowercase", "Strip", "Prepend", "Replace", "Sequence", "ByteLevel"])
    if kind == "Strip": return {"type": kind, "strip_left": chance(.6), "strip_right": chance(.6)}
    if kind == "Prepend": return {"type": kind, "prepend": pick(["▁", "ab"])}
    if kind == "Replace": return {"type": kind, "pattern": pattern(), "content": pick(["▁", " ", "", "x", "$1"])}
    if kind == "Sequence":
        return {"type": kind, "normalizers": [normalizer(depth + 1) for _ in range(rng.randrange(1, 4))]} \
            if depth < 2 else {"type": "NFC"}
    return {"type": kind}

def pre_tokenizer(leads=True, depth=0):
    kind = pick(["Split", "Split", "Split", "ByteLevel", "Digits", "Punctuation", "Whitespace", "WhitespaceSplit",
                 "CharDelimiterSplit", "Metaspace", "Metaspace", "Sequence", "Sequence"])
    if kind == "Split": return {"type": kind, "pattern": pattern(), "behavior": pick(BEHAVIORS), "invert": chance(.3)}
    if kind == "ByteLevel":
        return {"type": kind, "add_prefix_space": chance(.4), "trim_offsets": True, **({"use_regex": chance(.5)} if chance(.7) else {})}
    if kind == "Digits": return {"type": kind, "individual_digits": chance(.5)}
    if kind == "Punctuation": return {"type": kind, "behavior": pick(BEHAVIORS)}
    if kind == "CharDelimiterSplit": return {"type": kind, "delimiter": pick([" ", "e", "日"])}
    if kind == "Metaspace":
        return {"type": kind, "replacement": "▁", "prepend_scheme": pick(["always", "never"] + ["first"] * leads),
                **({"split": chance(.5)} if chance(.7) else {})}
    if kind == "Sequence":
        n = rng.randrange(1, 4)
        return {"type": kind, "pretokenizers": [pre_tokenizer(leads and i == 0, depth + 1) for i in range(n)]} \
            if depth < 2 else {"type": "Whitespace"}
    return {"type": kind}

def post_processor(ids):
    kind, names = pick(["ByteLevel", "TemplateProcessing", "RobertaProcessing", "BertProcessing", "Sequence"]), list(ids)
    byte_level = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    if kind == "ByteLevel": return byte_level
    if kind == "Sequence": return {"type": kind, "processors": [byte_level, post_processor(ids)]}
    if kind != "TemplateProcessing":
        a, b = pick(names), pick(names)
        return {"type": kind, "sep": [a, ids[a]], "cls": [b, ids[b]], "trim_offsets": True, "add_prefix_space": False}
    before, after = ([pick(names) for _ in range(rng.randrange(3))] for _ in "ab")
    special = lambda n: {"SpecialToken": {"id": n, "type_id": 0}}
    text = {"Sequence": {"id": "A", "type_id": 0}}
    return {"type": kind, "single": [*map(special, before), text, *map(special, after)], "pair": [text, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {n: {"id": n, "ids": [ids[n]], "tokens": [n]} for n in {*before, *after}}}

def tokenizer():
    m = model()
    ids, added, top = dict(m["vocab"]), [], len(m["vocab"])
    for content in rng.sample(CONTENTS, rng.randrange(6)):
        if content not in ids: ids[content] = top; top += 1
        added.append({"id": ids[content], "content": content, **{f: chance(.3) for f in ("single_word", "lstrip", "rstrip")},
                      "normalized": chance(.5), "special": chance(.5)})
    return {"added_tokens": added, "normalizer": normalizer() if chance(.6) else None,
            "pre_tokenizer": pre_tokenizer() if chance(.8) else None,
            "post_processor": post_processor({n: ids[n] for n in ["e", *(a["content"] for a in added)] if n in ids}) if "e" in ids else None,
            "model": m}

WORDS = "the Brown don't we'LL it'S 12 123456 3.14 http://x.y/z?q=1 foo_bar naïve Straße İstanbul 'ſ 日本語 한국어 русский العربية हिन्दी 👍🏽 \u0000 ①½² Ⅷ ㈱ ﬁ <unk> <s> <0x41> ▁ ▁▁ \ufeff cat Cat a< . .. xx".split(" ")
SPACES = [" ", " ", "  ", "\n", "\n\n", "\t", "\r\n", "\u00a0", "\u0085", "\u2028", "\u3000", "\u200b", "\u180e", "\x1c"]
def text(): return "".join(pick(SPACES) if chance(.4) else pick(WORDS) for _ in range(rng.randrange(1, 14)))

out = []
while len(out) < int(sys.argv[2]):
    config = tokenizer()
    try:
        t = Tokenizer.from_str(json.dumps(config))
        texts = ["", " ", " x"] + [text() for _ in range(9)]
        cases = [{"text": s, "ids": t.encode(s).ids} for s in texts]
    except BaseException: continue # Hugging Face panics on some overlaps
    n, seen = t.normalizer, set()
    forms = [n.normalize_str(a["content"]) if n and a["normalized"] else a["content"] for a in config["added_tokens"]]
    if "" in forms or len({(a["normalized"], f) for a, f in zip(config["added_tokens"], forms)}) < len(forms): continue
    out.append({"tokenizer": config, "cases": cases})
print("[\n" + ",\n".join(json.dumps(x, ensure_ascii=False, separators=(",", ":")) for x in out) + "\n]")
