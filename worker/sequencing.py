"""
Where the sequencer is put together: settings in, the ledger kept, exit code out.

Runs in: sequencer. Trusts: its settings. Refuses: to start without a key or a directory, or with
an archive that does not go on from what was signed. May import: core, ledger, tenancy.
"""

from __future__ import annotations

import signal
import threading
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from core.errors import Invalid, Unavailable
from core.logs import configure_logs
from core.redis_client import check_server, connect
from ledger.archives import create_archive, has_archive, writable
from ledger.checkpoints import Checkpoints
from ledger.log_keys import SigningKeys
from ledger.sequencer import Sequencer
from ledger.taking import InTheClear, Sealer
from ledger.tile_files import TileFiles
from ledger.witness import witness_of
from tenancy.master_keys import MasterKeys
from tenancy.payload_keys import PayloadSealer

if TYPE_CHECKING:
    from core.settings import Settings

_MAX_KEY_BYTES = 65_536


def run_sequencer(settings: Settings) -> int:
    """
    Keep the ledger until asked to stop (SIGINT, SIGTERM); give 0.

    Raises:
        Invalid: no key, or a malformed one.
        Unavailable: no Redis, or one that would lose runs in production; no directory.
        LedgerDamaged: the archive does not go on from a checkpoint that was signed.
    """
    configure_logs(settings.log_level)
    if settings.redis_url is None:
        raise Unavailable("no Redis is configured", hint="set REDIS_URL")
    if not has_archive(settings):
        raise Unavailable(
            "no place for the ledger's archive",
            hint="set MOONSAND_LEDGER_DIR, or MOONSAND_LEDGER_OBJECTS",
        )
    keys, masters = signing_keys(settings), MasterKeys.of_settings(settings)
    witnesses = [witness_of(settings.ledger_witness)] if settings.ledger_witness else []
    tiles = writable(settings.ledger_tiles) if settings.ledger_tiles else None
    stop = _stopped_by_signals()
    with (
        connect(settings.redis_url) as redis,
        closing(create_archive(settings)) as archive,
    ):
        check_server(redis, settings.environment)
        sealer: Sealer = InTheClear() if masters is None else PayloadSealer(archive, masters)
        if tiles is not None:
            witnesses.append(TileFiles(archive, tiles))
        every_s = settings.ledger_checkpoint_s
        checkpoints = Checkpoints(archive, keys, redis, witnesses, every_s)
        structlog.get_logger(__name__).info(
            "sequencer_started", origin=keys.key.public.name, sealed=masters is not None
        )
        Sequencer(redis, archive, sealer, checkpoints).run(stop)
    return 0


def signing_keys(settings: Settings) -> SigningKeys:
    """
    Give the key that the settings name, with those that signed before it.

    Raises:
        Invalid: none or both are given, the file cannot be read, or it holds no key.
    """
    if (settings.ledger_key is None) == (settings.ledger_key_file is None):
        raise Invalid(
            "give either MOONSAND_LEDGER_KEY or MOONSAND_LEDGER_KEY_FILE",
            hint="`moonsand ledger keygen` makes a key",
        )
    if settings.ledger_key is not None:
        return SigningKeys.parse(settings.ledger_key)
    try:
        with Path(settings.ledger_key_file or "").open("rb") as file:
            return SigningKeys.parse(file.read(_MAX_KEY_BYTES).decode("utf-8", "replace"))
    except OSError as error:
        raise Invalid(f"the file of the ledger's key cannot be read: {error.strerror}") from None


def _stopped_by_signals() -> threading.Event:
    stop = threading.Event()
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
    return stop
