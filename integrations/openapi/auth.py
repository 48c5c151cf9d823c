"""From a document's security schemes to how a pack shows who asks."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from integrations.failure import did_you_mean
from integrations.openapi.model import Operation
from integrations.openapi.names import snake, unique
from integrations.openapi.problem import ImportRefused
from integrations.openapi.reading import Document
from integrations.openapi.refs import Refs
from integrations.openapi.texts import one_line

PREFIX_EXTENSION = "x-moonsand-prefix"
FORMS = "none, bearer, basic, header:NAME, header:NAME:PREFIX, query:NAME or scheme:NAME"
_HEADER = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_PARAMETER = re.compile(r"[A-Za-z0-9._~-]{1,64}")
#: `Bot <token>`: the word that stands before a key, as descriptions write it.
_PREFIXED = re.compile(r"\b([A-Z][A-Za-z-]{1,20}) [<{\[$][A-Za-z]")
_KINDS = ("bearer", "header", "basic", "query")


@dataclass(frozen=True, slots=True)
class Scheme:
    """One way to show who asks: `bearer`, `basic`, `header` or `query`; `name` of the latter."""

    kind: str
    name: str = ""
    prefix: str = ""
    hint: str = ""


@dataclass(slots=True)
class AuthPlan:
    """What of a pack shows who asks; `headers` and `query` hold what one scheme cannot."""

    auth: dict[str, Any]
    credentials: dict[str, dict[str, Any]] = field(default_factory=dict)
    headers: dict[str, Any] = field(default_factory=dict)
    query: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def header_names(self) -> set[str]:
        """Names, in lower case, of the headers that are taken."""
        names = {*self.headers, "Authorization", str(self.auth.get("header", "authorization"))}
        return {name.lower() for name in names}

    @property
    def query_names(self) -> set[str]:
        """Names of the query's keys that are taken."""
        return {*self.query, *([self.auth["parameter"]] if "parameter" in self.auth else [])}


def plan_auth(
    document: Document, refs: Refs, operations: Sequence[Operation], choice: str | None
) -> AuthPlan:
    """
    Give the authentication: what `choice` says, else what most operations ask for.

    Raises:
        ImportRefused: `choice` is none of the forms, or no scheme of the document.
    """
    schemes = _schemes(document, refs)
    if choice is not None:
        return _chosen(choice, schemes)
    usable = {name: one for name, one in schemes.items() if one is not None}
    names = _asked_for(document, operations, usable) or _first(usable)
    if not names:
        plan = AuthPlan({"scheme": "none"})
        if schemes:
            plan.notes.append(f"no scheme of the document can be used; give --auth: {FORMS}")
        return plan
    return _planned([usable[name] for name in names])


def _chosen(choice: str, schemes: Mapping[str, Scheme | None]) -> AuthPlan:
    kind, _, rest = choice.partition(":")
    name, _, prefix = rest.partition(":")
    if choice == "none":
        return AuthPlan({"scheme": "none"})
    if choice in {"bearer", "basic"}:
        return _planned([Scheme(choice)])
    if kind == "header" and _HEADER.fullmatch(name) and re.fullmatch(r"[\x20-\x7e]{0,64}", prefix):
        return _planned([Scheme("header", name, prefix)])
    if kind == "query" and _PARAMETER.fullmatch(rest):
        return _planned([Scheme("query", rest)])
    if kind == "scheme":
        found = schemes.get(rest)
        if found is None:
            why = "cannot be used" if rest in schemes else "is not in the document"
            near = did_you_mean(rest, schemes)
            raise ImportRefused(f"the security scheme {rest!r} {why}.{near}")
        return _planned([found])
    raise ImportRefused(f"--auth must be {FORMS}, not {choice[:60]!r}")


def _schemes(document: Document, refs: Refs) -> dict[str, Scheme | None]:
    """Give every scheme the document has; None for one that cannot be used."""
    if document.dialect == "2.0":
        stated = document.root.get("securityDefinitions")
    else:
        stated = refs.resolved(document.root.get("components")).get("securitySchemes")
    if not isinstance(stated, dict):
        return {}
    return {name: _scheme(refs.resolved(one)) for name, one in stated.items()}


def _scheme(node: Mapping[str, Any]) -> Scheme | None:  # noqa: PLR0911 (one for each kind)
    kind, where = node.get("type"), node.get("in")
    name = str(node.get("name", ""))
    hint = one_line(node.get("description"), 120)
    if kind == "basic" or (kind == "http" and str(node.get("scheme")).lower() == "basic"):
        return Scheme("basic", hint=hint)
    if kind in {"oauth2", "openIdConnect"}:
        return Scheme("bearer", hint=f"An access token. {hint}".strip())
    if kind == "http" and str(node.get("scheme")).lower() == "bearer":
        return Scheme("bearer", hint=hint)
    if kind != "apiKey":
        return None
    if where == "header" and _HEADER.fullmatch(name):
        return Scheme("header", name, _prefix(node), hint)
    if where == "query" and _PARAMETER.fullmatch(name):
        return Scheme("query", name, hint=hint)
    if where == "cookie" and _PARAMETER.fullmatch(name):
        return Scheme("header", "Cookie", f"{name}=", hint)
    return None


def _prefix(node: Mapping[str, Any]) -> str:
    """Give the word before a key, with its space, when the document says there is one."""
    stated = node.get(PREFIX_EXTENSION)
    if isinstance(stated, str):
        return stated
    if str(node.get("name", "")).lower() != "authorization":
        return ""
    text = str(node.get("description") or "")
    if found := _PREFIXED.search(text):
        return f"{found[1]} "
    return "Bearer " if re.search(r"\bbearer\b", text, re.IGNORECASE) else ""


def _asked_for(
    document: Document, operations: Sequence[Operation], usable: Mapping[str, Scheme]
) -> tuple[str, ...]:
    """Give the schemes, needed together, that most operations take."""
    counts: Counter[tuple[str, ...]] = Counter()
    for one in operations:
        counts.update({names for names in one.security if names and set(names) <= set(usable)})
    root = document.root.get("security")
    for one in root if isinstance(root, list) else ():
        names = tuple(one) if isinstance(one, dict) else ()
        if names and set(names) <= set(usable):
            counts[names] += 0
    order = list(usable)

    def rank(names: tuple[str, ...]) -> tuple[int, int, int]:
        kind = min(_KINDS.index(usable[name].kind) for name in names)
        return -counts[names], kind, order.index(names[0])

    return min(counts, key=rank, default=())


def _first(usable: Mapping[str, Scheme]) -> tuple[str, ...]:
    best = min(usable, key=lambda name: _KINDS.index(usable[name].kind), default=None)
    return () if best is None else (best,)


def _planned(schemes: list[Scheme]) -> AuthPlan:
    ranked = sorted(schemes, key=lambda one: ("basic", "bearer", "header", "query").index(one.kind))
    main, others = ranked[0], ranked[1:]
    plan = AuthPlan({})
    if main.kind == "basic":
        plan.auth = {"scheme": "basic", "username": "username", "password": "password"}
        plan.credentials["username"] = {"label": "User name", "required": True}
        plan.credentials["password"] = _secret("Password", main.hint)
    elif main.kind == "bearer":
        plan.auth = {"scheme": "bearer", "token": "token"}
        plan.credentials["token"] = _secret("Token", main.hint)
    else:
        value = _key_field(main, plan, single=not others)
        plan.auth = {"scheme": main.kind, "value": value}
        plan.auth["header" if main.kind == "header" else "parameter"] = main.name
        if main.prefix:
            plan.auth["prefix"] = main.prefix
        elif main.name.lower() == "authorization":
            plan.notes.append(
                "the key goes out as it is in `Authorization`: the document names no word before"
                " it; if the vendor wants one, import with --auth 'header:Authorization:WORD '"
            )
    for one in others:
        if one.kind in {"basic", "bearer"} or one.prefix:
            plan.notes.append("a second scheme that is needed together with the first was left out")
            continue
        source = {"credential": _key_field(one, plan, single=False)}
        (plan.headers if one.kind == "header" else plan.query)[one.name] = source
    return plan


def _key_field(scheme: Scheme, plan: AuthPlan, *, single: bool) -> str:
    plain = "api_key" if single or not snake(scheme.name) else snake(scheme.name)
    name = unique(plain, "key", plan.credentials)
    plan.credentials[name] = _secret("API key" if single else scheme.name, scheme.hint)
    return name


def _secret(label: str, hint: str) -> dict[str, Any]:
    told = {"hint": hint} if hint else {}
    return {"label": label, "secret": True, "required": True, **told}
