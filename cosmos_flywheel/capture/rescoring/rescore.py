# SPDX-License-Identifier: Apache-2.0
"""A harvest's bags → a second look at some of their windows, one after the other.

One process, however many workers the harvest had: the budget is one engine's time. Every window
is on disk before the next one begins, its episodes first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from socket import gethostname

from cosmos_flywheel.bags.source import open_bag
from cosmos_flywheel.capture.rescoring.journal import FOLDER, Journal, Seen
from cosmos_flywheel.capture.rescoring.look import Look, Looker, write_found
from cosmos_flywheel.capture.rescoring.meter import Meter, OverBudgetError
from cosmos_flywheel.capture.rescoring.request import Rescoring
from cosmos_flywheel.capture.rescoring.result import SCHEMA, Rescored
from cosmos_flywheel.capture.rescoring.windows import DIGITS, Screened, windows_of
from cosmos_flywheel.capture.trace import RESCORE
from cosmos_flywheel.core.errors import BagError, ConfigError, EngineError
from cosmos_flywheel.core.screening import Key, Turn, turns_of
from cosmos_flywheel.store.catalogue import Catalogue
from cosmos_flywheel.store.episodes import is_complete, read_episode
from cosmos_flywheel.store.files import storing, write_document

Tell = Callable[[float], None]
"""Told how much of the budget is used up, in its own unit."""
NO_TIME = (
    'the budget was used up before one window was through: give more --gpu-budget, or '
    '--rescore-windows'
)


def rescore(
    bags: Sequence[Screened],
    request: Rescoring,
    out: Path,
    catalogue: Catalogue,
    tell: Tell | None = None,
) -> Rescored:
    """Look again within the budget, and write what that says beside the catalogue.

    Args:
        bags: what the screen made of each.
        request: model, budget and seed.
        out: the harvest's folder; a rescoring of before is continued.
        catalogue: of that folder.
        tell: told how far it is.

    Raises:
        StoreError, SchemaError: the folder cannot be written, or its journal is damaged.

    """
    session = _Session(bags, request, out, catalogue)
    stopped = session.spend(tell)
    result = session.result(stopped)
    run = out / FOLDER / f'{result.config_hash[:16]}.run.json'
    with storing(out / RESCORE):
        write_document(out / RESCORE, result.document(), SCHEMA)
        run.parent.mkdir(exist_ok=True)
        story = {'schema': 'run-v1', 'host': gethostname()}
        write_document(run, story | {'duration_s': round(result.engine_s, 3)}, 'run-v1')
    return result


class _Session:
    """One run over the windows of all bags."""

    def __init__(
        self, bags: Sequence[Screened], request: Rescoring, out: Path, catalogue: Catalogue
    ) -> None:
        self._bags = {bag.bag_id: bag for bag in bags}
        self._request = request
        self._out = out
        self._catalogue = catalogue
        self._window_s = request.window_s()
        self._config_hash = request.hash([bag.config_hash for bag in bags])
        self._windows = tuple(w for bag in bags for w in windows_of(bag, self._window_s))
        self._journal = Journal(out, self._config_hash)
        self._known = self._journal.read()
        self._seen: dict[Key, Seen] = {}
        self._turns: list[Turn] = []
        self._refused: dict[str, str] = {}
        self._meter = Meter()
        self._looker = Looker(request, self._meter)

    def spend(self, tell: Tell | None) -> str:
        """Take turn after turn until the budget is used up; returns what stopped it before."""
        try:
            for turn in turns_of(self._windows, self._request.seed):
                if self._is_spent():
                    break
                if turn.window.bag_id not in self._refused:
                    self._take(turn)
                if tell is not None:
                    tell(len(self._turns) if self._by_windows else self._spent_s)
        except OverBudgetError:
            return '' if self._turns else NO_TIME
        except EngineError as error:
            return f'stopped by the engine: {error}'
        finally:
            self._looker.close()
        return ''

    def result(self, stopped: str) -> Rescored:
        """What it came to."""
        return Rescored(
            self._request,
            self._config_hash,
            self._window_s,
            tuple(self._bags.values()),
            tuple(w for w in self._windows if w.bag_id not in self._refused),
            tuple(self._turns),
            self._seen,
            self._spent_s,
            self._refused,
            stopped,
        )

    @property
    def _by_windows(self) -> bool:
        return self._request.budget.windows is not None

    @property
    def _spent_s(self) -> float:
        """What the windows took, each when it was looked at: a run of before counts too."""
        return sum(seen.engine_s for seen in self._seen.values())

    def _is_spent(self) -> bool:
        """Whether another window, as long as those before, would go beyond the budget."""
        budget, done = self._request.budget, len(self._turns)
        if budget.windows is not None:
            return done >= budget.windows
        assert budget.seconds is not None
        usual_s = self._spent_s / done if done else 0.0
        return self._spent_s + usual_s > budget.seconds

    def _take(self, turn: Turn) -> None:
        seen = self._known.get(turn.window.key)
        if seen is None or not all(is_complete(self._out, e) for e in seen.episodes):
            try:
                seen = self._look(turn)
            except (ConfigError, BagError) as error:
                self._refuse(turn.window.bag_id, str(error))
                return
            self._journal.add(seen)
        self._turns.append(turn)
        self._seen[seen.key] = seen

    def _refuse(self, bag_id: str, why: str) -> None:
        """A bag that the model cannot look at counts nowhere."""
        self._refused[bag_id] = why
        self._turns = [t for t in self._turns if t.window.bag_id != bag_id]
        self._seen = {key: seen for key, seen in self._seen.items() if key[0] != bag_id}

    def _look(self, turn: Turn) -> Seen:
        bag, window = self._bags[turn.window.bag_id], turn.window
        seconds = self._request.budget.seconds
        before_s = self._meter.spent_s
        if seconds is not None:
            self._meter.limit_s = before_s + seconds - self._spent_s
        with open_bag(bag.path) as source:
            look = self._looker.look(source, window.number, self._window_s)
            engine_s = self._meter.spent_s - before_s
            episodes = self._keep(bag, turn, look) if window.kind == 'quiet' else ()
        share = None if look.share is None else round(look.share, DIGITS)
        return Seen(bag.bag_id, window.number, look.above, share, episodes, round(engine_s, 6))

    def _keep(self, bag: Screened, turn: Turn, look: Look) -> tuple[str, ...]:
        """Episodes of what the screen let pass; an alarm within one that is kept belongs to it."""
        found: set[str] = set()
        for capture in look.captures:
            onset_ns = capture.incident.onset_ns
            known = self._around(bag.bag_id, onset_ns)
            if known is None:
                known = write_found(
                    self._out,
                    bag.name,
                    look,
                    capture,
                    config_hash=self._config_hash,
                    screened_by=_screened_by(bag, turn),
                    run={
                        'schema': 'run-v1',
                        'bag_path': str(bag.path.resolve()),
                        'host': gethostname(),
                    },
                )
                self._catalogue.add_episode(known)
            found.add(known)
        return tuple(sorted(found))

    def _around(self, bag_id: str, stamp_ns: int) -> str | None:
        """The episode, found by looking again, that holds this instant."""
        mine = {e for key, seen in self._seen.items() if key[0] == bag_id for e in seen.episodes}
        for episode in sorted(mine):
            window = read_episode(self._out / episode)['window']
            if window['start_ns'] <= stamp_ns <= window['end_ns']:
                return episode
        return None


def _screened_by(bag: Screened, turn: Turn) -> Mapping[str, object]:
    """For the manifest of an episode that the screen had let pass."""
    return {
        'level': bag.trace.level,
        'calibration_id': bag.trace.calibration_id or None,
        'share': turn.window.share,
        'by_lot': turn.by_lot,
    }
