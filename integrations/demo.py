"""
An integration for tests only: `demo.echo{...}` returns its argument, `demo.fail{...}` fails.

No catalog of production has it; tests add it with `Catalog.load(extra=[demo_integration()])`.
"""

from __future__ import annotations

from typing import Any, NoReturn

from integrations.failure import NOT_SENT, CallFailed
from integrations.function import Integration, local_function


def demo_integration() -> Integration:
    """Give the integration."""
    echo = local_function("demo", "echo", "Return the argument.", lambda given: given, raw=True)
    fail = local_function("demo", "fail", "Always fail.", _fail, raw=True)
    return Integration("demo", "Demonstration", (echo, fail))


def _fail(_: Any) -> NoReturn:
    raise CallFailed("demo_failed", f"demo.fail: this function always fails; {NOT_SENT}")
