"""What HeyGen's `POST /v3/videos` takes, as its OpenAPI document says; here nothing beyond it."""

from __future__ import annotations

from typing import Any

import jsonschema_rs

_TEXT = {"type": ["string", "null"]}
_ID = {"type": "string", "minLength": 1}


def _closed(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


_ENGINE_SETTINGS = {
    "oneOf": [
        _closed(
            {
                "engine_type": {"const": "elevenlabs"},
                "model": _TEXT,
                "similarity_boost": {"type": "number"},
                "stability": {"type": "number"},
                "style": {"type": "number"},
                "use_speaker_boost": {"type": "boolean"},
            },
            "engine_type",
        ),
        _closed(
            {
                "engine_type": {"const": "fish"},
                "model": _TEXT,
                "similarity": {"type": "number"},
                "stability": {"type": "number"},
            },
            "engine_type",
        ),
        _closed({"engine_type": {"const": "starfish"}}, "engine_type"),
    ]
}
_VOICE_SETTINGS = _closed(
    {
        "speed": {"type": "number", "minimum": 0.5, "maximum": 1.5},
        "pitch": {"type": "number", "minimum": -50, "maximum": 50},
        "volume": {"type": "number", "minimum": 0, "maximum": 1},
        "locale": _TEXT,
        "engine_settings": _ENGINE_SETTINGS,
    }
)
_ENGINE = _closed(
    {
        "type": {"enum": ["avatar_iii", "avatar_iv", "avatar_v"]},
        "reference_look_id": _TEXT,
    },
    "type",
)
#: How someone speaks; exactly one of script and the two kinds of audio, which is checked apart.
_SPEECH = {
    "avatar_id": _ID,
    "voice_id": _TEXT,
    "script": {"type": ["string", "null"], "maxLength": 5000},
    "audio_url": _TEXT,
    "audio_asset_id": _TEXT,
    "voice_settings": _VOICE_SETTINGS,
    "engine": _ENGINE,
    "motion_prompt": _TEXT,
    "expressiveness": {"enum": ["high", "medium", "low"]},
}
_WHOLE = {
    "title": _TEXT,
    "callback_id": _TEXT,
    "callback_url": _TEXT,
    "caption": _closed({"file_format": {"enum": ["srt"]}, "style": {"enum": ["default"]}}),
    "aspect_ratio": {"enum": ["16:9", "9:16", "4:5", "5:4", "1:1", "auto"]},
    "resolution": {"enum": ["4k", "1080p", "720p"]},
    "watermark": {"type": "object"},
}
_HEX = {"type": "string", "pattern": "^#[0-9a-fA-F]{6}$"}
_AVATAR = _closed(
    {
        **_WHOLE,
        **_SPEECH,
        "type": {"const": "avatar"},
        "background": {
            "oneOf": [
                _closed({"type": {"const": "color"}, "value": _HEX}, "type", "value"),
                _closed({"type": {"const": "image"}, "url": _ID}, "type", "url"),
                _closed({"type": {"const": "image"}, "asset_id": _ID}, "type", "asset_id"),
            ]
        },
        "output_format": {"enum": ["mp4", "webm"]},
        "remove_background": {"type": "boolean"},
        "fit": {"enum": ["contain", "cover"]},
    },
    "type",
    "avatar_id",
)
_SCENE = _closed(
    {
        "type": {"const": "avatar_video"},
        "input": _closed(
            {
                **_SPEECH,
                "type": {"const": "avatar"},
                "background": _closed({"type": {"const": "color"}, "color": _HEX}, "type", "color"),
            },
            "type",
            "avatar_id",
        ),
    },
    "type",
    "input",
)
_STUDIO = _closed(
    {
        **_WHOLE,
        "type": {"const": "studio"},
        "scenes": {"type": "array", "minItems": 1, "maxItems": 50, "items": _SCENE},
    },
    "type",
    "scenes",
)
_SCHEMAS = {
    "avatar": jsonschema_rs.Draft202012Validator(_AVATAR),
    "studio": jsonschema_rs.Draft202012Validator(_STUDIO),
}


def problem(body: Any) -> tuple[str, str | None] | None:
    """Give what is wrong with a body and the parameter it is about; None when it is good."""
    if not isinstance(body, dict):
        return "Request body must be an object", None
    schema = _SCHEMAS.get(str(body.get("type")))
    if schema is None:
        return "type must be one of: avatar, studio", "type"
    for error in schema.iter_errors(body):
        return error.message, ".".join(map(str, error.instance_path)) or None
    for speaker in speakers_of(body):
        given = [one for one in ("script", "audio_url", "audio_asset_id") if speaker.get(one)]
        if len(given) != 1:
            return "Provide exactly one of script, audio_url or audio_asset_id", "script"
    return None


def speakers_of(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Give every part of a good body that names an avatar."""
    return [body] if body["type"] == "avatar" else [one["input"] for one in body["scenes"]]
