# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kinds of objects that the API serves: built-in ones, and those of CustomResourceDefinitions."""

from __future__ import annotations

import functools
import typing as t
from dataclasses import dataclass, field

from rehearsal.kubernetes import Object

Key = tuple[str, str]  # group and plural: objects are the same in every version of their group

# group/version, plural, kind, scope, short names, subresources, categories ("-": none).
_BUILT_IN = """
v1 configmaps ConfigMap namespaced cm - -
v1 endpoints Endpoints namespaced ep - -
v1 events Event namespaced ev - -
v1 limitranges LimitRange namespaced limits - -
v1 namespaces Namespace cluster ns status,finalize -
v1 nodes Node cluster no status -
v1 persistentvolumeclaims PersistentVolumeClaim namespaced pvc status -
v1 persistentvolumes PersistentVolume cluster pv status -
v1 pods Pod namespaced po status all
v1 replicationcontrollers ReplicationController namespaced rc status all
v1 resourcequotas ResourceQuota namespaced quota status -
v1 secrets Secret namespaced - - -
v1 serviceaccounts ServiceAccount namespaced sa - -
v1 services Service namespaced svc status all
admissionregistration.k8s.io/v1 mutatingwebhookconfigurations MutatingWebhookConfiguration cluster - - -
admissionregistration.k8s.io/v1 validatingwebhookconfigurations ValidatingWebhookConfiguration cluster - - -
apiextensions.k8s.io/v1 customresourcedefinitions CustomResourceDefinition cluster crd,crds status api-extensions
apps/v1 daemonsets DaemonSet namespaced ds status all
apps/v1 deployments Deployment namespaced deploy status,scale all
apps/v1 replicasets ReplicaSet namespaced rs status,scale all
apps/v1 statefulsets StatefulSet namespaced sts status,scale all
autoscaling/v2 horizontalpodautoscalers HorizontalPodAutoscaler namespaced hpa status all
batch/v1 cronjobs CronJob namespaced cj status all
batch/v1 jobs Job namespaced - status all
coordination.k8s.io/v1 leases Lease namespaced - - -
discovery.k8s.io/v1 endpointslices EndpointSlice namespaced - - -
networking.k8s.io/v1 ingressclasses IngressClass cluster - - -
networking.k8s.io/v1 ingresses Ingress namespaced ing status -
networking.k8s.io/v1 networkpolicies NetworkPolicy namespaced netpol - -
policy/v1 poddisruptionbudgets PodDisruptionBudget namespaced pdb status -
rbac.authorization.k8s.io/v1 clusterrolebindings ClusterRoleBinding cluster - - -
rbac.authorization.k8s.io/v1 clusterroles ClusterRole cluster - - -
rbac.authorization.k8s.io/v1 rolebindings RoleBinding namespaced - - -
rbac.authorization.k8s.io/v1 roles Role namespaced - - -
scheduling.k8s.io/v1 priorityclasses PriorityClass cluster pc - -
storage.k8s.io/v1 storageclasses StorageClass cluster sc - -
"""


@dataclass(frozen=True)
class Resource:
    """One kind in one version of its group. ``schema`` is the OpenAPI schema of a custom resource."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool
    singular: str
    short_names: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    schema: Object | None = field(default=None, compare=False, repr=False)
    columns: tuple[Object, ...] = field(default=(), compare=False, repr=False)

    @property
    def key(self) -> Key:
        return self.group, self.plural

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """``deployments.apps``: how messages name it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def has_status(self) -> bool:
        return "status" in self.subresources


def _words(text: str) -> tuple[str, ...]:
    return () if text == "-" else tuple(text.split(","))


def _built_in(line: str) -> Resource:
    api, plural, kind, scope, short_names, subresources, categories = line.split()
    group, _, version = api.rpartition("/")
    names = (_words(short_names), _words(subresources), _words(categories))
    return Resource(group, version, plural, kind, scope == "namespaced", kind.lower(), *names)


BUILT_IN = tuple(_built_in(line) for line in _BUILT_IN.split("\n") if line)


@functools.cache
def built_in(plural: str) -> Resource:
    """The built-in resource of that plural."""
    return next(resource for resource in BUILT_IN if resource.plural == plural)


CRDS = built_in("customresourcedefinitions")


def custom(definition: Object) -> list[Resource]:
    """What a CustomResourceDefinition adds: a resource for each served version."""
    spec = definition["spec"]
    return [_custom(spec, version) for version in spec.get("versions") or [] if version.get("served")]


def _custom(spec: Object, version: Object) -> Resource:
    names: Object = spec["names"]
    return Resource(
        spec["group"],
        version["name"],
        names["plural"],
        names["kind"],
        spec.get("scope") == "Namespaced",
        names.get("singular") or names["kind"].lower(),
        tuple(names.get("shortNames") or ()),
        tuple(version.get("subresources") or ()),
        tuple(names.get("categories") or ()),
        (version.get("schema") or {}).get("openAPIV3Schema") or {},
        tuple(version.get("additionalPrinterColumns") or ()),
    )


def find(resources: t.Iterable[Resource], group: str, version: str, plural: str) -> Resource | None:
    wanted = (group, version, plural)
    return next((each for each in resources if (each.group, each.version, each.plural) == wanted), None)
