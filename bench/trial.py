# SPDX-License-Identifier: Apache-2.0
"""`flywheel trial` of three generators on two failures of the simulated arm, end to end.

A slip and a kick are recorded, harvested with demo/sim_arm or --model, labelled, and put on trial
with each of `sim`, `local` and `augment`; envelopes come from nominal recordings of other seeds.
The table tells each question's answer and what it rests on, and how many of the candidates that
were made wrong on purpose the rules of today catch. `--keep DIR` keeps the pages.
"""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from pathlib import Path
from typing import Any

from common import ROOT, begin, print_table

from cosmos_flywheel.cli.main import main as flywheel
from cosmos_flywheel.cli.sim import record
from cosmos_flywheel.store.catalogue import Catalogue

MODEL = ROOT / 'demo' / 'sim_arm'
FAILURES = {'slip': (9601, 'the cube slipped'), 'kick': (9602, 'somebody knocked the cube')}
"""Seed, and what a person who saw it would write."""
NOMINAL_SEEDS = range(9701, 9707)
TASK = 'pick_place'
EACH = 3
"""Candidates of each episode."""


def main() -> int:
    """Record, harvest, label, try."""
    bench = begin(
        'trial', __doc__ or '',
        keep='where the output folder is kept', model='what `flywheel fit` wrote for the arm',
    )  # fmt: skip
    model = bench.given['model'] or MODEL
    with tempfile.TemporaryDirectory() as scratch:
        folder = bench.given['keep'] or Path(scratch)
        nominal = folder / 'nominal'
        seeds = NOMINAL_SEEDS[: 2 if bench.quick else None]
        for seed in seeds:
            record(nominal / f'{seed}', robot='arm', task=TASK, seed=seed, film=False)
        episodes = harvested(folder, model, 1 if bench.quick else None)
        for backend in ('sim', 'local', 'augment'):
            if bench.wants(backend):
                bench.figures[backend] = tried(folder, backend, model, nominal, episodes)
    print_table(list(questions(bench.figures)))
    print_table(list(ways(bench.figures)))
    told = bench.figures.values()
    bench.bars['good candidates of sim pass'] = all(
        one['rules']['good']['caught'] == 0 for one in told if one['backend'] == 'sim'
    )
    bench.bars['augment is not steered'] = all(
        one['steering']['verdict'] == 'no-go' for one in told if one['backend'] == 'augment'
    )
    bench.figures = {name: summary(one) for name, one in bench.figures.items()}
    return bench.finish()


def harvested(folder: Path, model: Path, most: int | None) -> list[str]:
    """Ids of the episodes, each labelled as a person would."""
    bags, out = [], folder / 'out'
    for fault, (seed, _) in list(FAILURES.items())[:most]:
        bags.append(folder / f'{fault}')
        record(bags[-1], robot='arm', task=TASK, fault=fault, seed=seed, film=False)
    quietly('harvest', *bags, '--robot', 'sim_arm', '--model', model, '--out', out)
    with Catalogue.open(out) as catalogue:
        rows = {row.bag: row.id for row in catalogue.episodes()}
        for fault, name in rows.items():
            catalogue.label(name, 'failure', reviewer='bench', reason=FAILURES[fault][1])
    return [rows[fault] for fault in sorted(rows)]


def tried(
    folder: Path, backend: str, model: Path, nominal: Path, episodes: list[str]
) -> dict[str, Any]:
    """What `trial.json` says."""
    out, page = folder / 'out', folder / f'trial_{backend}'
    quietly(
        'trial', *episodes, '--out', out, '-o', page, '--backend', backend, '--model', model,
        '--nominal', nominal, '-n', EACH,
    )  # fmt: skip
    found: dict[str, Any] = json.loads((page / 'trial.json').read_bytes())
    return found


def questions(told: dict[str, Any]) -> Any:
    """A row for each generator and question."""
    yield 'generator', 'question', 'answer', 'because'
    for name, one in told.items():
        for question in ('scenarios', 'steering', 'rules'):
            yield name, question, one[question]['verdict'], one[question]['reason']
        yield name, 'all', one['verdict'], f'{one["spent"]["cpu_s"]:.0f} s of CPU'


def ways(told: dict[str, Any]) -> Any:
    """A row for each way to be wrong."""
    yield 'made wrong', *(f'{name}: caught' for name in told), 'meant for it'
    for number in range(len(next(iter(told.values()))['rules']['ways'])):
        found = [one['rules']['ways'][number] for one in told.values()]
        claimed = ', '.join(found[0]['claimed_by']) or 'no rule yet'
        yield found[0]['way'], *(f'{w["caught"]} of {w["tried"]}' for w in found), claimed
    good = [one['rules']['good'] for one in told.values()]
    yield 'good ones', *(f'{g["caught"]} of {g["tried"]}' for g in good), ''


def summary(one: dict[str, Any]) -> dict[str, Any]:
    """Without the points of charts."""
    axes = [{k: v for k, v in axis.items() if k != 'points'} for axis in one['steering']['axes']]
    return {**one, 'steering': {**one['steering'], 'axes': axes}}


def quietly(*words: object) -> None:
    """Run a verb of the command line."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        code = flywheel([str(word) for word in words])
    assert code in (0, 1), words


if __name__ == '__main__':
    raise SystemExit(main())
