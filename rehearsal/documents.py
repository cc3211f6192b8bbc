# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a machine configuration may consist of: kinds of documents, and the keys of the v1alpha1 document."""

from __future__ import annotations

from rehearsal.versions import TalosVersion


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Kinds of documents that both minors know.
KINDS_1_13 = words("""
    BlackholeRouteConfig BondConfig BridgeConfig DHCPv4Config DHCPv6Config DummyLinkConfig
    EnvironmentConfig EthernetConfig EventSinkConfig ExistingVolumeConfig ExtensionServiceConfig
    ExternalVolumeConfig HCloudVIPConfig HostnameConfig ImageVerificationConfig KmsgLogConfig
    KubeSpanConfig KubeSpanEndpointsConfig Layer2VIPConfig LinkAliasConfig LinkConfig
    NetworkDefaultActionConfig NetworkRuleConfig OOMConfig PCIDriverRebindConfig RawVolumeConfig
    RegistryAuthConfig RegistryMirrorConfig RegistryTLSConfig ResolverConfig RoutingRuleConfig
    SideroLinkConfig StaticHostConfig SwapVolumeConfig TCPProbeConfig TimeSyncConfig TrustedRootsConfig
    UserVolumeConfig VLANConfig VRFConfig VolumeConfig WatchdogTimerConfig WireguardConfig ZswapConfig
    """)

# Kinds that 1.14 added.
KINDS_NEW_IN_1_14 = words("""
    BGPInstanceConfig CRIBaseRuntimeSpecConfig CRICustomizationConfig ContainerConfig
    DiscoveryIdentityConfig DiscoveryServiceConfig EtcFileConfig FilesystemScrubConfig
    FilesystemTrimConfig HTTPProbeConfig ImageCacheConfig KernelModuleConfig KubeAPIServerCAConfig
    KubeAPIServerConfig KubeAdmissionControlConfig KubeAggregatorCAConfig KubeAuditPolicyConfig
    KubeAuthenticationConfig KubeAuthorizerConfig KubeClusterConfig KubeControllerManagerConfig
    KubeCoreDNSConfig KubeCredentialProviderConfig KubeEtcdEncryptionConfig KubeExternalManifestConfig
    KubeFlannelCNIConfig KubeInlineManifestConfig KubeNetworkConfig KubeNodeConfig KubePrismConfig
    KubeProxyConfig KubeSchedulerConfig KubeServiceAccountConfig KubeStaticPodConfig
    KubeTalosAPIAccessConfig KubeletConfig LVMLogicalVolumeConfig LVMVolumeGroupConfig RAIDArrayConfig
    SecurityProfileConfig SysctlConfig SysfsConfig UdevRulesConfig UnattendedInstallConfig VethConfig
    """)

# Kinds that Talos refuses on a worker.
CONTROL_PLANE_KINDS = words("""
    KubeAPIServerConfig KubeAdmissionControlConfig KubeAggregatorCAConfig KubeAuditPolicyConfig
    KubeAuthenticationConfig KubeAuthorizerConfig KubeControllerManagerConfig KubeCoreDNSConfig
    KubeEtcdEncryptionConfig KubeFlannelCNIConfig KubeProxyConfig KubeSchedulerConfig KubeServiceAccountConfig
    """)

# The keys of the v1alpha1 document, by the section they are in.
V1ALPHA1_KEYS: dict[tuple[str, ...], frozenset[str]] = {
    (): words("version debug persist machine cluster"),
    ("machine",): words("""
        type token ca acceptedCAs certSANs controlPlane kubelet pods network disks install files env time sysctls
        sysfs registries systemDiskEncryption features udev logging kernel seccompProfiles
        baseRuntimeSpecOverrides nodeLabels nodeAnnotations nodeTaints
        """),
    ("machine", "features"): words("""
        rbac stableHostname kubernetesTalosAPIAccess apidCheckExtKeyUsage diskQuotaSupport kubePrism hostDNS
        imageCache nodeAddressSortAlgorithm
        """),
    ("machine", "install"): words(
        "disk diskSelector extraKernelArgs image extensions bootloader wipe legacyBIOSSupport grubUseUKICmdline"
    ),
    ("cluster",): words("""
        id secret controlPlane clusterName network token aescbcEncryptionSecret secretboxEncryptionSecret ca
        acceptedCAs aggregatorCA serviceAccount apiServer controllerManager proxy scheduler discovery etcd coreDNS
        externalCloudProvider extraManifests extraManifestHeaders inlineManifests adminKubeconfig
        allowSchedulingOnMasters allowSchedulingOnControlPlanes
        """),
}

# Talos 1.13 takes changes of these without a reboot; any other change under "machine" needs one.
IMMEDIATE_MACHINE_KEYS = words("""
    ca acceptedCAs time certSANs install network sysfs sysctls logging controlPlane kubelet kernel registries pods
    seccompProfiles nodeAnnotations nodeLabels nodeTaints
    """)
IMMEDIATE_FEATURES = words("kubernetesTalosAPIAccess kubePrism hostDNS imageCache nodeAddressSortAlgorithm")


def known_kinds(version: TalosVersion) -> frozenset[str]:
    return KINDS_1_13 if version.minor == "1.13" else KINDS_1_13 | KINDS_NEW_IN_1_14
