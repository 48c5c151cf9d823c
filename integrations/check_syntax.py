"""
From a script to its syntax tree, or to the one thing that is wrong with its syntax.

tree-sitter's Lua grammar does the parsing. It never sees the script itself: each word is handed to
it in its shortest form (every name is `n`, every string `""`), so that nothing but Lua's grammar
is asked of it, and a word's place tells which word it was. Its recovery from errors, which takes
quadratic time, is cut off at the first error.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import tree_sitter_lua
from tree_sitter import Language, LogType, Parser, Tree

from integrations.check_tokens import Kind, Lines, Token, Wrong, words_of
from integrations.check_unexpected import MAX_OPEN, too_deep, unexpected

#: Processor time of the attempt that does not watch for errors, in seconds.
_HASTY_S = 0.25
_CHUNK_BYTES = 256
_LUA = Language(tree_sitter_lua.language())
_SHORTEST = {Kind.NAME: "n", Kind.STRING: '""', Kind.NUMBER: "1", Kind.END: ""}
_LEAVES = frozenset({"identifier", "number", "string", "true", "false", "nil", "vararg_expression"})
#: Signs that tell two nodes of one kind apart.
_WORDS_KEPT = frozenset({"[", "and", "or", "not", "-", "==", "~="})


@dataclass(slots=True)
class Node:
    """
    One node of a tree, beginning at the word of number `first`.

    `kind` and `field` are tree-sitter's names; of signs, only those of `_WORDS_KEPT` are children.
    """

    kind: str
    field: str | None
    first: int
    children: list[Node] = dataclasses.field(default_factory=list)

    def get(self, name: str) -> Node | None:
        """Give the first child of a field."""
        return next((one for one in self.children if one.field == name), None)

    def of_kind(self, kind: str) -> Node | None:
        """Give the first child of a kind."""
        return next((one for one in self.children if one.kind == kind), None)


@dataclass(frozen=True, slots=True)
class Parsed:
    """The words of a script with its tree, or what is wrong with its syntax."""

    tokens: list[Token]
    lines: Lines
    tree: Node | None
    fault: Wrong | None


def parse(script: str) -> Parsed:
    """Parse a script. Time is linear in its length, and no nesting uses up the C stack."""
    lines = Lines(script)
    words = words_of(script)
    tokens = words.tokens
    deep = too_deep(tokens)
    if deep is not None:
        tokens = [*tokens[:deep], Token(Kind.END, "", tokens[deep].at)]
    found = _parse(tokens)
    if isinstance(found, Node) and deep is None and words.fault is None:
        return Parsed(tokens, lines, found, None)
    bad = found if isinstance(found, int) else len(tokens) - 1
    if tokens[bad].kind is Kind.END and deep is not None:
        near = words.tokens[deep].shown
        message = f"nested too deep near {near}: more than {MAX_OPEN} levels"
        return Parsed(tokens, lines, None, Wrong(tokens[bad].at, message))
    if tokens[bad].kind is Kind.END and words.fault is not None:
        return Parsed(tokens, lines, None, words.fault)
    return Parsed(tokens, lines, None, unexpected(tokens, bad, lines))


# --- tree-sitter ------------------------------------------------------------------------------


def _parse(tokens: Sequence[Token]) -> Node | int:
    """Give the tree, or the number of the first word that does not fit."""
    if tokens[0].text == "#":
        return 0  # the grammar takes it for the first line of a Unix script, which `load` does not
    source = "".join(f"{_SHORTEST.get(one.kind, one.text)}\n" for one in tokens).encode()
    until_s = time.thread_time() + _HASTY_S
    parser = Parser(_LUA)
    tree = _run(parser, source, lambda wrong: wrong or time.thread_time() > until_s)
    made = _convert(tree, tokens)
    if made is not None:
        return made
    watch = _Watch(tokens)
    tree = _run(Parser(_LUA, logger=watch.log), source, lambda _: watch.bad is not None)
    made = _convert(tree, tokens) if watch.bad is None else None
    if made is not None:
        return made
    return len(tokens) - 1 if watch.bad is None else watch.bad


def _run(parser: Parser, source: bytes, stop: Callable[[bool], bool]) -> Tree | None:
    """Parse until `stop` says so, which is told whether there is an error; None when it did."""

    def read(at: int, _: object) -> bytes:
        # In recovery the lexer runs to the end of the text for every word: let that be here.
        return b"" if stop(False) else source[at : at + _CHUNK_BYTES]

    try:
        return parser.parse(read, progress_callback=lambda _, wrong: stop(wrong))
    except ValueError:  # it was stopped
        return None


class _Watch:
    """Listens to the parser for the first word that no rule can take. Each word has its own row."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self.bad: int | None = None
        self._tokens = tokens
        self._taken = 0

    def log(self, _: LogType, message: str) -> None:
        """Take one line of the parser's log: where it stands, or that it cannot go on."""
        if self.bad is not None:
            return
        if message.startswith("process "):
            row, col = map(int, message.rpartition("row:")[2].split(", col:"))
            self._taken = row + (col > 0)
            here = self._tokens[row]
            if here.kind is Kind.SIGN and 0 < col < len(here.text):
                self.bad = row  # only the first part of `...` or `>=` was of use
        elif message.startswith(("detect_error", "switch ")):
            self.bad = self._taken  # `switch`: a keyword is taken for a name
        elif (
            message.startswith("lexed_lookahead sym:identifier")
            and self._tokens[self._taken].kind is Kind.KEYWORD
        ):
            self.bad = self._taken  # where no keyword can stand, one is taken for a name


def _convert(tree: Tree | None, tokens: Sequence[Token]) -> Node | None:
    """Copy a tree without most signs and keywords; None when it has errors."""
    if tree is None or tree.root_node.has_error:
        return None
    cursor = tree.walk()
    root = Node("chunk", None, 0)
    open_nodes = [root]
    down = cursor.goto_first_child()
    while down:
        here = cursor.node
        if here is not None and (here.is_named or here.type in _WORDS_KEPT):
            made = Node(here.type, cursor.field_name, here.start_point.row)
            if made.kind == "identifier" and tokens[made.first].kind is Kind.KEYWORD:
                return None
            open_nodes[-1].children.append(made)
            if made.kind not in _LEAVES and cursor.goto_first_child():
                open_nodes.append(made)
                continue
        while not cursor.goto_next_sibling():
            open_nodes.pop()
            if not open_nodes or not cursor.goto_parent():
                return root
    return root
