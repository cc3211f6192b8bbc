# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``gen config`` of the stand-in."""

from __future__ import annotations

import base64
import datetime
import stat
import typing as t

import pytest
import yaml
from cryptography import x509

from .conftest import Standin


def test_a_worker_of_contract_1_13(standin: Standin, bundle: dict[str, t.Any]) -> None:
    made = standin.generate("worker", "--talos-version", "v1.13", "--kubernetes-version", "v1.35.4")
    assert (made.code, made.stderr) == (0, "generating PKI and tokens\n")
    documents = made.documents()
    assert list(documents) == ["", "HostnameConfig"]
    machine, cluster = documents[""]["machine"], documents[""]["cluster"]
    assert machine["ca"] == {"crt": bundle["certs"]["os"]["crt"], "key": ""}
    assert machine["kubelet"]["image"] == "ghcr.io/siderolabs/kubelet:v1.35.4"
    assert machine["install"]["image"].endswith(":v1.14.2")
    assert cluster["controlPlane"] == {"endpoint": "https://10.61.0.10:6443"}
    assert cluster["clusterName"] == "almond"
    assert "etcd" not in cluster


def test_a_worker_of_contract_1_14(standin: Standin, bundle: dict[str, t.Any]) -> None:
    documents = standin.generate("worker").documents()
    assert list(documents) == [
        "",
        "DiscoveryServiceConfig/default",
        "DiscoveryIdentityConfig",
        "UnattendedInstallConfig",
        "ResolverConfig",
        "VolumeConfig/EPHEMERAL",
        "FilesystemTrimConfig",
        "SecurityProfileConfig",
        "HostnameConfig",
        "KubeClusterConfig",
        "KubeNodeConfig",
        "KubeletConfig",
        "KubeNetworkConfig",
        "KubeAPIServerCAConfig",
        "KubePrismConfig",
    ]
    assert documents[""]["cluster"] == {"token": bundle["secrets"]["bootstraptoken"]}
    ca = base64.b64decode(bundle["certs"]["k8s"]["crt"]).decode()
    assert documents["KubeAPIServerCAConfig"]["acceptedCAs"] == [ca]
    assert documents["KubeNodeConfig"]["nodeIP"] == {}


def test_a_control_plane_of_contract_1_14(standin: Standin, bundle: dict[str, t.Any]) -> None:
    documents = standin.generate("controlplane").documents()
    assert len(documents) == 29
    assert list(documents)[-2:] == ["KubeFlannelCNIConfig", "KubeCoreDNSConfig"]
    key = base64.b64decode(bundle["certs"]["k8sserviceaccount"]["key"]).decode()
    assert documents["KubeServiceAccountConfig"]["issuer"]["privateKey"] == key
    assert documents[""]["cluster"]["etcd"]["ca"] == bundle["certs"]["etcd"]


def test_the_older_renders_its_newest_contract(standin: Standin) -> None:
    asked = standin.generate("worker", "--talos-version", "v1.14", version="v1.13.9")
    assert asked.stdout == standin.generate("worker", version="v1.13.9").stdout
    install = asked.documents()[""]["machine"]["install"]
    assert install["image"] == "ghcr.io/siderolabs/installer:v1.13.9"


def test_contract_1_12_has_a_network(standin: Standin) -> None:
    assert standin.generate("worker", "--talos-version", "v1.12").documents()[""]["machine"]["network"] == {}


def test_settings(standin: Standin) -> None:
    flags = ("--install-disk", "/dev/vdb", "--install-image", "x/y:z", "--additional-sans", "a.almond,b.almond")
    documents = standin.generate("controlplane", *flags, "--dns-domain", "almond.local").documents()
    install = documents["UnattendedInstallConfig"]
    assert install["provisioning"]["diskSelector"]["match"] == 'disk.dev_path == "/dev/vdb"'
    assert install["installer"]["image"] == "x/y:z"
    assert documents[""]["machine"]["certSANs"] == ["a.almond", "b.almond"]
    assert documents["KubeAPIServerConfig"]["certExtraSANs"] == ["a.almond", "b.almond"]
    assert documents["KubeNetworkConfig"]["dnsDomain"] == "almond.local"


def test_patches_by_type(standin: Standin) -> None:
    standin.write("all.yaml", "machine: {certSANs: [all]}")
    patches = ("--config-patch", "@all.yaml", "--config-patch-worker", "machine: {certSANs: [worker]}")
    sans = {
        machine_type: standin.generate(machine_type, *patches).documents()[""]["machine"]["certSANs"]
        for machine_type in ("controlplane", "worker")
    }
    assert sans == {"controlplane": ["all"], "worker": ["all", "worker"]}


def test_a_patch_must_fit_both_types(standin: Standin) -> None:
    patch = "apiVersion: v1alpha1\nkind: KubeNodeConfig\ntaints:\n  node-role.kubernetes.io/control-plane:\n"
    refused = standin.generate("controlplane", "--config-patch", patch + "    $patch: delete\n")
    assert refused.code == 1
    assert "lookup failed" in refused.stderr


def test_files(standin: Standin) -> None:
    where = ("gen", "config", "almond", "https://10.61.0.10:6443", "--with-secrets", "secrets.yaml")
    made = standin(*where, "-o", "out")
    names = ["controlplane.yaml", "worker.yaml", "talosconfig"]
    assert made.stderr.splitlines()[1:] == [f"Created out/{name}" for name in names]
    assert all((standin.directory / "out" / name).exists() for name in names)
    assert stat.S_IMODE((standin.directory / "out" / "worker.yaml").stat().st_mode) == 0o644
    again = standin(*where, "-t", "worker", "-o", "out/worker.yaml")
    assert again.stderr.splitlines()[1] == 'file "out/worker.yaml" already exists, use --force to overwrite'
    assert (again.code, standin(*where, "-t", "worker", "-o", "out/worker.yaml", "--force").code) == (1, 0)


def test_a_talosconfig(standin: Standin, bundle: dict[str, t.Any]) -> None:
    made, another = (yaml.safe_load(standin.generate("talosconfig").stdout) for _ in range(2))
    assert made["context"] == "almond"
    context = made["contexts"]["almond"]
    assert context["ca"] == bundle["certs"]["os"]["crt"]
    assert context["endpoints"] == []
    assert base64.b64decode(context["key"]).startswith(b"-----BEGIN ED25519 PRIVATE KEY-----\n")
    certificate = x509.load_pem_x509_certificate(base64.b64decode(context["crt"]))
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(base64.b64decode(context["ca"])))
    assert certificate.subject.rfc4514_string() == "O=os:admin"
    lifetime = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    assert lifetime == datetime.timedelta(days=365)
    assert another["contexts"]["almond"]["key"] != context["key"]


@pytest.mark.parametrize(
    ("endpoint", "error"),
    [
        ("api.almond", 'no scheme and port specified for the cluster endpoint URL\ntry: "https://api.almond:6443"'),
        ("10.61.0.10:7443", 'no scheme specified for the cluster endpoint URL\ntry: "https://10.61.0.10:7443"'),
        (
            "http://api.almond:7443",
            'the control plane endpoint URL should have scheme https://\ntry: "https://api.almond:7443"',
        ),
        ("https://", "error validating the cluster endpoint URL: hostname must not be blank"),
    ],
)
def test_refuses_endpoints(endpoint: str, error: str, standin: Standin) -> None:
    assert standin("gen", "config", "almond", endpoint, "-o", "-") == (1, "", error + "\n")


@pytest.mark.parametrize(
    ("flags", "error"),
    [
        (("--talos-version", "almond"), 'invalid talos-version: error parsing version "valmond"'),
        (("-t", "almond"), '1 error occurred:\n\t* invalid output type: "almond"\n\n'),
        (("-o", "-"), "can't use multiple output types with stdout"),
        (("--config-patch", "@missing"), "error parsing config JSON patch: open missing: no such file or directory"),
        (("--almond",), "unknown flag: --almond"),
        (("--dns-domain",), "flag needs an argument: --dns-domain"),
        (("--with-secrets", "missing"), "failed to load secrets bundle: open missing: no such file or directory"),
    ],
)
def test_refuses_flags(flags: tuple[str, ...], error: str, standin: Standin) -> None:
    where = ("gen", "config", "almond", "https://10.61.0.10:6443", "--with-secrets", "secrets.yaml")
    assert standin(*where, *flags) == (1, "", error + "\n")


def test_refuses_contracts_that_it_does_not_know(standin: Standin) -> None:
    refused = standin.generate("worker", "--talos-version", "v1.9")
    assert (refused.code, "real talosctl" in refused.stderr) == (1, True)
