"""What the stub of Mux holds: a small, always equal environment, and what is created in it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

_EPOCH = 1_700_000_000


@dataclass(slots=True)
class Environment:
    """One Mux environment. Newest first, as Mux lists; ids are counted, never random."""

    name: str
    assets: list[dict[str, Any]] = field(default_factory=list)
    live_streams: list[dict[str, Any]] = field(default_factory=list)
    created: int = 0
    encoding: dict[str, float] = field(default_factory=dict)

    def create_asset(self, body: dict[str, Any]) -> dict[str, Any]:
        """Make an asset that is `preparing`, as Mux answers."""
        self.created += 1
        asset: dict[str, Any] = {
            "id": f"{self.name}-asset-{self.created:04d}",
            "status": "preparing",
            "created_at": str(_EPOCH + self.created),
            "playback_ids": self._playback_ids(body),
            "encoding_tier": "smart",
            "master_access": body.get("master_access", "none"),
            "max_resolution_tier": body.get("max_resolution_tier", "1080p"),
            "video_quality": body.get("video_quality", "basic"),
            "progress": {"state": "ingesting", "progress": 0},
            **{key: body[key] for key in ("passthrough", "meta", "test") if key in body},
            **_renditions(body, "preparing"),
        }
        self.assets.insert(0, asset)
        self.encoding[asset["id"]] = time.monotonic()
        return asset

    def finish_older(self, seconds: float) -> None:
        """Let every asset become `ready` that was made so many seconds ago."""
        for asset_id, since in list(self.encoding.items()):
            if time.monotonic() - since >= seconds:
                del self.encoding[asset_id]
                if any(one["id"] == asset_id for one in self.assets):
                    self.finish(asset_id)

    def finish(self, asset_id: str, **more: Any) -> dict[str, Any]:
        """Let an asset become `ready` with its static renditions, as encoding does in time."""
        asset = next(one for one in self.assets if one["id"] == asset_id)
        self.encoding.pop(asset_id, None)
        asset.pop("progress", None)
        renditions = asset.get("static_renditions", {})
        for one in renditions.get("files", []):
            one.update(status="ready", filesize="4000000", bitrate=1_341_000)
        asset.update(
            {
                "status": "ready",
                "duration": 23.86,
                "aspect_ratio": "16:9",
                "resolution_tier": "1080p",
                **more,
            }
        )
        return asset

    def update(self, asset_id: str, changes: dict[str, Any]) -> dict[str, Any] | None:
        """Change what a client may change of an asset; None when there is none."""
        for one in self.assets:
            if one["id"] == asset_id:
                one.update(changes)
                return one
        return None

    def delete(self, asset_id: str) -> bool:
        """Forget an asset; tell whether there was one."""
        left = [one for one in self.assets if one["id"] != asset_id]
        gone = len(left) < len(self.assets)
        self.assets = left
        return gone

    def create_live_stream(self, body: dict[str, Any]) -> dict[str, Any]:
        """Make an idle live stream with a key."""
        self.created += 1
        settings = dict(body.get("new_asset_settings", {}))
        stream: dict[str, Any] = {
            "id": f"{self.name}-stream-{self.created:04d}",
            "stream_key": f"{self.name}-key-{self.created:04d}",
            "srt_passphrase": f"{self.name}-srt-{self.created:04d}",
            "status": "idle",
            "created_at": str(_EPOCH + self.created),
            "latency_mode": body.get("latency_mode", "standard"),
            "reconnect_window": body.get("reconnect_window", 60),
            "max_continuous_duration": body.get("max_continuous_duration", 43_200),
            "playback_ids": self._playback_ids(body),
            "new_asset_settings": settings,
        }
        self.live_streams.insert(0, stream)
        return stream

    def _playback_ids(self, body: dict[str, Any]) -> list[dict[str, str]]:
        policies = body.get("playback_policies") or body.get("playback_policy") or []
        listed = [policies] if isinstance(policies, str) else policies
        return [
            {"id": f"{self.name}-play-{self.created:04d}-{index}", "policy": policy}
            for index, policy in enumerate(listed)
        ]


def _renditions(body: dict[str, Any], status: str) -> dict[str, Any]:
    """Give the files that were asked for: one of each resolution, or the three of `standard`."""
    asked = [one["resolution"] for one in body.get("static_renditions", [])]
    if body.get("mp4_support") == "standard":
        asked = ["low", "medium", "high"]
    files = [
        {
            "name": "audio.m4a" if one == "audio-only" else f"{one}.mp4",
            "ext": "m4a" if one == "audio-only" else "mp4",
            "resolution": one,
            "status": status,
        }
        for one in asked
    ]
    return {"static_renditions": {"files": files}} if files else {}


def environment(name: str) -> Environment:
    """Give an environment with what the documents' examples ask for."""
    return Environment(
        name,
        assets=[
            _asset(f"{name}-intro", "preparing", 3),
            _asset("abc123xyz", "ready", 2, duration=634.567, aspect_ratio="16:9"),
            _asset(f"{name}-broken", "errored", 1),
        ],
        live_streams=[
            {
                "id": "abc123xyz",
                "stream_key": f"{name}-stream-key",
                "status": "idle",
                "created_at": str(_EPOCH),
                "latency_mode": "standard",
                "reconnect_window": 60,
                "max_continuous_duration": 43_200,
                "playback_ids": [{"id": f"{name}-play-live", "policy": "public"}],
            }
        ],
    )


def _asset(asset_id: str, status: str, age: int, **more: Any) -> dict[str, Any]:
    return {
        "id": asset_id,
        "status": status,
        "created_at": str(_EPOCH + age),
        "playback_ids": [{"id": f"play-{asset_id}", "policy": "public"}],
        "max_resolution_tier": "1080p",
        "upload_id": None,
        **more,
    }


#: Rows of the viewers' breakdown; the second has no title, as Mux sends for unknown ones.
VIEWERS: list[dict[str, Any]] = [
    {
        "value": "Launch film",
        "metric_value": 42.0,
        "concurrent_viewers": 42,
        "starting_up_viewers": 1,
        "negative_impact": 1,
    },
    {
        "value": None,
        "metric_value": 3.0,
        "concurrent_viewers": None,
        "starting_up_viewers": 0,
        "negative_impact": 2,
    },
]
