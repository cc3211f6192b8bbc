#!/usr/bin/env bash
# Runs `ansible-test sanity --local` on a copy of what the collection ships (ansible-test needs a folder
# .../ansible_collections/homelab/talos, which a checkout is not):
#   tests/sanity.sh [ARGUMENTS OF ansible-test sanity]
# Modules are compiled and imported under every Python from 3.9 on that starts here.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
venv=${VENV:-$root/.venv}

# A home of its own, kept between runs: ansible-test makes its environments in there.
home=$root/.cache/sanity-home
mkdir -p "$home/.ansible/test/cache" "$home/.pip"
copy=$(mktemp -d)
trap 'rm -rf "$copy" "$home/.pip"' EXIT

# ansible-test fetches the installer of pip from a site that not every machine reaches; each Python has one built in.
requirements=$("$venv/bin/python" -c 'from ansible_test._internal import python_requirements as m; print(m.__file__)')
while IFS= read -r version; do
    cat >"$home/.ansible/test/cache/get_pip_${version//./_}.py" <<'PYTHON'
import subprocess
import sys

subprocess.check_call([sys.executable, "-m", "ensurepip", "--upgrade", "--default-pip"])
PYTHON
done < <(sed -nE "s/^ +pip='([0-9.]+)',?$/\1/p" "$requirements")

# ansible-test passes neither the home of the user nor the environment on to pip: its settings go with it.
(
    umask 077
    "$venv/bin/python" - >"$home/.pip/pip.conf" <<'PYTHON'
from __future__ import annotations

import ast
import subprocess
import sys

command = [sys.executable, "-m", "pip", "config", "list"]
listed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
settings: dict[str, dict[str, str]] = {}
# variables of the environment (:env:.name) come first in the list and win over files
for line in reversed(listed.splitlines()):
    key, _, value = line.partition("=")
    section, _, name = key.rpartition(".")
    settings.setdefault("global" if section == ":env:" else section, {})[name] = ast.literal_eval(value)
for section, options in settings.items():
    print(f"[{section}]")
    for name, value in options.items():
        print(f"{name} =", "\n    ".join(value.splitlines()))
PYTHON
)

# Real interpreters ahead of everything; no shims, behind which a Python may be missing.
path=$venv/bin
while IFS= read -r python; do
    path+=:$(dirname "$python")
done < <("$root/.ci/find-python" --all 3.9 3.14)
while IFS= read -r folder; do
    if [[ $folder != */shims ]]; then path+=:$folder; fi
done < <(tr : '\n' <<<"$PATH")

# What git knows or would know and the artifact holds, and the lists of exceptions.
destination=$copy/ansible_collections/homelab/talos
mkdir -p "$destination"
cd "$root"
git ls-files -z --cached --others --exclude-standard -- . ':!collections' ':!examples' ':!inventory' ':!rehearsal' \
    ':!tests' ':!.ci' | tar --create --null --files-from=- --ignore-failed-read | tar --extract --directory="$destination"
if [[ -d tests/sanity ]]; then cp -r --parents tests/sanity "$destination"; fi

cd "$destination"
unset "${!ANSIBLE_@}" PYTHONPATH PYTHONUTF8
HOME=$home PATH=$path LC_ALL=C.UTF-8 ansible-test sanity --local --color no "$@"
