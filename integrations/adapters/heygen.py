"""
HeyGen: lists in pages of tokens, shown as scripts expect them, and who pays for what.

HeyGen's lists have no offset and give `data` as the list itself. Here `data` holds the list under
its plural, and offsets are walked. What HeyGen sent stays; names that scripts read are added.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from integrations.adapters import Send
from integrations.adapters.heygen_video import Unusable, video_request
from integrations.request_parts import RequestParts

#: How deep an offset may reach, in entries.
MOST_OFFSET = 1_000
#: Most requests for one list; pages that come short must not go on for ever.
MOST_PAGES = 10
_OWN_FIRST = ("private", "public")


@dataclass(frozen=True, slots=True)
class Listing:
    """
    One of HeyGen's lists: where it is, how scripts call it, and how long its pages may be.

    `added` names keys that rows get, from the first of those keys that is not null; `default` has
    texts for keys that scripts join to others, and that must therefore never be nil.
    """

    path: str
    plural: str
    page: int
    added: Mapping[str, Sequence[str]]
    default: Mapping[str, Any] = field(default_factory=dict)


VIDEOS = Listing(
    "/v3/videos",
    "videos",
    100,
    {"video_id": ("id",), "video_title": ("title",)},
    {"video_id": "unknown", "status": "unknown"},
)
LOOKS = Listing(
    "/v3/avatars/looks",
    "avatars",
    50,
    {"avatar_id": ("id",), "avatar_name": ("name", "id")},
    {"avatar_id": "unknown", "avatar_name": "unknown"},
)
VOICES = Listing(
    "/v3/voices",
    "voices",
    100,
    {
        "voice_id": ("id",),
        "display_name": ("name", "voice_id"),
        "preview_audio": ("preview_audio_url",),
    },
    {"voice_id": "unknown", "display_name": "unknown", "language": "unknown"},
)
TEMPLATES = Listing(
    "/v3/templates",
    "templates",
    100,
    {"template_id": ("id",)},
    {"template_id": "unknown", "name": "unknown"},
)


async def list_videos(arguments: dict[str, Any], send: Send) -> Any:
    """Give videos by limit and offset, or from a token on."""
    return await _by_offset(VIDEOS, arguments, send)


async def list_templates(arguments: dict[str, Any], send: Send) -> Any:
    """Give templates by limit and offset, or from a token on."""
    return await _by_offset(TEMPLATES, arguments, send)


async def list_avatars(arguments: dict[str, Any], send: Send) -> Any:
    """Give avatar looks, all up to the limit."""
    rows, token = await _walk(LOOKS, _filters(arguments), send, arguments["limit"],
                              arguments.get("token"))  # fmt: skip
    return _listed(LOOKS, rows, token)


async def list_voices(arguments: dict[str, Any], send: Send) -> Any:
    """Give voices, all up to the limit: the workspace's own, then HeyGen's."""
    limit, token = arguments["limit"], arguments.get("token")
    if "type" in arguments:
        rows, token = await _walk(VOICES, _filters(arguments), send, limit, token)
        return _listed(VOICES, rows, token)
    kinds = list(_OWN_FIRST)
    if token is not None:
        # A token of ours says which of the two lists it goes on in.
        kind, _, token = token.partition(":")
        if kind not in kinds:
            raise send.refuse("token must be the `next_token` of an earlier answer without `type`")
        kinds = kinds[kinds.index(kind) :]
    found: list[Any] = []
    going_on = None
    while kinds and going_on is None and len(found) < limit:
        kind = kinds.pop(0)
        query = {**_filters(arguments), "type": kind}
        rows, token = await _walk(VOICES, query, send, limit - len(found), token or None)
        found += rows
        going_on = f"{kind}:{token}" if token else None
    if going_on is None and kinds:
        going_on = f"{kinds[0]}:"
    return _listed(VOICES, found, going_on)


async def get_video(arguments: dict[str, Any], send: Send) -> Any:
    """Give one video."""
    reply = await send(RequestParts("GET", "/v3/videos/{video_id}", values=arguments))
    video = _named(VIDEOS, _data(reply, send))
    return {**reply, "data": video}


async def create_video(arguments: dict[str, Any], send: Send) -> Any:
    """Order a video of one scene or several."""
    try:
        body, warnings = video_request(arguments)
    except Unusable as unusable:
        raise send.refuse(str(unusable)) from None
    if arguments.get("test") and send.setting("test_videos") != "warn":
        raise send.refuse("HeyGen has no test mode, and this account refuses to do without")
    reply = await send(RequestParts("POST", "/v3/videos", body=body))
    if not isinstance(_data(reply, send).get("video_id"), str):
        raise send.failed("invalid_reply", "the reply names no video")
    return {**reply, "warnings": warnings} if warnings else reply


async def get_current_user(arguments: dict[str, Any], send: Send) -> Any:
    """Give the user, with plan and credits wherever they come from."""
    reply = await send(RequestParts("GET", "/v3/users/me", query=arguments))
    user = _data(reply, send)
    plan = _inside(user, "subscription", "plan") or user.get("billing_type")
    return {
        **reply,
        "data": {
            **user,
            "plan": plan if isinstance(plan, str) and plan else "unknown",
            "remaining_quota": _remaining(user),
        },
    }


def _remaining(user: Mapping[str, Any]) -> float | int:
    """Give what is left to spend: credits of a plan, a wallet's balance, or credits of a month."""
    plan = _inside(user, "subscription", "credits")
    of_plan = [
        _number(_inside(plan, kind, "remaining")) for kind in ("premium_credits", "add_on_credits")
    ]
    known = [one for one in of_plan if one is not None]
    if known:
        return sum(known)
    for place in (("wallet", "remaining_balance"), ("usage_based", "remaining_credits")):
        found = _number(_inside(user, *place))
        if found is not None:
            return found
    return 0


async def _by_offset(listing: Listing, arguments: dict[str, Any], send: Send) -> Any:
    limit, offset = arguments["limit"], arguments["offset"]
    token = arguments.get("token")
    if offset and token is not None:
        raise send.refuse("give `offset` or `token`, not both")
    if offset + limit > MOST_OFFSET:
        raise send.refuse(
            f"offset too large: `offset` and `limit` together may reach {MOST_OFFSET};"
            " go on from there with `token`"
        )
    rows, token = await _walk(listing, _filters(arguments), send, offset + limit, token)
    return _listed(listing, rows[offset:], token)


async def _walk(
    listing: Listing, query: Mapping[str, Any], send: Send, wanted: int, token: str | None
) -> tuple[list[Any], str | None]:
    """Give up to `wanted` rows and the token after them, which is exact: no page reaches over."""
    rows: list[Any] = []
    for _ in range(MOST_PAGES):
        asked = {**query, "limit": min(listing.page, wanted - len(rows))}
        if token is not None:
            asked["token"] = token
        reply = await send(RequestParts("GET", listing.path, query=asked))
        page = reply.get("data") if isinstance(reply, dict) else None
        if not isinstance(page, list):
            raise send.failed("invalid_reply", f"the reply has no list of {listing.plural}")
        rows += page
        token = reply.get("next_token")
        if not isinstance(token, str) or not token:
            return rows[:wanted], None
        if len(rows) >= wanted:
            break
    return rows[:wanted], token


def _filters(arguments: Mapping[str, Any]) -> dict[str, Any]:
    ours = {"limit", "offset", "token"}
    return {name: value for name, value in arguments.items() if name not in ours}


def _listed(listing: Listing, rows: list[Any], token: str | None) -> dict[str, Any]:
    named = [_named(listing, row) if isinstance(row, dict) else row for row in rows]
    ends = {"has_more": token is not None, "next_token": token}
    inner = {listing.plural: named, "token": token, "has_more": token is not None}
    return {"data": inner, **ends}


def _named(listing: Listing, row: Mapping[str, Any]) -> dict[str, Any]:
    """Give a row with the names that scripts read; what HeyGen sent itself stays."""
    named = dict(row)
    for name, sources in listing.added.items():
        if named.get(name) is None:
            named[name] = next((row[one] for one in sources if row.get(one) is not None), None)
    for name, default in listing.default.items():
        if not isinstance(named.get(name), str):
            named[name] = default
    return named


def _data(reply: Any, send: Send) -> dict[str, Any]:
    data = reply.get("data") if isinstance(reply, dict) else None
    if not isinstance(data, dict):
        raise send.failed("invalid_reply", "the reply has no object `data`")
    return data


def _inside(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _number(value: Any) -> float | int | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
