"""
Loopback stand-ins for vendors' real HTTP APIs, for demonstrations and tests.

They check what the vendor checks: credentials, paths, required fields, ranges. Nothing of a run
ever depends on them.
"""

from __future__ import annotations

from integrations.stubs.server import Stubs, run_stubs, running_stubs, serve_stubs

__all__ = ["Stubs", "run_stubs", "running_stubs", "serve_stubs"]
