"""Every Lua example of Convex's document runs in the real jail, against a deployment's wire."""

from __future__ import annotations

import pytest

from integrations.stubs import Stubs
from tests.example_runs import check_documentation, check_example, names_of

pytestmark = pytest.mark.jail

#: What each prints, whole, or how it begins when it ends in `...`.
PRINTED = {
    "list_tables": "",
    "get_table": "",
    "query_documents": "",
    "create_document": "",
    "update_document": "",
    "delete_document": "",
    "get_current_user": "",
    "multi_account": '"Stub default"\n"Stub default"\n"Stub staging"\n"Stub production"\n',
    "workflow": '{\n  "data": [{"name": "empty"},...',
    "list_tables_cli": '{\n  "data": [{"name": "empty"},...',
    "print_result": '{\n  "data": [{"name": "empty"},...',
    "docs_read": "# Convex — Lua API Reference\n...",
    "docs_read_function": "# convex.list_tables\n...",
    "docs_read_namespace": "# Convex — Lua API Reference\n...",
    "page_through": "".join(f"{number}: Message {number}\n" for number in range(1, 6)),
    "documents": ("doc_abc123\tJohn\ndefault_ada\tAda\ntrue\ndoc_abc123\ntrue\nusers\t2\n"),
    "handle_errors": (
        "false\tnot_found\nfalse\tunsupported_order\n"
        'convex.query_documents: unsupported order: no index on "email"; users can be ordered by'
        " _creationTime, createdAt, status\n"
    ),
}


def test_every_example_has_an_expectation() -> None:
    """A new file is not left out of the test below."""
    assert names_of("convex") == set(PRINTED)


@pytest.mark.parametrize("name", PRINTED)
def test_an_example_prints_what_it_should(stubs: Stubs, name: str) -> None:
    """It succeeds, and its output is the same every time."""
    fails_inside = name == "handle_errors"
    check_example(stubs, "convex", name, PRINTED[name], fails_inside=fails_inside)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("create_document", "add_documents"),
        ("update_document", "update_documents"),
        ("delete_document", "delete_documents"),
    ],
)
def test_an_example_that_writes_has_written(stubs: Stubs, name: str, change: str) -> None:
    """It prints nothing; the deployment has exactly one change to show for it."""
    check_example(stubs, "convex", name, "")
    assert [kind for kind, _ in stubs.convex.deployments["default"].audit] == [change]


def test_the_documentation_keeps_its_word(stubs: Stubs) -> None:
    """Every Lua block of the page scripts read runs as it stands."""
    check_documentation(stubs, "convex", blocks_of_guide=2)
