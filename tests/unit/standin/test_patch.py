# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``machineconfig patch`` of the stand-in."""

from __future__ import annotations

import pytest

from .conftest import Standin

_HOSTNAME = "apiVersion: v1alpha1\nkind: HostnameConfig\n"
_LINK = "apiVersion: v1alpha1\nkind: LinkConfig\nname: end1\n"


def test_maps_merge_and_lists_append(standin: Standin) -> None:
    given = "machine: {type: worker, certSANs: [a], sysctls: {x: '1', y: '2'}}"
    made = standin.patch(given, "machine: {certSANs: [b], sysctls: {y: 3, z: true}}", "machine: {certSANs: [b]}")
    machine = made.documents()[""]["machine"]
    assert machine["certSANs"] == ["a", "b", "b"]
    assert machine["sysctls"] == {"x": "1", "y": "3", "z": "true"}


@pytest.mark.parametrize("key", ["podSubnets", "serviceSubnets"])
def test_subnets_are_replaced(key: str, standin: Standin) -> None:
    made = standin.patch(f"cluster: {{network: {{{key}: [a]}}}}", f"cluster: {{network: {{{key}: [b]}}}}")
    assert made.documents()[""]["cluster"]["network"][key] == ["b"]


def test_interfaces_and_vlans_merge_by_key(standin: Standin) -> None:
    given = "interfaces: [{interface: e1, mtu: 1, vlans: [{vlanId: 4, mtu: 1}]}, {deviceSelector: {driver: d}}]"
    patch = (
        "interfaces: [{interface: e1, dhcp: on, vlans: [{vlanId: 4, dhcp: off}, {vlanId: 5}]},"
        " {interface: e2}, {deviceSelector: {driver: d}, mtu: 7}]"
    )
    made = standin.patch(f"machine: {{network: {{{given}}}}}", f"machine: {{network: {{{patch}}}}}")
    first, selected, new = made.documents()[""]["machine"]["network"]["interfaces"]
    assert (first["mtu"], first["dhcp"]) == (1, True)
    by_id = {vlan["vlanId"]: vlan for vlan in first["vlans"]}
    assert (by_id[4]["mtu"], by_id[4]["dhcp"], set(by_id)) == (1, False, {4, 5})
    assert selected == {"deviceSelector": {"driver": "d"}, "mtu": 7}
    assert new == {"interface": "e2"}


def test_documents_match_by_kind_and_name(standin: Standin) -> None:
    patch = _LINK + "mtu: 1400\n---\n" + _LINK.replace("end1", "end2")
    documents = standin.patch(_LINK + "up: true\n", patch).documents()
    assert list(documents) == ["LinkConfig/end1", "LinkConfig/end2"]
    first = documents["LinkConfig/end1"]
    assert (first["up"], first["mtu"]) == (True, 1400)


def test_the_first_document_comes_first(standin: Standin) -> None:
    assert list(standin.patch(_HOSTNAME, "machine: {type: worker}").documents()) == ["", "HostnameConfig"]


def test_deletes_documents_keys_and_items(standin: Standin) -> None:
    given = (
        "machine: {type: worker, certSANs: [a], network: {interfaces: [{interface: e1}, {interface: e2}]}}\n"
        f"---\n{_HOSTNAME}auto: stable\n"
    )
    patch = (
        "machine: {certSANs: {$patch: delete}, network: {interfaces: [{interface: e1, $patch: delete}]}}\n"
        f"---\n{_HOSTNAME}$patch: delete\n"
    )
    documents = standin.patch(given, patch).documents()
    assert list(documents) == [""]
    assert documents[""]["machine"]["network"]["interfaces"] == [{"interface": "e2"}]
    assert documents[""]["machine"]["certSANs"] == []


def test_deletes_before_it_adds(standin: Standin) -> None:
    patch = f"{_HOSTNAME}$patch: delete\n---\n{_HOSTNAME}hostname: almond\n"
    made = standin.patch(_HOSTNAME + "auto: stable\n", patch)
    assert made.documents()["HostnameConfig"] == {
        "apiVersion": "v1alpha1",
        "kind": "HostnameConfig",
        "hostname": "almond",
    }


def test_refuses_to_delete_what_is_not_there(standin: Standin) -> None:
    refused = standin.patch("machine: {type: worker}", "machine: {almond: {$patch: delete}}")
    where = "path 'machine.almond' in document '/v1alpha1': failed to delete path 'machine.almond'"
    assert (refused.code, refused.stderr) == (1, f"patch delete: {where}: lookup failed\n")


def test_a_document_to_delete_that_is_not_there(standin: Standin) -> None:
    given, patch = "machine: {type: worker}", _LINK + "$patch: delete\n"
    assert list(standin.patch(given, patch).documents()) == [""]
    assert standin.patch(given, patch, version="v1.13.9").code == 2


def test_the_same_document_twice_in_a_patch(standin: Standin) -> None:
    given, patch = "machine: {type: worker}", "machine: {token: a}\n---\nmachine: {token: b}"
    assert standin.patch(given, patch).documents()[""]["machine"]["token"] == "b"
    refused = standin.patch(given, patch, version="v1.13.9")
    assert refused.stderr == "duplicate document /v1alpha1/ is not allowed (line 3)\n"


def test_empty_texts_do_not_overwrite(standin: Standin) -> None:
    made = standin.patch("machine: {token: a, nodeLabels: {x: a}}", 'machine: {token: "", nodeLabels: {x: ""}}')
    machine = made.documents()[""]["machine"]
    assert (machine["token"], machine["nodeLabels"]) == ("a", {"x": "a"})


def test_what_may_be_missing_is_overwritten_by_zero(standin: Standin) -> None:
    text = "apiVersion: v1alpha1\nkind: KubeSpanConfig\nmtu: {}\nenabled: {}\n"
    made = standin.patch(text.format(1400, "true"), text.format(0, "false"))
    document = made.documents()["KubeSpanConfig"]
    assert (document["mtu"], document["enabled"]) == (0, False)


def test_texts_stay_texts(standin: Standin) -> None:
    made = standin.patch(_HOSTNAME, f"{_HOSTNAME}auto: off\nhostname: 12")
    document = made.documents()["HostnameConfig"]
    assert (document["auto"], document["hostname"]) == ("off", "12")


def test_durations_are_written_out(standin: Standin) -> None:
    text = "apiVersion: v1alpha1\nkind: TimeSyncConfig\nbootTimeout: 90m\n"
    assert standin.patch(text, text).documents()["TimeSyncConfig"]["bootTimeout"] == "1h30m0s"


def test_refuses_json_patches(standin: Standin) -> None:
    refused = standin.patch(f"machine: {{}}\n---\n{_HOSTNAME}", "[{op: remove, path: /machine}]")
    error = "JSON6902 patches are not supported for multi-document machine configuration\n"
    assert refused == (1, "", error)


@pytest.mark.parametrize(
    ("patch", "error"),
    [
        ("machine: {almond: 1}", "machine:\n    almond: 1\n"),
        ("machine: {kubelet: {nodeIP: {subnets: [a]}}}", "            subnets: [a]\n"),
        (_LINK + "address: a\n", "address: a\n"),
    ],
)
def test_refuses_unknown_keys(patch: str, error: str, standin: Standin) -> None:
    refused = standin.patch("machine: {type: worker}", patch)
    assert refused.code == 1
    assert "unknown keys found during decoding:\n" in refused.stderr
    assert refused.stderr.endswith(error + "\n")


def test_knows_the_documents_of_its_release(standin: Standin) -> None:
    patch = "apiVersion: v1alpha1\nkind: KubeletConfig\nimage: a\n"
    assert standin.patch("machine: {type: worker}", patch).code == 0
    refused = standin.patch("machine: {type: worker}", patch, version="v1.13.9")
    assert '"KubeletConfig" "v1alpha1": not registered' in refused.stderr


def test_knows_the_keys_of_its_release(standin: Standin) -> None:
    patch = "apiVersion: v1alpha1\nkind: ResolverConfig\nhostDNS: {enabled: true}\n"
    assert standin.patch(_HOSTNAME, patch).code == 0
    assert "hostDNS" in standin.patch(_HOSTNAME, patch, version="v1.13.9").stderr


def test_without_patches_the_text_stays(standin: Standin) -> None:
    assert standin.patch("a: [ b ] # c\n").stdout == "a: [ b ] # c\n\n"


def test_writes_a_file(standin: Standin) -> None:
    standin.write("given.yaml", "machine: {type: worker}")
    made = standin("machineconfig", "patch", "given.yaml", "-p", "machine: {token: a}", "-o", "new/out.yaml")
    assert made == (0, "", "")
    assert "token: a" in (standin.directory / "new" / "out.yaml").read_text(encoding="utf-8")
