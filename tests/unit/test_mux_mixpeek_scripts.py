"""The connector's scripts against vendors made of lists: which assets, which file, what goes."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest

from integrations.check import check_script
from tests.lua_child import Ended, run_lua
from tests.shipped import CATALOG
from triggers.mux_mixpeek.shipped import ASSET, NAMES, SYNC, text_of

SURFACE = {
    "mux": {"functions": ["list_assets", "get_asset"], "accounts": ["con_a"]},
    "mixpeek": {
        "functions": ["list_objects", "create_object", "delete_object"],
        "accounts": ["default"],
    },
}
UNKNOWN = {"code": "effect_unknown", "message": "it was sent and may have been done"}
GONE = {"code": "not_found", "status": 404, "message": "gone"}


def asset(asset_id: str, *names: str, **more: Any) -> dict[str, Any]:
    """Make a ready asset with renditions of these names."""
    files = [{"name": name, "status": "ready"} for name in names or ("720p.mp4",)]
    return {
        "id": asset_id,
        "status": "ready",
        "duration": 10,
        "playback_ids": [{"id": f"p-{asset_id}", "policy": "public"}],
        "static_renditions": {"files": files},
        **more,
    }


@dataclass
class Vendors:
    """Both vendors. `fail` has, by function, what its next calls fail with; None: they succeed."""

    assets: list[dict[str, Any]] = field(default_factory=list)
    objects: list[dict[str, Any]] = field(default_factory=list)
    fail: dict[str, list[Any]] = field(default_factory=dict)
    done_all_the_same: bool = False
    pages: int = 100
    did: Counter[str] = field(default_factory=Counter)

    def answer(self, call: list[Any]) -> tuple[bool, Any]:
        """Answer one call of a script."""
        function, arguments = call[2], (call[3] or [{}])[0]
        if call[0] not in SURFACE:
            return True, None  # a sleep
        self.did[function] += 1
        planned = self.fail.get(function) or [None]
        problem = planned.pop(0)
        if problem is None or self.done_all_the_same:
            done: tuple[bool, Any] = getattr(self, function)(arguments)
            if problem is None:
                return done
        return False, problem

    def list_assets(self, given: dict[str, Any]) -> tuple[bool, Any]:
        first = int(given.get("cursor", 0))
        rows = self.assets[first : first + self.pages]
        more = first + self.pages < len(self.assets)
        return True, {"data": rows, "next_cursor": str(first + self.pages) if more else None}

    def get_asset(self, given: dict[str, Any]) -> tuple[bool, Any]:
        found = [one for one in self.assets if one["id"] == given["asset_id"]]
        return (True, {"data": found[0]}) if found else (False, GONE)

    def list_objects(self, given: dict[str, Any]) -> tuple[bool, Any]:
        rule = given["filters"]["AND"][0]
        if rule["operator"] == "in":
            rows = [one for one in self.objects if one["key_prefix"] in rule["value"]]
        else:
            rows = [one for one in self.objects if one["key_prefix"].startswith(rule["value"])]
        after = given.get("cursor", "")
        rows = [one for one in rows if one["object_id"] > after]
        more = len(rows) > given["limit"]
        rows = rows[: given["limit"]]
        return True, {
            "results": rows,
            "pagination": {"next_cursor": rows[-1]["object_id"] if more else None},
        }

    def create_object(self, given: dict[str, Any]) -> tuple[bool, Any]:
        made = {**given, "object_id": f"obj_{self.did['create_object']:04d}"}
        self.objects.append(made)
        return True, made

    def delete_object(self, given: dict[str, Any]) -> tuple[bool, Any]:
        left = [one for one in self.objects if one["object_id"] != given["object_id"]]
        gone = len(left) < len(self.objects)
        self.objects = left
        return (True, None) if gone else (False, GONE)

    @property
    def indexed(self) -> list[str]:
        """Give the assets that have objects, one entry each."""
        return sorted(one["key_prefix"].removeprefix("/mux/") for one in self.objects)


def sync_of(**more: Any) -> dict[str, Any]:
    """Make a sync as the scripts get it."""
    return {
        "sync_config_id": "syn_a",
        "connection_id": "con_a",
        "bucket_id": "bkt",
        "mux_account": "con_a",
        "mixpeek_account": "default",
        "blob_property": "video",
        "auto_process": True,
        "reconcile_on_sync": False,
        "metadata_filters": [],
        **more,
    }


def ran(vendors: Vendors, name: str, given: dict[str, Any]) -> Ended:
    """Run a shipped script."""
    return run_lua(text_of(name), json.dumps(given), answer=vendors.answer, surface=SURFACE)


def cycle(vendors: Vendors, most_calls: int = 800, **more: Any) -> dict[str, Any]:
    """Run one run of a cycle, and give what it came to."""
    following = {"next": more.pop("next")} if "next" in more else {}
    given = {"sync": sync_of(**more), "most_calls": most_calls, **following}
    found: dict[str, Any] = ran(vendors, SYNC, given).value
    return found


def told(vendors: Vendors, event: str, asset_id: str, *syncs: dict[str, Any]) -> dict[str, Any]:
    """Run the script of an event."""
    given = {"event": event, "asset_id": asset_id, "mux_account": "con_a", "syncs": syncs}
    found: dict[str, Any] = ran(vendors, ASSET, given).value
    return found


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["highest.mp4", "medium.mp4", "low.mp4"], "low.mp4"),
        (["high.mp4", "highest.mp4"], "high.mp4"),
        (["highest.mp4", "720p.mp4"], "highest.mp4"),
        (["1080p.mp4", "audio.m4a", "480p.mp4"], "480p.mp4"),
    ],
)
def test_the_first_quality_there_is(names: list[str], chosen: str) -> None:
    """Low, medium, high, highest, then those named by resolution, smallest first."""
    vendors = Vendors([asset("a", *names)])
    assert cycle(vendors)["synced"] == 1
    assert vendors.objects[0]["blobs"][0]["data"] == f"https://stream.mux.com/p-a/{chosen}"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"status": "preparing"}, "not_ready"),
        ({"status": "errored"}, "not_ready"),
        ({"playback_ids": []}, "no_playback_id"),
        ({"playback_ids": [{"id": "d", "policy": "drm"}]}, "no_playback_id"),
        ({"static_renditions": {}}, "no_static_rendition"),
        (
            {"static_renditions": {"files": [{"name": "720p.mp4", "status": "preparing"}]}},
            "no_static_rendition",
        ),
        (
            {"static_renditions": {"files": [{"name": "audio.m4a", "status": "ready"}]}},
            "no_static_rendition",
        ),
        ({"passthrough": "vi:0"}, "metadata_filters"),
        ({"duration": 1}, "size"),
    ],
)
def test_what_is_passed_over_and_why(changes: dict[str, Any], why: str) -> None:
    """Nothing is made for it, and the result counts it under its reason."""
    vendors = Vendors([asset("a", **{"passthrough": "vi:1", **changes})])
    rule = {"field": "passthrough", "operator": "contains", "value": "vi:1"}
    found = cycle(vendors, metadata_filters=[rule], min_size_bytes=1_000_000)
    assert found["skipped"] == {why: 1}
    assert vendors.objects == []


def test_renditions_may_say_together_that_they_are_ready() -> None:
    """Old answers of Mux have one status for all files."""
    renditions = {"status": "ready", "files": [{"name": "high.mp4", "filesize": "5"}]}
    assert cycle(Vendors([asset("a", static_renditions=renditions)]))["synced"] == 1


def test_a_public_playback_id_goes_before_a_signed_one() -> None:
    """All that the asset has are kept, in this order; the first is one that anybody may play."""
    policies = {"d": "drm", "s": "signed", "p": "public", "t": "signed"}
    ids = [{"id": one, "policy": policy} for one, policy in policies.items()]
    vendors = Vendors([asset("a", playback_ids=ids), asset("b", playback_ids=ids[:2])])
    cycle(vendors)
    kept = [one["source_metadata"] for one in vendors.objects]
    assert [(one["playback_id"], one["playback_ids"]) for one in kept] == [
        ("p", ["p", "s", "t", "d"]),
        ("s", ["s", "d"]),
    ]


def test_what_is_indexed_stays_as_it_is() -> None:
    """A second cycle makes nothing and deletes nothing."""
    vendors = Vendors([asset("a"), asset("b")])
    cycle(vendors)
    assert cycle(vendors, reconcile_on_sync=True)["already"] == 2
    assert (vendors.did["create_object"], vendors.did["delete_object"]) == (2, 0)


def test_a_small_share_of_calls_is_enough_in_the_end() -> None:
    """Run after run goes on where the one before stopped, and nothing is made twice."""
    vendors = Vendors([asset(f"a{n:02d}") for n in range(23)], pages=5)
    following: dict[str, Any] = {}
    runs = 0
    while True:
        runs += 1
        found = cycle(vendors, most_calls=9, reconcile_on_sync=True, **following)
        if "next" not in found:
            break
        following = {"next": found["next"]}
        assert runs < 50
    assert runs > 3
    assert vendors.indexed == [f"a{n:02d}" for n in range(23)]
    assert vendors.did["create_object"] == 23


def test_reconciling_takes_what_matches_no_more_and_what_is_gone() -> None:
    """Objects of other syncs stay, whatever their assets are."""
    rule = {"field": "passthrough", "operator": "equals", "value": "yes"}
    vendors = Vendors([asset(one, passthrough="yes") for one in ("a", "b", "c")])
    cycle(vendors, metadata_filters=[rule])
    theirs = {"object_id": "obj_x", "key_prefix": "/mux/x", "metadata": {"sync_config_id": "o"}}
    vendors.objects.append(theirs)
    vendors.objects.append({"object_id": "obj_y", "key_prefix": "/mux/y"})
    vendors.assets[0]["passthrough"] = "no"
    del vendors.assets[1]
    before = cycle(vendors, metadata_filters=[rule])
    assert (before["unindexed"], len(vendors.objects)) == (0, 5)
    after = cycle(vendors, metadata_filters=[rule], reconcile_on_sync=True)
    assert after["unindexed"] == 2
    assert vendors.indexed == ["c", "x", "y"]


def test_one_asset_by_its_path() -> None:
    """Only it is read, and one that is gone is reconciled."""
    vendors = Vendors([asset("a"), asset("b")])
    assert cycle(vendors, asset_id="b")["synced"] == 1
    assert (vendors.indexed, vendors.did["list_assets"]) == (["b"], 0)
    vendors.assets.clear()
    assert cycle(vendors, asset_id="b")["unindexed"] == 0
    assert cycle(vendors, asset_id="b", reconcile_on_sync=True)["unindexed"] == 1


@pytest.mark.parametrize("done", [False, True])
def test_an_unknown_write_is_looked_for(done: bool) -> None:  # noqa: FBT001 (the pair)
    """Done: it counts. Not done: it failed, and is not made again before another look."""
    vendors = Vendors([asset("a")], fail={"create_object": [UNKNOWN]}, done_all_the_same=done)
    found = cycle(vendors)
    assert (found["synced"], found["failed"]) == ((1, 0) if done else (0, 1))
    assert vendors.did["create_object"] == 1
    assert cycle(vendors)["synced"] == (0 if done else 1)
    assert vendors.indexed == ["a"]


@pytest.mark.parametrize("done", [False, True])
def test_an_unknown_deletion_is_made_again(done: bool) -> None:  # noqa: FBT001 (the pair)
    """To delete twice does no harm, and it counts once."""
    vendors = Vendors([asset("a")])
    cycle(vendors)
    vendors.fail, vendors.done_all_the_same = {"delete_object": [UNKNOWN]}, done
    assert told(vendors, "deleted", "a", sync_of())["deleted_objects"] == 1
    assert (vendors.objects, vendors.did["delete_object"]) == ([], 2)


def test_a_refused_object_does_not_stop_the_others() -> None:
    """It is counted and told; what Mixpeek refuses once it may take the next time."""
    problem = {"code": "ValidationError", "status": 400, "message": "no such property"}
    vendors = Vendors([asset("a"), asset("b")], fail={"create_object": [problem]})
    found = cycle(vendors)
    assert (found["synced"], found["failed"]) == (1, 1)
    assert found["failures"] == [
        {"asset_id": "a", "code": "ValidationError", "message": "no such property"}
    ]


def test_a_list_that_fails_ends_the_run() -> None:
    """Nothing is deleted because Mux or Mixpeek did not answer."""
    vendors = Vendors([asset("a")])
    cycle(vendors)
    away = {"code": "unavailable", "status": 503, "message": "away"}
    for function in ("list_assets", "list_objects"):
        vendors.fail = {function: [away]}
        given = {"sync": sync_of(reconcile_on_sync=True), "most_calls": 800}
        assert ran(vendors, SYNC, given).reason == "script_error"
    vendors.fail = {"get_asset": [away]}
    given = {"event": "updated", "asset_id": "a", "mux_account": "con_a"}
    again = ran(vendors, ASSET, {**given, "syncs": [sync_of(reconcile_on_sync=True)]})
    assert again.reason == "script_error"
    assert vendors.indexed == ["a"]


def test_a_deleted_asset_is_deleted_once_in_each_bucket() -> None:
    """Two syncs of one bucket look once; all its objects go, whoever made them."""
    vendors = Vendors()
    for number in range(3):
        vendors.objects.append({"object_id": f"obj_{number}", "key_prefix": "/mux/a"})
    vendors.objects.append({"object_id": "obj_9", "key_prefix": "/mux/ab"})
    found = told(vendors, "deleted", "a", sync_of(), sync_of(sync_config_id="syn_b"))
    assert found["deleted_objects"] == 3
    assert (vendors.indexed, vendors.did["list_objects"]) == (["ab"], 1)


def test_a_changed_asset_is_held_to_each_syncs_own_filters() -> None:
    """What matches is eligible; what does not goes, if its sync reconciles and made it."""
    vendors = Vendors([asset("a", passthrough="no")])
    cycle(vendors)
    rule = {"field": "passthrough", "operator": "equals", "value": "yes"}
    keeps = sync_of(metadata_filters=[rule])
    reconciles = sync_of(metadata_filters=[rule], reconcile_on_sync=True)
    others = {**reconciles, "sync_config_id": "syn_b"}
    everything = sync_of(sync_config_id="syn_c", reconcile_on_sync=True)
    found = told(vendors, "updated", "a", keeps, others, everything)
    assert found == {"deleted_objects": 0, "eligible": ["syn_c"]}
    assert told(vendors, "updated", "a", reconciles)["deleted_objects"] == 1


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_script_passes_the_check_of_scripts(name: str) -> None:
    """What we give to tenants is what `moonsand check` lets through."""
    report = check_script(text_of(name), CATALOG)
    assert [one.message for one in report.findings] == []
