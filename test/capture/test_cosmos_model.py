# SPDX-License-Identifier: Apache-2.0
"""A checkpoint of Cosmos, fitted to a robot, harvests bags and watches live like any engine."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('torch', reason='engine cosmos needs torch')
pytest.importorskip('transformers', reason='captions need transformers')

from push_bags import covered, recording, write
from taking_turns import watched

from cosmos_flywheel.bags.source import open_bag
from cosmos_flywheel.capture.analysis import Analysis
from cosmos_flywheel.capture.fit import fit_judge
from cosmos_flywheel.capture.generative import CosmosChoice
from cosmos_flywheel.capture.incident import CaptureSettings
from cosmos_flywheel.capture.model import Judge, load_judge, save_judge
from cosmos_flywheel.cli.main import main
from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.core.trust import Reseeded, Trust, trust_of
from cosmos_flywheel.engines import CosmosSettings
from cosmos_flywheel.engines.card import cards_here
from cosmos_flywheel.engines.cosmos import canvas
from cosmos_flywheel.engines.cosmos import opened as runtimes
from cosmos_flywheel.engines.cosmos.causal.manifest import Embodiment, Manifest
from cosmos_flywheel.store.robots import load_robot

SETTINGS = {'tier': 256, 'steps': 1, 'precision': 'fp32', 'chunk': 4, 'stride': 4}


@pytest.fixture(scope='module')
def robot_file(root: Path, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp('robot') / 'push.yaml'
    text = (root / 'config' / 'robots' / 'mujoco_push.yaml').read_text('utf-8')
    path.write_text(text.replace('domain: none', 'domain: pusht'))
    return path


@pytest.fixture(scope='module')
def checkpoint(root: Path, tmp_path_factory) -> Path:
    from tiny_cosmos import VAE, write_checkpoint

    narrow = replace(VAE, base=4, decoder_base=4)  # encoding and decoding is what takes time
    return write_checkpoint(tmp_path_factory.mktemp('hub'), vae=narrow)


@pytest.fixture(scope='module')
def causal(checkpoint, tmp_path_factory) -> Path:
    """The same checkpoint, were it a causal one."""
    made = tmp_path_factory.mktemp('causal') / checkpoint.name
    shutil.copytree(checkpoint, made)
    config = made / 'transformer' / 'config.json'
    manifest = Manifest(embodiments={'pusht': Embodiment(4, (0.0, 0.0), (1.0, 1.0))})
    config.write_text(json.dumps({**json.loads(config.read_text()), **manifest.config()}))
    return made


@pytest.fixture(scope='module', autouse=True)
def shelf(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('XDG_CACHE_HOME', str(tmp_path_factory.mktemp('shelf')))
        yield


@pytest.fixture(scope='module')
def bags(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp('nominal')
    return [write(folder / f'run {i}', recording(3.0, phase=i)) for i in range(2)]


@pytest.fixture(scope='module')
def fitted(bags, checkpoint, robot_file) -> Judge:
    choice = CosmosChoice(CosmosSettings(**SETTINGS), checkpoint)
    return fit_judge(bags, load_robot(robot_file), 'cosmos-256', cosmos=choice)


def scores_of(judge: Judge, robot_file: Path, bag: Path) -> dict[int, tuple[float, bool]]:
    with open_bag(bag) as source:
        analysis = Analysis(source, load_robot(robot_file), judge, CaptureSettings())
        found = {}
        for moment in analysis.moments():
            picture = analysis.scorer.score(moment).channels[0]
            found[moment.tick.stamp_ns] = picture.score, picture.alarm
        return found


def live_scores(judge: Judge, robot_file: Path, bag: Path) -> dict[int, float]:
    compared = watched(bag, load_robot(robot_file), {judge.level: judge})
    return {one.score.stamp_ns: one.score.channels[0].score for one in compared}


def test_random_weights_prove_no_skill_and_may_not_alarm(fitted, robot_file, tmp_path):
    trust = fitted.calibration.trust
    assert trust.skill < 0
    assert trust.seeds == 4
    assert trust.chunks > 10
    assert 'no better than the picture' in fitted.calibration.muted('picture')
    assert not fitted.calibration.muted('tracking_error')
    assert 'state' not in fitted.calibration.channels
    bag = write(tmp_path / 'covered', covered(4.0))
    scores = scores_of(fitted, robot_file, bag)
    assert not any(alarm for _, alarm in scores.values())
    with open_bag(bag) as source:
        analysis = Analysis(source, load_robot(robot_file), fitted, CaptureSettings())
        assert any('picture is muted' in note for note in analysis.notes())


@pytest.mark.parametrize('residual', ['frames', 'latents'])
def test_live_scores_are_those_of_a_harvest(residual, fitted, robot_file, tmp_path):
    judge = fitted
    if residual == 'latents':
        model = fitted.cosmos.with_settings(residual=residual, show_hz=1.0)
        judge = Judge(fitted.level, cosmos=model)  # by what is normal for the stream itself
    bag = write(tmp_path / 'covered', covered(4.0))
    harvested = scores_of(judge, robot_file, bag)
    known = {ns: s for ns, (s, _) in harvested.items() if not np.isnan(s)}
    assert len(harvested) / 5 < len(known) < len(harvested) / 3, 'one a stride'
    live = live_scores(judge, robot_file, bag)
    apart = {ns for ns, score in live.items() if not np.isnan(score) and score != known.get(ns)}
    assert not apart
    assert len([s for s in live.values() if not np.isnan(s)]) >= len(known) - 2


def test_a_level_that_is_trusted_may_alarm(fitted, robot_file, tmp_path):
    known = replace(fitted.calibration, trust=Trust(0.5, 0.1, 24, 4), grounding=None)
    low = {n: replace(c, threshold=c.threshold / 10) for n, c in known.channels.items()}
    bag = write(tmp_path / 'covered', covered(3.0))
    judge = replace(fitted, calibration=replace(known, channels=low))
    assert any(alarm for _, alarm in scores_of(judge, robot_file, bag).values())


def test_a_model_folder_judges_as_the_fit_did(fitted, robot_file, bags, tmp_path):
    save_judge(fitted.calibration, tmp_path / 'model', None, fitted.prior, fitted.cosmos)
    again = load_judge(tmp_path / 'model')
    assert again.calibration == fitted.calibration
    assert again.engine_sha256 == fitted.engine_sha256
    one, other = (scores_of(j, robot_file, bags[0]) for j in (fitted, again))
    assert np.array_equal(list(one.values()), list(other.values()), equal_nan=True)
    with pytest.raises(ConfigError, match='camera of 64x48'):
        again.make_engine((96, 128))


def test_the_command_fits_and_harvests(bags, checkpoint, robot_file, tmp_path, capsys):
    words = [f'--set={k}={v}' for k, v in SETTINGS.items() if k != 'tier']
    words.append('--set=residual=latents')
    model = str(tmp_path / 'model')
    fit = ['fit', str(bags[0]), '--robot', str(robot_file), '--engine', 'cosmos-256']
    assert main([*fit, '--checkpoint', str(checkpoint), '-o', model, *words]) == 0
    assert 'picture is muted' in capsys.readouterr().out
    out = str(tmp_path / 'out')
    harvest = ['harvest', str(bags[0]), '--model', model, '--robot', str(robot_file)]
    assert main([*harvest, '--out', out]) == 0
    runtimes.close_all()
    (tmp_path / 'model' / 'checkpoint').unlink()
    assert main([*harvest, '--out', out]) == 2
    assert 'ln -sfn' in capsys.readouterr().err
    assert main([*fit, '-o', model, '--force']) == 2
    assert 'give --checkpoint DIR' in capsys.readouterr().err
    local = ['fit', str(bags[0]), '--robot', str(robot_file), '--set', 'steps=3', '-o', model]
    assert main([*local, '--force']) == 2
    assert 'leave it away' in capsys.readouterr().err


def test_the_causal_checkpoint_is_fitted_and_live_scores_are_those_of_a_harvest(
    causal, checkpoint, bags, robot_file, tmp_path, capsys, monkeypatch
):
    monkeypatch.setitem(canvas.BINS, 256, ((48, 64),))  # no padding, encoded again and again
    model, engine = tmp_path / 'model', ['--engine', 'cosmos-stream']
    fit = ['fit', str(bags[0]), '--robot', str(robot_file), '-o', str(model)]
    words = ['--set=tier=256', '--set=precision=fp32', '--set=window=6']
    assert main([*fit, *engine, '--checkpoint', str(causal), *words]) == 0
    assert 'picture is muted' in capsys.readouterr().out
    judge = load_judge(model)
    assert (judge.level, judge.cosmos.settings.window) == ('cosmos-stream', 6)
    bag = write(tmp_path / 'covered', covered(5.0))
    harvested = scores_of(judge, robot_file, bag)
    known = {ns: s for ns, (s, _) in harvested.items() if not np.isnan(s)}
    assert len(known) > 2
    live = live_scores(judge, robot_file, bag)
    assert {ns: s for ns, s in live.items() if not np.isnan(s)}.items() <= known.items()
    assert len([s for s in live.values() if not np.isnan(s)]) >= len(known) - 1
    assert main([*fit, *engine, '--force', '--checkpoint', str(checkpoint)]) == 2
    assert 'is no causal checkpoint' in capsys.readouterr().err
    base = [*fit, '--engine', 'cosmos-256', '--force', '--checkpoint', str(causal)]
    assert main(base) == 2
    assert 'give --engine cosmos-stream' in capsys.readouterr().err
    assert main([*fit, *engine, '--force', '--checkpoint', str(causal), '--set=steps=8']) == 2
    assert "steps is the checkpoint's own" in capsys.readouterr().err
    tuned = ['--checkpoint', str(causal), '--settings', str(tmp_path / 'chosen.json')]
    assert main([*fit, *engine, '--force', *tuned]) == 2
    assert '--settings are of other levels' in capsys.readouterr().err


def test_spread_is_what_another_seed_would_have_scored():
    evidence = np.ones((40, 4, 2), np.float32)
    evidence[:, 1, 0] = 1.5
    calm = Reseeded(np.full((40, 4), 2.0), np.full(40, 4.0), evidence)
    found = trust_of([calm], [1.0, 10.0])
    assert (found.skill, found.spread, found.chunks) == (0.5, 0.5, 40)
    assert not found.muted('picture')
    still = Reseeded(np.ones((3, 4)), np.zeros(3), evidence[:3])
    assert trust_of([still], [1.0, 1.0]).muted('picture')
    assert trust_of([], [1.0]).muted('picture')


def test_random_weights_are_refused_for_what_they_cannot(bags, checkpoint, robot_file, tmp_path):
    choice = CosmosChoice(CosmosSettings(**SETTINGS), checkpoint)
    robot, folder = load_robot(robot_file), tmp_path / 'model'
    held_out = write(tmp_path / 'held out', recording(12.0, phase=5))
    judge = fit_judge(bags[:1], robot, 'cosmos-256', cosmos=choice)
    save_judge(judge.calibration, folder, None, judge.prior, judge.cosmos)
    assert 'is not accepted' in load_judge(folder).refused(cards_here())
    words = ['--robot', str(robot_file), '--model', str(folder), str(held_out)]
    assert main(['engine', 'accept', *words]) == 1
    report = load_judge(folder).accepted
    states = {one.name: one.state for one in report.lines}
    assert states['parity'] == 'ok'
    assert states['skill against persistence'] == 'not ok'
    assert states['faults seen'] == 'not ok', 'the picture is muted'
    assert not report.accepted
    assert 'was refused' in load_judge(folder).refused(cards_here())


def test_ways_to_ask_are_measured_once_and_none_is_chosen_by_chance(
    bags, checkpoint, robot_file, tmp_path, capsys
):
    out = tmp_path / 'tune'
    words = ['engine', 'tune', '--robot', str(robot_file), '--checkpoint', str(checkpoint)]
    words += [
        '-o',
        str(out),
        '--tiers',
        '256',
        '--precisions',
        'fp32',
        '--steps',
        '1',
        *map(str, bags),
    ]
    words += [f'--set={k}={v}' for k, v in SETTINGS.items() if k not in ('tier', 'steps')]
    assert main([*words, '--set=steps=2', '--minutes', '1e-9']) == 1
    said = capsys.readouterr().out
    assert 'none is chosen' in said
    assert '1 ways were not measured' in said
    (kept,) = out.iterdir()
    assert kept.name == 'cosmos-256_2_fp32_shift10_chunk4.json'
    before = kept.stat().st_mtime_ns
    assert main([*words, '--set=steps=2', '--minutes', '1e-9']) == 1
    assert kept.stat().st_mtime_ns == before, 'nothing is measured twice'
    fit = ['fit', str(bags[0]), '--robot', str(robot_file), '--engine', 'cosmos-480']
    fit += ['--checkpoint', str(checkpoint), '-o', str(tmp_path / 'model')]
    assert main([*fit, '--settings', str(kept)]) == 2
    assert 'give --engine cosmos-256' in capsys.readouterr().err
