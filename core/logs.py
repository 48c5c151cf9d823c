"""Logging: one JSON object a line on stderr, with what looks like a secret blotted out."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

_API_KEY = re.compile(r"ms_live_[0-9A-Za-z_]+")
_URL_PASSWORD = re.compile(r"(?<=://)[^/\s@]+@")
_SECRET_NAMES = re.compile(r"authorization|password|secret|token|api_key|credential", re.IGNORECASE)
_BLOT = "[hidden]"


def configure_logs(level: str) -> None:
    """Send our log and the standard library's to stderr as JSON; `level` as in the settings."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                hide_secrets,
                structlog.processors.JSONRenderer(default=str),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())


def hide_secrets(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Blot out values under a telling name, API keys in any text, and passwords in URLs."""
    for name, value in event.items():
        if _SECRET_NAMES.search(name):
            event[name] = _BLOT
        elif isinstance(value, str):
            event[name] = _URL_PASSWORD.sub(f"{_BLOT}@", _API_KEY.sub(_BLOT, value))
    return event
