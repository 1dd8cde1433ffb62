# SPDX-License-Identifier: Apache-2.0
"""Untriaged episodes, one after another → a person's labels: one key each, kept at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from cosmos_flywheel.cli.episode_story import tell_briefly
from cosmos_flywheel.cli.keys import END, Keys
from cosmos_flywheel.cli.progress import ProgressLine
from cosmos_flywheel.cli.table import printable
from cosmos_flywheel.core.errors import FlywheelError
from cosmos_flywheel.store.catalogue import Catalogue
from cosmos_flywheel.store.episodes import read_episode
from cosmos_flywheel.store.labels import UNTRIAGED
from cosmos_flywheel.store.records import ClusterRow, EpisodeRow

LABEL_OF: Mapping[str, str] = {
    'f': 'failure',
    'a': 'anomaly_no_failure',
    'x': 'false_alarm',
    's': 'sensor_fault',
}
"""By key."""
LABEL_KEYS = 'f failure, a anomaly but no failure, x false alarm, s sensor fault'
HELP = (
    LABEL_KEYS,
    'r type a reason for the next label, c give the last label to the rest of this cluster',
    'space or n skip, u take the last label back, ? this, q quit; labels are kept as you press',
)


@dataclass(frozen=True, slots=True)
class Given:
    """What one key did."""

    episodes: tuple[str, ...]
    label: str
    reason: str
    cluster: str | None
    place: int
    """In the queue, where the key was pressed."""


class Triage:
    """Goes through what nobody has judged yet; what others judge meanwhile is passed over.

    Args:
        catalogue: of the output folder.
        keys: what the person presses.
        reviewer: who they are.
        reason: given with every label that has none of its own.

    """

    def __init__(self, catalogue: Catalogue, keys: Keys, reviewer: str, reason: str = '') -> None:
        self._catalogue = catalogue
        self._keys = keys
        self._reviewer = reviewer
        self._reason = self._usual_reason = reason
        self._clusters = {row.id: row for row in catalogue.clusters()}
        self._queue = [*_in_order(self._clusters.values(), catalogue.episodes(state=UNTRIAGED))]
        self._place = 0
        self._given: list[Given] = []
        self._commands: Mapping[str, Callable[[EpisodeRow], None]] = {
            ' ': self._skip,
            'n': self._skip,
            'u': self._undo,
            'c': self._label_cluster,
            'r': self._ask_reason,
            '?': self._help,
        }

    def run(self) -> int:
        """Ask until all is judged or the person has enough; returns the exit code."""
        if not self._queue:
            print('every episode has its label')
            return 0
        shown = None
        try:
            while (row := self._next()) is not None:
                if row.id != shown and not self._show(row):
                    self._place += 1
                    continue
                shown = row.id
                print(f'[{"".join(LABEL_OF)} space u c r ? q] ', end='', flush=True)
                key = self._keys.key()
                if key in (END, 'q'):
                    print()
                    break
                shown = self._press(key, row)
        finally:
            print(self._summary())
        return 0

    def _press(self, key: str, row: EpisodeRow) -> str | None:
        """Do what the key says; returns the episode that need not be shown again."""
        place = self._place
        if key in LABEL_OF:
            self._give([row], LABEL_OF[key])
        elif key in self._commands:
            self._commands[key](row)
        else:
            print(printable(f'{key!r} does nothing here; press ? for help'))
        return row.id if self._place == place else None

    def _next(self) -> EpisodeRow | None:
        """The first episode from here on that still has no label."""
        while self._place < len(self._queue):
            row = self._catalogue.episode(self._queue[self._place].id)
            if row.label == UNTRIAGED:
                return row
            self._place += 1
        return None

    def _show(self, row: EpisodeRow) -> bool:
        """Whether the episode can be shown."""
        print(f'\n[{self._place + 1} of {len(self._queue)}] episode {row.id}')
        try:
            folder = self._catalogue.folder(row.id)
            manifest = read_episode(folder)
        except FlywheelError as error:
            print(printable(f'cannot be judged: {error}'))
            return False
        cluster = self._clusters.get(row.cluster or '')
        more = len(self._alike(row)) - 1
        for line in tell_briefly(folder, manifest, row, cluster, more):
            print(printable(line))
        return True

    def _alike(self, row: EpisodeRow) -> list[EpisodeRow]:
        """Episodes of the same cluster that still have no label, this one among them."""
        if row.cluster is None:
            return [row]
        return self._catalogue.episodes(state=UNTRIAGED, cluster=row.cluster)

    def _give(self, rows: Iterable[EpisodeRow], label: str) -> None:
        """Label these, each on disk before the next."""
        reason, self._reason = self._reason, self._usual_reason
        labelled: list[str] = []
        try:
            for row in rows:
                self._say(row.id, label, reason)
                labelled.append(row.id)
        finally:  # what was labelled before an error or Ctrl-C counts
            if labelled:
                given = Given(tuple(labelled), label, reason, row.cluster, self._place)
                self._given.append(given)
        self._place += 1
        print(label if len(labelled) == 1 else f'{label}, {len(labelled)} episodes')

    def _say(self, episode: str, label: str, reason: str) -> None:
        self._catalogue.label(episode, label, reviewer=self._reviewer, reason=reason)

    def _skip(self, _: EpisodeRow) -> None:
        self._place += 1
        print('skipped')

    def _undo(self, _: EpisodeRow) -> None:
        if not self._given:
            print('nothing to take back')
            return
        given = self._given.pop()
        for episode in given.episodes:
            self._say(episode, UNTRIAGED, 'taken back')
        self._place = given.place
        print(f'took back: {given.label} of {", ".join(given.episodes[:3])}')

    def _label_cluster(self, row: EpisodeRow) -> None:
        if row.cluster is None:
            out = self._catalogue.out
            print(printable(f'it has no cluster yet; run: flywheel episodes rebuild {out}'))
            return
        last = next((g for g in reversed(self._given) if g.cluster == row.cluster), None)
        if last is None:
            print('label one episode of this cluster first; c gives its label to the rest')
            return
        rest = self._alike(row)
        print(f'{last.label} for all {len(rest)} left in this cluster? [y n] ', end='', flush=True)
        if self._keys.key() != 'y':
            print('no')
            return
        self._reason = last.reason
        with ProgressLine('labelling', bags=False) as line:
            line.expect({row.cluster: float(len(rest))})
            self._give(_counted(rest, row.cluster, line), last.label)

    def _ask_reason(self, _: EpisodeRow) -> None:
        self._reason = self._keys.line('reason: ') or self._usual_reason
        print(printable(f'the next label says: {self._reason}' if self._reason else 'no reason'))

    def _help(self, _: EpisodeRow) -> None:
        print('\n'.join(('help', *HELP)))

    def _summary(self) -> str:
        counted = Counter(given.label for given in self._given for _ in given.episodes)
        words = ', '.join(
            f'{counted[label]} {label}' for label in LABEL_OF.values() if counted[label]
        )
        left = len(self._catalogue.episodes(state=UNTRIAGED))
        return f'labelled: {words or "none"}; {left} left to judge'


def _in_order(
    clusters: Iterable[ClusterRow], untriaged: Iterable[EpisodeRow]
) -> Iterator[EpisodeRow]:
    """The most common cluster first, in it the most severe first; what has none comes last."""
    for cluster in clusters:
        yield from (member for member in cluster.members if member.label == UNTRIAGED)
    alone = (row for row in untriaged if row.cluster is None)
    yield from sorted(alone, key=lambda row: (-row.severity, row.id))


def _counted(rows: Iterable[EpisodeRow], name: str, line: ProgressLine) -> Iterator[EpisodeRow]:
    for number, row in enumerate(rows, start=1):
        yield row
        line(name, float(number))
