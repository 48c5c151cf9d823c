"""
Which variable each name of a script means, and what is done with it.

Everything a script reaches is written down as a chain, `app.integrations.mux.list_assets` with the
variable it begins at and the use that is made of it. What Lua's compiler refuses beyond grammar is
found on the way. The walk keeps its own stack: no nesting of a script is too deep for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from integrations.check_chains import Call, Chain, Local, Scopes, Use
from integrations.check_syntax import Node, Parsed
from integrations.check_tokens import Kind
from integrations.check_values import NoValue, value_of

_NAMED = ("dot_index_expression", "bracket_index_expression", "method_index_expression")
_CHAINED = frozenset({"identifier", "parenthesized_expression", *_NAMED})
_TESTING = frozenset({"and", "or", "not", "==", "~="})
#: Functions that call their first argument and take its errors; how many arguments are their own.
_PROTECTED = {"pcall": 1, "xpcall": 2}


@dataclass(slots=True, eq=False)
class _Block:
    """A block; `outer` is None for the outermost of a function."""

    outer: _Block | None
    loop: bool = False
    labels: set[str] = field(default_factory=set)
    declared: list[str] = field(default_factory=list)


def scopes_of(parsed: Parsed) -> Scopes:
    """Find every chain of a script that parsed."""
    walk = _Walk(parsed)
    walk.run()
    return walk.found


class _Walk:
    """One walk over a tree. Visits are put on a stack, so that none is made inside another."""

    def __init__(self, parsed: Parsed) -> None:
        self.found = Scopes()
        self._parsed = parsed
        self._tokens = parsed.tokens
        self._waiting: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self._visible: dict[str, list[Local]] = {}
        self._block = _Block(None)
        self._outside: list[tuple[_Block, bool]] = []
        self._vararg = True
        self._jumps: list[tuple[str, int, _Block]] = []
        self._visits: dict[str, Callable[[Node, Use, Local | None], None]] = {
            "block": self._visit_block,
            "repeat_statement": self._visit_repeat,
            "for_statement": self._visit_for,
            "while_statement": self._visit_while,
            "if_statement": self._visit_condition,
            "elseif_statement": self._visit_condition,
            "function_definition": self._visit_function,
            "function_declaration": self._visit_function_statement,
            "variable_declaration": self._visit_local,
            "assignment_statement": self._visit_assignment,
            "function_call": self._visit_call,
            "unary_expression": self._visit_operation,
            "binary_expression": self._visit_operation,
            "field": self._visit_field,
            "goto_statement": self._visit_goto,
            "label_statement": self._visit_label,
            "break_statement": self._visit_break,
            "vararg_expression": self._visit_vararg,
            **dict.fromkeys(_CHAINED, self._visit_chain),
        }

    def run(self) -> None:
        """Walk over the whole tree."""
        tree = self._parsed.tree
        assert tree is not None  # noqa: S101 (the caller looked)
        self._later(*((self._visit, one) for one in tree.children))
        while self._waiting:
            action, arguments = self._waiting.pop()
            action(*arguments)
        for name, word, block in self._jumps:
            if not _has_label(block, name):
                self._fault(word, f"no visible label '{name}' for goto")

    def _later(self, *steps: tuple[Any, ...]) -> None:
        """Do these next, the first of them first."""
        self._waiting.extend((step[0], step[1:]) for step in reversed(steps))

    def _fault(self, word: int, message: str) -> None:
        self.found.faults.append((word, f"{message} near {self._tokens[word].shown}"))

    def _visit(self, node: Node, use: Use = Use.VALUE, into: Local | None = None) -> None:
        visit = self._visits.get(node.kind)
        if visit is not None:
            visit(node, use, into)
        elif node.children:
            self._later(*((self._visit, one) for one in node.children))

    # --- blocks -------------------------------------------------------------------------------

    def _open(self, loop: bool = False) -> None:  # noqa: FBT001, FBT002 (a step, given by place)
        self._block = _Block(self._block, loop)

    def _close(self) -> None:
        for name in self._block.declared:
            self._visible[name].pop()
        assert self._block.outer is not None  # noqa: S101 (each close has its open)
        self._block = self._block.outer

    def _declare(self, *variables: Local) -> None:
        for variable in variables:
            self._visible.setdefault(variable.name, []).append(variable)
            self._block.declared.append(variable.name)

    def _all(self, nodes: Sequence[Node]) -> list[tuple[Any, ...]]:
        return [(self._visit, one) for one in nodes]

    def _visit_block(self, node: Node, _: Use, __: Local | None) -> None:
        self._later((self._open,), *self._all(node.children), (self._close,))

    def _visit_condition(self, node: Node, _: Use, __: Local | None) -> None:
        tested = [(self._visit, one, Use.TESTED) for one in node.children if _is_condition(one)]
        rest = self._all([one for one in node.children if not _is_condition(one)])
        self._later(*tested, *rest)

    def _visit_while(self, node: Node, _: Use, __: Local | None) -> None:
        tested = [(self._visit, one, Use.TESTED) for one in node.children if _is_condition(one)]
        self._later(*tested, (self._open, True), *self._body(node), (self._close,))

    def _visit_repeat(self, node: Node, _: Use, __: Local | None) -> None:
        # The condition sees the variables of the body.
        tested = [(self._visit, one, Use.TESTED) for one in node.children if _is_condition(one)]
        self._later((self._open, True), *self._body(node), *tested, (self._close,))

    def _body(self, node: Node) -> list[tuple[Any, ...]]:
        body = node.get("body")
        return self._all(body.children if body else [])

    def _visit_for(self, node: Node, _: Use, __: Local | None) -> None:
        clause = node.get("clause")
        assert clause is not None  # noqa: S101 (by the grammar)
        names, values = [], []
        for one in clause.children:
            if one.kind == "variable_list":
                names += one.children
            elif one.field == "name":
                names.append(one)
            else:
                values += one.children if one.kind == "expression_list" else [one]
        variables = [Local(self._text(one)) for one in names]
        begin = ((self._open, True), (self._declare, *variables))
        self._later(*self._all(values), *begin, *self._body(node), (self._close,))

    # --- functions ----------------------------------------------------------------------------

    def _visit_function(self, node: Node, _: Use, __: Local | None) -> None:
        self._function(node, [])

    def _function(self, node: Node, first: list[Local]) -> None:
        parameters = node.get("parameters")
        parts = parameters.children if parameters else []
        variables = first + [Local(self._text(one)) for one in parts if one.kind == "identifier"]
        dots = [place for place, one in enumerate(parts) if one.kind == "vararg_expression"]
        if dots and dots[0] != len(parts) - 1:
            self._fault(parts[dots[0] + 1].first, "')' expected")
        begin = ((self._enter, bool(dots)), (self._declare, *variables))
        self._later(*begin, *self._body(node), (self._leave,))

    def _enter(self, vararg: bool) -> None:  # noqa: FBT001 (a step, given by place)
        self._outside.append((self._block, self._vararg))
        # A block of its own in which the parameters are, and an outermost one that `_close` needs.
        self._block, self._vararg = _Block(_Block(None)), vararg

    def _leave(self) -> None:
        self._close()
        self._block, self._vararg = self._outside.pop()

    def _visit_function_statement(self, node: Node, _: Use, __: Local | None) -> None:
        name = node.get("name")
        assert name is not None  # noqa: S101 (by the grammar)
        if node.field == "local_declaration":
            self._declare(Local(self._text(name)))
            return self._function(node, [])
        self._assign(name)
        return self._function(node, [Local("self")] if name.kind == _NAMED[2] else [])

    # --- variables ----------------------------------------------------------------------------

    def _visit_local(self, node: Node, _: Use, __: Local | None) -> None:
        statement = node.of_kind("assignment_statement") or node
        listed = statement.of_kind("variable_list")
        values = statement.of_kind("expression_list")
        variables: list[Local] = []
        for one in listed.children if listed else []:
            if one.kind != "attribute":
                variables.append(Local(self._text(one)))
            elif not variables:
                self._fault(one.first, "<name> expected")
            else:
                variables[-1].constant = True
                self._check_attribute(one)
        steps: list[tuple[Any, ...]] = []
        for place, value in enumerate(values.children if values else []):
            into = variables[place] if place < len(variables) else None
            steps.append((self._visit, value, Use.INIT if into else Use.VALUE, into))
        self._later(*steps, (self._declare, *variables))

    def _check_attribute(self, node: Node) -> None:
        word = node.first + 1
        if self._tokens[word].text not in {"const", "close"}:
            self._fault(word, f"unknown attribute '{self._tokens[word].text}'")
        elif self._tokens[word + 1].text != ">":  # the grammar takes the first half of `>=`
            self._fault(word + 1, "'>' expected")

    def _visit_assignment(self, node: Node, _: Use, __: Local | None) -> None:
        listed, values = node.of_kind("variable_list"), node.of_kind("expression_list")
        targets = [(self._assign, one) for one in (listed.children if listed else [])]
        self._later(*targets, *self._all(values.children if values else []))

    def _assign(self, node: Node) -> None:
        if node.kind != "identifier":
            return self._chain(node, Use.TARGET)
        root = self._resolve(node)
        if isinstance(root, str):
            self.found.assigned.add(root)
            return None
        root.assigned = True
        if root.constant:
            self._fault(node.first, f"attempt to assign to const variable '{root.name}'")
        return None

    def _resolve(self, node: Node) -> Local | str:
        name = self._text(node)
        known = self._visible.get(name)
        return known[-1] if known else name

    def _text(self, node: Node) -> str:
        return self._tokens[node.first].text

    # --- expressions --------------------------------------------------------------------------

    def _visit_operation(self, node: Node, _: Use, __: Local | None) -> None:
        testing = any(one.kind in _TESTING for one in node.children)
        use = Use.TESTED if testing else Use.VALUE
        self._later(*((self._visit, one, use) for one in node.children))

    def _visit_field(self, node: Node, _: Use, __: Local | None) -> None:
        bracketed = node.of_kind("[") is not None
        kept = [one for one in node.children if bracketed or one.field != "name"]
        self._later(*self._all(kept))

    def _visit_vararg(self, node: Node, _: Use, __: Local | None) -> None:
        if not self._vararg:
            self._fault(node.first, "cannot use '...' outside a vararg function")

    def _visit_chain(self, node: Node, use: Use, into: Local | None) -> None:
        self._chain(node, use, into=into)

    def _chain(
        self, node: Node, use: Use, *, call: Call | None = None, into: Local | None = None
    ) -> None:
        names, keys, base = self._take_apart(node)
        if keys:
            self._later(*self._all(keys))
        if base.kind != "identifier":
            self._later((self._visit, base))
            return
        known: list[tuple[str, int]] = []
        for one in reversed(names):
            if one is None:
                use, call, into = Use.OPENED, None, None
                break
            known.append(one)
        root = self._resolve(base)
        chain = Chain(root, base.first, known, use, call, into)
        self.found.chains.append(chain)
        if into is not None:
            into.alias = chain

    def _take_apart(self, node: Node) -> tuple[list[tuple[str, int] | None], list[Node], Node]:
        """Give names from the last to the first (None: not known), the keys that are not, base."""
        names: list[tuple[str, int] | None] = []
        keys: list[Node] = []
        while node.kind in _CHAINED and node.kind != "identifier":
            if node.kind == "parenthesized_expression":
                node = node.children[0]
                continue
            key = node.get("method" if node.kind == _NAMED[2] else "field")
            table = node.get("table")
            assert key is not None and table is not None  # noqa: S101, PT018 (by the grammar)
            name = self._text(key) if node.kind != _NAMED[1] else self._literal(key)
            names.append(None if name is None else (name, key.first))
            if name is None:
                keys.append(key)
            node = table
        return names, keys, node

    def _literal(self, key: Node) -> str | None:
        token = self._tokens[key.first]
        if key.kind != "string" or token.kind is not Kind.STRING:
            return None
        try:
            return str(value_of(token))
        except NoValue:
            return None

    def _visit_call(self, node: Node, _: Use, __: Local | None) -> None:
        name, given = node.get("name"), node.get("arguments")
        assert name is not None and given is not None  # noqa: S101, PT018 (by the grammar)
        arguments = given.children
        called = self._resolve(name) if name.kind == "identifier" else None
        steps = self._all(arguments)
        if called == "type":
            steps = [(self._visit, one, Use.TESTED) for one in arguments]
        elif isinstance(called, str) and called in _PROTECTED and arguments:
            steps[0] = (self._call, arguments[0], Call(arguments[_PROTECTED[called] :]), True)
        method = name.kind == _NAMED[2]
        self._later((self._call, name, Call(arguments, method), False), *steps)

    def _call(self, node: Node, call: Call, guarded: bool) -> None:  # noqa: FBT001 (a step)
        call.guarded = guarded
        if node.kind in _CHAINED:
            self._chain(node, Use.CALL, call=call)
        else:
            self._visit(node)

    # --- jumps --------------------------------------------------------------------------------

    def _visit_goto(self, node: Node, _: Use, __: Local | None) -> None:
        self._jumps.append((self._text(node.children[0]), node.first, self._block))

    def _visit_label(self, node: Node, _: Use, __: Local | None) -> None:
        name = self._text(node.children[0])
        if _has_label(self._block, name):
            self._fault(node.first, f"label '{name}' already defined")
        self._block.labels.add(name)

    def _visit_break(self, node: Node, _: Use, __: Local | None) -> None:
        block: _Block | None = self._block
        while block is not None and not block.loop:
            block = block.outer
        if block is None:
            self._fault(node.first, "break outside a loop")


def _is_condition(node: Node) -> bool:
    return node.field == "condition"


def _has_label(block: _Block, name: str) -> bool:
    at: _Block | None = block
    while at is not None and name not in at.labels:
        at = at.outer
    return at is not None
