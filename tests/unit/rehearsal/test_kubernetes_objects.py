# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the Kubernetes API of the rehearsal makes of writes, without HTTP."""

from __future__ import annotations

import base64
import typing as t

import pytest

from rehearsal.kubernetes import patches, protobuf, tables
from rehearsal.kubernetes.api import APPLY, JSON_PATCH, MERGE_PATCH, NAMESPACES, STRATEGIC, Api, Terms
from rehearsal.kubernetes.kinds import CRDS, built_in
from rehearsal.kubernetes.lists import list_keys
from rehearsal.kubernetes.selectors import selector
from rehearsal.kubernetes.status import StatusError
from rehearsal.kubernetes.store import Store

CONFIG_MAPS, DEPLOYMENTS, SECRETS = (built_in(plural) for plural in ("configmaps", "deployments", "secrets"))
TERMS = Terms("tester")


@pytest.fixture
def api() -> Api:
    made = Api(Store())
    made.create(NAMESPACES, "", {"metadata": {"name": "attic"}}, TERMS)
    return made


def words(**data: str) -> dict[str, t.Any]:
    return {"metadata": {"name": "words"}, "data": data}


def deployment(*containers: dict[str, t.Any], **spec: t.Any) -> dict[str, t.Any]:
    template = {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": list(containers)}}
    return {"metadata": {"name": "web"}, "spec": {"template": template, **spec}}


def refused(code: int, reason: str, call: t.Callable[..., t.Any], *arguments: t.Any) -> str:
    with pytest.raises(StatusError) as caught:
        call(*arguments)
    assert (caught.value.code, caught.value.reason) == (code, reason)
    return caught.value.message


# --- creating and changing


def test_a_new_object_gets_what_the_server_gives(api: Api) -> None:
    given = {**words(a="1"), "metadata": {"name": "words", "uid": "mine", "generation": 7}}
    metadata = api.create(CONFIG_MAPS, "attic", given, TERMS)["metadata"]
    assert metadata["uid"] != "mine"
    assert metadata["namespace"] == "attic"
    assert "generation" not in metadata  # a ConfigMap has none
    assert metadata["resourceVersion"] == str(api.store.version)


def test_generation_counts_changes_of_the_spec_alone(api: Api) -> None:
    made = api.create(DEPLOYMENTS, "attic", {**deployment(), "status": {"replicas": 9}}, TERMS)
    assert made["metadata"]["generation"] == 1
    assert "status" not in made
    labelled = api.patch(DEPLOYMENTS, "attic", "web", MERGE_PATCH, {"metadata": {"labels": {"a": "b"}}}, TERMS)
    assert labelled["metadata"]["generation"] == 1
    scaled = api.patch(
        DEPLOYMENTS, "attic", "web", MERGE_PATCH, {"spec": {"replicas": 2}, "status": {"replicas": 9}}, TERMS
    )
    assert scaled["metadata"]["generation"] == 2
    assert "status" not in scaled
    by_status = Terms("tester", subresource="status")
    counted = {"spec": {"replicas": 5}, "status": {"replicas": 2}}
    told = api.patch(DEPLOYMENTS, "attic", "web", MERGE_PATCH, counted, by_status)
    assert (told["status"], told["spec"]["replicas"]) == ({"replicas": 2}, 2)


def test_what_changes_nothing_makes_no_new_version(api: Api) -> None:
    made = api.create(CONFIG_MAPS, "attic", words(a="1"), TERMS)
    same = api.patch(CONFIG_MAPS, "attic", "words", MERGE_PATCH, {"data": {"a": "1"}}, TERMS)
    assert same["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


def test_dry_run_leaves_no_trace(api: Api) -> None:
    dry = Terms("tester", dry_run=True)
    assert api.create(CONFIG_MAPS, "attic", words(a="1"), dry)["data"] == {"a": "1"}
    assert api.select(CONFIG_MAPS, "attic") == []
    api.create(CONFIG_MAPS, "attic", words(a="1"), TERMS)
    version = api.store.version
    assert api.patch(CONFIG_MAPS, "attic", "words", MERGE_PATCH, {"data": {"a": "2"}}, dry)["data"] == {"a": "2"}
    api.delete(CONFIG_MAPS, "attic", "words", {}, dry)
    assert api.get(CONFIG_MAPS, "attic", "words")["data"] == {"a": "1"}
    assert api.store.version == version


def test_stale_writes_are_refused(api: Api) -> None:
    old = api.create(CONFIG_MAPS, "attic", words(a="1"), TERMS)
    api.patch(CONFIG_MAPS, "attic", "words", MERGE_PATCH, {"data": {"a": "2"}}, TERMS)
    said = refused(409, "Conflict", api.update, CONFIG_MAPS, "attic", "words", old, TERMS)
    assert said.startswith('Operation cannot be fulfilled on configmaps "words": the object has been modified')


def test_secrets_are_stored_as_data(api: Api) -> None:
    secret = {"metadata": {"name": "s"}, "stringData": {"word": "sesame"}}
    made = api.create(SECRETS, "attic", secret, TERMS)
    assert made["data"] == {"word": base64.b64encode(b"sesame").decode()}
    assert "stringData" not in made
    applied = api.patch(
        SECRETS, "attic", "s", APPLY[0], {**secret, "stringData": {"word": "open"}}, Terms("a", force=True)
    )
    assert applied["data"] == {"word": base64.b64encode(b"open").decode()}
    wrong = {"metadata": {"name": "t"}, "data": {"word": "no base64!"}}
    refused(400, "BadRequest", api.create, SECRETS, "attic", wrong, TERMS)


@pytest.mark.parametrize(("excess", "is_taken"), [(0, True), (1, False)])
def test_annotations_have_a_limit_in_all(api: Api, excess: int, is_taken: bool) -> None:
    annotations = {"a": "x" * 131071, "b": "x" * (131071 + excess)}
    given = {"metadata": {"name": "words", "annotations": annotations}}
    if is_taken:
        api.create(CONFIG_MAPS, "attic", given, TERMS)
    else:
        said = refused(422, "Invalid", api.create, CONFIG_MAPS, "attic", given, TERMS)
        assert said == (
            'ConfigMap "words" is invalid: metadata.annotations: Too long: may not be more than 262144 bytes'
        )


# --- deleting


def test_finalizers_hold_an_object(api: Api) -> None:
    held = {"metadata": {"name": "words", "finalizers": ["attic.example/keep"]}}
    api.create(CONFIG_MAPS, "attic", held, TERMS)
    assert api.delete(CONFIG_MAPS, "attic", "words", {}, TERMS)["kind"] == "ConfigMap"
    assert "deletionTimestamp" in api.get(CONFIG_MAPS, "attic", "words")["metadata"]
    api.patch(CONFIG_MAPS, "attic", "words", MERGE_PATCH, {"metadata": {"finalizers": None}}, TERMS)
    refused(404, "NotFound", api.get, CONFIG_MAPS, "attic", "words")


def test_a_namespace_takes_its_objects_along(api: Api) -> None:
    api.create(CONFIG_MAPS, "attic", {"metadata": {"name": "held", "finalizers": ["attic.example/keep"]}}, TERMS)
    api.create(CONFIG_MAPS, "attic", words(a="1"), TERMS)
    assert api.delete(NAMESPACES, "", "attic", {}, TERMS)["status"]["phase"] == "Terminating"
    said = refused(403, "Forbidden", api.create, SECRETS, "attic", {"metadata": {"name": "s"}}, TERMS)
    assert said.endswith("unable to create new content in namespace attic because it is being terminated")
    api.finish_namespaces()
    assert [each["metadata"]["name"] for each in api.select(CONFIG_MAPS, "attic")] == ["held"]
    api.patch(CONFIG_MAPS, "attic", "held", MERGE_PATCH, {"metadata": {"finalizers": None}}, TERMS)
    api.finish_namespaces()
    assert api.select(NAMESPACES, "") == []


def test_an_object_goes_once_with_its_owner_and_its_namespace(api: Api) -> None:
    owner = api.create(CONFIG_MAPS, "attic", words(a="1"), TERMS)
    for name in ("above", "zinc"):
        metadata = owner["metadata"]
        reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": metadata["name"], "uid": metadata["uid"]}
        child = {"metadata": {"name": name, "ownerReferences": [reference]}}
        owner = api.create(CONFIG_MAPS, "attic", child, TERMS)
    api.delete(NAMESPACES, "", "attic", {}, TERMS)
    api.finish_namespaces()
    assert api.select(NAMESPACES, "") == []
    assert api.store.all(CONFIG_MAPS.key) == []


def test_owned_objects_go_with_their_owner(api: Api) -> None:
    for orphans, left in ((False, []), (True, ["child"])):
        owner = api.create(CONFIG_MAPS, "attic", words(a="1"), TERMS)
        reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "words", "uid": owner["metadata"]["uid"]}
        child = {"metadata": {"name": "child", "ownerReferences": [reference]}}
        api.create(CONFIG_MAPS, "attic", child, TERMS)
        options = {"propagationPolicy": "Orphan"} if orphans else {}
        api.delete(CONFIG_MAPS, "attic", "words", options, TERMS)
        assert [each["metadata"]["name"] for each in api.select(CONFIG_MAPS, "attic")] == left


def test_custom_resources_go_with_their_definition(api: Api) -> None:
    names = {"plural": "chests", "kind": "Chest"}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
    spec = {"group": "attic.example", "scope": "Namespaced", "names": names, "versions": [version]}
    made = api.create(CRDS, "", {"metadata": {"name": "chests.attic.example"}, "spec": spec}, TERMS)
    assert made["status"]["acceptedNames"]["listKind"] == "ChestList"
    [chests] = [resource for resource in api.store.resources if resource.kind == "Chest"]
    api.create(chests, "attic", {"metadata": {"name": "big"}}, TERMS)
    api.delete(CRDS, "", "chests.attic.example", {}, TERMS)
    assert chests not in api.store.resources
    assert api.store.all(chests.key) == []


# --- patches


@pytest.mark.parametrize(
    ("operations", "result"),
    [
        ([{"op": "add", "path": "/list/1", "value": "x"}], {"list": ["a", "x", "b"], "a/b": 1}),
        ([{"op": "add", "path": "/list/-", "value": "x"}], {"list": ["a", "b", "x"], "a/b": 1}),
        ([{"op": "remove", "path": "/a~1b"}], {"list": ["a", "b"]}),
        ([{"op": "move", "from": "/a~1b", "path": "/c"}], {"list": ["a", "b"], "c": 1}),
        ([{"op": "copy", "from": "/list/0", "path": "/c"}], {"list": ["a", "b"], "a/b": 1, "c": "a"}),
        ([{"op": "test", "path": "/a~1b", "value": 1}], {"list": ["a", "b"], "a/b": 1}),
    ],
)
def test_json_patch(operations: list[dict[str, t.Any]], result: dict[str, t.Any]) -> None:
    assert patches.json_patch({"list": ["a", "b"], "a/b": 1}, operations) == result


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "replace", "path": "/none", "value": 1},
        {"op": "remove", "path": "/list/7"},
        {"op": "test", "path": "/list/0", "value": "z"},
        {"op": "add", "path": "/none/below", "value": 1},
    ],
)
def test_json_patch_refuses_as_a_whole(api: Api, operation: dict[str, t.Any]) -> None:
    api.create(CONFIG_MAPS, "attic", words(a="1"), TERMS)
    both = [{"op": "replace", "path": "/data/a", "value": "2"}, operation]
    refused(422, "Invalid", api.patch, CONFIG_MAPS, "attic", "words", JSON_PATCH, both, TERMS)
    assert api.get(CONFIG_MAPS, "attic", "words")["data"] == {"a": "1"}


def test_strategic_merge_patch(api: Api) -> None:
    first = {"name": "one", "image": "a", "env": [{"name": "A", "value": "1"}], "args": ["x", "y"]}
    api.create(DEPLOYMENTS, "attic", deployment(first, {"name": "two"}), TERMS)

    def patched(*containers: dict[str, t.Any], **more: t.Any) -> list[dict[str, t.Any]]:
        body = {"spec": {"template": {"spec": {"containers": list(containers), **more}}}}
        found = api.patch(DEPLOYMENTS, "attic", "web", STRATEGIC, body, TERMS)
        return t.cast("list[dict[str, t.Any]]", found["spec"]["template"]["spec"]["containers"])

    [one, _two] = patched({"name": "one", "env": [{"name": "B", "value": "2"}], "args": ["z"]})
    assert one["env"] == [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]
    assert one["args"] == ["z"]
    [one, _two] = patched({"name": "one", "env": [{"name": "A", "$patch": "delete"}], "args": None})
    assert one == {"name": "one", "image": "a", "env": [{"name": "B", "value": "2"}]}
    order = {"$setElementOrder/containers": [{"name": "three"}, {"name": "two"}, {"name": "one"}]}
    assert [each["name"] for each in patched({"name": "three"}, **order)] == ["three", "two", "one"]
    assert patched({"name": "only"}, {"$patch": "replace"}) == [{"name": "only"}]


def test_strategic_directives() -> None:
    keys = list_keys(built_in("pods"))
    value = {"metadata": {"finalizers": ["a", "b"]}, "spec": {"volume": {"x": 1, "y": 2}}}
    body = {
        "metadata": {"$deleteFromPrimitiveList/finalizers": ["a"], "finalizers": ["c"]},
        "spec": {"volume": {"$retainKeys": ["z"], "z": 3}},
    }
    assert patches.strategic(value, body, keys) == {
        "metadata": {"finalizers": ["b", "c"]},
        "spec": {"volume": {"z": 3}},
    }


# --- server-side apply


def applied(api: Api, manager: str, body: dict[str, t.Any], force: bool = False) -> dict[str, t.Any]:
    resource = DEPLOYMENTS if "spec" in body else CONFIG_MAPS
    return api.patch(resource, "attic", body["metadata"]["name"], APPLY[0], body, Terms(manager, force=force))


def owners(obj: dict[str, t.Any]) -> dict[str, t.Any]:
    return {entry["manager"]: entry["fieldsV1"] for entry in obj["metadata"]["managedFields"]}


def test_apply_owns_what_it_says(api: Api) -> None:
    made = applied(api, "one", words(a="1", b="1"))
    assert owners(made) == {"one": {"f:data": {"f:a": {}, "f:b": {}}}}
    shared = applied(api, "two", words(a="1"))
    assert owners(shared)["two"] == {"f:data": {"f:a": {}}}
    refused(409, "Conflict", applied, api, "two", words(a="2"))
    forced = applied(api, "two", words(a="2"), True)
    assert owners(forced) == {"one": {"f:data": {"f:b": {}}}, "two": {"f:data": {"f:a": {}}}}
    assert applied(api, "one", words(c="1"))["data"] == {"a": "2", "c": "1"}


def test_apply_goes_item_by_item(api: Api) -> None:
    applied(api, "one", deployment({"name": "a", "image": "x"}, replicas=2))
    made = applied(api, "two", deployment({"name": "b", "image": "y"}))
    assert [each["name"] for each in made["spec"]["template"]["spec"]["containers"]] == ["a", "b"]
    containers = owners(made)["two"]["f:spec"]["f:template"]["f:spec"]["f:containers"]
    assert containers == {'k:{"name":"b"}': {".": {}, "f:image": {}, "f:name": {}}}
    left = applied(api, "one", deployment({"name": "b", "image": "y"}))
    assert left["spec"]["template"]["spec"]["containers"] == [{"name": "b", "image": "y"}]


def test_a_write_takes_ownership_and_is_named_in_the_conflict(api: Api) -> None:
    applied(api, "one", deployment({"name": "a", "image": "x"}))
    image = {"spec": {"template": {"spec": {"containers": [{"name": "a", "image": "z"}]}}}}
    made = api.patch(DEPLOYMENTS, "attic", "web", STRATEGIC, image, Terms("setter"))
    containers = {name: owned["f:spec"]["f:template"]["f:spec"]["f:containers"] for name, owned in owners(made).items()}
    assert containers == {
        "one": {'k:{"name":"a"}': {".": {}, "f:name": {}}},
        "setter": {'k:{"name":"a"}': {"f:image": {}}},
    }
    said = refused(409, "Conflict", applied, api, "one", deployment({"name": "a", "image": "x"}))
    assert said == (
        'Apply failed with 1 conflict: conflict with "setter" using apps/v1: '
        '.spec.template.spec.containers[name="a"].image'
    )


def test_the_same_apply_again_changes_nothing(api: Api) -> None:
    first = applied(api, "one", words(a="1"))
    again = applied(api, "one", words(a="1"))
    assert first["metadata"]["resourceVersion"] == again["metadata"]["resourceVersion"]


# --- reading


@pytest.mark.parametrize(
    ("labels", "fields", "names"),
    [
        ("tier=a", "", ["one"]),
        ("tier==a", "", ["one"]),
        ("tier!=a", "", ["none", "two"]),
        ("tier in (a, b)", "", ["one", "two"]),
        ("tier notin (a),tier", "", ["two"]),
        ("!tier", "", ["none"]),
        ("", "metadata.name=two", ["two"]),
        ("tier", "metadata.namespace=attic,metadata.name!=two", ["one"]),
    ],
)
def test_selectors(api: Api, labels: str, fields: str, names: list[str]) -> None:
    for name, own in (("one", {"tier": "a"}), ("two", {"tier": "b"}), ("none", {})):
        api.create(CONFIG_MAPS, "attic", {"metadata": {"name": name, "labels": own}}, TERMS)
    found = api.select(CONFIG_MAPS, "attic", selector(CONFIG_MAPS, labels, fields))
    assert [each["metadata"]["name"] for each in found] == names


def test_events_are_remembered_for_a_while(api: Api) -> None:
    start = api.store.version
    api.create(CONFIG_MAPS, "attic", words(a="0"), TERMS)
    assert [event.type for event in api.store.since(start, CONFIG_MAPS.key)] == ["ADDED"]
    for number in range(4100):
        api.store.put(CONFIG_MAPS.key, {**api.get(CONFIG_MAPS, "attic", "words"), "data": {"a": str(number)}})
    said = refused(410, "Expired", api.store.since, start, CONFIG_MAPS.key)
    assert said.startswith(f"too old resource version: {start} (")


def test_a_table_names_columns(api: Api) -> None:
    made = api.create(DEPLOYMENTS, "attic", deployment(replicas=3), TERMS)
    table = tables.table(DEPLOYMENTS, [made], "7")
    assert [column["name"] for column in table["columnDefinitions"]][:2] == ["Name", "Ready"]
    assert table["rows"][0]["cells"][:2] == ["web", "0/3"]


# --- protobuf


def test_protobuf_of_a_secret() -> None:
    def field(number: int, data: bytes) -> bytes:
        return bytes([number << 3 | 2, len(data)]) + data

    entry = field(1, b"word") + field(2, b"sesame")
    metadata = field(1, b"s") + field(2, b"") + field(11, field(1, b"tier") + field(2, b"a"))
    raw = field(1, metadata) + field(2, entry) + field(3, b"Opaque") + bytes([5 << 3, 1])
    body = b"k8s\x00" + field(1, field(1, b"v1") + field(2, b"Secret")) + field(2, raw)
    assert protobuf.decode(body) == {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "s", "labels": {"tier": "a"}},
        "data": {"word": base64.b64encode(b"sesame").decode()},
        "type": "Opaque",
        "immutable": True,
    }


def test_protobuf_of_other_kinds_is_refused() -> None:
    body = b"k8s\x00" + b"\x0a\x09" + b"\x0a\x02v1" + b"\x12\x03Pod"
    assert "Pod" in refused(400, "BadRequest", protobuf.decode, body)
