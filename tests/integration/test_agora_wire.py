"""What Agora gets and says, byte for byte, between a script's arguments and its reply."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from core.calls import Effect
from integrations.accounts import AccountsFile
from integrations.stubs import Stubs
from integrations.stubs.faults import Fault
from sandbox.calls import EndRun
from sandbox.outcome import Reason
from tests.mux_runs import mux_run as vendor_run
from tests.shipped import CATALOG

SESSION = {"resource_id": "resource-running", "sid": "sid-running", "cname": "team-standup"}
RUNNING = {**SESSION, "mode": "mix", "uid": "527841"}
BASE = "/v1/apps/stubagoradefaultapp/cloud_recording"
QUERY = f"GET {BASE}/resourceid/resource-running/sid/sid-running/mode/mix/query"
ACQUIRE = f"POST {BASE}/acquire"


async def sent(stubs: Stubs, name: str, arguments: dict[str, Any]) -> Any:
    """Make a call that succeeds; give the body that was sent."""
    async with vendor_run(stubs) as run:
        await run.value(f"agora.{name}", arguments)
    (seen,) = stubs["agora"].faults.seen
    assert seen.headers["authorization"].startswith("Basic ")
    return orjson.loads(seen.body) if seen.body else None


async def test_the_request_object_is_never_missing_nor_a_list(stubs: Stubs) -> None:
    """Agora demands `clientRequest`; without settings it is `{}`."""
    body = await sent(stubs, "acquire_recording_resource", {"cname": " room ", "uid": 7.0})
    assert body == {"cname": "room", "uid": "7", "clientRequest": {}}


async def test_parameters_win_over_the_raw_object(stubs: Stubs) -> None:
    """`client_request` is merged first; a JSON text counts as the object it holds."""
    raw = '{"scene": 1, "resourceExpiredHour": 2, "region": "EU"}'
    body = await sent(
        stubs,
        "acquire_recording_resource",
        {"cname": "room", "uid": "7", "scene": 0, "client_request": raw, "start_parameter": []},
    )
    assert body["clientRequest"] == {
        "scene": 0,
        "resourceExpiredHour": 2,
        "region": "EU",
        "startParameter": {},
    }


async def test_lists_stay_lists_and_objects_objects(stubs: Stubs) -> None:
    """An empty table is what the parameter is."""
    layout = {**SESSION, "uid": 527841, "layout_config": {}, "background_config": "[]"}
    body = await sent(stubs, "update_recording_layout", layout)
    assert body["clientRequest"] == {"layoutConfig": [], "backgroundConfig": []}


@pytest.mark.parametrize(
    "given",
    [
        {"web_recorder_config": {"onhold": True}},
        {"client_request": {"webRecorderConfig": {"onhold": True}}},
        {"client_request": {"webRecordingConfig": {"onhold": True}}},
        {"client_request": {"webRecorderConfig": {}}, "web_recorder_config": {"onhold": True}},
    ],
)
async def test_the_web_recorder_has_its_real_name(stubs: Stubs, given: dict[str, Any]) -> None:
    """However the documents call it, Agora gets `webRecordingConfig`."""
    stub = stubs["agora"].stub
    home = stub.projects["stubagoradefaultapp"]  # type: ignore[attr-defined]
    home.recordings["resource-running"].mode = "web"
    body = await sent(stubs, "update_recording", {**RUNNING, "mode": "webpage", **given})
    assert body["clientRequest"] == {"webRecordingConfig": {"onhold": True}}


async def test_stopping_keeps_agoras_own_spelling(stubs: Stubs) -> None:
    """`async_stop` is snake case on the wire, and wins over the raw object's."""
    body = await sent(
        stubs,
        "stop_recording",
        {**RUNNING, "async_stop": False, "client_request": {"async_stop": True}},
    )
    assert body["clientRequest"] == {"async_stop": False}


async def test_odd_ids_are_one_segment(stubs: Stubs) -> None:
    """Agora's resource ids have `+` and `=`; they arrive as they were given."""
    async with vendor_run(stubs) as run:
        acquired = await run.value("agora.acquire_recording_resource", "room", "7")
        storage = {"vendor": 1, "region": 0, "bucket": "b", "accessKey": "a", "secretKey": "s"}
        started = await run.value(
            "agora.start_recording",
            {"resource_id": acquired["resourceId"], "mode": "composite", "cname": "room", "uid": 7,
             "storage_config": storage},
        )  # fmt: skip
    assert started["resourceId"] == acquired["resourceId"]
    assert "%2B" in stubs["agora"].faults.seen[1].target


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"start_parameter": "example_start_parameter"}, "start_parameter must be a table"),
        ({"client_request": "example_client_request"}, "client_request must be a table"),
        ({"client_request": "[1]"}, "client_request must be a table"),
        ({"client_request": "{"}, "client_request must be a table"),
        ({"scene": "0"}, "scene must be a whole number"),
        ({"resource_expired_hour": 721}, "resource_expired_hour must be at most 720, not 721"),
        ({"cname": "   "}, "cname must have 1 characters or more"),
        ({"client_requst": {}}, "unknown parameter client_requst, did you mean: client_request"),
    ],
)
async def test_bad_arguments_send_nothing(
    stubs: Stubs, arguments: dict[str, Any], problem: str
) -> None:
    """The placeholders of the documents' command lines fail in words, before any request."""
    async with vendor_run(stubs) as run:
        error = await run.error(
            "agora.acquire_recording_resource", {"cname": "c", "uid": "7", **arguments}
        )
    assert error["code"] == "invalid_arguments"
    assert problem in error["message"]
    assert "no external call was made" in error["message"]
    assert not stubs["agora"].faults.seen


@pytest.mark.parametrize(
    ("status", "body", "code", "words"),
    [
        (201, {"code": 7, "reason": "already started"}, "7", "already started"),
        (206, {"code": 65, "reason": "request not completed"}, "65", "request not completed"),
        (400, {"message": "appid is invalid"}, "bad_request", "appid is invalid"),
        (404, {"serverResponse": {"payload": {"message": "gone"}}}, "not_found", "gone"),
    ],
)
async def test_only_200_is_success(
    stubs: Stubs, status: int, body: Any, code: str, words: str
) -> None:
    """Both error shapes, and the statuses below 300 that are failures."""
    stubs["agora"].faults.add(Fault("answer", status=status, body=orjson.dumps(body)))
    async with vendor_run(stubs) as run:
        error = await run.error("agora.stop_recording", RUNNING)
        assert run.last.effect is Effect.FAILED
    assert (error["status"], error["code"]) == (status, code)
    assert words in error["message"]
    assert len(stubs["agora"].faults.seen) == 1


async def test_a_request_timeout_of_agora_leaves_it_open(stubs: Stubs) -> None:
    """Code 62 does not say whether it was done, so the run ends and nothing is sent twice."""
    body = orjson.dumps({"code": 62, "reason": "request timeout"})
    stubs["agora"].faults.add(Fault("answer", ACQUIRE, status=500, body=body))
    async with vendor_run(stubs) as run:
        ended = await run.answer("agora.acquire_recording_resource", "room", "7")
        assert isinstance(ended, EndRun)
        assert ended.reason is Reason.EFFECT_UNKNOWN
    assert stubs["agora"].faults.counts == {ACQUIRE: 1}


async def test_an_account_without_app_id_does_what_it_can(stubs: Stubs) -> None:
    """The addresses need no App ID; everything else says what is missing."""
    toml = stubs.accounts_toml.replace('app_id = "stubagoradefaultapp"\n', "")
    accounts = AccountsFile.parse(toml, CATALOG, {}).for_tenant(None)
    async with vendor_run(stubs, accounts=accounts) as run:
        hosts = await run.value("agora.get_notification_ips")
        assert len(hosts["data"]["service"]["hosts"]) == 2
        given = {key: RUNNING[key] for key in ("resource_id", "sid", "mode")}
        error = await run.error("agora.query_recording", given)
    assert error["code"] == "incomplete_account"
    assert "the account `default` has no `app_id`" in error["message"]
    assert len(stubs["agora"].faults.seen) == 1


async def test_storage_credentials_are_not_on_the_tape(stubs: Stubs) -> None:
    """The intent shows what was asked without the keys of the bucket."""
    storage = {
        "vendor": 1, "region": 0, "bucket": "b", "accessKey": "AKIACANARY",
        "secretKey": "canary-secret", "stsToken": "canary-token",
    }  # fmt: skip
    config = {"channelType": 1, "decryptionMode": 7, "secret": "canary-a", "salt": "canary-b"}
    arguments = {
        "resource_id": "resource-ready", "mode": "mix", "cname": "team-standup", "uid": "527841",
        "storage_config": orjson.dumps(storage).decode(), "recording_config": config,
        "token": "canary-rtc",
    }  # fmt: skip
    async with vendor_run(stubs) as run:
        await run.value("agora.start_recording", arguments)
        tape = "".join(str(entry) for entry in run.tape.entries)
    assert "canary" not in tape.lower()
    assert "recordingConfig" not in tape
    assert "recording_config" in tape


async def test_a_busy_query_is_tried_again(stubs: Stubs) -> None:
    """A read is repeated; what it reads is not changed by that."""
    stubs["agora"].faults.add(Fault("answer", QUERY, status=429, headers={"retry-after": "0"}))
    async with vendor_run(stubs) as run:
        keys = ("resource_id", "sid", "mode")
        value = await run.value("agora.query_recording", {key: RUNNING[key] for key in keys})
    assert value["serverResponse"]["status"] == 5
    assert stubs["agora"].faults.counts == {QUERY: 2}
