# SPDX-License-Identifier: Apache-2.0
"""What was seen of each window ↔ the lines of a file that only grows.

A rescoring that was cut off goes on after its last line; a larger budget goes on there too.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from cosmos_flywheel.core.screening import Key
from cosmos_flywheel.store.files import storing
from cosmos_flywheel.store.lines import append_lines, read_lines

FOLDER = 'rescored'
SCHEMA = 'rescored-v1'


@dataclass(frozen=True, slots=True)
class Seen:
    """One window as the dear model saw it."""

    bag_id: str
    number: int
    above: bool | None
    share: float | None
    episodes: tuple[str, ...]
    """That it belongs to, of those found by looking again."""
    engine_s: float
    """That it took; no part of what was seen."""

    @property
    def key(self) -> Key:
        """Which window."""
        return self.bag_id, self.number


class Journal:
    """One file for each configuration, in the folder of a harvest."""

    def __init__(self, out: Path, config_hash: str) -> None:
        self.path = out / FOLDER / f'{config_hash[:16]}.jsonl'

    def read(self) -> dict[Key, Seen]:
        """All windows seen so far; of one seen twice, the later word.

        Raises:
            SchemaError, StoreError: the file is damaged; names it.

        """
        names = Seen.__dataclass_fields__
        lines = [{n: line[n] for n in names} for line in read_lines(self.path, SCHEMA)]
        seen = [Seen(**{**line, 'episodes': tuple(line['episodes'])}) for line in lines]
        return {one.key: one for one in seen}

    def add(self, seen: Seen) -> None:
        """On disk when this returns."""
        with storing(self.path):
            self.path.parent.mkdir(exist_ok=True)
        document = {'schema': SCHEMA, **asdict(seen), 'episodes': list(seen.episodes)}
        append_lines(self.path, SCHEMA, lambda _: [document])
