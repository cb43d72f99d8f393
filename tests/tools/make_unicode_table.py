#!/usr/bin/env python3
"""Writes loader/tok_unicode_table.inc (development only; the build never runs this).

  make_unicode_table.py UCD16_DIR UCD_LATEST_DIR > loader/tok_unicode_table.inc

UCD16_DIR, UCD_LATEST_DIR: folders made by `pip install --target DIR unicodedata2==16.0.0` (and the
latest). The general categories come from Unicode 16. What depends on the libraries behind Hugging
Face `tokenizers` (0.23.3) is measured with it, for every code point.
"""
import subprocess, sys
from tokenizers import Regex, normalizers, pre_tokenizers

UCD = """
import sys; sys.path.insert(0, sys.argv[1])
import unicodedata2 as u
for c in range(0x110000):
    ch = chr(c)
    ccc = u.combining(ch)
    nfd, nfkd = (u.normalize(f, ch).encode('utf-8', 'surrogatepass').hex() for f in ('NFD', 'NFKD'))
    print(u.category(ch), ccc, nfd, nfkd)
"""
def ucd(folder):
    out = subprocess.run([sys.executable, "-c", UCD, folder], stdout=subprocess.PIPE, check=True, text=True).stdout
    return [line.split() for line in out.splitlines()]
old, new = ucd(sys.argv[1]), ucd(sys.argv[2])
SURROGATES = range(0xD800, 0xE000)
points = [c for c in range(0x110000) if c not in SURROGATES]
category = [row[0] for row in old]
ORDER = "Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Cs Co Cn".split()

def ranges(s):
    out = []
    for c in sorted(s):
        if out and out[-1][1] == c - 1: out[-1][1] = c
        else: out.append([c, c])
    return out

def table(kind, name, items, why):
    print(f"/* {why} */\nstatic const {kind} {name}[] = {{")
    line = "   "
    for it in items:
        if len(line) + len(it) + 2 > 100: print(line); line = "   "
        line += f" {it},"
    print(line + "\n};\n")

def range_table(name, s, why):
    table("struct unicode_range", name, ["{0x%X, 0x%X}" % tuple(r) for r in ranges(s)], why)

# Marks and decompositions that the normalizer's tables do not have.
nfd, nfkd = normalizers.NFD(), normalizers.NFKD()
inert = set()
for c in points:
    ch, ccc = chr(c), int(new[c][1])
    if new[c][3] != ch.encode().hex() and nfkd.normalize_str(ch) == ch: inert.add(c)
    if ccc: # between two marks whose order it must change, were it a mark
        text = "a\u0316" + ch if ccc < 220 else "a\u0301" + ch if ccc == 220 else "a" + ch + "\u0316"
        if nfd.normalize_str(text) == text: inert.add(c)

def split_alone(pre):
    text = "".join(chr(c) + "\u4e00" for c in points if c != 0x4E00)
    return {ord(p) for p, _ in pre.pre_tokenize_str(text) if len(p) == 1 and p != "\u4e00"}
digits = split_alone(pre_tokenizers.Digits(individual_digits=True))
punct = split_alone(pre_tokenizers.Punctuation())
word, pre = set(), pre_tokenizers.Whitespace()
for i in range(0, len(points), 1 << 15):
    text = " ".join("a" + chr(c) for c in points[i:i + (1 << 15)] if not chr(c).isspace())
    word |= {ord(p[1]) for p, _ in pre.pre_tokenize_str(text) if len(p) == 2 and p[0] == "a"}

def of(*kinds): return {c for c in points if category[c] in kinds or category[c][0] in kinds}
print("/* Made by tests/tools/make_unicode_table.py. */\n")
runs = [c for c in range(0x110000) if c == 0 or category[c] != category[c - 1]]
table("uint32_t", "category_run", ["0x%X" % (c << 5 | ORDER.index(category[c])) for c in runs],
      "Unicode 16: first code point of each run of one category << 5 | enum unicode_category")
base = of("L", "M", "Nd", "Nl", "Pc"); assert base <= word
range_table("word_extra", word - base, r"\w of Rust's regex beyond L, M, Nd, Nl, Pc")
assert of("N") <= digits
range_table("numeric_extra", digits - of("N"), "char::is_numeric of Rust beyond N")
ascii_punct = {c for c in range(128) if chr(c).isprintable() and not chr(c).isalnum() and c != 32}
range_table("punct_extra", punct - of("P") - ascii_punct, "the Punctuation splitter beyond P and ASCII")
range_table("punct_missing", of("P") - punct, "P that the Punctuation splitter does not know")
for script in "Han", "Hiragana", "Katakana", "Hangul":
    text = "".join(map(chr, points))
    kept = pre_tokenizers.Split(Regex(r"\p{%s}" % script), "removed", invert=True).pre_tokenize_str(text)
    range_table(script.lower(), {ord(c) for piece, _ in kept for c in piece}, "the script " + script)
range_table("inert", inert, "marks and decompositions that the normalizers of `tokenizers` do not know")
