"""Every Lua example of Agora's document runs in the real jail, against Agora's wire."""

from __future__ import annotations

import pytest

from integrations.stubs import Stubs
from tests.example_runs import check_documentation, check_example, names_of

pytestmark = pytest.mark.jail

#: What each prints, whole, or how it begins when it ends in `...`.
PRINTED = {
    "acquire_recording_resource": "default-resou\n",
    "start_recording": "default-sid-0003\n",
    "query_recording": "5\n",
    "update_recording": "",
    "update_recording_layout": "",
    "stop_recording": "uploaded\n",
    "recording_workflow": "5\nuploaded\n",
    "get_notification_ips": "203.0.113.10\n203.0.113.11\n",
    "workflow": '{\n  "cname": "example_cname",\n...',
    "acquire_cli": '{\n  "cname": "example_cname",\n...',
    "print_result": '{\n  "cname": "example_cname",\n...',
    "docs_read": "# Agora Cloud Recording — Lua API Reference\n...",
    "docs_read_function": "# agora.acquire_recording_resource\n...",
    "docs_read_namespace": "# Agora Cloud Recording — Lua API Reference\n...",
    "multi_account": "default-re\ndefault-re\nwork-resou\nproduction\n",
    "full_names": "5\ndefault-sid-0003\ndefault-sid-0003\nuploaded\n2\n",
}


def test_every_example_has_an_expectation() -> None:
    """A new file is not left out of the test below."""
    assert names_of("agora") == set(PRINTED)


@pytest.mark.parametrize("name", PRINTED)
def test_an_example_prints_what_it_should(stubs: Stubs, name: str) -> None:
    """It succeeds, and its output is the same every time."""
    check_example(stubs, "agora", name, PRINTED[name])


def test_the_documentation_keeps_its_word(stubs: Stubs) -> None:
    """Every Lua block of the page scripts read runs as it stands."""
    check_documentation(stubs, "agora", blocks_of_guide=2)
