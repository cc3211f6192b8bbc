# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""What each Talos minor carries, and what was recorded of it.

Source: ``pkg/machinery/constants``, ``pkg/machinery/compatibility`` and every ``registry.Register`` below
``pkg/machinery/config/types`` of Talos v1.13.9 and v1.14.0-rc.1, and the support matrix of their
documentation.
"""

from __future__ import annotations

import re
import typing as t

DEFAULT_TALOS = "1.14.2"


class Minor(t.NamedTuple):
    """A Talos minor: the Kubernetes minors that it carries, and the version taken when none is given."""

    kubernetes_first: int
    kubernetes_last: int
    kubernetes_default: str


MINORS: dict[str, Minor] = {
    "1.13": Minor(31, 36, "1.36.3"),
    "1.14": Minor(33, 37, "1.37.1"),
}


class Version(t.NamedTuple):
    """A version without its leading v; ``suffix`` is empty for a release."""

    major: int
    minor: int
    patch: int
    suffix: str = ""

    @property
    def series(self) -> str:
        """Major and minor: 1.14."""
        return f"{self.major}.{self.minor}"


_VERSION = re.compile(r"(\d{1,4})\.(\d{1,4})\.(\d{1,4})((?:-(?:alpha|beta|rc)\.\d{1,3})?)", re.ASCII)


def parse(text: str) -> Version | None:
    """Reads 1.14.2 or 1.14.0-rc.1; None for anything else."""
    found = _VERSION.fullmatch(text)
    return Version(int(found[1]), int(found[2]), int(found[3]), found[4]) if found else None


def carries(talos_minor: str, kubernetes: Version) -> bool:
    """Whether this Talos minor (one of MINORS) runs this Kubernetes."""
    minor = MINORS[talos_minor]
    return kubernetes.major == 1 and minor.kubernetes_first <= kubernetes.minor <= minor.kubernetes_last


# Kinds of documents beside the one without a kind. In 1.14 all of 1.13 are still there.
_KINDS_1_13 = """
    BlackholeRouteConfig BondConfig BridgeConfig DHCPv4Config DHCPv6Config DummyLinkConfig
    EnvironmentConfig EthernetConfig EventSinkConfig ExistingVolumeConfig ExtensionServiceConfig
    ExternalVolumeConfig HCloudVIPConfig HostnameConfig ImageVerificationConfig KmsgLogConfig
    KubeSpanConfig KubeSpanEndpointsConfig Layer2VIPConfig LinkAliasConfig LinkConfig
    NetworkDefaultActionConfig NetworkRuleConfig OOMConfig PCIDriverRebindConfig RawVolumeConfig
    RegistryAuthConfig RegistryMirrorConfig RegistryTLSConfig ResolverConfig RoutingRuleConfig
    SideroLinkConfig StaticHostConfig SwapVolumeConfig TCPProbeConfig TimeSyncConfig
    TrustedRootsConfig UserVolumeConfig VLANConfig VRFConfig VolumeConfig WatchdogTimerConfig
    WireguardConfig ZswapConfig
"""
_KINDS_NEW_IN_1_14 = """
    BGPInstanceConfig CRIBaseRuntimeSpecConfig CRICustomizationConfig ContainerConfig
    DiscoveryIdentityConfig DiscoveryServiceConfig EtcFileConfig FilesystemScrubConfig
    FilesystemTrimConfig HTTPProbeConfig ImageCacheConfig KernelModuleConfig KubeAPIServerCAConfig
    KubeAPIServerConfig KubeAdmissionControlConfig KubeAggregatorCAConfig KubeAuditPolicyConfig
    KubeAuthenticationConfig KubeAuthorizerConfig KubeClusterConfig KubeControllerManagerConfig
    KubeCoreDNSConfig KubeCredentialProviderConfig KubeEtcdEncryptionConfig
    KubeExternalManifestConfig KubeFlannelCNIConfig KubeInlineManifestConfig KubeNetworkConfig
    KubeNodeConfig KubePrismConfig KubeProxyConfig KubeSchedulerConfig KubeServiceAccountConfig
    KubeStaticPodConfig KubeTalosAPIAccessConfig KubeletConfig LVMLogicalVolumeConfig
    LVMVolumeGroupConfig RAIDArrayConfig SecurityProfileConfig SysctlConfig SysfsConfig
    UdevRulesConfig UnattendedInstallConfig VethConfig
"""
KINDS: dict[str, frozenset[str]] = {
    "1.13": frozenset(_KINDS_1_13.split()),
    "1.14": frozenset((_KINDS_1_13 + _KINDS_NEW_IN_1_14).split()),
}
# Keys of the document without a kind.
V1ALPHA1_KEYS = frozenset({"version", "debug", "persist", "machine", "cluster"})
