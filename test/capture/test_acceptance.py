# SPDX-License-Identifier: Apache-2.0
"""A level is tried on nominal bags with faults laid in, and accepted only for what it shows."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from push_bags import recording, write

from cosmos_flywheel.bags.source import open_bag
from cosmos_flywheel.bags.wire import WireTypes
from cosmos_flywheel.capture.analysis import Analysis
from cosmos_flywheel.capture.fit import fit_judge
from cosmos_flywheel.capture.incident import CaptureSettings
from cosmos_flywheel.capture.injecting import FAULTS, Injecting
from cosmos_flywheel.capture.live.comparing import Comparing
from cosmos_flywheel.capture.model import Judge, load_judge, save_judge
from cosmos_flywheel.cli.main import main
from cosmos_flywheel.core.acceptance import Acceptance, line
from cosmos_flywheel.core.timeline import Tick
from cosmos_flywheel.core.types import AnomalyScore, ChannelScore
from cosmos_flywheel.engines.card import cards_here
from cosmos_flywheel.store.robots import load_robot

ROBOT = load_robot('mujoco_push')


@pytest.fixture(scope='module')
def bags(tmp_path_factory) -> list[Path]:
    """Two to fit on and two held out; all move alike."""
    folder = tmp_path_factory.mktemp('bags')
    return [write(folder / f'run {i}', recording(7.0, phase=2 * i)) for i in range(4)]


@pytest.fixture(scope='module')
def model(bags, tmp_path_factory) -> Path:
    judge = fit_judge(bags[:2], ROBOT, 'flow')
    folder = tmp_path_factory.mktemp('models') / 'flow'
    save_judge(judge.calibration, folder, prior=judge.prior)
    return folder


@pytest.fixture(scope='module')
def accepted(model, bags) -> tuple[int, Acceptance, str]:
    words = ['engine', 'accept', '--robot', 'mujoco_push', '--model', str(model)]
    code = main([*words, *map(str, bags)])
    return code, load_judge(model).accepted, (model / 'accept.txt').read_text('utf-8')


def test_each_question_has_its_answer(accepted):
    _, report, page = accepted
    lines = {one.name: one for one in report.lines}
    assert set(lines) == {
        'real-time factor', 'skill against persistence', 'action grounding', 'false alarms',
        'faults found', 'faults seen', 'lag',
    }  # fmt: skip
    assert lines['real-time factor'].value > 0
    assert lines['action grounding'].words == '0: this engine does not follow actions'
    assert report.card in cards_here()
    assert all(one.name in page for one in report.lines)


def test_bags_that_made_the_calibration_prove_nothing(accepted, bags, model, capsys):
    _, report, _ = accepted
    with open_bag(bags[2]) as third, open_bag(bags[3]) as fourth:
        assert report.bags == tuple(sorted((third.bag_id, fourth.bag_id)))
    words = ['engine', 'accept', '--robot', 'mujoco_push', '--model', str(model)]
    assert main([*words, str(bags[0])]) == 2
    assert 'never saw' in capsys.readouterr().err


def test_a_covered_lens_is_seen_and_the_code_says_what_the_report_says(accepted):
    code, report, page = accepted
    covered = report.faults['lens covered']
    assert covered['injected'] == covered['seen'] == 2
    assert covered['lag_p50_s'] < 1
    assert code == (0 if report.accepted else 1)
    assert ('not accepted' in page) == (not report.accepted)
    if not report.accepted:
        assert all(name in page.splitlines()[-1] for name in report.failed)


def test_chunks_are_timed_alone_with_any_bags(bags, model, capsys):
    words = ['engine', 'bench', '--robot', 'mujoco_push', '--model', str(model)]
    code = main([*words, str(bags[0])])
    said = capsys.readouterr().out
    assert f'flow for mujoco_push on {cards_here()[-1].name}' in said
    assert 'chunks (p99 below 1: ' in said
    assert code == (0 if 'below 1: ok' in said else 1)


def ticks(count: int) -> list[Tick]:
    pictures = np.random.default_rng(0).integers(1, 255, (count, 48, 64, 3), np.uint8)
    return [
        Tick(
            i * 10**8, p, {'top': p}, np.full(2, i, np.float32), np.full(2, i, np.float32), 0,
            {'top': [p]},
        )
        for i, p in enumerate(pictures)
    ]  # fmt: skip


def test_faults_change_what_they_name_and_nothing_else():
    past = deque(ticks(12))
    tick = past.pop()
    found = {name: change(tick, past) for name, change in FAULTS.items()}
    frozen, covered, knocked = (
        found[n] for n in ('camera frozen', 'lens covered', 'camera knocked')
    )
    assert np.array_equal(frozen.picture, past[0].picture)
    assert np.array_equal(frozen.seen['top'][0], past[0].picture)
    assert (covered.picture == 0).all(-1).mean() == pytest.approx(0.25)
    assert not np.array_equal(knocked.picture, tick.picture)
    for one in (frozen, covered, knocked):
        assert np.array_equal(one.state, tick.state)
        assert np.array_equal(one.action, tick.action)
    assert np.array_equal(found['commands late'].action, past[0].action)
    assert np.array_equal(found['state stalled'].state, past[0].state)
    for name in ('commands late', 'state stalled'):
        assert found[name].picture is tick.picture
    assert tick.picture.all(), 'the recording itself stays'


def test_before_its_onset_a_fault_changes_nothing(bags):
    def moments(fault: bool):
        with open_bag(bags[2]) as source:
            analysis = Analysis(source, ROBOT, Judge('flow'), CaptureSettings())
            if fault:
                onset_ns = source.start_ns + 3 * 10**9
                analysis.watcher.hindsight = Injecting(
                    ROBOT, analysis.engine, 'lens covered', onset_ns
                )
            return source.start_ns, list(analysis.moments())

    start_ns, calm = moments(False)
    _, wrong = moments(True)
    same = [
        np.array_equal(a.tick.picture, b.tick.picture) for a, b in zip(calm, wrong, strict=True)
    ]
    early = [m.tick.stamp_ns < start_ns + 3 * 10**9 for m in calm]
    assert same == early


def test_only_what_rests_on_predictions_is_silenced_until_accepted():
    channels = tuple(
        ChannelScore(name, 9.0, 1.0, True, False) for name in ('picture', 'tracking_error')
    )
    score = AnomalyScore(0, channels, 'x', 'cosmos-256')
    judge = Judge('flow')

    def alarms(**given) -> tuple[str, ...]:
        comparing = Comparing(
            ROBOT, {'flow': judge}, WireTypes([]), alarm_uncalibrated=True, **given
        )
        return comparing._allowed(score).alarms

    assert alarms() == ('picture', 'tracking_error')
    assert alarms(refused={'flow': 'it is not accepted'}) == ('tracking_error',)
    assert alarms(refused={'cosmos-480': 'it is not accepted'}) == ('picture', 'tracking_error')


def test_a_model_says_why_it_may_not_alarm(accepted, model):
    _, report, _ = accepted
    flow = load_judge(model)
    assert flow.refused(cards_here()) == ''
    judge = replace(flow, level='cosmos-256', calibration=flow.calibration)
    good = replace(report, level='cosmos-256', lines=(line('x', 1.0, True, '', 'y'),))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Judge, 'engine_sha256', property(lambda _: report.engine_sha256))
        assert replace(judge, accepted=good).refused(cards_here()) == ''
        assert 'another card' in replace(judge, accepted=good).refused(())
        assert 'is not accepted' in replace(judge, accepted=None).refused(cards_here())


def test_a_broken_report_is_named(model, tmp_path, capsys):
    folder = tmp_path / 'model'
    folder.mkdir()
    for path in model.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / 'accept.json').write_text(json.dumps({'schema': 'accept-v1'}))
    assert main(['harvest', '/nowhere', '--model', str(folder)]) == 2
    words = ['engine', 'accept', '--robot', 'mujoco_push', '--model', str(folder), str(folder)]
    assert main(words) == 2
    assert 'accept.json' in capsys.readouterr().err
