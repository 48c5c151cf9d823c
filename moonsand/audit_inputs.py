"""What the audit commands read: which archive, whose key, which checkpoints, which master keys."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, cast

from core.calls import Effect
from core.errors import Invalid
from core.settings import Settings
from ledger.audit_query import OPEN, Filter
from ledger.audit_source import SqliteSource, TileSource
from ledger.log_keys import LogKeys, SigningKeys, Verifier
from moonsand.local_state import default_directory
from moonsand.terminal import write_error
from tenancy.master_keys import MasterKeys
from tenancy.payload_keys import PayloadReader

if TYPE_CHECKING:
    from ledger.archive import ArchiveReader
    from ledger.audit_runs import Opener

_SHA256 = re.compile(r"[0-9a-f]{64}")
_MAX_BYTES = 100_000
_LOCAL = "ledger"
_LOCAL_KEY = "key"


def archive_path(given: Path | None, settings: Settings) -> Path:
    """Give the archive that is meant."""
    if given is None and settings.ledger_objects is not None:
        return Path(settings.ledger_objects)
    return given or settings.ledger_dir or default_directory() / _LOCAL


def public_key(given: str | None, settings: Settings) -> LogKeys:
    """
    Give the keys that checkpoints are held to.

    Raises:
        Invalid: one is malformed, or none was given and none is here.
    """
    if given is not None:
        return LogKeys.parse(given if "+" in given else _read(Path(given)))
    keys = signing_keys(settings)
    if settings.ledger_key is None:
        write_error("held to the key of this machine; an auditor gives --log-key")
    return keys.public


def signing_keys(settings: Settings) -> SigningKeys:
    """
    Give the key that signs, of the settings or of a local service.

    Raises:
        Invalid: it is malformed, or none is here.
    """
    if settings.ledger_key is not None:
        return SigningKeys.parse(settings.ledger_key)
    path = settings.ledger_key_file or default_directory() / _LOCAL / _LOCAL_KEY
    if not path.exists():
        raise Invalid(
            "the log's public key is not known here",
            hint="give --log-key, as `moonsand ledger keygen` printed it; for a service that was "
            "started with `serve --data-dir DIR`, MOONSAND_LEDGER_KEY_FILE=DIR/ledger/key",
        )
    return SigningKeys.parse(_read(path))


def kept_checkpoints(given: Sequence[Path] | None, key: Verifier) -> list[tuple[str, str]]:
    """
    Read checkpoints that somebody kept: where each is from, and its note.

    Raises:
        Invalid: one cannot be read, or is not of this log.
    """
    found: list[tuple[str, str]] = []
    for path in given or ():
        if path.is_dir():
            names = sorted(one for one in path.iterdir() if one.name[:1] not in {".", ""})
            found += [(one.name, _read(one)) for one in names if one.is_file()]
        else:
            found.append((str(path), _read(path)))
    for where, note in found:
        try:
            key.open(note)
        except Invalid as error:
            raise Invalid(f"{where}: {error.detail}") from None
    return found


def opener(source: SqliteSource | TileSource, settings: Settings) -> Opener | None:
    """Give what opens payloads, with the master keys of the settings; None without them."""
    masters = MasterKeys.of_settings(settings)
    if masters is None or not isinstance(source, SqliteSource):
        return None
    return PayloadReader(cast("ArchiveReader", source), masters).open


def filter_of(  # noqa: PLR0913, PLR0917 (one for each option)
    tenant: str | None,
    key: str | None,
    kind: str | None,
    reason: str | None,
    script: str | None,
    function: str | None,
    effect: str | None,
    since: str | None,
    until: str | None,
) -> Filter:
    """
    Make a filter of the options.

    Raises:
        Invalid: a time, an effect or a digest is none.
    """
    if effect is not None and effect not in {*Effect, OPEN}:
        raise Invalid(f"--effect is one of {', '.join([*Effect, OPEN])}")
    return Filter(
        tenant=tenant,
        key=key,
        kind=kind,
        reason=reason,
        script_sha256=None if script is None else _digest(script),
        function=function,
        effect=effect,
        since_ms=None if since is None else _time_ms(since),
        until_ms=None if until is None else _time_ms(until),
    )


def _digest(script: str) -> str:
    if _SHA256.fullmatch(script):
        return script
    try:
        return hashlib.sha256(Path(script).read_bytes()).hexdigest()
    except (OSError, ValueError):
        raise Invalid("--script is a SHA-256 in hexadecimal, or a file that can be read") from None


def _time_ms(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Invalid(f"{text[:40]!r} is no time: give 2026-11-23, or 2026-11-23T14:00") from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_BYTES).decode("utf-8", "replace")
    except OSError as error:
        raise Invalid(f"{path} cannot be read: {error.strerror}") from None
