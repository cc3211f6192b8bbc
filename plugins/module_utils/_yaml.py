# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This module util is private to the homelab.talos collection: it may change without notice.
"""PyYAML, safe, and in C where it was built. Without it the import still succeeds, and modules say what is missing."""

from __future__ import annotations

import typing as t

if t.TYPE_CHECKING:
    import yaml
    from yaml import CBaseLoader as TextLoader
    from yaml import CSafeDumper as SafeDumper
    from yaml import CSafeLoader as SafeLoader
else:
    try:
        import yaml
    except ImportError:
        yaml = SafeDumper = SafeLoader = TextLoader = None
    else:
        SafeDumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

        class SafeLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            """Dates and ``=`` stay texts, as Talos and Kubernetes take them. All that fails is a yaml.YAMLError."""

            def construct_document(self, node):
                try:
                    return super().construct_document(node)
                except (AttributeError, LookupError, TypeError, ValueError):
                    # PyYAML's own constructors let these through, and they quote the value.
                    raise yaml.constructor.ConstructorError(None, None, "a value is not of its type") from None

        SafeLoader.yaml_implicit_resolvers = {
            first: [each for each in found if each[0].rsplit(":", 1)[1] not in ("timestamp", "value")]
            for first, found in SafeLoader.yaml_implicit_resolvers.items()
        }
        # Keeps every scalar as its text, so that nothing can fail to load by its type.
        TextLoader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)

__all__ = ["SafeDumper", "SafeLoader", "TextLoader", "load", "yaml"]


def load(text: str | bytes) -> t.Any:
    """One document. Raises yaml.YAMLError, and nothing else."""
    loader = SafeLoader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()
