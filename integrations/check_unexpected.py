"""What to say of the word at which a script stops to be Lua."""

from __future__ import annotations

from collections.abc import Sequence

from integrations.check_tokens import Kind, Lines, Token, Wrong

#: Most brackets, blocks and functions open at one place: Lua's own limit, LUAI_MAXCCALLS.
MAX_OPEN = 200

_CLOSING = {
    "(": ")",
    "[": "]",
    "{": "}",
    "repeat": "until",
    **dict.fromkeys(("function", "if", "while", "for", "do"), "end"),
}
_CLOSERS = frozenset(_CLOSING.values())


class _Open:
    """What is open after some words: brackets, blocks and functions, with their own words."""

    def __init__(self) -> None:
        self.stack: list[Token] = []

    def take(self, token: Token) -> None:
        """Go over one word. One that closes what is not open changes nothing."""
        word = token.text
        if token.kind not in {Kind.KEYWORD, Kind.SIGN}:
            return
        if word == "do" and self.stack and self.stack[-1].text in {"while", "for"}:
            head = self.stack.pop()
            self.stack.append(Token(Kind.KEYWORD, f"{head.text} ", head.at))
        elif word in _CLOSING:
            self.stack.append(token)
        elif word in _CLOSERS and self.stack and self.closing == word:
            self.stack.pop()

    @property
    def closing(self) -> str:
        """The word that closes the innermost open one."""
        return _CLOSING[self.stack[-1].text.strip()] if self.stack else ""


def too_deep(tokens: Sequence[Token]) -> int | None:
    """Give the number of the word that opens more than Lua can have open."""
    depth = _Open()
    for number, token in enumerate(tokens):
        depth.take(token)
        if len(depth.stack) > MAX_OPEN:
            return number
    return None


#: Hints by the word that does not fit.
_HINTS: dict[str, str] = {
    "&": "And is written `and`.",
    "|": "Or is written `or`.",
    "then": "Before `then` there must be a whole condition.",
    "else": "`else` stands once, as the last part of an `if`.",
    "elseif": "`elseif` stands before the `else` of an `if`.",
}
#: Hints by a name that stands there or just before: words of other languages.
_FOREIGN = {
    "continue": "There is no `continue`: use `goto continue` and a label `::continue::`.",
    "const": "A constant is written `local name <const> = value`.",
    "let": "A variable is declared with `local`.",
    "var": "A variable is declared with `local`.",
    "def": "A function is written `function name() ... end`.",
    "elif": "It is written `elseif`.",
    "switch": "There is no `switch`: use `if` and `elseif`.",
    "try": "There is no `try`: use `pcall`.",
    "import": "There is no `import`: `app`, `docs`, `json` and `regex` are there already.",
    "null": "Nothing is written `nil`.",
}


def unexpected(tokens: Sequence[Token], bad: int, lines: Lines) -> Wrong:
    """Say what is wrong with a word, as Lua says it where it is about something left open."""
    token = tokens[bad]
    state = _Open()
    for one in tokens[:bad]:
        state.take(one)
    closes = token.kind is Kind.END or token.text in _CLOSERS
    inner = state.stack[-1] if state.stack else None
    if inner is None or not closes or state.closing == token.text:
        hint = _hint(tokens, bad, inner.text if inner else "")
        return Wrong(token.at, f"unexpected symbol near {token.shown}", hint)
    line, _ = lines.place(inner.at)
    message = (
        f"'{state.closing}' expected (to close '{inner.text.strip()}' at line {line})"
        f" near {token.shown}"
    )
    return Wrong(token.at, message)


def _hint(tokens: Sequence[Token], bad: int, inner: str) -> str | None:
    """Say what may have been meant; `inner` is the innermost open word."""
    word = tokens[bad].text
    follows = tokens[bad + 1].text if bad + 1 < len(tokens) else ""
    if follows == "=" and word in {"+", "-", "*", "/", ".."}:
        return f"There is no `{word}=`: write `x = x {word} 1`."
    if word == "=" and inner in {"if", "while"}:
        return "A comparison is written `==`."
    if word == "+" and bad and tokens[bad - 1].kind is Kind.NAME:
        return "There is no `++`: write `x = x + 1`."
    for near in (tokens[bad], tokens[bad - 1] if bad else None):
        if near is not None and near.kind is Kind.NAME and near.text in _FOREIGN:
            return _FOREIGN[near.text]
    return _HINTS.get(word)
