# SPDX-License-Identifier: Apache-2.0
"""What every benchmark shares: its options, its data, its table and its last line of JSON.

Data sets are folders with `bags/`, `nominal/` and `labels.json`. They are looked for in
`../shared/data` beside the project; where that is absent, the small set of the demo serves.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / 'shared' / 'data'
DEMO = ROOT / 'demo' / 'bags'
OUT = ROOT / 'bench' / 'out'
"""Where benches keep what takes long to make: models and simulated episodes; not in git."""
ROBOTS = {'g1_pick_bottle': 'g1', 'mujoco_push_faults': 'mujoco_push'}
"""Which robot file belongs to which data set."""


@dataclass(slots=True)
class Bench:
    """One run of one benchmark."""

    name: str
    data: Path
    quick: bool
    only: tuple[str, ...] = ()
    given: dict[str, Path | None] = field(default_factory=dict)
    """By name, the folders that one bench takes and others do not."""
    told: dict[str, str] = field(default_factory=dict)
    """By name, words that one bench takes and others do not; empty where none were given."""
    figures: dict[str, Any] = field(default_factory=dict)
    bars: dict[str, bool] = field(default_factory=dict)

    def wants(self, part: str) -> bool:
        """Whether this part was asked for; all are unless some are named."""
        return not self.only or part in self.only

    def sets(self) -> list[Path]:
        """The data sets that are there."""
        return [self.data / name for name in ROBOTS if (self.data / name).is_dir()]

    def finish(self) -> int:
        """Print the last line; every bar that did not hold prints false."""
        said = {'bench': self.name, 'figures': self.figures, 'bars': self.bars}
        print(json.dumps(said, default=lambda number: number.item()))  # numpy's
        return 0


def begin(
    name: str, what: str, *, words: Mapping[str, str] | None = None, **folders: str
) -> Bench:
    """Read the command line and say which data is used.

    Args:
        name: the bench's.
        what: it does.
        words: options of this bench that are no folders, and what each means.
        folders: likewise those that are.

    """
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument('--data', type=Path, help='a folder of data sets')
    parser.add_argument('--quick', action='store_true', help='less data, the same figures')
    parser.add_argument('--only', nargs='+', default=(), help='only these of its parts')
    for folder, meaning in folders.items():
        parser.add_argument(f'--{folder}', type=Path, help=meaning)
    for word, meaning in (words or {}).items():
        parser.add_argument(f'--{word}', default='', help=meaning)
    args = parser.parse_args()
    data = args.data or (SHARED if SHARED.is_dir() else DEMO)
    if not args.data and data == DEMO:
        print('data: the demo set only (../shared/data is not here)')
    if not any((data / name).is_dir() for name in ROBOTS):
        sys.exit(f'{data}: none of {", ".join(ROBOTS)} is here; give --data')
    given = {folder: getattr(args, folder) for folder in folders}
    told = {word: getattr(args, word) for word in words or {}}
    return Bench(name, data, args.quick, tuple(args.only), given, told)


def print_table(rows: Sequence[Sequence[object]]) -> None:
    """Rows in aligned columns, the first one the head."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        print('  '.join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip())
    print()


def read_labels(folder: Path) -> list[dict[str, Any]]:
    """What was done to each bag of a data set."""
    episodes: list[dict[str, Any]] = json.loads((folder / 'labels.json').read_text())['episodes']
    return episodes
