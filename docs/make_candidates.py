# SPDX-License-Identifier: Apache-2.0
"""Draws docs/candidates.png: the first candidates of each family that `bench/generate.py` kept.

python bench/generate.py --keep DIR && python docs/make_candidates.py DIR
"""

from __future__ import annotations

import sys
from pathlib import Path

from cosmos_flywheel.generate.sheet import draw_sheet
from cosmos_flywheel.store.candidates import iter_candidates, read_candidate

PICTURE = Path(__file__).with_name('candidates.png')
SETS = ('g1', 'mujoco_push', 'sim_arm', 'sim_base')
MOST = {'g1': 2, 'mujoco_push': 2, 'sim_arm': 3, 'sim_base': 2}


def main() -> None:
    """One row for each set, backend and family, up to a few a set."""
    rows: list[Path] = []
    for name in SETS:
        seen: dict[str, Path] = {}
        for folder in iter_candidates(Path(sys.argv[1]) / f'out_{name}'):
            manifest = read_candidate(folder)
            kind = f'{manifest["backend"]} {manifest["variation"]["family"]}'
            seen.setdefault(kind if name != 'g1' else manifest['episode'], folder)
        rows += [seen[key] for key in sorted(seen)][: MOST[name]]
    PICTURE.write_bytes(draw_sheet(rows))


if __name__ == '__main__':
    main()
