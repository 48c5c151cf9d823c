"""The stubs are as strict as their vendors, and as dangerous: what they allow, tests can trust."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from integrations.base_url import tenant_base_url
from integrations.stubs import Stubs
from tests.shipped import CATALOG

KEY = {"Authorization": "Convex dev:stub-default-123|stub-convex-default-key"}
PATCH = "_system/frontend/patchDocumentsFields"


@pytest.fixture
def heygen(stubs: Stubs) -> Iterator[httpx2.Client]:
    """A client of HeyGen with a good key."""
    headers = {"X-Api-Key": "stub-heygen-default-key"}
    with httpx2.Client(base_url=stubs["heygen"].url, headers=headers, trust_env=False) as client:
        yield client


@pytest.fixture
def convex(stubs: Stubs) -> Iterator[httpx2.Client]:
    """A client of Convex with a good key."""
    with httpx2.Client(base_url=stubs["convex"].url, headers=KEY, trust_env=False) as client:
        yield client


def function(client: httpx2.Client, kind: str, path: str, args: Any) -> dict[str, Any]:
    """Call a function of Convex."""
    answer = client.post(f"/api/{kind}", json={"path": path, "args": args, "format": "json"})
    body: dict[str, Any] = answer.json()
    return body


class TestHeyGen:
    @pytest.mark.parametrize("key", ["", "wrong", "stub-heygen-default-key2"])
    def test_a_missing_and_a_wrong_key_look_alike(self, heygen: httpx2.Client, key: str) -> None:
        """401 in HeyGen's shape; a bearer token is no key."""
        headers = {"X-Api-Key": key, "Authorization": "Bearer stub-heygen-default-key"}
        answer = heygen.get("/v3/videos", headers=headers)
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "unauthorized"

    @pytest.mark.parametrize(
        "target",
        [
            *("/v3/videos?offset=1", "/v3/videos?limit=0", "/v3/videos?limit=101"),
            *("/v3/avatars/looks?limit=51", "/v3/voices?type=all", "/v3/templates?token=x"),
            *("/v3/videos?limit=-1", "/v3/users/me?x=1"),
        ],
    )
    def test_what_heygen_does_not_have_is_refused(self, heygen: httpx2.Client, target: str) -> None:
        """Offsets, and pages longer than allowed."""
        answer = heygen.get(target)
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "invalid_parameter"

    @pytest.mark.parametrize("path", ["/v2/video.list", "/v2/avatars", "/v1/user.info", "/v3"])
    def test_old_versions_have_ended(self, heygen: httpx2.Client, path: str) -> None:
        """Nothing answers there."""
        assert heygen.get(path).status_code == 404

    @pytest.mark.parametrize(
        "body",
        [
            {"video_inputs": []},
            {"type": "avatar"},
            {"type": "avatar", "avatar_id": "avatar-abc123"},
            {"type": "avatar", "avatar_id": "avatar-abc123", "script": "x", "test": True},
            {"type": "avatar", "avatar_id": "avatar-abc123", "script": "x", "audio_url": "y"},
            {"type": "avatar", "avatar_id": "avatar-abc123", "script": "x" * 5001},
            {"type": "studio", "scenes": []},
            {"type": "studio", "scenes": [{"type": "avatar_video", "input": {"script": "x"}}]},
        ],
    )
    def test_bodies_are_checked_whole(self, heygen: httpx2.Client, body: dict[str, Any]) -> None:
        """Required, exclusive and unknown fields."""
        answer = heygen.post("/v3/videos", json=body)
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "invalid_parameter"


class TestConvex:
    def test_a_patch_without_ids_changes_the_whole_table(
        self, stubs: Stubs, convex: httpx2.Client
    ) -> None:
        """The stub does as Convex does, or no test could show that we never ask for it."""
        args = {"table": "users", "fields": {"name": "all"}}
        assert function(convex, "mutation", PATCH, args)["value"] == {"success": True}
        users = stubs.convex.deployments["default"].tables["users"]
        assert [one["name"] for one in users] == ["all", "all", "all"]

    def test_ids_are_taken_whatever_the_table(self, stubs: Stubs, convex: httpx2.Client) -> None:
        """A patch and a deletion look at the id alone."""
        args = {"table": "messages", "ids": ["doc_abc123"], "fields": {"name": "x"}}
        assert function(convex, "mutation", PATCH, args)["status"] == "success"
        chosen = {"toDelete": [{"id": "doc_abc123", "tableName": "messages"}]}
        delete = "_system/frontend/deleteDocuments"
        assert function(convex, "mutation", delete, chosen)["status"] == "success"
        assert stubs.convex.deployments["default"].find("doc_abc123") is None

    def test_what_an_example_deletes_is_there_for_the_next_client(
        self, stubs: Stubs, convex: httpx2.Client
    ) -> None:
        """Each example runs any number of times; to its own client a deletion is one."""
        chosen = {"toDelete": [{"id": "doc_abc123", "tableName": "users"}]}
        delete = "_system/frontend/deleteDocuments"
        assert function(convex, "mutation", delete, chosen)["status"] == "success"
        assert function(convex, "mutation", delete, chosen)["status"] == "error"
        url = stubs["convex"].url
        with httpx2.Client(base_url=url, headers=KEY, trust_env=False) as another:
            assert function(another, "mutation", delete, chosen)["status"] == "success"
            assert function(another, "mutation", delete, chosen)["status"] == "error"

    @pytest.mark.parametrize(
        ("headers", "status", "code"),
        [
            ({"Authorization": "Convex wrong"}, 403, "BadDeployKey"),
            ({"Authorization": "Bearer x"}, 403, "BadDeployKey"),
            ({"Authorization": "Basic x"}, 401, "InvalidAuthHeader"),
        ],
    )
    def test_keys_are_checked(
        self, convex: httpx2.Client, headers: dict[str, str], status: int, code: str
    ) -> None:
        """Only `Convex <key>` is a key."""
        answer = convex.get("/api/v1/deployment_info", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (status, code)

    @pytest.mark.parametrize(
        ("kind", "path", "args"),
        [
            ("query", "_system/frontend/addDocument", {"table": "users", "documents": []}),
            ("mutation", "_system/cli/tables", {}),
            ("query", "_system/cli/tables", {}),
            ("query", "_system/cli/tables", {"paginationOpts": {"numItems": 1}, "x": 1}),
            ("query", "_system/frontend/listById", {"ids": [{"id": "x"}]}),
            ("mutation", PATCH, {"table": "users", "ids": ["nobody"], "fields": {}}),
        ],
    )
    def test_functions_hold_their_arguments(
        self, convex: httpx2.Client, kind: str, path: str, args: Any
    ) -> None:
        """Wrong kind, missing, unknown and mistyped arguments are errors of the function."""
        told = function(convex, kind, path, args)
        assert told["status"] == "error"
        assert told["errorMessage"]

    @pytest.mark.parametrize("path", ["/api/tables", "/api/list_tables", "/api/tables/users"])
    def test_invented_routes_are_none(self, convex: httpx2.Client, path: str) -> None:
        """There is no REST of tables."""
        assert convex.get(path).status_code == 404


class TestDeploymentUrls:
    PATTERN = CATALOG.integrations["convex"].pack

    @pytest.mark.parametrize(
        "url", ["https://happy-otter-123.convex.cloud", "https://happy-otter-123.eu.convex.cloud/"]
    )
    def test_a_tenant_may_give_a_deployment(self, url: str) -> None:
        """Deployments in Convex's cloud."""
        assert self.PATTERN is not None
        assert tenant_base_url(url, self.PATTERN.host.pattern) == url.rstrip("/")

    @pytest.mark.parametrize(
        "url",
        [
            *("http://a.convex.cloud", "https://convex.cloud", "https://a.convex.cloud.evil.test"),
            *("https://evil.test/a.convex.cloud", "https://a.convex.cloud:8443"),
            *("https://a.convex.cloud/x", "https://a.convex.cloud@evil.test", "https://127.0.0.1"),
            *("https://a.b.c.convex.cloud", "https://aXconvexXcloud", "https://a.convex.cloud\n"),
            *("https://a.convex.cloud?x", "https://a.convex.cloud#x", "https://.convex.cloud"),
        ],
    )
    def test_a_tenant_may_give_nothing_else(self, url: str) -> None:
        """A deploy key goes to Convex or nowhere."""
        assert self.PATTERN is not None
        with pytest.raises(ValueError, match="must"):
            tenant_base_url(url, self.PATTERN.host.pattern)
