"""What the stub of HeyGen holds: a small, always equal workspace, and what is created in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

_EPOCH = 1_760_000_000


@dataclass(slots=True)
class Workspace:
    """One HeyGen workspace. Videos are newest first; ids are counted, never random."""

    name: str
    user: dict[str, Any]
    videos: list[dict[str, Any]]
    looks: list[dict[str, Any]]
    voices: list[dict[str, Any]]
    templates: list[dict[str, Any]]
    created: int = 0
    #: Bodies of the videos that were created, oldest first.
    bodies: list[dict[str, Any]] = field(default_factory=list)

    def create_video(self, body: dict[str, Any]) -> dict[str, Any]:
        """Make a video that waits for its turn, and give HeyGen's short answer."""
        self.created += 1
        self.bodies.append(body)
        video_id = f"{self.name}-video-{self.created:04d}"
        self.videos.insert(0, video(video_id, "pending", self.created, title=body.get("title")))
        return {
            "video_id": video_id,
            "status": "pending",
            "output_format": body.get("output_format", "mp4"),
        }


def video(video_id: str, status: str, age: int, **more: Any) -> dict[str, Any]:
    """Give a video as HeyGen's lists show it."""
    return {
        "id": video_id,
        "status": status,
        "title": f"Video {video_id}",
        "created_at": _EPOCH + age,
        "completed_at": None,
        "duration": None,
        "video_url": None,
        "thumbnail_url": None,
        "video_page_url": f"https://app.heygen.com/videos/{video_id}",
        "folder_id": None,
        "failure_code": None,
        "failure_message": None,
        **more,
    }


def look(look_id: str, name: str, **more: Any) -> dict[str, Any]:
    """Give an avatar look as HeyGen's lists show it."""
    return {
        "id": look_id,
        "name": name,
        "avatar_type": "studio_avatar",
        "gender": "female",
        "group_id": f"group-{look_id}",
        "preview_image_url": f"https://files.heygen.example/{look_id}.webp",
        "preview_video_url": None,
        "default_voice_id": "voice-xyz789",
        "supported_api_engines": ["avatar_iv"],
        "tags": [],
        "status": "completed",
        **more,
    }


def voice(voice_id: str, name: str, language: str, kind: str = "public") -> dict[str, Any]:
    """Give a voice as HeyGen's lists show it."""
    return {
        "voice_id": voice_id,
        "name": name,
        "language": language,
        "gender": "female",
        "preview_audio_url": f"https://files.heygen.example/{voice_id}.mp3",
        "support_pause": True,
        "support_locale": False,
        "type": kind,
    }


def template(template_id: str, name: str) -> dict[str, Any]:
    """Give a template as HeyGen's lists show it."""
    return {
        "id": template_id,
        "name": name,
        "aspect_ratio": "16:9",
        "thumbnail_url": f"https://files.heygen.example/{template_id}.webp",
        "created_at": _EPOCH,
    }


def _credits(left: int) -> dict[str, Any]:
    return {"remaining": left, "resets_at": _EPOCH}


#: Each account is billed in another way, so that each shape of the answer is there.
_BILLING: dict[str, dict[str, Any]] = {
    "default": {
        "billing_type": "subscription",
        "subscription": {
            "plan": "creator",
            "credits": {"premium_credits": _credits(120), "add_on_credits": _credits(30)},
        },
        "wallet": None,
        "usage_based": None,
    },
    "work": {
        "billing_type": "wallet",
        "wallet": {"currency": "usd", "remaining_balance": 41.5, "auto_reload": None},
        "subscription": None,
        "usage_based": None,
    },
    "personal": {
        "billing_type": "usage_based",
        "usage_based": {
            "included_credits": 100,
            "remaining_credits": 7,
            "spending_cap_usd": 50,
            "spending_current_usd": 1.5,
        },
        "wallet": None,
        "subscription": None,
    },
}


def workspace(name: str) -> Workspace:
    """Give a workspace with what the documents' examples ask for."""
    return Workspace(
        name,
        user={
            "username": f"{name}-user",
            "email": f"{name}@example.com",
            "first_name": "Ada",
            "last_name": None,
            **_BILLING[name],
        },
        videos=_videos(name),
        looks=[
            look("avatar-abc123", "Abigail"),
            look("avatar-id-here", "Bruce", gender="male"),
            look(f"{name}-twin", "Clara", avatar_type="digital_twin"),
        ],
        voices=[
            voice("voice-xyz789", "Sunny", "English"),
            voice("voice-id-here", "Klara", "German"),
            voice(f"{name}-clone", "My clone", "English", kind="private"),
        ],
        templates=[
            template("template-news", "News flash"),
            template("template-hello", "Welcome"),
        ],
    )


def _videos(name: str) -> list[dict[str, Any]]:
    return [
        video(f"{name}-intro", "processing", 3),
        video(
            "abc123",
            "completed",
            2,
            completed_at=_EPOCH + 60,
            duration=12.4,
            video_url="https://files.heygen.example/abc123.mp4?Expires=1&Signature=stub",
        ),
        video(
            f"{name}-broken",
            "failed",
            1,
            failure_code="script_too_long",
            failure_message="Script is too long",
        ),
    ]
