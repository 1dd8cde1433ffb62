# SPDX-License-Identifier: Apache-2.0
"""`flywheel generate` and `flywheel candidates`, as they are typed."""

from __future__ import annotations

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from order_maker import FAMILIES, make_brief, make_episode

from cosmos_flywheel.cli.main import main
from cosmos_flywheel.generate.queue import Queue
from cosmos_flywheel.generate.sheet import EDGE_PX, GAP_PX
from cosmos_flywheel.store.briefs import read_brief, save_brief
from cosmos_flywheel.store.candidates import iter_candidates, read_candidate
from cosmos_flywheel.store.catalogue import Catalogue, rebuild

KEYFRAME = bytes(cv2.imencode('.png', np.zeros((48, 64, 3), np.uint8))[1])


@pytest.fixture(scope='module')
def out(tmp_path_factory):
    """An output folder with one episode, its brief, and four candidates of it."""
    folder = tmp_path_factory.mktemp('out')
    brief = make_brief(make_episode(folder), families=FAMILIES)
    save_brief(folder / 'briefs', brief, {'keyframes/0.png': KEYFRAME})
    assert main(['generate', '--all', '--out', str(folder), '-n', '4']) == 0
    return folder


def test_each_brief_gets_as_many_candidates_as_were_asked_for(out):
    assert len(list(iter_candidates(out))) == 4


def test_the_table_says_what_is_not_made(out, capsys):
    assert main(['generate', '--all', '--out', str(out), '-n', '4']) == 0
    told = capsys.readouterr().out
    assert told.splitlines()[1].split()[1:5] == ['augment', '0', '4', '0']
    assert 'not made: recovery, nominal commands: shows what was recorded' in told


def test_a_brief_is_named_by_its_id_its_folder_or_its_episode(out, capsys):
    (folder,) = (out / 'briefs').iterdir()
    episode = read_candidate(next(iter_candidates(out)))['episode']
    for name in (folder.name, str(folder), episode):
        assert main(['generate', name, '--out', str(out), '-n', '1']) == 0
    assert main(['generate', 'f' * 16, '--out', str(out)]) == 2
    assert 'holds no such brief' in capsys.readouterr().err


def test_made_again_a_candidate_is_the_same(out, capsys):
    candidate = next(iter_candidates(out))
    assert main(['generate', '--again', candidate.name[:6], '--out', str(out)]) == 0
    assert 'the same, byte by byte' in capsys.readouterr().out
    assert main(['generate', '--again', str(candidate)]) == 0


@pytest.mark.parametrize(
    ('words', 'reason'),
    [
        (['--all', '-n', '0'], 'give at least 1'),
        ([], 'say which'),
        (['--all', '--queued'], 'say which'),
        (['--all', '--budget', 'gpus=1'], "no limit 'gpus'"),
        (['--all', '--backend', 'local'], 'give --model'),
        (['--queued', '--backend', 'local'], 'give --model'),
        (['--all', '--steps', '4'], 'steps=4 is of the backends remote and cosmos'),
        (['--all', '--guidance', 'much'], "guidance is 'much'; give a number"),
        (['--all', '--tier', '512'], 'tier is 512; take one of 0, 256, 480, 704, 720'),
        (['--again', 'nosuch'], 'no candidate begins'),
        (['--all', '--executor', 'slurm'], 'give processes, ray or ray=HOST:PORT'),
        (['--all', '--gpus', '1'], 'give --executor ray with it'),
    ],
)
def test_what_cannot_be_made_is_told_with_a_remedy(out, words, reason, capsys):
    assert main(['generate', *words, '--out', str(out)]) == 2
    assert reason in capsys.readouterr().err


def test_candidates_are_listed_and_shown(out, capsys):
    assert main(['candidates', 'list', str(out)]) == 0
    told = capsys.readouterr().out
    assert told.count('same_failure_new_scene') == 4
    assert '4 candidates' in told
    assert main(['candidates', 'list', str(out), '--json', '--backend', 'sim']) == 0
    assert json.loads(capsys.readouterr().out) == []
    name = next(iter_candidates(out)).name
    assert main(['candidates', 'show', name[:7], str(out)]) == 0
    told = capsys.readouterr().out
    assert 'augmentation: the recorded clip with another appearance' in told
    assert 'it fails at 2.0 s' in told
    assert 's of processors' in told


def test_the_sheet_has_a_row_for_each_candidate(out, tmp_path, capsys):
    path = tmp_path / 'sheet.png'
    assert main(['candidates', 'sheet', str(out), '-o', str(path), '-n', '3']) == 0
    three = cv2.imread(str(path))
    assert main(['candidates', 'sheet', str(out), '-o', str(path)]) == 0
    four = cv2.imread(str(path))
    ends = 2 * EDGE_PX - GAP_PX
    assert (four.shape[0] - ends) * 3 == (three.shape[0] - ends) * 4
    assert four.shape[1] == three.shape[1]
    page = tmp_path / 'sheet.html'
    assert main(['candidates', 'sheet', str(out), '--page', str(page), '-n', '3']) == 0
    assert page.read_text('utf-8').count('<video') == 3
    assert main(['candidates', 'sheet', str(tmp_path)]) == 2


def test_several_processes_make_each_order_once_within_the_budget(tmp_path, capsys):
    brief = make_brief(make_episode(tmp_path), families=FAMILIES)
    save_brief(tmp_path / 'briefs', brief, {'keyframes/0.png': KEYFRAME})
    words = ['generate', '--all', '--out', str(tmp_path), '-n', '3', '--workers', '2']
    assert main([*words, '--budget', 'candidates=2']) == 1
    told = capsys.readouterr().out
    assert 'stopped: the budget of candidates is 2' in told
    assert 'left in the queue: 1;' in told
    assert main(['generate', '--queued', '--out', str(tmp_path)]) == 0
    made = {folder.name for folder in iter_candidates(tmp_path)}
    with Queue.open(tmp_path) as queue:
        jobs = queue.jobs()
    assert {job.candidate_id for job in jobs} == made
    assert len(made) == 3
    assert all(job.price.cpu_s > 0 and job.price.size_bytes > 0 for job in jobs)


def test_an_edited_brief_is_taken_in_and_what_is_nonsense_or_forbidden_left_out(tmp_path, capsys):
    brief = make_brief(make_episode(tmp_path), families=FAMILIES)
    folder = save_brief(tmp_path / 'briefs', brief, {'keyframes/0.png': KEYFRAME})
    bad = save_brief(tmp_path / 'briefs', replace(brief, pack='x'), {'keyframes/0.png': KEYFRAME})
    kept = make_brief(tmp_path / brief.origin.id, licence='CC-BY-NC-ND-4.0')
    save_brief(tmp_path / 'briefs', kept, {'keyframes/0.png': KEYFRAME})
    (bad / 'brief.json').write_text((bad / 'brief.json').read_text().replace('nominal', 'magic'))
    path = folder / 'brief.json'
    path.write_text(path.read_text().replace('A table.', 'A wet table.'))
    assert main(['generate', '--all', '--out', str(tmp_path), '-n', '1']) == 1
    told = capsys.readouterr()
    assert f'left out: {bad}/brief.json: ' in told.err
    assert 'is licensed CC-BY-NC-ND-4.0, which forbids derivatives' in told.err
    (candidate,) = iter_candidates(tmp_path)
    used = read_candidate(candidate)['brief']['id']
    assert used != folder.name
    assert read_brief(tmp_path / 'briefs' / used).prompt.scene == 'A wet table.'


def test_a_plan_is_made_order_by_order_and_the_dearest_first(tmp_path, capsys):
    brief = make_brief(make_episode(tmp_path), families=FAMILIES)
    folder = save_brief(tmp_path / 'briefs', brief, {'keyframes/0.png': KEYFRAME})
    rebuild(tmp_path)
    with Catalogue.open(tmp_path) as catalogue:
        catalogue.label(brief.origin.id, 'failure', reviewer='ann')
    plan = tmp_path / 'plan.json'
    assert main(['plan', str(tmp_path), '--backend', 'sim,augment', '-n', '4']) == 0
    orders = json.loads(plan.read_text())['orders']
    words = ['generate', '--plan', str(plan), '--out', str(tmp_path)]
    assert main([*words, '--backend', 'augment', '--budget', 'candidates=1']) == 1
    with Queue.open(tmp_path) as queue:
        first, *others = queue.jobs()
    asked = [[o['variation'], o['seed'], round(o['gain'] * 1e6)] for o in orders]
    placed = [[j.order.variation, j.order.seed, j.order.priority] for j in (first, *others)]
    assert placed == asked
    assert [job.state for job in (first, *others)] == ['done', 'waiting', 'waiting', 'waiting']
    assert main([*words, '-n', '3']) == 0
    assert len(list(iter_candidates(tmp_path))) == 3
    capsys.readouterr()

    assert main([*words, '--backend', 'sim']) == 1
    assert 'order 1 of plan.json, brief' in (told := capsys.readouterr().err)
    assert 'is for augment, not for sim' in told
    path = folder / 'brief.json'
    path.write_text(path.read_text().replace('A table.', 'A wet table.'))
    assert main(words) == 1
    assert capsys.readouterr().err.count('was edited since it was planned for') == 4
    path.unlink()
    assert main(words) == 1
    assert f'{folder}: is no brief' in capsys.readouterr().err


def test_several_backends_fall_back_in_their_order(out, capsys):
    words = ['generate', '--all', '--out', str(out), '-n', '1']
    assert main([*words, '--backend', 'local,sim,augment']) == 0
    told = capsys.readouterr()
    assert told.out.splitlines()[1].split()[1] == 'augment', 'there is no twin of that robot'
    assert 'local cannot be asked here: generator local needs an engine' in told.err
    assert main([*words, '--backend', 'augment,lokal']) == 2


def test_a_clip_that_is_gone_is_told_once_for_all_its_orders(tmp_path, capsys):
    brief = make_brief(make_episode(tmp_path), families=FAMILIES)
    save_brief(tmp_path / 'briefs', brief, {'keyframes/0.png': KEYFRAME})
    episode = tmp_path / brief.origin.id
    (episode / 'clip.mcap').rename(tmp_path / 'aside')
    words = ['generate', '--all', '--out', str(tmp_path), '-n', '2']
    assert main(words) == 1
    (told,) = capsys.readouterr().err.splitlines()
    assert 'seed 0, and 3 more orders: ' in told
    assert 'clip.mcap: is missing' in told
    (tmp_path / 'aside').rename(episode / 'clip.mcap')
    assert main(words) == 0, 'what was dead is tried again'
    (episode / 'manifest.json').unlink()
    assert main([*words, '--seed', '5']) == 1
    assert 'left out: ' in capsys.readouterr().err
