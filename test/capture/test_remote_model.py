# SPDX-License-Identifier: Apache-2.0
"""Cosmos at a server, fitted to a robot, harvests bags and watches live like any engine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from omni_stand import Stand, started_stand
from push_bags import covered, recording, write
from taking_turns import watched

from cosmos_flywheel.bags.source import open_bag
from cosmos_flywheel.capture.analysis import Analysis
from cosmos_flywheel.capture.incident import CaptureSettings
from cosmos_flywheel.capture.model import Judge, load_judge
from cosmos_flywheel.cli.main import main
from cosmos_flywheel.core.errors import EngineError
from cosmos_flywheel.engines import make_engine
from cosmos_flywheel.engines.remote import runtime as runtimes
from cosmos_flywheel.store.robots import load_robot

SETTINGS = ('steps=1', 'chunk=4', 'stride=4', 'poll_s=0.005', 'tries=2', 'pause_s=0.01')


@pytest.fixture(scope='module')
def stand() -> Iterator[Stand]:
    with started_stand() as made:
        made.behave()
        yield made
        runtimes.close_all()


@pytest.fixture(scope='module')
def robot_file(root: Path, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp('robot') / 'push.yaml'
    text = (root / 'config' / 'robots' / 'mujoco_push.yaml').read_text('utf-8')
    path.write_text(text.replace('domain: none', 'domain: pusht'))
    return path


@pytest.fixture(scope='module')
def bag(tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp('faulty') / 'covered', covered(4.0))


def fit_words(robot_file: Path, folder: Path, bags: list[Path], *more: str) -> list[str]:
    words = [f'--set={word}' for word in SETTINGS]
    given = [*map(str, bags), '--robot', str(robot_file), '-o', str(folder)]
    return ['fit', *given, '--engine', 'remote-256', *words, *more]


@pytest.fixture(scope='module')
def fitted(stand, robot_file, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('nominal')
    bags = [write(folder / f'run {i}', recording(3.0, phase=i)) for i in range(2)]
    model = folder / 'model'
    assert main(fit_words(robot_file, model, bags, '--endpoint', stand.endpoint)) == 0
    return model


def harvested(judge: Judge, robot_file: Path, bag: Path) -> dict[int, float]:
    with open_bag(bag) as source:
        analysis = Analysis(source, load_robot(robot_file), judge, CaptureSettings())
        return {
            moment.tick.stamp_ns: analysis.scorer.score(moment).channels[0].score
            for moment in analysis.moments()
        }


def live_scores(judge: Judge, robot_file: Path, bag: Path) -> dict[int, float]:
    compared = watched(bag, load_robot(robot_file), {judge.level: judge})
    return {one.score.stamp_ns: one.score.channels[0].score for one in compared}


def test_the_folder_names_server_model_and_how_it_is_asked(fitted, stand):
    document = json.loads((fitted / 'remote.json').read_text())
    assert document['server']['endpoint'] == stand.endpoint
    assert document['model'] == 'nvidia/Cosmos3-Nano'
    assert (document['settings']['steps'], document['settings']['chunk']) == (1, 4)
    judge = load_judge(fitted)
    assert judge.level == 'remote-256'
    assert judge.calibration.trust.seeds == 4
    assert stand.state()['jobs'] == []


def test_live_scores_are_those_of_a_harvest(fitted, robot_file, bag):
    judge = load_judge(fitted)
    known = {ns: s for ns, s in harvested(judge, robot_file, bag).items() if not np.isnan(s)}
    live = {ns: s for ns, s in live_scores(judge, robot_file, bag).items() if not np.isnan(s)}
    assert len(known) > 10
    assert not {ns for ns, score in live.items() if score != known.get(ns)}
    assert len(live) >= len(known) - 2


def test_the_command_harvests_and_says_when_the_server_is_not_right(
    fitted, stand, robot_file, bag, tmp_path, capsys
):
    harvest = ['harvest', str(bag), '--model', str(fitted), '--robot', str(robot_file)]
    assert main([*harvest, '--out', str(tmp_path / 'out')]) == 0
    assert stand.state()['jobs'] == []
    stand.behave(served='Wan2.2')
    assert main([*harvest, '--out', str(tmp_path / 'out2')]) == 2
    assert 'serves Wan2.2' in capsys.readouterr().err
    stand.behave()


@pytest.mark.parametrize(
    ('more', 'words'),
    [
        ([], 'give --endpoint URL'),
        (['--endpoint', 'http://192.0.2.7:8091'], '--allow-remote'),
        (['--endpoint', 'http://127.0.0.1:1', '--checkpoint', 'x'], '--checkpoint is of cosmos-'),
        (['--endpoint', 'http://127.0.0.1:1', '--set', 'tier=480'], 'give --engine remote-480'),
        (['--endpoint', 'http://127.0.0.1:1', '--set', 'precision=fp8'], 'sets nothing'),
        (
            ['--engine', 'flow', '--endpoint', 'http://127.0.0.1:1'],
            'with engine flow',
        ),
    ],
)
def test_options_that_do_not_belong_are_refused(more, words, robot_file, bag, tmp_path, capsys):
    given = fit_words(robot_file, tmp_path / 'model', [bag])
    if '--engine' in more:
        given = [word for word in given if not word.startswith('--set')]
    assert main([*given, *more]) == 2
    assert words in capsys.readouterr().err


def test_a_server_that_cannot_be_reached_ends_a_fit(robot_file, bag, tmp_path, capsys):
    given = fit_words(robot_file, tmp_path / 'model', [bag], '--endpoint', 'http://127.0.0.1:1')
    assert main(given) == 2
    assert 'nobody listens there' in capsys.readouterr().err
    with pytest.raises(EngineError, match='must be fitted first'):
        make_engine('remote-256', (96, 128))
