"""Every benchmark, one table: `make bench`, or `python -m benchmarks [PART...]`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable

from benchmarks import figures
from benchmarks.figures import Row


def _sandbox() -> list[Row]:
    from benchmarks import sandbox  # noqa: PLC0415 (each part needs only its own peer)

    async def both() -> list[Row]:
        return await sandbox.latency() + await sandbox.saturation()

    return asyncio.run(both())


def _service() -> list[Row]:
    from benchmarks import service  # noqa: PLC0415

    async def both() -> list[Row]:
        return await service.http_latency() + await service.throughput()

    return asyncio.run(both())


def _calls() -> list[Row]:
    import uvloop  # noqa: PLC0415

    from benchmarks import calls  # noqa: PLC0415

    return uvloop.run(calls.overhead())  # as a worker's engine does


def _search() -> list[Row]:
    from benchmarks import search  # noqa: PLC0415

    return search.latency()


def _ledger() -> list[Row]:
    from benchmarks import ledger  # noqa: PLC0415

    return ledger.appends()


def _audit() -> list[Row]:
    from benchmarks import audit  # noqa: PLC0415

    return audit.verification()


def _durability() -> list[Row]:
    from benchmarks import durability  # noqa: PLC0415

    return asyncio.run(durability.intents())


def _replay() -> list[Row]:
    import uvloop  # noqa: PLC0415

    from benchmarks import replay  # noqa: PLC0415

    return uvloop.run(replay.replays())


def _fairness() -> list[Row]:
    from benchmarks import fairness  # noqa: PLC0415

    return asyncio.run(fairness.shares())


def _batch() -> list[Row]:
    from benchmarks import batch  # noqa: PLC0415

    return asyncio.run(batch.batches())


def _idempotency() -> list[Row]:
    from benchmarks import idempotency  # noqa: PLC0415

    return asyncio.run(idempotency.sent_again())


def _slots() -> list[Row]:
    from benchmarks import slots  # noqa: PLC0415

    return asyncio.run(slots.many_waiting())


def _throughput() -> list[Row]:
    from benchmarks import throughput  # noqa: PLC0415

    return throughput.rows()


def _stored() -> list[Row]:
    from benchmarks import stored  # noqa: PLC0415

    return stored.rows()


PARTS: dict[str, Callable[[], list[Row]]] = {
    "sandbox": _sandbox,
    "service": _service,
    "calls": _calls,
    "search": _search,
    "ledger": _ledger,
    "audit": _audit,
    "durability": _durability,
    "replay": _replay,
    "fairness": _fairness,
    "slots": _slots,
    "idempotency": _idempotency,
    "batch": _batch,
    "throughput": _throughput,
    "stored": _stored,
}


def _main(wanted: list[str]) -> None:
    unknown = [one for one in wanted if one not in PARTS]
    if unknown:
        sys.exit(f"there is no part {unknown[0]}; the parts are {', '.join(PARTS)}")
    figures.show([row for name in wanted or PARTS for row in PARTS[name]()])


if __name__ == "__main__":
    _main(sys.argv[1:])
