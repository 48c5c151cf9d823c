"""What the stub of Agora knows: customers, recordings, and what their settings may be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_START = {
    "token": str,
    "recordingConfig": dict,
    "recordingFileConfig": dict,
    "storageConfig": dict,
    "snapshotConfig": dict,
    "extensionServiceConfig": dict,
}
_UPDATE = {
    "streamSubscribe": dict,
    "webRecordingConfig": dict,
    "rtmpPublishConfig": dict,
    "storageConfig": dict,
}
_LAYOUT = {
    "mixedVideoLayout": int,
    "backgroundColor": str,
    "layoutConfig": list,
    "backgroundConfig": list,
    "defaultUserBackgroundImage": str,
    "maxResolutionUid": str,
    "backgroundImage": str,
}
_STORAGE = frozenset({"vendor", "region", "bucket", "accessKey", "secretKey"})


class AgoraRefused(Exception):
    """An answer that is no success; `body` is its JSON."""

    def __init__(self, status: int, body: Mapping[str, Any]) -> None:
        super().__init__(status)
        self.status = status
        self.body = body


@dataclass(frozen=True, slots=True)
class Customer:
    """Credentials of one account, and the one project they are for."""

    customer_id: str
    customer_secret: str
    app_id: str


CUSTOMERS: dict[str, Customer] = {
    name: Customer(f"stub-agora-{name}-id", f"stub-agora-{name}-secret", f"stubagora{name}app")
    for name in ("default", "work", "production")
}


@dataclass(slots=True)
class Recording:
    """One resource, from acquire to stop."""

    resource_id: str
    cname: str
    uid: str
    scene: int = 0
    start_parameter: dict[str, Any] = field(default_factory=dict)
    sid: str | None = None
    mode: str | None = None
    layout: dict[str, Any] = field(default_factory=dict)
    stopped: bool = False

    def about(self) -> dict[str, Any]:
        """Give what every answer says of it."""
        said = {"cname": self.cname, "uid": self.uid, "resourceId": self.resource_id}
        return said if self.sid is None else {**said, "sid": self.sid}

    def state(self) -> dict[str, Any]:
        """Give the server's answer to a query."""
        if self.mode == "web":
            payload = {"state": "inProgress", "onhold": False, "fileList": []}
            service = {"serviceName": "web_recorder_service", "payload": payload}
            return {"status": 5, "extensionServiceState": [service]}
        files = {"fileListMode": "string", "fileList": f"{self.sid}_{self.cname}.m3u8"}
        return {"status": 5, **files, "sliceStartTime": 1700000000000}

    def uploads(self, *, now: bool) -> dict[str, Any]:
        """Give the server's answer to a stop."""
        status = "uploaded" if now else "unknown"
        if self.mode == "web":
            payload = {"state": "exit", "uploadingStatus": status, "fileList": []}
            return {"extensionServiceState": [{"serviceName": "upload", "payload": payload}]}
        files = {"fileListMode": "string", "fileList": f"{self.sid}_{self.cname}.m3u8"}
        return {"uploadingStatus": status, **files}


@dataclass(slots=True)
class Project:
    """The recordings of one App ID."""

    name: str
    recordings: dict[str, Recording] = field(default_factory=dict)

    def acquire(self, cname: str, uid: str, wanted: Mapping[str, Any]) -> Recording:
        """Make a resource."""
        number = len(self.recordings) + 1
        # As long and odd as Agora's own: it has to survive in a path.
        resource_id = f"{self.name}-resource-{number:04d}-" + "aB3+=" * 40
        recording = Recording(
            resource_id, cname, uid, wanted.get("scene", 0), wanted.get("startParameter", {})
        )
        self.recordings[resource_id] = recording
        return recording

    def resource(self, resource_id: str) -> Recording:
        """Find a resource."""
        found = self.recordings.get(resource_id)
        if found is None:
            raise AgoraRefused(404, {"code": 404, "reason": "failed to find worker"})
        return found

    def start(self, recording: Recording, mode: str) -> None:
        """Begin to record."""
        recording.mode = mode
        recording.sid = f"{self.name}-sid-{len(self.recordings):04d}"


def project(name: str) -> Project:
    """Give a project with one resource that was acquired, and one recording that runs."""
    home = Project(name)
    ready = Recording("resource-ready", "team-standup", "527841")
    running = Recording("resource-running", "team-standup", "527841", sid="sid-running", mode="mix")
    home.recordings = {one.resource_id: one for one in (ready, running)}
    return home


def check_start(given: Mapping[str, Any], earlier: Mapping[str, Any]) -> None:
    """Refuse what Agora refuses in a start."""
    _check_kinds(given, _START)
    storage = given.get("storageConfig", earlier.get("storageConfig"))
    if not isinstance(storage, dict) or not set(storage) >= _STORAGE:
        raise _invalid("storageConfig")
    if not isinstance(storage.get("fileNamePrefix", []), list):
        raise _invalid("storageConfig.fileNamePrefix")
    recording = given.get("recordingConfig", earlier.get("recordingConfig"))
    if recording is not None and recording.get("channelType") not in {0, 1}:
        raise _invalid("recordingConfig.channelType")
    files = given.get("recordingFileConfig", {})
    if not isinstance(files.get("avFileType", []), list):
        raise _invalid("recordingFileConfig.avFileType")


def check_update(given: Mapping[str, Any], recording: Recording) -> None:
    """Refuse what Agora refuses in an update."""
    _check_kinds(given, _UPDATE)
    web = {"webRecordingConfig", "rtmpPublishConfig"} & set(given)
    if bool(web) != (recording.mode == "web") and (web or "streamSubscribe" not in given):
        raise _invalid(", ".join(sorted(web)) or "streamSubscribe")
    for lists in given.get("streamSubscribe", {}).values():
        if not isinstance(lists, dict) or not all(isinstance(one, list) for one in lists.values()):
            raise _invalid("streamSubscribe")


def check_layout(given: Mapping[str, Any]) -> None:
    """Refuse what Agora refuses in a layout."""
    _check_kinds(given, _LAYOUT)
    if given.get("mixedVideoLayout", 0) not in {0, 1, 2, 3}:
        raise _invalid("mixedVideoLayout")
    for region in given.get("layoutConfig", []):
        needed = {"x_axis", "y_axis", "width", "height"}
        if not isinstance(region, dict) or not needed <= set(region):
            raise _invalid("layoutConfig")
        if not all(0 <= region[key] <= 1 for key in needed):
            raise _invalid("layoutConfig")


def _check_kinds(given: Mapping[str, Any], kinds: Mapping[str, type]) -> None:
    for key, value in given.items():
        kind = kinds.get(key)
        if kind is None or not isinstance(value, kind) or isinstance(value, bool):
            raise _invalid(key)


def _invalid(what: str) -> AgoraRefused:
    return AgoraRefused(400, {"code": 2, "reason": f"{what} is invalid"})
