# SPDX-License-Identifier: Apache-2.0
"""Real input to candidates, end to end, on a CPU, and every candidate again from its manifest.

Bags with failures (G1, the gantry of the data sets, simulated arm and base) are harvested with
thresholds of nominal bags, labelled a failure as a person would, made into briefs and these into
candidates by the backends that are taken when none is named; where there are nominal bags of the
robot, `local` is asked too. Counted per set: episodes with as many candidates as were asked for,
refused orders, and candidates of `sim` and `augment` that come out the same when they are made
again from their manifests. Nothing here says whether a candidate is any good.
"""

from __future__ import annotations

import contextlib
import io
import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from common import Bench, begin, print_table, read_labels

from cosmos_flywheel.bags.source import find_bags
from cosmos_flywheel.cli.main import main as flywheel
from cosmos_flywheel.cli.sim import record
from cosmos_flywheel.generate.sheet import draw_sheet
from cosmos_flywheel.store.candidates import iter_candidates, read_candidate, read_run
from cosmos_flywheel.store.catalogue import Catalogue
from cosmos_flywheel.store.labels import UNTRIAGED

WANTED = 8
EPISODES = 4
"""Of each set at most."""
NOMINAL = 8
SIMULATED = {
    'arm': (('push', 'kick'), ('push', 'slip'), ('pick_place', 'weak_grip'),
            ('pick_place', 'missed_grasp')),
    'base': (('patrol', 'person'), ('patrol', 'blocked_aisle'), ('dock', 'person'),
             ('dock', 'blocked_aisle')),
}  # fmt: skip
REASONS = {
    'kick': 'somebody knocked the box', 'slip': 'the box slipped', 'weak_grip': 'dropped the cube',
    'missed_grasp': 'missed the cube', 'person': 'a person in the way',
    'blocked_aisle': 'a cage in the way',
}  # fmt: skip
"""What a person who saw it would write."""
FAILURE_SEED, NOMINAL_SEED = 8100, 8200


@dataclass(frozen=True, slots=True)
class Set:
    """Bags of one robot."""

    name: str
    robot: str
    failed: tuple[Path, ...]
    nominal: tuple[Path, ...]
    reasons: dict[str, str]
    """By bag name, what a person would say of it."""
    model: Path | None = None


def main() -> int:
    """Harvest, triage, brief, generate, and generate again."""
    bench = begin('generate', __doc__ or '', keep='where the output folders are kept')
    head = ('set', 'backend', 'episodes', 'candidates', f'episodes with {WANTED}', 'refused',
            'again', 'the same', 'CPU s each')  # fmt: skip
    rows: list[tuple[object, ...]] = [head]
    with tempfile.TemporaryDirectory() as scratch:
        folder = bench.given['keep'] or Path(scratch)
        for one in sets(bench, folder):
            rows += judge(bench, one, folder / f'out_{one.name}')
    print_table(rows)
    usual = [f for name, f in bench.figures.items() if not name.endswith(' local')]
    bench.bars['eight_of_every_episode'] = bool(usual) and all(
        f['full'] == f['episodes'] > 0 for f in usual
    )
    bench.bars['identical_again'] = bool(usual) and all(f['same'] == f['again'] > 0 for f in usual)
    return bench.finish()


def sets(bench: Bench, folder: Path) -> Iterator[Set]:
    """Those that are there, then the simulated ones."""
    few = 2 if bench.quick else EPISODES
    for data in bench.sets():
        robot = 'g1' if 'g1' in data.name else 'mujoco_push'
        if not bench.wants(robot):
            continue
        wrong = [e['bag'] for e in read_labels(data) if e.get('fault', e.get('kind')) != 'none']
        bags = {bag.name: bag for bag in find_bags([data / 'bags'])}
        failed = tuple(bags[Path(n).name] for n in wrong if Path(n).name in bags)[:few]
        nominal = tuple(find_bags([data / 'nominal']))[:NOMINAL]
        model = Path(__file__).parents[1] / 'demo' / 'model' if robot == 'mujoco_push' else None
        yield Set(robot, robot, failed, nominal, {}, model)
    for robot, cases in SIMULATED.items():
        if bench.wants(f'sim_{robot}'):
            yield simulated(robot, cases[:few], folder / f'sim_{robot}')


def simulated(robot: str, cases: tuple[tuple[str, str], ...], folder: Path) -> Set:
    """Recorded here."""
    failed, reasons = [], {}
    for number, (task, fault) in enumerate(cases):
        bag = folder / f'{task}_{fault}'
        if not bag.exists():
            record(
                bag, robot=robot, task=task, fault=fault, seed=FAILURE_SEED + number, film=False
            )
        failed.append(bag)
        reasons[bag.name] = REASONS[fault]
    nominal = []
    tasks = sorted({task for task, _ in cases})
    for number in range(NOMINAL * len(tasks)):
        bag = folder / f'nominal_{number}'
        task = tasks[number % len(tasks)]
        if not bag.exists():
            record(bag, robot=robot, task=task, seed=NOMINAL_SEED + number, film=False)
        nominal.append(bag)
    return Set(f'sim_{robot}', f'sim_{robot}', tuple(failed), tuple(nominal), reasons)


def judge(bench: Bench, one: Set, out: Path) -> list[tuple[object, ...]]:
    """One row a backend."""
    nominal = [str(path) for path in one.nominal]
    model = out.with_name(f'{out.name}_model')
    fit = ('fit', *nominal, '--robot', one.robot, '--engine', 'flow', '-o', str(model))
    quietly(*fit, '--force')
    bags = [str(path) for path in one.failed]
    quietly('harvest', *bags, '--robot', one.robot, '--model', str(model), '--out', str(out))
    triage(out, one)
    quietly('brief', '--all', str(out), '--robot', one.robot, '--nominal', *nominal)
    options = ('--all', '--out', str(out), '-n', str(WANTED), '--nominal', *nominal)
    quietly('generate', *options)
    found = [count(bench, one, out, ('sim', 'augment'), ())]
    if one.model is not None:
        local = ('--backend', 'local', '--model', str(one.model))
        quietly('generate', *options, *local)
        found.append(count(bench, one, out, ('local',), ('--model', str(one.model), *options[4:])))
    draw(out)
    return found


def quietly(*words: str) -> str:
    """Run one verb; what it printed."""
    told = io.StringIO()
    with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
        code = flywheel(words)
    if code == 2:
        raise SystemExit(f'flywheel {" ".join(words[:2])}: {told.getvalue()}')
    (_TOLD.setdefault(words[0], [])).append(told.getvalue())
    return told.getvalue()


_TOLD: dict[str, list[str]] = {}


def triage(out: Path, one: Set) -> None:
    """As a person would: the first episode of each bag is the failure, the rest stays open."""
    with Catalogue.open(out) as catalogue:
        seen: set[str] = set()
        for row in sorted(catalogue.episodes(), key=lambda r: (r.bag, r.start_s)):
            if row.bag in seen or row.label != UNTRIAGED:
                continue
            seen.add(row.bag)
            reason = one.reasons.get(row.bag, '')
            catalogue.label(row.id, 'failure', reviewer='bench', reason=reason)


def count(
    bench: Bench, one: Set, out: Path, backends: tuple[str, ...], options: tuple[str, ...]
) -> tuple[object, ...]:
    """Make every candidate again and count."""
    by_episode: Counter[str] = Counter()
    used: Counter[str] = Counter()
    again = same = 0
    cpu_s = 0.0
    for folder in iter_candidates(out):
        manifest = read_candidate(folder, verify=True)
        if manifest['backend'] not in backends:
            continue
        used[manifest['backend']] += 1
        by_episode[manifest['episode']] += 1
        cpu_s += float(read_run(folder)['cpu_s'])
        if bench.quick and again >= WANTED:
            continue
        again += 1
        told = quietly('generate', '--again', str(folder), '--robot', one.robot, *options)
        same += 'the same, byte by byte' in told
    with Catalogue.open(out) as catalogue:
        episodes = len(catalogue.episodes(state='failure'))
    refused = len(re.findall(r'^\w+: refused: ', _TOLD['generate'][-1 - again], re.MULTILINE))
    full = sum(number >= WANTED for number in by_episode.values())
    made = sum(by_episode.values())
    name = ' and '.join(f'{number} {backend}' for backend, number in sorted(used.items()))
    bench.figures[f'{one.name} {"+".join(sorted(used))}'] = {
        'episodes': episodes, 'candidates': made, 'full': full,
        'refused': refused, 'again': again, 'same': same,
    }  # fmt: skip
    each = f'{cpu_s / made:.1f}' if made else '-'
    return (one.name, name or '-', episodes, made, full, refused, again, same, each)


def draw(out: Path) -> None:
    """A sheet of the first few."""
    folders = list(iter_candidates(out))[:12]
    (out / 'candidates.png').write_bytes(draw_sheet(folders))


if __name__ == '__main__':
    raise SystemExit(main())
