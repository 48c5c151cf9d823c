"""
Moto's S3, answering on the loopback until its standard input ends: `python tests/moto_host.py`.

It runs in an environment of its own (`.tools/moto`) and imports nothing of ours. Its port is the
one line that it writes. It carries out one request at a time, as a store does that honours
If-None-Match: moto looks and puts in two steps.
"""

from __future__ import annotations

import logging
import sys
import threading

from moto.server import (  # type: ignore[import-not-found, unused-ignore]
    DomainDispatcherApplication,
    create_backend_app,
)
from werkzeug.serving import make_server  # type: ignore[import-not-found, unused-ignore]


def main() -> None:
    """Serve."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    sys.stdin.read()
    server.shutdown()


if __name__ == "__main__":
    main()
