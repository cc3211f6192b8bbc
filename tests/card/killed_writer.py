# Copyright (c) 2026 homelab.talos contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A writer that sends itself a signal at one of its calls to the card:

    killed_writer.py IMAGE DEVICE IDENTITY NODE CALL SIGNAL

CALL counts its reads, writes and flushes from 0. At an even CALL, a write comes to the card in part before the signal.
Prints what the card's error says.
"""

from __future__ import annotations

import itertools
import os
import sys
import typing as t

from ansible_collections.homelab.talos.plugins.module_utils import _direct_io
from ansible_collections.homelab.talos.plugins.module_utils._card_marker import Marker
from ansible_collections.homelab.talos.plugins.module_utils._cards import Asked, Cards, Rules
from ansible_collections.homelab.talos.plugins.module_utils._progress import Watch


def main() -> None:
    image, device, identity, node, number, sign = sys.argv[1:]
    left = itertools.count(int(number), -1)
    for name in ("preadv", "pwritev", "fsync"):
        setattr(_direct_io.os, name, deadly(getattr(os, name), left, int(number) % 2 == 0, int(sign)))
    with Watch() as watch:
        cards = Cards([Asked(device, identity, node)], Rules(force=True), watch)
        cards.present(image, Marker(cluster="homelab"), False)
    print(cards.all[0].error or "")


def deadly(call: t.Callable[..., t.Any], left: t.Iterator[int], in_part: bool, sign: int) -> t.Callable[..., t.Any]:
    def counted(descriptor: int, *arguments: t.Any) -> t.Any:
        if next(left) == 0:
            if in_part and call.__name__ == "pwritev":
                [view], offset = arguments
                call(descriptor, [view[:4096]], offset)
            os.kill(os.getpid(), sign)
        return call(descriptor, *arguments)

    return counted


if __name__ == "__main__":
    main()
