# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import subprocess
import sys
import typing as t

import pytest
import yaml

from ansible_collections.homelab.talos.plugins.module_utils._redaction import (
    HIDDEN,
    Redactor,
    forms,
    is_secret,
    secrets_in,
    without_quotes,
)

PEM = (
    "-----BEGIN ED25519 PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIAbcdefghijklmnop\nqrstuvwx\n"
    "-----END ED25519 PRIVATE KEY-----\n"
)
LEAF = base64.b64encode(PEM.encode()).decode()


def test_a_leaf_is_hidden_as_it_stands_and_decoded() -> None:
    redactor = Redactor([LEAF])
    for form in (LEAF, PEM, "MC4CAQAwBQYDK2VwBCIEIAbcdefghijklmnop", "qrstuvwx"):
        shown = redactor.text(f"before {form} after")
        assert "MC4" not in shown
        assert "qrst" not in shown
        assert shown.startswith("before <hidden>")
        assert shown.endswith(" after")


@pytest.mark.parametrize(
    "form",
    [
        'qu"oted\\secret',
        'qu\\"oted\\\\secret',  # by Go and JSON
        base64.b64encode(b'qu"oted\\secret').decode(),
    ],
)
def test_a_secret_is_hidden_encoded_and_quoted(form: str) -> None:
    assert Redactor(['qu"oted\\secret\n']).text(f'"{form}"') == f'"{HIDDEN}"'


def test_a_part_of_a_long_secret_is_hidden() -> None:
    redactor = Redactor(["[Interface]\nPrivateKey = abcdef123456\n\nkind: Secret\nPostUp = x\n"])
    assert redactor.text("line 2: abcdef123456") == f"line 2: {HIDDEN}"
    # What is in every such text is no secret.
    assert redactor.text("kind: Secret, PostUp") == "kind: Secret, PostUp"


def test_a_longer_secret_leaves_no_rest_of_a_shorter_one() -> None:
    assert Redactor(["secret", "secret-and-more"]).text("a secret-and-more") == f"a {HIDDEN}"


@pytest.mark.parametrize(
    ("secret", "text", "shown"),
    [
        ("Qz9x", "pin Qz9x, PIN=Qz9x", f"pin {HIDDEN}, PIN={HIDDEN}"),
        ("auto", "automatic auto", f"automatic {HIDDEN}"),  # a word of its own only
        ("ab", "ab or about", "ab or about"),  # no secret at all
        ("", "text", "text"),
        ("\n\nQz9x\n\n", "Qz9x", HIDDEN),  # as the action hands it over
    ],
)
def test_a_short_secret_is_hidden_as_a_word(secret: str, text: str, shown: str) -> None:
    assert Redactor([secret]).text(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("proxy http://me:s3cret@proxy:3128/ refused", "proxy http://me:<hidden>@proxy:3128/ refused"),
        ("http://me:s3c@ret@proxy:3128/ http://a:b@c/", "http://me:<hidden>@proxy:3128/ http://a:<hidden>@c/"),
        ("http://me:a@b,http://me:c@d", "http://me:<hidden>@b,http://me:<hidden>@d"),
        ("https://x.example.org/?jointoken=abc&y=1", "https://x.example.org/?jointoken=<hidden>&y=1"),
        (
            "https://x.example.org/?y=1&api_key=abc&monkey=x",
            "https://x.example.org/?y=1&api_key=<hidden>&monkey=<hidden>",
        ),
        ("https://x.example.org/?sig=abc&page=1", "https://x.example.org/?sig=<hidden>&page=1"),
        ("https://x.example.org:6443/a@b", "https://x.example.org:6443/a@b"),
    ],
)
def test_credentials_in_urls_are_hidden(text: str, shown: str) -> None:
    assert Redactor().text(text) == shown


@pytest.mark.parametrize(
    ("path", "value", "secret"),
    [
        ("machine.token", "abc", True),
        ("machine.token", "", False),
        ("machine.ca.key", "LS0tLS1CRUdJTiBF", True),
        ("machine.ca.crt", "LS0tLS1CRUdJTiBD", False),  # the bundle's are known by value
        ("password", 12345678, True),
        ("registries.config.x.auth.username", "me", False),
        ("environment", "TOKEN=abc", True),
        ("cluster.extraManifestHeaders.Authorization", "Basic abc", True),
        ("peers.presharedKey", "abc", True),
        ("hcloud.apiToken", "abc", True),
        ("uniqueToken", "abc", True),
        ("configFiles.content", "a = b", True),
        ("configFiles.mountPath", "/etc/x", False),
        ("machine.files.content", "[auth]\npassword=x\n", True),
        ("machine.files.path", "/etc/cri/conf.d/20-customization.part", False),
        ("content", "[plugins]\n", True),  # CRICustomizationConfig
        ("contents", "a = b", True),  # EtcFileConfig
        ("cluster.inlineManifests.contents", "kind: Pod", False),
        ("machine.env.AWS_SECRET_ACCESS_KEY", "x", True),
        ("machine.env.RETRIES", 5, True),
        ("machine.nodeLabels.env", "prod", False),
        ("variables.API_TOKEN", "x", True),  # EnvironmentConfig
        ("cluster.apiServer.env.TOKEN", "x", True),
        ("pod.spec.containers.env.value", "x", True),
        ("cluster.network.cni.flannel.backendExtraConfig.PSK", "x", True),
        ("machine.install.extraKernelArgs", "talos.config.oauth.client_secret=x", True),
        ("machine.install.extraKernelArgs", "console=ttyAMA0", False),
        ("args", "--api-token=x", True),
        ("args", "--tls-private-key-file=/etc/key.pem", False),
        ("manifest", "apiVersion: v1\nkind: Secret\n", True),
        ("manifest", '{"apiVersion": "v1", "kind": "Secret"}', True),
        ("manifest", "apiVersion: x/v1\nkind: SecretStore\n", False),
        ("content", PEM, True),
        ("machine.install.wipe", True, False),
        ("token", True, False),
        ("token", None, False),
    ],
)
def test_fields_that_hold_secrets(path: str, value: t.Any, secret: bool) -> None:
    assert is_secret(path.split("."), value) is secret


def test_values_are_hidden_at_whatever_depth_and_type() -> None:
    redactor = Redactor(["83629174", "s3cret-name"])
    value = {"list": [{"number": 83629174, "other": 5}, "83629174"], "s3cret-name": True, "none": None}
    assert redactor.value(value) == {
        "list": [{"number": HIDDEN, "other": 5}, HIDDEN],
        HIDDEN: True,
        "none": None,
    }


def test_a_changed_secret_says_so_and_the_earlier_one_is_hidden_with_it() -> None:
    redactor = Redactor(["new-secret"])
    old = {"x": "a old-secret b", "y": "same", "token": "1", "list": ["one", "old-secret"]}
    new = {"x": "a new-secret b", "y": "same", "token": "2", "list": ["one", "zero", "new-secret"]}
    assert redactor.value(new, earlier=old) == {
        "x": "a <hidden, changed> b",
        "y": "same",
        "token": "<hidden, changed>",
        "list": ["one", "zero", HIDDEN],
    }
    assert redactor.value(old, later=new) == {"x": HIDDEN, "y": "same", "token": HIDDEN, "list": ["one", HIDDEN]}


def test_a_result_is_searched_as_a_whole() -> None:
    result = {"a": [{"b": ("the s3cret-value", 1, True, None)}], "token": "shown"}
    assert Redactor(["s3cret-value"]).result(result) == {
        "a": [{"b": ["the <hidden>", 1, True, None]}],
        "token": "shown",
    }


UNKNOWN_KEYS = """\
error decoding document /v1alpha1/ (line 1): unknown keys found during decoding:
machine:
    files:
        - contnt: |
            first line
            second: s3cret
          path: /etc/x
    tokn: s3cret
    listed:
        - s3cret
"""


def test_what_talos_quotes_is_left_out_and_its_keys_stay() -> None:
    shown = without_quotes(UNKNOWN_KEYS)
    assert "s3cret" not in shown
    assert "first line" not in shown
    for kept in (
        "(line 1): unknown keys found during decoding:\nmachine:\n",
        "- contnt: <hidden>",
        "    tokn: <hidden>",
    ):
        assert kept in shown
    text = "line 3: cannot construct !!str `s3cr3t-...` into bool; line 4: cannot construct !!str `other` into int"
    assert without_quotes(text) == text.replace("s3cr3t-...", HIDDEN).replace("other", HIDDEN)
    assert without_quotes("1 error occurred:\n\t* bad\n") == "1 error occurred:\n\t* bad\n"


def test_the_secrets_of_a_patch() -> None:
    documents = [
        {"machine": {"token": "tok", "sysctls": {"a": "1"}}},
        {"kind": "RegistryAuthConfig", "name": "x", "username": "me", "password": "pass"},
    ]
    assert list(secrets_in(yaml.safe_dump_all(documents))) == ["tok", "pass"]
    assert "s3cret-value" in list(secrets_in("a: [\npassword: s3cret-value\n"))
    assert list(secrets_in("born: 1234-56-78\npassword: 2026-02-30\n")) == ["2026-02-30"]
    assert "s3cret-value" in list(secrets_in("a: !!int x\npassword: s3cret-value\n"))


def test_many_secrets_cost_little() -> None:
    """A look at 500 nodes redacts some thousand texts."""
    program = (
        "import time; from ansible_collections.homelab.talos.plugins.module_utils._redaction import Redactor\n"
        "redactor = Redactor([f'some-secret-{number}' * 4 for number in range(60)])\n"
        "result = {str(n): {'state': 'as-declared', 'would': 'nothing', 'stage': 'running'} for n in range(500)}\n"
        "began = time.process_time(); redactor.result(result); print(time.process_time() - began)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 0.5


def test_nothing_known_hides_nothing() -> None:
    assert Redactor().text("any text") == "any text"
    assert next(iter(forms("plain"))) == "plain"
