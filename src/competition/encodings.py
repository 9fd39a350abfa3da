"""The encoding of a text file, by the letters that its bytes stand for."""

import re
import unicodedata
from itertools import islice

from src.competition.messages import say_once

# the first bytes of each encoding's common characters (of cp932: in EUC-JP)
COMMON = {"gb18030": (0xB0, 0xD7), "cp932": (0xB0, 0xCF), "big5": (0xA4, 0xC6)}


def decoded(raw: bytes, name: str) -> str:
    """The text of a file: UTF-8, UTF-16 with a byte order mark, else the East Asian encoding whose common
    letters it is made of, else latin-1. Prints a line for what is not Unicode.
    """
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return raw.decode("utf-16")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        pass
    shares = {encoding: share_of_common(raw, encoding) for encoding in ("cp949", *COMMON)}
    best = max(shares, key=lambda encoding: shares[encoding])
    has_windows_letters = any(0x80 <= byte < 0xA0 for byte in raw[:100_000])
    latin = raw.decode("cp1252" if has_windows_letters else "latin-1", errors="replace")
    if shares[best] >= 0.6 and not is_latin(latin[:100_000]):
        say_once(f"{name} is read as {best.upper()}, whose letters fit; what is submitted is UTF-8")
        return raw.decode(best)
    say_once(
        f"warning: {name} is not UTF-8 and is read as latin-1: if its letters are wrong, save it as UTF-8"
    )
    return latin


def share_of_common(raw: bytes, encoding: str) -> float:
    """The share of common letters among those that are not ASCII; 0 where the bytes are not of
    this encoding.
    """
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError:
        return 0.0
    letters = list(islice((letter for letter in text if ord(letter) > 127 and letter.isalnum()), 5000))
    return sum(is_common(letter, encoding) for letter in letters) / max(len(letters), 1)


def is_common(letter: str, encoding: str) -> bool:
    """Is the letter of the encoding's own script, and a usual one?"""
    name = unicodedata.name(letter, "")
    if encoding == "cp949":
        return name.startswith("HANGUL SYLLABLE") and bool(encoded(letter, "euc_kr"))
    if encoding == "cp932" and name.startswith(("HIRAGANA", "KATAKANA LETTER", "KATAKANA-HIRAGANA")):
        return True
    low, high = COMMON[encoding]
    raw = encoded(letter, {"gb18030": "gb2312", "cp932": "euc_jp"}.get(encoding, encoding))
    return name.startswith("CJK UNIFIED") and len(raw) == 2 and low <= raw[0] <= high


def encoded(letter: str, encoding: str) -> bytes:
    try:
        return letter.encode(encoding)
    except UnicodeEncodeError:
        return b""


def is_latin(text: str) -> bool:
    """Accented letters stand beside plain ones; another script, read as latin-1, is full of signs."""
    foreign = [place for place, letter in enumerate(text) if ord(letter) > 127]
    letters = [place for place in foreign if text[place].isalpha()]
    beside = [place for place in letters if re.search("[A-Za-z]", text[max(place - 1, 0) : place + 2])]
    return len(letters) >= 0.8 * len(foreign) and len(beside) >= 0.5 * len(letters)
