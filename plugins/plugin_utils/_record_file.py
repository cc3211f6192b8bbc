# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files on the controller that the user commits. Several runs, and several tasks of one, may add to them at once."""

from __future__ import annotations

import contextlib
import os
import typing as t

import yaml
from ansible.utils.display import Display

from ..module_utils._errors import TalosError
from ..module_utils._whole_file import lock_alone, whole_file

display = Display()


class RecordFile:
    """A YAML file of records; ``error`` is what its faults are raised as."""

    def __init__(self, path: str, error: type[TalosError]) -> None:
        self.path = path
        self._error = error

    def read(self) -> object:
        """Its data, all scalars as texts: a sha256 of digits alone is a text, too. None where there is no file."""
        try:
            with open(self.path, encoding="utf-8") as file:
                return yaml.load(file, yaml.BaseLoader)  # noqa: S506 - makes texts alone
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._error(f"{self.path} cannot be read: {error.strerror}") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise self._error(f"{self.path} is not YAML: {error}", remedy="Correct it by hand") from error

    @contextlib.contextmanager
    def alone(self) -> t.Iterator[None]:
        """Nobody else writes meanwhile."""
        try:
            os.makedirs(self._folder, exist_ok=True)
            with _alone_in(self._folder):
                yield
        except OSError as error:
            raise self._error(f"{self.path} cannot be written: {error.strerror}") from error

    def write(self, text: str) -> None:
        with whole_file(self._folder, text.encode()) as temporary:
            # To be committed, it is no secret.
            os.chmod(temporary, 0o644)
            os.replace(temporary, self.path)

    @property
    def _folder(self) -> str:
        return os.path.dirname(self.path)


@contextlib.contextmanager
def _alone_in(folder: str) -> t.Iterator[None]:
    """A lock on the folder leaves no file behind, and ends with its process."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        lock_alone(descriptor, folder, display.warning)
        yield
    finally:
        os.close(descriptor)
