# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Vagrantfile without a hypervisor, and how playbooks find the admin host. A real VM: `make test-vm`."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import socketserver
import subprocess
import sys
import threading
import typing as t
from pathlib import Path

import pytest
import yaml

from .conftest import HOMELAB, ROOT

needs_ruby = pytest.mark.skipif(
    shutil.which("ruby") is None,
    reason="no ruby here: the settings of the Vagrantfile are not tested (apt-get install ruby)",
)
# Debian's Vagrant is a library of the system's Ruby; HashiCorp's own packages bring a Ruby of their own.
needs_vagrant_classes = pytest.mark.skipif(
    shutil.which("ruby") is None
    or subprocess.run(["ruby", "-e", 'require "vagrant"'], capture_output=True, check=False).returncode != 0,
    reason="no vagrant as a library here: what the providers get is not tested (apt-get install vagrant, on Debian)",
)
needs_vagrant = pytest.mark.skipif(
    shutil.which("vagrant") is None, reason="no vagrant here: the Vagrantfile is not tested (apt-get install vagrant)"
)

# Many files and environments in one process.
SETTINGS = """
require "json"
require "tmpdir"
require ARGV[0]
results = JSON.parse($stdin.read).map do |file, environment|
  Dir.mktmpdir do |root|
    Dir.mkdir(File.join(root, "inventory"))
    Dir.mkdir(File.join(root, "inventory/homelab"))
    File.write(File.join(root, "vagrant.yml"), file) if file
    settings = HomelabVM::Settings.load(root, environment)
    values = HomelabVM::KNOWN.keys.to_h { |name| [name, settings[name]] }
    values.merge("ports" => settings.ports.map(&:to_a), "synced" => settings.synced_folder?,
                 "frozen" => settings.frozen? && settings["forwarded_ports"].frozen?)
  rescue HomelabVM::BadSettings => e
    e.message
  end
end
puts JSON.generate(results)
"""


def settings(*cases: tuple[str | None, dict[str, str]]) -> list[t.Any]:
    done = subprocess.run(
        ["ruby", "-e", SETTINGS, str(ROOT / "vm" / "settings.rb")],
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return t.cast("list[t.Any]", json.loads(done.stdout))


def example() -> dict[str, t.Any]:
    """vagrant.yml.example with the examples of settings that have no default."""
    text = (ROOT / "vagrant.yml.example").read_text()
    return t.cast("dict[str, t.Any]", yaml.safe_load(re.sub(r"(?m)^# ( *\w+: )", r"\1", text)))


def flat(tree: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    found = {}
    for key, value in tree.items():
        found.update(
            {f"{key}.{inner}": each for inner, each in value.items()} if isinstance(value, dict) else {key: value}
        )
    return found


@needs_ruby
def test_defaults() -> None:
    ((found),) = settings((None, {}))
    assert (found["box"], found["cpus"], found["memory"], found["provisioner"]) == (
        "bento/ubuntu-24.04",
        2,
        2048,
        "ansible",
    )
    assert (found["network"], found["synced"], found["linked_clone"], found["frozen"]) == ("nat", False, True, True)
    assert found["ports"] == [[8443, 8443], [8080, 8080], [9000, 9000]]


@needs_ruby
def test_the_example_has_every_setting_with_its_default() -> None:
    text = (ROOT / "vagrant.yml.example").read_text()
    given, defaults, nothing = settings((text, {}), (None, {}), ("", {}))
    assert given == defaults == nothing
    named = set(flat(example()))
    known = set(defaults) - {"ports", "synced", "frozen"}
    assert named == known


CASES = [
    # file, environment, what comes out
    ("memory: 4096", {}, {"memory": 4096}),
    ("memory: 4096", {"HOMELAB_VM_MEMORY": "1024"}, {"memory": 1024}),
    ("memory:", {"HOMELAB_VM_CPUS": ""}, {"memory": 2048, "cpus": 2}),
    ("box: bento/debian-13\nbox_version: '202510.26.0'", {}, {"box": "bento/debian-13", "box_version": "202510.26.0"}),
    ("network: bridge\nbridge: eth0", {}, {"network": "bridge", "bridge": "eth0"}),
    ("forwarded_ports: ['18443:8443', 9000]", {}, {"ports": [[18443, 8443], [9000, 9000]]}),
    (None, {"HOMELAB_VM_FORWARDED_PORTS": "2000, 2001:22"}, {"ports": [[2000, 2000], [2001, 22]]}),
    ("forwarded_ports: []", {}, {"ports": []}),
    ("provisioner: ansible_local", {}, {"provisioner": "ansible_local", "synced": True}),
    ("provisioner: none\nsynced_folder: true", {}, {"synced": True}),
    (None, {"HOMELAB_VM_SYNCED_FOLDER": "true", "HOMELAB_VM_SYNCED_FOLDER_TYPE": "9p"}, {"synced_folder_type": "9p"}),
    (None, {"HOMELAB_VM_PROVISIONER_ARGS": "--check -vv"}, {"provisioner_args": ["--check", "-vv"]}),
    (None, {"HOMELAB_VM_USB_READER": "05e3:0749"}, {"usb_reader": "05e3:0749"}),
    ("libvirt: {driver: qemu}", {"HOMELAB_VM_LIBVIRT_CPU_MODEL": "qemu64"}, {"libvirt.driver": "qemu"}),
    ("virtualbox:\nlibvirt: {}", {}, {"virtualbox.gui": False}),
    ("vmware_desktop: {gui: true}", {}, {"vmware_desktop.gui": True}),
]


@needs_ruby
def test_settings_from_file_and_environment() -> None:
    found = settings(*((file, environment) for file, environment, _ in CASES))
    for (file, environment, wanted), got in zip(CASES, found, strict=True):
        assert isinstance(got, dict), (file, environment, got)
        assert wanted.items() <= got.items(), (file, environment)


BAD = [
    ("memroy: 4096", {}, "vagrant.yml: memroy: not known; did you mean memory?"),
    ("zzz: 1", {}, "vagrant.yml: zzz: not known; known are box, box_version, "),
    ("libvirt: {drivr: qemu}", {}, "vagrant.yml: libvirt.drivr: not known; did you mean libvirt.driver?"),
    ("libvirt: qemu", {}, "vagrant.yml: libvirt.: not known"),
    (None, {"HOMELAB_VM_MEMRY": "1"}, "HOMELAB_VM_MEMRY: not known; did you mean HOMELAB_VM_MEMORY?"),
    ("memory: 2 GB", {}, 'vagrant.yml: memory is "2 GB": must be a whole number of MB from 512 to 262144'),
    ("memory: 100", {}, "vagrant.yml: memory is 100: must be"),
    ("memory: '2048'", {}, 'vagrant.yml: memory is "2048": must be'),
    (None, {"HOMELAB_VM_CPUS": "two"}, 'HOMELAB_VM_CPUS is "two": must be a whole number of CPUs from 1 to 64'),
    (None, {"HOMELAB_VM_LINKED_CLONE": "yes"}, 'HOMELAB_VM_LINKED_CLONE is "yes": must be true or false'),
    ("network: bridged", {}, 'vagrant.yml: network is "bridged": must be one of nat, bridge'),
    ("network: bridge", {}, "network is bridge: bridge must name the host's interface"),
    ("bridge: eth0", {}, "bridge is eth0: only used with network: bridge"),
    ("forwarded_ports: 8443", {}, "vagrant.yml: forwarded_ports is 8443: must be a list of ports"),
    ("forwarded_ports: [80]", {}, "must be a list of ports of the VM, or of HOST:VM with host ports from 1024 on"),
    ("forwarded_ports: [70000]", {}, "must be a list of ports"),
    ("forwarded_ports: ['9000:1', '9000:2']", {}, "forwarded_ports has host port 9000 more than once"),
    ("provisioner: ansible_local\nsynced_folder: false", {}, "ansible_local needs the folder in the VM"),
    ("usb_reader: reader", {}, "must be VENDOR:PRODUCT in hexadecimal"),
    ("inventory: inventory/mine", {}, "inventory is inventory/mine: no such file or folder"),
    ("box: [a]", {}, "must be the name of a box"),
    ("- box", {}, "vagrant.yml must hold settings"),
    ("box: {", {}, "vagrant.yml can't be read: "),
    ("box: !ruby/object:Object {}", {}, "vagrant.yml can't be read: "),
    (None, {"HOMELAB_VM_FILE": "/nowhere.yml"}, "HOMELAB_VM_FILE is /nowhere.yml: no such file"),
    ("cpus: 0\nmemory: 1", {}, "cpus is 0: must be a whole number of CPUs from 1 to 64; vagrant.yml: memory is 1:"),
]


@needs_ruby
def test_bad_settings_in_one_line() -> None:
    found = settings(*((file, environment) for file, environment, _ in BAD))
    for (file, environment, wanted), got in zip(BAD, found, strict=True):
        assert isinstance(got, str), (file, environment, "was taken")
        assert wanted in got, (file, environment)
        assert "\n" not in got, (file, environment)


# --- by Vagrant

# What Vagrant's own classes make of the Vagrantfile, without a provider that works here.
CONFIG = """
require "vagrant"
require "json"
begin
  require "vagrant-libvirt" if ARGV[1] == "libvirt"
rescue LoadError
  exit 77
end
environment = Vagrant::Environment.new(cwd: ARGV[0], ui_class: Vagrant::UI::Silent)
config = environment.vagrantfile.machine_config(:"admin-vm", ARGV[1].to_sym, nil, nil, false)[:config]
provider = config.vm.get_provider_config(ARGV[1].to_sym)
wanted = %i[cpus memory linked_clone customizations driver cpu_mode cpu_model usbs usbctl_dev gui]
puts JSON.generate(
  box: config.vm.box,
  networks: config.vm.networks,
  folders: config.vm.synced_folders,
  triggers: config.trigger.before_triggers.map(&:command),
  provisioners: config.vm.provisioners.map { |each| [each.type, each.config.instance_values] },
  provider: wanted.select { |name| provider.respond_to?(name) }.to_h { |name| [name, provider.public_send(name)] },
  unknown: provider._detected_errors
)
"""
VAGRANT_CLASSES = """
class Object
  def instance_values
    instance_variables.to_h { |name| [name.to_s.delete("@"), instance_variable_get(name)] }.
      select { |_, value| [String, Array, Hash, TrueClass, FalseClass].any? { |type| value.is_a?(type) } }
  end
end
"""


@pytest.fixture
def clean_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing of the user's own settings and machines."""
    for name in [name for name in os.environ if name.startswith(("HOMELAB_VM_", "VAGRANT_"))]:
        monkeypatch.delenv(name)
    (tmp_path / "empty.yml").write_text("")
    monkeypatch.setenv("HOMELAB_VM_FILE", str(tmp_path / "empty.yml"))
    monkeypatch.setenv("VAGRANT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("VAGRANT_DOTFILE_PATH", str(tmp_path / "state"))
    monkeypatch.setenv("VAGRANT_CHECKPOINT_DISABLE", "1")
    return tmp_path


def vagrant(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, **environment}
    return subprocess.run(["vagrant", *words], capture_output=True, text=True, check=False, cwd=ROOT, env=variables)


@needs_vagrant
@pytest.mark.parametrize("provisioner", ["ansible", "ansible_local", "none"])
def test_vagrant_validates(clean_environment: Path, provisioner: str) -> None:
    done = vagrant("validate", "--ignore-provider", HOMELAB_VM_PROVISIONER=provisioner)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_vagrant
def test_a_bad_setting_stops_vagrant_with_one_line(clean_environment: Path) -> None:
    done = vagrant("status", HOMELAB_VM_MEMORY="lots")
    assert done.returncode == 1
    said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    assert said == ['Vagrantfile: HOMELAB_VM_MEMORY is "lots": must be a whole number of MB from 512 to 262144']


def config(provider: str, **environment: str) -> dict[str, t.Any]:
    done = subprocess.run(
        ["ruby", "-e", VAGRANT_CLASSES + CONFIG, str(ROOT), provider],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )
    if done.returncode == 77:
        pytest.skip(f"no vagrant-{provider} here: its part is not tested (apt-get install vagrant-{provider})")
    assert done.returncode == 0, done.stderr
    return t.cast("dict[str, t.Any]", json.loads(done.stdout.splitlines()[-1]))


@needs_vagrant_classes
def test_virtualbox(clean_environment: Path) -> None:
    found = config("virtualbox", HOMELAB_VM_MEMORY="3000", HOMELAB_VM_USB_READER="05e3:0749")
    assert found["unknown"] == []
    assert found["provider"]["linked_clone"] is True
    customized = [words for _, words in found["provider"]["customizations"]]
    assert ["modifyvm", "id", "--memory", "3000"] in customized
    assert ["modifyvm", "id", "--cpus", 2] in customized
    assert customized[-1][-4:] == ["--vendorid", "05e3", "--productid", "0749"]
    forwarded = {entry["guest"]: entry for kind, entry in found["networks"] if kind == "forwarded_port"}
    assert {8443, 8080, 9000} <= set(forwarded)
    assert {forwarded[port]["host_ip"] for port in (8443, 8080, 9000)} == {"127.0.0.1"}
    assert [kind for kind, _ in found["networks"] if kind != "forwarded_port"] == []
    assert found["folders"]["/vagrant"]["disabled"] is True
    ((kind, ansible),) = found["provisioners"]
    assert (kind, ansible["compatibility_mode"], ansible["playbook"]) == ("ansible", "2.0", "playbooks/admin.yml")
    assert ansible["raw_arguments"] == ["--inventory=inventory/homelab"]
    assert ansible["extra_vars"] == {"admin_forwarded_ports": [8443, 8080, 9000], "vagrant_provisioner": "ansible"}
    assert found["triggers"] == ["up", "reload", "provision"]


@needs_vagrant_classes
def test_a_second_start_adds_no_second_usb_filter(clean_environment: Path) -> None:
    made = clean_environment / "state" / "machines" / "admin-vm" / "virtualbox"
    made.mkdir(parents=True)
    (made / "id").write_text("x")
    found = config("virtualbox", HOMELAB_VM_USB_READER="05e3:0749")
    assert not any("usbfilter" in words for _, words in found["provider"]["customizations"])


@needs_vagrant_classes
def test_libvirt(clean_environment: Path) -> None:
    found = config(
        "libvirt",
        HOMELAB_VM_LIBVIRT_DRIVER="qemu",
        HOMELAB_VM_LIBVIRT_CPU_MODE="custom",
        HOMELAB_VM_LIBVIRT_CPU_MODEL="qemu64",
        HOMELAB_VM_USB_READER="05e3:0749",
        HOMELAB_VM_NETWORK="bridge",
        HOMELAB_VM_BRIDGE="br7",
        HOMELAB_VM_FORWARDED_PORTS="2299:22",
        HOMELAB_VM_PROVISIONER="ansible_local",
        HOMELAB_VM_SYNCED_FOLDER_TYPE="rsync",
    )
    assert found["unknown"] == []
    provider = found["provider"]
    assert (provider["driver"], provider["cpu_mode"], provider["cpu_model"]) == ("qemu", "custom", "qemu64")
    assert [(usb["vendor"], usb["product"]) for usb in provider["usbs"]] == [("0x05e3", "0x0749")]
    assert provider["usbctl_dev"] == {"model": "qemu-xhci"}
    public = [entry for kind, entry in found["networks"] if kind == "public_network"]
    assert [(entry["bridge"], entry["dev"]) for entry in public] == [("br7", "br7")]
    assert any((entry["guest"], entry.get("host")) == (22, 2299) for _, entry in found["networks"])
    folder = found["folders"]["/vagrant"]
    assert (folder["disabled"], folder["type"]) == (False, "rsync")
    assert ".git/" in folder["rsync__exclude"]
    # With links followed, the collection's link to itself never ends.
    assert folder["rsync__args"] == ["--archive", "--delete", "--compress"]
    assert [kind for kind, _ in found["provisioners"]] == ["shell", "ansible_local"]
    inside = found["provisioners"][1][1]
    assert (inside["install"], inside["provisioning_path"]) == (False, "/vagrant")


# Notes what the blocks of providers say; VMware and Parallels have no classes in a plain Vagrant.
RECORDER = """
require "json"
$said = Hash.new { |all, provider| all[provider] = {} }
class Recorder
  def initialize(provider = nil)
    @provider = provider
  end

  def method_missing(name, *words, **)
    $said[@provider][name.to_s.chomp("=")] = words.first if @provider && name.end_with?("=")
    yield Recorder.new(name == :provider ? words.first : nil) if %i[define provider].include?(name)
    self
  end
end
module Vagrant
  def self.require_version(*) end

  def self.configure(*)
    yield Recorder.new
  end
end
load ARGV[0]
puts JSON.generate($said)
"""


@needs_ruby
def test_vmware_and_parallels(clean_environment: Path) -> None:
    done = subprocess.run(
        ["ruby", "-e", RECORDER, str(ROOT / "Vagrantfile")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HOMELAB_VM_CPUS": "3", "HOMELAB_VM_LINKED_CLONE": "false"},
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    common = {"cpus": 3, "memory": 2048, "linked_clone": False}
    assert said["vmware_desktop"] == {**common, "gui": False}
    assert said["parallels"] == common


# --- what Vagrant calls as ansible-playbook


def test_the_inventory_of_vagrant_comes_last(tmp_path: Path) -> None:
    (tmp_path / "vm").mkdir()
    shutil.copy(ROOT / "vm" / "ansible-playbook", tmp_path / "vm")
    fake = tmp_path / "ansible-playbook"
    fake.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    fake.chmod(0o755)
    words = ["--limit=x", "--inventory-file=/a b/c", '--extra-vars={"a": "b c"}', "--inventory=ours", "play.yml"]
    command = ["sh", "vm/ansible-playbook", *words]
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.splitlines() == [*words[:1], *words[2:], "--inventory=/a b/c"]

    fake.unlink()
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 127
    assert "make venv" in done.stderr


@pytest.mark.parametrize(
    ("interpreter", "used"), [("/bin/sh", "of .venv"), ("/home/me/homelab/.venv/bin/python", "of the PATH")]
)
def test_an_environment_of_another_machine_is_passed_over(tmp_path: Path, interpreter: str, used: str) -> None:
    """The VM sees the workstation's .venv at /vagrant: its Python may even run, its scripts name a lost path.

    dash looks further along the PATH by itself then, other shells give up.
    """
    programs = tmp_path / ".venv" / "bin"
    for folder in (tmp_path / "vm", tmp_path / "bin", programs):
        folder.mkdir(parents=True)
    shutil.copy(ROOT / "vm" / "ansible-playbook", tmp_path / "vm")
    (programs / "python").symlink_to(sys.executable)
    (programs / "ansible-playbook").write_text(f"#!{interpreter}\necho of .venv\n")
    (tmp_path / "bin" / "ansible-playbook").write_text("#!/bin/sh\necho of the PATH\n")
    for folder in (programs, tmp_path / "bin"):
        (folder / "ansible-playbook").chmod(0o755)
    done = subprocess.run(
        ["bash", "--posix", "vm/ansible-playbook", "play.yml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": f"{tmp_path}/bin:/usr/bin:/bin"},
    )
    assert (done.returncode, done.stdout.strip()) == (0, used), done.stderr


# --- what vm/install-ansible puts into the VM


def pins(name: str) -> set[str]:
    return set(re.findall(r"^[a-z][\w.-]*==[\w.]+", (ROOT / "requirements" / name).read_text(), re.MULTILINE))


def test_the_ansible_in_the_vm_is_the_one_of_the_development_environment() -> None:
    assert {pin.partition("==")[0] for pin in pins("ansible.txt")} > {"ansible-core", "cryptography"}
    assert pins("ansible.txt") <= pins("dev.txt")


# --- how playbooks find the admin host


@pytest.fixture
def inventory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the homelab in a project of its own."""
    monkeypatch.delenv("VAGRANT_DOTFILE_PATH", raising=False)
    (tmp_path / "Vagrantfile").write_text("")
    return Path(shutil.copytree(HOMELAB, tmp_path / "inventory" / "homelab"))


def ansible(command: str, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_FORCE_COLOR": "0",
        "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
        "LC_ALL": "C.UTF-8",
    }
    argv = [str(Path(sys.executable).parent / command), *words]
    return subprocess.run(argv, capture_output=True, text=True, check=False, cwd=ROOT, env=environment, timeout=120)


def host(inventory: Path, name: str = "admin-vm") -> dict[str, t.Any]:
    done = ansible("ansible-inventory", "-i", str(inventory), "--host", name)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return t.cast("dict[str, t.Any]", json.loads(done.stdout))


def say(inventory: Path, **variables: str) -> None:
    hosts = yaml.safe_load((inventory / "hosts.yml").read_text())
    hosts["admin"]["hosts"]["admin-vm"] = variables
    (inventory / "hosts.yml").write_text(yaml.safe_dump(hosts))


def running(project: Path, port: int) -> dict[str, t.Any]:
    """A machine, and Vagrant's answer as it is kept."""
    from ansible_collections.homelab.talos.plugins.plugin_utils import _vagrant

    state = project / ".vagrant" / "machines" / "admin-vm" / "libvirt"
    state.mkdir(parents=True)
    (state / "id").write_text("1234")
    answer = {"HostName": "127.0.0.1", "Port": str(port), "User": "vagrant", "IdentityFile": str(state / "id")}
    return _vagrant.Machine(project, "admin-vm", lambda *_: answer).variables()


def test_no_vm_and_what_needs_none(inventory: Path, tmp_path: Path) -> None:
    found = host(inventory)
    assert found["ansible_connection"] == "homelab.talos.no_vm"
    assert f"run 'vagrant up' in {tmp_path}" in found["vagrant_problem"]


@pytest.mark.parametrize(
    "words", [("ansible", "admin", "-m", "ansible.builtin.ping"), ("ansible-playbook", "playbooks/status.yml")]
)
def test_what_needs_the_admin_host_says_run_vagrant_up(inventory: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    done = ansible(words[0], "-i", str(inventory), *words[1:])
    assert done.returncode != 0
    assert f"admin-vm is not there: run 'vagrant up' in {tmp_path}" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    "said", [{"ansible_connection": "local"}, {"ansible_host": "192.0.2.1", "ansible_user": "me"}], ids=["local", "ssh"]
)
@pytest.mark.parametrize("place", ["hosts.yml", "host_vars", "group_vars"])
def test_another_admin_host(inventory: Path, tmp_path: Path, said: dict[str, str], place: str) -> None:
    # There is a VM too, but nobody listens: asking Vagrant would be seen.
    (tmp_path / ".vagrant" / "machines" / "admin-vm" / "libvirt").mkdir(parents=True)
    (tmp_path / ".vagrant" / "machines" / "admin-vm" / "libvirt" / "id").write_text("1234")
    if place == "hosts.yml":
        say(inventory, **said)
    else:
        (inventory / place).mkdir(exist_ok=True)
        name = "admin" if place == "group_vars" else "admin-vm"
        (inventory / place / f"{name}.yml").write_text(yaml.safe_dump(said))
    assert host(inventory) == said


class Greeting(socketserver.BaseRequestHandler):
    """What sshd says first."""

    def handle(self) -> None:
        self.request.sendall(b"SSH-2.0-test\r\n")


def test_the_running_vm_and_the_nodes_that_go_through_it(inventory: Path, tmp_path: Path) -> None:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Greeting) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        expected = {"ansible_python_interpreter": "/usr/bin/python3", **running(tmp_path, server.server_address[1])}
        assert host(inventory) == expected
        # The nodes have an interpreter of their own.
        names = [name for name in expected if name != "ansible_python_interpreter"]
        shown = json.dumps({"msg": f"{{{{ [{', '.join(names)}] }}}}"})
        done = ansible("ansible", "-i", str(inventory), "talos-w3", "-m", "ansible.builtin.debug", "-a", shown)
        server.shutdown()
    assert json.loads(done.stdout.partition("=>")[2])["msg"] == [expected[name] for name in names]


def test_the_plugin_alone_makes_the_admin_host(tmp_path: Path) -> None:
    (tmp_path / "vagrant.yml").write_text("plugin: homelab.talos.vagrant\nmachine: other\n")
    done = ansible("ansible-inventory", "-i", str(tmp_path / "vagrant.yml"), "--list")
    assert json.loads(done.stdout)["admin"]["hosts"] == ["other"]


def test_a_project_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "vagrant.yml").write_text("plugin: homelab.talos.vagrant\nproject: ../nowhere\n")
    done = ansible("ansible-inventory", "-i", str(tmp_path / "vagrant.yml"), "--list")
    assert done.returncode != 0
    assert "there is no Vagrantfile in" in done.stderr


def test_inside_the_vm_the_admin_host_is_local(inventory: Path) -> None:
    (inventory / "vagrant.yml").write_text(f"plugin: homelab.talos.vagrant\nmachine: {socket.gethostname()}\n")
    assert host(inventory) == {"ansible_connection": "local", "ansible_python_interpreter": "/usr/bin/python3"}
