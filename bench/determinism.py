# SPDX-License-Identifier: Apache-2.0
"""Whether two harvests of the same bags, with 1 and 2 workers, give the same bytes."""

from __future__ import annotations

import tempfile
from pathlib import Path

from common import ROBOTS, Bench, begin, print_table

from cosmos_flywheel.bags.source import find_bags
from cosmos_flywheel.capture.fit import fit
from cosmos_flywheel.capture.harvest import Plan, harvest
from cosmos_flywheel.capture.model import Judge
from cosmos_flywheel.core.lineage import sha256_file
from cosmos_flywheel.store.catalogue import Catalogue
from cosmos_flywheel.store.episodes import RUN, iter_episodes
from cosmos_flywheel.store.robots import load_robot


def main() -> int:
    """Fit and harvest every set twice, and compare all that is meant to be the same."""
    bench = begin('determinism', __doc__ or '')
    rows: list[tuple[object, ...]] = [
        ('set', 'episodes', 'files', 'differing', 'catalogue', 'model')
    ]
    same: dict[str, list[bool]] = {
        'manifests, clips and evidence identical': [],
        'catalogue content identical': [],
        'model identical': [],
    }
    with tempfile.TemporaryDirectory() as scratch:
        for folder in bench.sets():
            runs = [
                run(bench, folder, Path(scratch) / f'{folder.name}-{workers}', workers)
                for workers in (1, 2)
            ]
            differing = sorted(runs[0][0].items() ^ runs[1][0].items())
            outcome = (
                not differing and bool(runs[0][0]),
                runs[0][1] == runs[1][1],
                runs[0][2] == runs[1][2],
            )
            for results, value in zip(same.values(), outcome, strict=True):
                results.append(value)
            episodes = len({name.split('/')[0] for name in runs[0][0]})
            bench.figures[folder.name] = {
                'episodes': episodes,
                'files': len(runs[0][0]),
                'differing': [name for name, _ in differing],
            }
            rows.append(
                (
                    folder.name,
                    episodes,
                    len(runs[0][0]),
                    len(differing),
                    *('same' if ok else 'DIFFERENT' for ok in outcome[1:]),
                )
            )
    print_table(rows)
    bench.bars |= {name: all(values) for name, values in same.items()}
    return bench.finish()


def run(bench: Bench, folder: Path, out: Path, workers: int) -> tuple[dict[str, str], str, str]:
    """One fit and one harvest: sha256 by file, the catalogue's content, the calibration's id."""
    robot = load_robot(ROBOTS[folder.name])
    nominal = find_bags([folder / 'nominal'])
    calibration = fit(nominal[:4] if bench.quick else nominal, robot, 'flow', workers=workers)
    judge = Judge('flow', calibration, calibration.size)
    harvest(find_bags([folder / 'bags']), lambda _: Plan(robot, judge), out, workers=workers)
    hashes = {
        path.relative_to(out).as_posix(): sha256_file(path)
        for episode in iter_episodes(out)
        for path in sorted(episode.rglob('*'))
        if path.is_file() and path.name != RUN
    }
    with Catalogue.open(out) as catalogue:
        return hashes, catalogue.content_hash(), calibration.id


if __name__ == '__main__':
    raise SystemExit(main())
