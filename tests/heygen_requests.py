"""What reached the stub of HeyGen, as tests look at it."""

from __future__ import annotations

from integrations.stubs import Stubs

POST = "POST /v3/videos"
SCENE = {
    "character": {"avatar_id": "avatar-abc123", "voice_id": "voice-xyz789"},
    "script": "Welcome to our product demo!",
}


def lines(stubs: Stubs) -> list[str]:
    """Give the requests that reached the stub."""
    return [f"{seen.method} {seen.target}" for seen in stubs["heygen"].faults.seen]
