"""From the scenes a script describes to the body of HeyGen's `POST /v3/videos`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

NO_TEST_MODE = "HeyGen has no test mode: this is a real video, and it costs credits"
_RATIOS = {"16:9": 16 / 9, "9:16": 9 / 16, "4:5": 4 / 5, "5:4": 5 / 4, "1:1": 1.0}
#: Shorter side in pixels of each resolution, smallest first.
_RESOLUTIONS = {"720p": 720, "1080p": 1080, "4k": 2160}
_WHOLE = ("title", "caption", "callback_id", "callback_url")
_ONE_SCENE = ("output_format", "remove_background", "fit")
_SPEECH = ("script", "audio_url", "audio_asset_id")
_TUNING = ("speed", "pitch", "volume", "locale", "engine_settings")


class Unusable(Exception):
    """The arguments describe no video; the message says why."""


def video_request(arguments: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """
    Give the body, and what a person should know about it.

    Raises:
        Unusable: these arguments cannot be one video.
    """
    warnings = [NO_TEST_MODE] if arguments.get("test") else []
    scenes = arguments["video_inputs"]
    single = len(scenes) == 1
    speakers = [
        _speaker(scene, f"video_inputs[{number}]", arguments, warnings, single=single)
        for number, scene in enumerate(scenes, 1)
    ]
    whole = {name: arguments[name] for name in _WHOLE if name in arguments}
    whole |= _format(arguments, warnings)
    if single:
        extras = {name: arguments[name] for name in _ONE_SCENE if name in arguments}
        return {"type": "avatar", **speakers[0], **whole, **extras}, warnings
    if odd := [name for name in _ONE_SCENE if name in arguments]:
        raise Unusable(f"{odd[0]} is possible with one scene only, not with {len(scenes)}")
    clips = [
        {"type": "avatar_video", "input": {"type": "avatar", **speaker}} for speaker in speakers
    ]
    return {"type": "studio", "scenes": clips, **whole}, warnings


def _speaker(
    scene: Mapping[str, Any],
    where: str,
    arguments: Mapping[str, Any],
    warnings: list[str],
    *,
    single: bool,
) -> dict[str, Any]:
    character, voice = scene["character"], scene.get("voice", {})
    looks = [character[one] for one in ("avatar_id", "talking_photo_id") if one in character]
    if len(looks) != 1:
        raise Unusable(f"{where}.character must have one of avatar_id and talking_photo_id")
    if character.get("avatar_style", "normal") != "normal":
        warnings.append(f"{where}.character.avatar_style was left out: HeyGen has it no more")
    speaker: dict[str, Any] = {"avatar_id": looks[0]}
    voice_id = character.get("voice_id", voice.get("voice_id"))
    if voice_id is not None:
        speaker["voice_id"] = voice_id
    speaker |= _speech(scene, voice, where)
    if tuning := _tuning({**voice, **scene.get("voice_settings", {})}, where, warnings):
        speaker["voice_settings"] = tuning
    if "background" in scene:
        speaker["background"] = _background(scene["background"], where, single=single)
    if "engine" in arguments:
        speaker["engine"] = {"type": arguments["engine"]}
    if "motion_prompt" in arguments:
        speaker["motion_prompt"] = arguments["motion_prompt"]
    return speaker


def _speech(scene: Mapping[str, Any], voice: Mapping[str, Any], where: str) -> dict[str, Any]:
    given = {name: scene[name] for name in _SPEECH if name in scene}
    if "input_text" in voice:
        if "script" in given:
            raise Unusable(f"{where} must have script or voice.input_text, not both")
        given["script"] = voice["input_text"]
    if len(given) != 1:
        raise Unusable(f"{where} must have one of script, audio_url and audio_asset_id")
    return given


def _tuning(settings: Mapping[str, Any], where: str, warnings: list[str]) -> dict[str, Any]:
    tuning = {name: settings[name] for name in _TUNING if name in settings}
    engine = settings.get("engine_type")
    if engine is not None:
        stability = {"stability": settings["stability"]} if "stability" in settings else {}
        own = tuning.get("engine_settings", {})
        tuning["engine_settings"] = {"engine_type": engine, **stability, **own}
    elif "stability" in settings:
        warnings.append(
            f"{where}.voice_settings.stability was left out: it needs the engine_type of the voice"
        )
    return tuning


def _background(given: Mapping[str, Any], where: str, *, single: bool) -> dict[str, Any]:
    if given["type"] == "color":
        color = given.get("value", given.get("color"))
        if color is None:
            raise Unusable(f'{where}.background must have a value such as "#1a2b3c"')
        # The same colour has another key in a studio's scene.
        return {"type": "color", "value" if single else "color": color}
    if not single:
        raise Unusable(f"{where}.background can be an image with one scene only; give a color")
    images = {name: given[name] for name in ("url", "asset_id") if name in given}
    if len(images) != 1:
        raise Unusable(f"{where}.background must have one of url and asset_id")
    return {"type": "image", **images}


def _format(arguments: Mapping[str, Any], warnings: list[str]) -> dict[str, str]:
    """Give the aspect ratio and resolution: as given, or the nearest there are."""
    stated = {name: arguments[name] for name in ("aspect_ratio", "resolution") if name in arguments}
    if "dimension" not in arguments:
        return {"aspect_ratio": "16:9", "resolution": "1080p", **stated}
    if stated:
        raise Unusable("give `dimension`, or `aspect_ratio` and `resolution`, not both")
    given = arguments["dimension"]
    width, height = given if isinstance(given, list) else (given["width"], given["height"])
    shape = width / height
    ratio = min(_RATIOS, key=lambda name: abs(math.log(shape / _RATIOS[name])))
    shorter = min(width, height)
    resolution = next((name for name, side in _RESOLUTIONS.items() if shorter <= side), "4k")
    if abs(shape / _RATIOS[ratio] - 1) > 0.01 or shorter != _RESOLUTIONS[resolution]:
        warnings.append(f"HeyGen has no {width}x{height}: the video is {ratio} in {resolution}")
    return {"aspect_ratio": ratio, "resolution": resolution}
