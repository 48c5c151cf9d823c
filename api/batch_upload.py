"""
Reading the items of a batch as they come: line by line, never the whole body.

Runs in: api. Trusts: nobody. Refuses: lines that are too long or no items, and says which; a body
that stops coming. What came before a body broke off is kept, so that its upload can be gone on
with. May import: stdlib, fastapi, core, runs, api.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from fastapi import Request
from starlette.requests import ClientDisconnect

from api.batch_body import ItemChecks
from api.problems import FieldError, InvalidFields, InvalidJson, RequestTimeout
from api.strict_json import MAX_BODY_BYTES, parse
from core.errors import Invalid, Refused, TooLarge
from runs.batches.model import Item
from runs.batches.store import TwiceInBatch
from runs.batches.upload import Upload
from sandbox.limits import KIB, MIB
from triggers.input_schema import InputMismatch

MAX_LINE_BYTES = MAX_BODY_BYTES
#: Without a byte for so long an upload counts as broken off.
SILENCE_S = 30.0
_DRAIN_BYTES = 16 * MIB
_DRAIN_S = 5.0
_IN_THREAD_BYTES = 64 * KIB
_WITHOUT_PAUSE = 50
_ASIDE = ThreadPoolExecutor(1, thread_name_prefix="batch-items")


#: A line without its end, and its number from 1.
NumberedLine = tuple[int, bytes]


class BrokenOff(Exception):
    """The client went away before its body was whole; what came is kept."""


class Lines:
    """The lines of a request's body, each with its number from 1; empty ones are left out."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._stream = request.stream()
        self._iterator = self._read()

    def __aiter__(self) -> AsyncIterator[NumberedLine]:
        """Give the lines that are left."""
        return self._iterator

    async def first(self) -> NumberedLine | None:
        """Take the next line, None when there is none."""
        return await anext(self._iterator, None)

    async def drain(self) -> None:
        """Read what still comes, within bounds: who still sends would not see our answer."""
        size = 0
        try:
            async with asyncio.timeout(_DRAIN_S):
                async for piece in self._stream:
                    size += len(piece)
                    if size > _DRAIN_BYTES:
                        return
        except (TimeoutError, ClientDisconnect):
            return

    async def _read(self) -> AsyncIterator[NumberedLine]:
        rest, number = b"", 0
        while (piece := await self._piece()) is not None:
            *whole, rest = (rest + piece).split(b"\n")
            for line in whole:
                number += 1
                if line.strip():
                    yield number, line
            if len(rest) > MAX_LINE_BYTES:
                raise TooLarge(f"line {number + 1} has more than {MAX_LINE_BYTES} bytes")
        if rest.strip():
            yield number + 1, rest

    async def _piece(self) -> bytes | None:
        try:
            async with asyncio.timeout(SILENCE_S):
                return await anext(self._stream, None)
        except TimeoutError:
            raise RequestTimeout(f"nothing came for {SILENCE_S:.0f} s") from None
        except ClientDisconnect:
            raise BrokenOff from None


async def fill(upload: Upload, lines: AsyncIterator[NumberedLine], checks: ItemChecks) -> None:
    """
    Take all lines as items.

    Raises:
        Refused: an item is wrong; it says in which line.
        RequestTimeout, BrokenOff: the body ended too early; what came is stored.
        Unavailable: Redis did not confirm.
    """
    try:
        async for number, line in lines:
            index = upload.count
            try:
                item = await _item(line, checks)
                await upload.add(item)
            except Refused as error:
                raise located(error, index, number) from None
            if not index % _WITHOUT_PAUSE:
                await asyncio.sleep(0)  # others are served meanwhile
    except (RequestTimeout, BrokenOff):
        await upload.flush()
        raise


async def fill_listed(upload: Upload, items: list[Any], checks: ItemChecks) -> None:
    """Take a list of items. Raises: Refused, Unavailable: as `fill`."""
    for index, value in enumerate(items):
        try:
            await upload.add(await _checked(value, checks))
        except Refused as error:
            raise located(error, index) from None
        if not index % _WITHOUT_PAUSE:
            await asyncio.sleep(0)


def located(error: Refused, index: int, line: int | None = None) -> Refused:
    """Say of which item an error tells."""
    if isinstance(error, TwiceInBatch):  # found when a chunk is stored: it knows better
        return error
    where = f"item {index}" if line is None else f"line {line}"
    if isinstance(error, InvalidFields):
        for one in error.errors:
            one.pointer = f"/items/{index}{one.pointer or ''}"
            one.detail = f"{where}: {one.detail}"
        return InvalidFields(error.errors, hint=error.hint)
    if isinstance(error, Invalid) and error.pointer is not None:
        several = error.errors if isinstance(error, InputMismatch) else []
        told = [
            FieldError(pointer=f"/items/{index}{pointer}", detail=f"{where}: {detail}")
            for pointer, detail in several or [(error.pointer, error.detail)]
        ]
        return InvalidFields(told, hint=error.hint)
    if isinstance(error, InvalidJson):
        return InvalidJson(f"{where}: {error.detail.replace('line 1 ', '')}", hint=error.hint)
    if isinstance(error, TooLarge) and error.hint is None:
        return TooLarge(f"{where}: {error.detail}")
    return error


async def parse_aside(body: bytes) -> Any:
    """Parse one JSON document, a large one beside the event loop. Raises: as `parse`."""
    if len(body) <= _IN_THREAD_BYTES:
        return parse(body)
    return await asyncio.get_running_loop().run_in_executor(_ASIDE, parse, body)


async def _item(line: bytes, checks: ItemChecks) -> Item:
    if len(line) <= _IN_THREAD_BYTES:
        return await _checked(parse(line), checks)
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_ASIDE, lambda: checks.check(parse(line)))


async def _checked(value: Any, checks: ItemChecks) -> Item:
    if checks.schema is None:
        return checks.check(value)
    # Who writes a schema decides how long it takes: nobody else waits for it.
    return await asyncio.get_running_loop().run_in_executor(_ASIDE, checks.check, value)
