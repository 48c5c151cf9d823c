"""Checking scripts before they are accepted, when a submission asks for it."""

from __future__ import annotations

import asyncio
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

from api.problems import MAX_ERRORS, FieldError, InvalidFields
from core.errors import QuotaExceeded
from integrations.catalog import Catalog
from integrations.check import check_script
from integrations.check_report import Finding
from sandbox.limits import MIB

#: Scripts of one tenant that may wait for their check in one process, in bytes.
MAX_WAITING_BYTES = MIB
_RETRY_S = 2


class Checks:
    """
    Checks scripts in a thread, one at a time: it takes turns with the event loop.

    The largest script takes it a few seconds, a usual one milliseconds.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checks")
        self._waiting: Counter[str] = Counter()

    def __enter__(self) -> Self:
        """Give the checks."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Begin no more checks."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def check(self, tenant: str, script: bytes) -> None:
        """
        Check a script of at most `script_bytes` UTF-8 bytes.

        Raises:
            InvalidFields: what is wrong with it, each with its line.
            QuotaExceeded: too much of this tenant's waits to be checked.
        """
        if self._waiting[tenant] + len(script) > MAX_WAITING_BYTES:
            raise QuotaExceeded(
                f"scripts of {self._waiting[tenant]} bytes wait to be checked,"
                f" {MAX_WAITING_BYTES} are allowed",
                retry_after_s=_RETRY_S,
                hint="send it again later, or without `check`",
            )
        self._waiting[tenant] += len(script)
        try:
            loop = asyncio.get_running_loop()
            report = await loop.run_in_executor(
                self._thread, check_script, script.decode(), self._catalog
            )
        finally:
            self._waiting[tenant] -= len(script)
            if not self._waiting[tenant]:
                del self._waiting[tenant]
        if not report.ok:
            raise InvalidFields([_error(one) for one in report.findings[:MAX_ERRORS]])


def _error(one: Finding) -> FieldError:
    return FieldError(
        pointer="/script",
        line=one.line,
        column=one.column,
        code=one.code,
        detail=one.message,
        hint=one.hint,
    )
