# SPDX-License-Identifier: Apache-2.0
"""A second model looks again at windows of a harvest: what it finds, what it costs, what it says.

The screen is a model whose thresholds for picture and state were raised until it lets everything
pass; the second one is the same without that.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from harvest_outcome import Outcome, content
from push_bags import START_NS, covered, recording, write

from cosmos_flywheel import schemas
from cosmos_flywheel.bags.source import open_bag
from cosmos_flywheel.capture.analysis import Analysis
from cosmos_flywheel.capture.focus import Focus
from cosmos_flywheel.capture.incident import CaptureSettings
from cosmos_flywheel.capture.model import load_judge, save_judge
from cosmos_flywheel.capture.rescoring.request import ASKED
from cosmos_flywheel.cli.main import main
from cosmos_flywheel.core.timeline import NS
from cosmos_flywheel.store.catalogue import Catalogue, rebuild
from cosmos_flywheel.store.robots import load_robot

Harvest = Callable[..., Outcome]
PATIENCE_S = 60.0


def scaled(model: Path, folder: Path, factor: float) -> Path:
    """The same model with other thresholds for what asks the engine."""
    judge = load_judge(model)
    assert judge.calibration is not None
    channels = dict(judge.calibration.channels)
    for name in ASKED:
        channels[name] = replace(channels[name], threshold=channels[name].threshold * factor)
    save_judge(replace(judge.calibration, channels=channels), folder, None, judge.prior)
    return folder


@pytest.fixture(scope='module')
def dull(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that lets everything pass."""
    return scaled(model, tmp_path_factory.mktemp('dull') / 'model', 1000.0)


@pytest.fixture(scope='module')
def bags(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two bags with a failure each, and one without."""
    folder = tmp_path_factory.mktemp('rescored')
    write(folder / 'a', covered(6.0))
    write(folder / 'b', covered(6.0, 0.9))
    write(folder / 'c', recording(10.0, 1.7))
    return folder


@pytest.fixture(scope='module')
def looked(
    bags: Path, model: Path, dull: Path, tmp_path_factory: pytest.TempPathFactory
) -> Outcome:
    """All windows of them looked at again."""
    out = tmp_path_factory.mktemp('looked') / 'out'
    path = out.with_name('found.json')
    assert main(words(bags, model, dull, out, '--json', path)) == 0
    return Outcome(0, '', '', json.loads(path.read_text('utf-8')), out)


def words(bags: Path, model: Path, screen: Path, out: Path, *more: object) -> list[str]:
    said = ['harvest', bags, '--model', screen, '--rescore', model, '--out', out, '--workers', 1]
    budget = [] if '--gpu-budget' in more or '--rescore-windows' in more else [99]
    said += [word for count in budget for word in ('--rescore-windows', count)]
    return [str(word) for word in (*said, *more)]


def told(out: Path) -> dict[str, Any]:
    return schemas.load(out / 'rescore.json', 'rescore-v1')


def test_what_the_screen_let_pass_becomes_an_episode_with_the_second_models_evidence(
    looked: Outcome, model: Path, dull: Path
) -> None:
    assert looked.document is not None
    second, screen = load_judge(model).calibration, load_judge(dull).calibration
    assert second is not None
    assert screen is not None
    assert [len(bag['episodes']) for bag in looked.document['bags']] == [1, 1, 0]
    for manifest in looked.episodes.values():
        assert manifest['calibration_id'] == second.id
        assert manifest['screened_by']['calibration_id'] == screen.id
        assert manifest['screened_by']['share'] < 1
        assert set(manifest['causes']) <= set(ASKED)
        assert manifest['window']['onset_s'] == pytest.approx(2.0, abs=0.07)
        # Its clip begins as long before the alarm as any other's would.
        assert manifest['window']['start_s'] == pytest.approx(0.0, abs=0.2)
        assert sum(manifest['clip']['messages'].values()) > 100


def test_catalogue_and_report_know_what_was_found_by_looking_again(looked: Outcome) -> None:
    with Catalogue.open(looked.out) as catalogue:
        before = catalogue.content_hash()
        assert {row.id for row in catalogue.episodes()} == looked.episodes.keys()
        assert all(row.cluster for row in catalogue.episodes())
    rebuild(looked.out)
    assert looked.content_hash == before
    page = (looked.out / 'report.html').read_text('utf-8')
    assert 'Looked at again' in page
    assert 'which looked again' in page


def test_the_document_counts_what_was_seen(looked: Outcome) -> None:
    document = told(looked.out)
    assert looked.document is not None
    assert looked.document['rescore'] == document
    assert document['windows']['quiet'] == 3 + 3 + 5
    assert sum(document['looked'][reason] for reason in ('highest', 'by_lot')) == 11
    assert document['found'] == sorted(looked.episodes)
    # The lens stays covered, but only its covering is a surprise.
    assert sum(document['let_pass_and_above'].values()) == 2
    assert document['estimate']['unseen'] == 0
    assert document['repeatable']
    assert 'duration' not in json.dumps(document)


@pytest.mark.parametrize(('factor', 'fate'), [(0.9, 'confirmed'), (1000.0, 'not_confirmed')])
def test_captures_of_the_screen_are_confirmed_or_not(
    tmp_path: Path, bags: Path, model: Path, factor: float, fate: str
) -> None:
    second = scaled(model, tmp_path / 'second', factor)
    assert main(words(bags, second, model, tmp_path / 'out')) == 0
    captures = told(tmp_path / 'out')['captures']
    assert [len(captures[name]) for name in (fate, 'not_looked_at', 'not_asked')] == [2, 0, 0]


def test_a_window_is_scored_as_in_the_whole_bag(bags: Path, model: Path) -> None:
    judge, robot = load_judge(model), load_robot('mujoco_push')
    with open_bag(bags / 'c') as source:
        whole = Analysis(source, robot, judge, CaptureSettings())
        part = Analysis(
            source,
            robot,
            judge,
            CaptureSettings(),
            focus=Focus.on(START_NS + 6 * NS, START_NS + 8 * NS, 3.0, 2.0),
            only=ASKED,
        )
        for analysis in (whole, part):
            assert not list(analysis.run())
    full = {s.stamp_ns: {c.name: c.score for c in s.channels} for s in whole.scores.scores}
    heard = [s for s in part.scores.scores if any(c.score >= 0 for c in s.channels)]
    assert len(heard) == 30
    for score in heard:
        assert START_NS + 6 * NS <= score.stamp_ns < START_NS + 8 * NS
        for channel in score.channels:
            assert channel.score == pytest.approx(full[score.stamp_ns][channel.name], rel=1e-6)


def test_equal_budgets_of_windows_give_equal_bytes_whatever_the_workers(
    tmp_path: Path, bags: Path, model: Path, dull: Path
) -> None:
    for workers in (1, 2):
        more = ('--rescore-windows', 4, '--workers', workers)
        assert main(words(bags, model, dull, tmp_path / str(workers), *more)) == 0
    one, two = tmp_path / '1', tmp_path / '2'
    assert content(one) == content(two)
    for name in ('rescore.json', 'report.html'):
        assert (one / name).read_bytes() == (two / name).read_bytes()


def test_a_larger_budget_goes_on_where_a_smaller_one_stopped(
    tmp_path: Path, bags: Path, model: Path, dull: Path, looked: Outcome
) -> None:
    out = tmp_path / 'out'
    assert main(words(bags, model, dull, out, '--rescore-windows', 3)) == 0
    assert told(out)['estimate']['missed'] is None  # too few to say
    (journal,) = (out / 'rescored').glob('*.jsonl')
    before = journal.read_bytes()
    assert before.count(b'\n') == 3
    assert main(words(bags, model, dull, out)) == 0
    assert journal.read_bytes().startswith(before)
    assert content(out) == content(looked.out)
    assert told(out) == told(looked.out)


def test_a_budget_of_seconds_stops_in_time_and_says_what_it_left_out(
    tmp_path: Path, bags: Path, model: Path, dull: Path, looked: Outcome
) -> None:
    (story,) = (looked.out / 'rescored').glob('*.run.json')
    budget_s = 0.5 * json.loads(story.read_text('utf-8'))['duration_s']
    out = tmp_path / 'out'
    assert main(words(bags, model, dull, out, '--gpu-budget', f'{budget_s:.4f}s')) in (0, 1)
    (story,) = (out / 'rescored').glob('*.run.json')
    assert json.loads(story.read_text('utf-8'))['duration_s'] <= budget_s
    document = told(out)
    assert not document['repeatable']
    assert document['estimate']['unseen'] > 0


def test_a_budget_too_small_for_one_window_says_so_and_keeps_the_harvest(
    tmp_path: Path, bags: Path, model: Path, dull: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / 'out'
    assert main(words(bags, model, dull, out, '--gpu-budget', '0.0001s')) == 1
    assert 'used up before one window was through' in capsys.readouterr().out
    assert told(out)['stopped']
    assert (out / 'report.html').is_file()


def test_a_bag_that_the_second_model_cannot_look_at_is_named_and_counts_nowhere(
    tmp_path: Path, root: Path, bags: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other_camera = root / 'demo' / 'model'
    assert main(words(bags, other_camera, model, tmp_path / 'out')) == 1
    assert 'fitted to a camera of' in capsys.readouterr().out
    document = told(tmp_path / 'out')
    assert len(document['refused']) == 3
    assert document['estimate']['unseen'] == 0


def test_killed_in_the_middle_and_run_again_it_is_as_if_never_killed(
    tmp_path: Path, root: Path, bags: Path, model: Path, dull: Path, looked: Outcome
) -> None:
    out = tmp_path / 'out'
    command = [sys.executable, '-m', 'cosmos_flywheel.cli.main', *words(bags, model, dull, out)]
    process = subprocess.Popen(command, cwd=root, start_new_session=True)
    until_s = time.monotonic() + PATIENCE_S
    while not any(out.glob('rescored/*.jsonl')):
        assert time.monotonic() < until_s
        assert process.poll() is None
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (out / 'rescore.json').exists()
    assert main(words(bags, model, dull, out)) == 0
    assert content(out) == content(looked.out)
    for name in ('rescore.json', 'report.html'):
        assert (out / name).read_bytes() == (looked.out / name).read_bytes()


@pytest.mark.parametrize(
    ('more', 'said'),
    [
        (['--rescore', 'MODEL'], '--gpu-budget 20m'),
        (['--rescore', 'MODEL', '--gpu-budget', '1m', '--rescore-windows', '3'], 'with one of'),
        (['--rescore', 'MODEL', '--gpu-budget', '20'], 'with its unit'),
        (['--rescore', 'MODEL', '--gpu-budget', '0s'], 'above 0'),
        (['--rescore', 'MODEL', '--rescore-windows', '0'], 'at least 1'),
        (['--rescore', 'MODEL', '--rescore-windows', '3', '--rescore-seed', '-1'], '0 or more'),
        (['--rescore', 'SCREEN', '--rescore-windows', '3'], 'is the model that screens'),
        (['--rescore', 'ARM', '--rescore-windows', '3'], "is of robot 'sim_arm'"),
        (['--rescore', 'NONE', '--rescore-windows', '3'], 'no model here'),
        (['--gpu-budget', '20m'], 'give that model with --rescore'),
    ],
)
def test_what_cannot_be_meant_is_refused_before_the_work(
    tmp_path: Path, root: Path, harvest: Harvest, bags: Path, dull: Path, model: Path,
    more: list[str], said: str,
) -> None:  # fmt: skip
    folders = {'MODEL': model, 'SCREEN': dull, 'ARM': root / 'demo' / 'sim_arm', 'NONE': tmp_path}
    found = harvest(bags, '--model', dull, *(folders.get(w, w) for w in more), judged=False)
    assert found.code == 2
    assert said in found.complained
    assert not found.out.exists()


def test_without_a_model_that_screens_there_is_nothing_to_look_at_again(
    harvest: Harvest, bags: Path, model: Path
) -> None:
    found = harvest(bags, '--rescore', model, '--rescore-windows', 3, judged=False)
    assert found.code == 2
    assert 'give its folder with --model' in found.complained
