# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Looks at the host once for the role admin, and prints as JSON what is there and what is due. Changes nothing.

Asking for all of it in one process makes a run with nothing to do quick. Needs Python 3.9 and nothing else.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import pwd
import re
import stat
import subprocess
import sys

OPT = "/opt/homelab-talos"
# Seconds for one command.
TIME_OUT = 60
UNITS = ("systemd-timesyncd.service", "chrony.service", "homelab-firewall.service")


def main() -> None:
    asked = json.loads(sys.argv[1])
    system = os.path.isdir("/run/systemd/system")
    container = in_container()
    firewall = asked["firewall"] and not container
    clock = chosen_clock(asked["clock"])
    user = look_at_user(asked["user"] or login_user(), asked["keys"])
    print(
        json.dumps(
            {
                "family": family(),
                "systemd": system,
                "container": container,
                "firewall": firewall,
                "clock": clock,
                "user": user,
                "sshd": look_at_sshd(login_user()),
                "packages": missing_packages(asked, clock, firewall) if asked["install"] else [],
                "apt_usable": bool(glob.glob("/usr/lib/python3/dist-packages/apt_pkg*.so")),
                "units": {unit: look_at_unit(unit) for unit in UNITS if system},
                "linger": os.path.exists("/var/lib/systemd/linger/" + user["name"]),
                "venv": look_at_venv(asked["python"], asked["requirements"]),
                "files": [each["path"] for each in asked["files"] if wanted(each, clock, container) and differs(each)],
                "shells": shells_without(asked["shell_line"]),
            }
        )
    )


def run(*words: str) -> str:
    """Standard output; empty when the command is not there. One that hangs ends all: of it nothing is known."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=TIME_OUT)
    except OSError:
        return ""
    except subprocess.TimeoutExpired:
        sys.exit(f"{' '.join(words)} gave no answer within {TIME_OUT} seconds: see what it waits for, then run again")
    return done.stdout


def read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


# --- the machine


def family() -> str:
    found = dict(line.split("=", 1) for line in read("/etc/os-release").splitlines() if "=" in line)
    names = f"{found.get('ID', '')} {found.get('ID_LIKE', '')}".replace('"', "").split()
    return "debian" if "debian" in names else " ".join(names)


def in_container() -> bool:
    return os.path.exists("/run/systemd/container") or any(map(os.path.exists, ("/run/.containerenv", "/.dockerenv")))


def chosen_clock(wanted_clock: str) -> str:
    """The program that is to keep the clock; empty where another one does, or none is to."""
    if wanted_clock == "none":
        return ""
    if wanted_clock != "auto":
        return wanted_clock
    if os.path.exists("/usr/sbin/chronyd"):
        return "chrony"
    return "" if any(map(os.path.exists, ("/usr/sbin/ntpd", "/usr/sbin/openntpd"))) else "systemd-timesyncd"


def missing_packages(asked: dict, clock: str, firewall: bool) -> list[str]:
    names = {*asked["packages"], *([clock] if clock else []), *(["nftables"] if firewall else [])}
    # It fails when it does not know one of them, and shows the others nevertheless.
    shown = run("/usr/bin/dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n", *sorted(names))
    return sorted(names - {line.split()[0] for line in shown.splitlines() if line.endswith(" installed")})


def look_at_unit(unit: str) -> dict[str, bool]:
    shown = run("systemctl", "show", "--property=LoadState,ActiveState,UnitFileState", unit)
    state = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    return {
        "there": state.get("LoadState") == "loaded",
        "active": state.get("ActiveState") == "active",
        "enabled": state.get("UnitFileState") == "enabled",
    }


# --- users and SSH


def login_user() -> str:
    """Whom Ansible logged in as, before it became root."""
    return os.environ.get("SUDO_USER") or pwd.getpwuid(os.getuid()).pw_name


def look_at_user(name: str, keys: list[str]) -> dict:
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return {"name": name, "exists": False, "uid": 0, "home": "/home/" + name, "keys": keys}
    there = read(os.path.join(entry.pw_dir, ".ssh", "authorized_keys")).splitlines()
    return {
        "name": name,
        "exists": True,
        "uid": entry.pw_uid,
        "home": entry.pw_dir,
        "keys": [key for key in keys if key.strip() not in there],
    }


def look_at_sshd(name: str) -> dict:
    """Whether there is an SSH server that reads drop-ins, and whether the user may log in with a key."""
    includes = re.search(r"(?mi)^\s*Include\s.*/etc/ssh/sshd_config\.d/\*\.conf", read("/etc/ssh/sshd_config"))
    config: dict[str, str] = {}
    for line in run("/usr/sbin/sshd", "-T").splitlines():
        config.setdefault(*line.partition(" ")[::2])
    entry = pwd.getpwnam(name)
    paths = config.get("authorizedkeysfile", ".ssh/authorized_keys .ssh/authorized_keys2").split()
    keys = config.get("authorizedkeyscommand", "none") != "none" or any(
        line.strip() and not line.lstrip().startswith("#")
        for path in paths
        for line in read(key_file(path, entry)).splitlines()
    )
    return {"there": os.path.exists("/usr/sbin/sshd"), "includes": bool(includes), "login_user": name, "keys": keys}


def key_file(pattern: str, entry: pwd.struct_passwd) -> str:
    path = pattern.replace("%h", entry.pw_dir).replace("%u", entry.pw_name).replace("%U", str(entry.pw_uid))
    return os.path.join(entry.pw_dir, path)


# --- files


def wanted(file: dict, clock: str, container: bool) -> bool:
    if file["path"].startswith("/etc/ssh/") and not os.path.exists("/usr/sbin/sshd"):
        return False
    return file.get("clock", clock) == clock and not (file.get("host_only") and container)


def differs(file: dict) -> bool:
    try:
        with open(file["path"], "rb") as stream:
            found = os.fstat(stream.fileno())
            digest = hashlib.sha256(stream.read()).hexdigest()
    except OSError:
        return True
    owned = (found.st_uid, found.st_gid) == (0, 0)
    return not owned or digest != file["sha256"] or stat.S_IMODE(found.st_mode) != int(file.get("mode", "0644"), 8)


def shells_without(line: str) -> list[str]:
    """Start-up files of the interactive shells that are installed, which lack the line."""
    paths = [path for path in ("/etc/bash.bashrc", "/etc/zsh/zshrc") if os.path.exists(path)]
    return [path for path in paths if line and line not in read(path).splitlines()]


def look_at_venv(python: str, requirements: str) -> dict:
    """Where the environment for this Python and these requirements belongs, and whether it is in use already."""
    if not python:
        return {"due": False, "others": []}
    program = "import platform, sys; print(platform.python_version(), sys.implementation.cache_tag)"
    version = run(python, "-c", program).strip()
    name = hashlib.sha256(f"{python} {version} {requirements}".encode()).hexdigest()[:12]
    link, target = f"{OPT}/venv", f"{OPT}/venvs/{name}"
    whole = os.path.exists(f"{target}/.complete") and os.access(f"{target}/bin/python", os.X_OK)
    used = os.path.islink(link) and os.readlink(link) == target
    return {
        "python": version,
        "path": target,
        "whole": whole,
        "due": not (whole and used),
        "plain": os.path.isdir(link) and not os.path.islink(link),
        "others": [path for path in sorted(glob.glob(f"{OPT}/venvs/*")) if path != target],
    }


if __name__ == "__main__":
    main()
