"""A port of this host that leads to another address: `python -m tests.relay PORT ADDRESS PORT`."""

from __future__ import annotations

import asyncio
import sys

_CHUNK = 1 << 16


async def relay(port: int, address: str, to: int) -> None:
    """Forward every connection to a port of loopback, for ever."""

    async def met(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(address, to)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_pour(reader, far_writer), _pour(far_reader, writer))

    server = await asyncio.start_server(met, "127.0.0.1", port)
    sys.stdout.write("listens\n")
    sys.stdout.flush()
    async with server:
        await server.serve_forever()


async def _pour(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(_CHUNK):
            sink.write(data)
            await sink.drain()
    except OSError:
        pass
    finally:
        sink.close()


if __name__ == "__main__":
    asyncio.run(relay(int(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
