"""
The words of a Lua 5.4 script, exactly as Lua's own lexer sees them, without running anything.

Lua's rules for numbers, strings and comments are followed to the letter: what is refused here,
Lua refuses. Time is linear in the length of the text, whatever it says.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from enum import Enum

from integrations.failure import printable
from integrations.pack import LUA_KEYWORDS

_SHOWN = 40
NEWLINE = re.compile(r"\r\n|\n\r|\n|\r")
_ESCAPE = re.compile(
    r"\\(?:[abfnrtv\\\"'\n\r]|x[0-9a-fA-F]{2}|z|[0-9]{1,3}|u\{(?P<point>[0-9a-fA-F]+)\})"
)
_NUMERAL = re.compile(
    r"0[xX](?:[0-9a-fA-F]+\.?[0-9a-fA-F]*|\.[0-9a-fA-F]+)(?:[pP][+-]?[0-9]+)?"
    r"|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
)
# Possessive throughout: no text makes it try twice.
_WORD = re.compile(
    r"""
      (?P<space>[ \t\n\r\v\f]++)
    | (?P<comment>--(?!\[=*+\[)[^\n\r]*+)
    | (?P<long>(?:--)?\[(?P<level>=*+)\[)
    | (?P<name>[A-Za-z_][A-Za-z0-9_]*+)
    | (?P<number>
        (?:0[xX](?:[pP][+-]?|[0-9a-fA-F.])*+ | \.?[0-9](?:[eE][+-]?|[0-9a-fA-F.])*+)[A-Za-z_]?)
    | (?P<string>
        "(?>[^"\\\r\n]++|\\(?>z[ \t\n\r\v\f]*+|\r\n|\n\r|[\s\S]))*+"
      | '(?>[^'\\\r\n]++|\\(?>z[ \t\n\r\v\f]*+|\r\n|\n\r|[\s\S]))*+')
    | (?P<sign>\.\.\.|\.\.|::|//|==|~=|<=|>=|<<|>>|[-+*/%^\#&~|<>=(){}\[\];:,.])
    """,
    re.VERBOSE,
)
# A string up to where it should go on or end.
_BEGUN = re.compile(
    r"""
      "(?>[^"\\\r\n]++|\\(?>z[ \t\n\r\v\f]*+|\r\n|\n\r|[\s\S]))*+
    | '(?>[^'\\\r\n]++|\\(?>z[ \t\n\r\v\f]*+|\r\n|\n\r|[\s\S]))*+
    """,
    re.VERBOSE,
)


class Kind(Enum):
    """What a word is."""

    NAME = "name"
    KEYWORD = "keyword"
    NUMBER = "number"
    STRING = "string"
    SIGN = "sign"
    END = "end"


@dataclass(frozen=True, slots=True)
class Token:
    """One word of a script; `at` is its first character, counted from 0. `END` has no text."""

    kind: Kind
    text: str
    at: int

    @property
    def shown(self) -> str:
        """Give the word as messages show it."""
        return f"'{printable(self.text, _SHOWN)}'" if self.text else "<eof>"


@dataclass(frozen=True, slots=True)
class Wrong:
    """What is wrong with the text, at a character counted from 0."""

    at: int
    message: str
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class Words:
    """All words up to the first fault, if there is one; the last word is `END`."""

    tokens: list[Token]
    fault: Wrong | None


class Lines:
    """Where characters stand: lines and columns count from 1, columns in characters."""

    def __init__(self, text: str) -> None:
        self._starts = [0, *(found.end() for found in NEWLINE.finditer(text))]

    def place(self, at: int) -> tuple[int, int]:
        """Give line and column of the character `at`."""
        line = bisect_right(self._starts, at)
        return line, at - self._starts[line - 1] + 1


def words_of(text: str) -> Words:
    """Split a script into words."""
    tokens: list[Token] = []
    at, fault = 0, None
    while at < len(text) and fault is None:
        found = _WORD.match(text, at)
        if found is None:
            fault = _stray(text, at)
        elif found["long"] is not None:
            at, fault = _long(text, found, tokens)
        elif found.lastgroup in {"space", "comment"}:
            at = found.end()
        else:
            token = _token(found)
            fault = _bad_literal(token) or _bad_delimiter(text, token)
            if fault is None:
                tokens.append(token)
            at = found.end()
    tokens.append(Token(Kind.END, "", len(text) if fault is None else fault.at))
    return Words(tokens, fault)


_KINDS = {"number": Kind.NUMBER, "string": Kind.STRING, "sign": Kind.SIGN}


def _token(found: re.Match[str]) -> Token:
    word = found[0]
    kind = _KINDS.get(found.lastgroup or "")
    if kind is None:
        kind = Kind.KEYWORD if word in LUA_KEYWORDS else Kind.NAME
    return Token(kind, word, found.start())


def _long(text: str, found: re.Match[str], tokens: list[Token]) -> tuple[int, Wrong | None]:
    """Go over a long string or comment; give where it ends."""
    at, opening = found.start(), found[0]
    close = text.find(f"]{found['level']}]", found.end())
    if close < 0:
        return len(text), _unfinished(text, opening, at)
    end = close + len(found["level"]) + 2
    if opening.startswith("["):
        tokens.append(Token(Kind.STRING, text[at:end], at))
    return end, None


def _bad_literal(token: Token) -> Wrong | None:
    if token.kind is Kind.NUMBER:
        return _bad_number(token.text, token.at)
    return _bad_escape(token.text, token.at) if token.kind is Kind.STRING else None


def _bad_delimiter(text: str, token: Token) -> Wrong | None:
    if token.text != "[" or text[token.at + 1 : token.at + 2] != "=":
        return None
    signs = re.match(r"\[=+", text[token.at : token.at + _SHOWN + 1])
    near = printable(signs[0] if signs else token.text, _SHOWN)
    return Wrong(token.at, f"invalid long string delimiter near '{near}'")


def _bad_number(word: str, at: int) -> Wrong | None:
    if _NUMERAL.fullmatch(word):
        return None
    return Wrong(at, f"malformed number near '{printable(word, _SHOWN)}'")


def _bad_escape(word: str, at: int) -> Wrong | None:
    where = word.find("\\")
    while where >= 0:
        found = _ESCAPE.match(word, where)
        known = found[0] if found else word[where : where + 2]
        if found is None:
            hint = "A backslash is written \\\\; long strings [[...]] take it as it is."
            return Wrong(at, f"invalid escape sequence '{printable(known, _SHOWN)}'", hint)
        if known[1].isdigit() and int(known[1:]) > 0xFF:
            return Wrong(at, f"decimal escape too large near '{known}'")
        if found["point"] and int(found["point"], 16) > 0x7FFFFFFF:
            return Wrong(at, f"UTF-8 value too large near '{printable(known, _SHOWN)}'")
        where = word.find("\\", found.end())
    return None


def _unfinished(text: str, opening: str, at: int) -> Wrong:
    kind = "comment" if opening.startswith("--") else "string"
    line, _ = Lines(text).place(at)
    closing = opening.removeprefix("--").replace("[", "]")
    return Wrong(
        len(text),
        f"unfinished long {kind} (starting at line {line}) near <eof>",
        f"It ends at the next {printable(closing, _SHOWN)}, which there is none of.",
    )


_INSTEAD = {
    "!": "Not is written `not`, not equal `~=`.",
    "?": "There is no `?`; write `a and b or c`.",
    "\ufeff": "The script begins with a byte order mark; leave it out.",
    "\u201c": "Quotes are written \" or '.",
    "\u201d": "Quotes are written \" or '.",
    "\u2018": "Quotes are written \" or '.",
    "\u2019": "Quotes are written \" or '.",
    "`": "Quotes are written \" or '.",
}


def _stray(text: str, at: int) -> Wrong:
    if text[at] in "\"'":
        begun = _BEGUN.match(text, at)
        end = begun.end() if begun else at
        hint = "A string ends on its line; [[...]] may go over several."
        shown = printable(text[at : min(end, at + _SHOWN + 1)], _SHOWN)
        return Wrong(end, f"unfinished string near '{shown}'", hint)
    shown = text[at] if text[at].isprintable() else f"<\\{ord(text[at])}>"
    return Wrong(at, f"unexpected symbol near '{shown}'", _INSTEAD.get(text[at]))
