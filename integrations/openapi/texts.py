"""Descriptions cut to what helps where scripts read them."""

from __future__ import annotations

import re
from typing import Any

_TAGS = re.compile(r"<[^<>]{1,200}>")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]+")


def one_line(text: Any, most: int) -> str:
    """Give a text on one line without markup of HTML, cut at a word after `most` characters."""
    if not isinstance(text, str):
        return ""
    plain = " ".join(_CONTROL.sub(" ", _TAGS.sub(" ", text[: most * 4])).split())
    if len(plain) <= most:
        return plain
    return f"{plain[: most - 3].rsplit(' ', 1)[0].rstrip(' .,;:')}..."
