# SPDX-License-Identifier: Apache-2.0
"""`flywheel episodes` lists, shows and labels what a harvest left in its folder."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from episode_maker import harvest, make_manifest

from cosmos_flywheel.cli.main import main

FIRST = make_manifest(2.0, 'bag_a')
SECOND = make_manifest(10.0, 'bag_a', causes=['state'])
STRANGE = make_manifest(2.0, 'böse\x1b[31m', causes=['trigger:emergency_stop'], robot=None)
ID = FIRST['id'][:6]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A folder as a harvest leaves it, with a space in its name."""
    out = tmp_path / 'my out'
    harvest(out, FIRST, SECOND, STRANGE)
    return out


def say(capsys: pytest.CaptureFixture[str], *words: object, code: int = 0) -> str:
    """What `flywheel episodes` prints."""
    capsys.readouterr()
    assert main(['episodes', *map(str, words)]) == code
    captured = capsys.readouterr()
    return captured.err if code else captured.out


def test_list_is_a_table(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    head, first, second, strange, foot = say(capsys, 'list', out).splitlines()
    assert head.split() == [
        'episode', 'onset', 'length', 'causes', 'peak', 'label', 'cluster', 'bag',
    ]  # fmt: skip
    assert first.split() == [
        FIRST['id'], '5.00', 's', '6.0', 's', 'picture,', 'trigger:emergency_stop', '2.8', '×',
        'untriaged', FIRST['id'][:8], 'bag_a',
    ]  # fmt: skip
    assert second.startswith(SECOND['id'])
    assert strange.endswith(r'böse\x1b[31m')  # nothing in a name reaches the terminal
    assert foot.startswith('3 episodes in 0.01 watched hours')


@pytest.mark.parametrize(
    ('options', 'expected'),
    [
        ([], [FIRST, SECOND, STRANGE]),
        (['--cause', 'state'], [SECOND]),
        (['--cause', 'trigger'], [FIRST, STRANGE]),
        (['--robot', 'mujoco_push'], [FIRST, SECOND]),
        (['--state', 'failure'], []),
        (['--bag', 'bag_a', '--state', 'untriaged'], [FIRST, SECOND]),
        (['--cluster', SECOND['id'][:8]], [SECOND]),
    ],
)
def test_list_as_json_holds_what_was_asked_for(
    out: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    expected: list[dict[str, object]],
) -> None:
    rows = json.loads(say(capsys, 'list', out, *options, '--json'))
    assert [row['id'] for row in rows] == [manifest['id'] for manifest in expected]


def test_list_as_json_tells_the_cluster(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = json.loads(say(capsys, 'list', out, '--json'))
    assert [row['cluster'] for row in rows] == [m['id'][:8] for m in (FIRST, SECOND, STRANGE)]


def test_clusters_are_listed_most_common_first(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    harvest(out, make_manifest(2.0, 'bag_b'))
    say(capsys, 'label', ID, 'failure', '--reviewer', 'ann', '--out', out)
    head, common, *_, foot = say(capsys, 'clusters', out).splitlines()
    assert head.split() == ['cluster', 'episodes', 'name', 'labels', 'last', 'seen', 'bags']
    assert common.split() == [
        FIRST['id'][:8], '2', 'picture', '(lower', 'left),', 'emergency', 'stop',
        '1', 'failure,', '1', 'untriaged', '1003', 's', 'bag_a,', 'bag_b',
    ]  # fmt: skip
    assert foot == '3 clusters of 4 episodes'


def test_clusters_as_json(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, *_ = rows = json.loads(say(capsys, 'clusters', out, '--json'))
    assert len(rows) == 3
    assert {row['count'] for row in rows} == {1}
    assert first['episodes'][0].startswith(first['id'])
    assert first['labels'] == {'untriaged': 1}
    assert first['last_onset_ns'] > 0


def test_clusters_of_a_folder_of_before_are_made_by_rebuild(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (out / 'clusters.jsonl').unlink()
    with sqlite3.connect(out / 'catalogue.sqlite') as connection:
        connection.execute('DELETE FROM members')
    connection.close()
    assert main(['episodes', 'clusters', str(out)]) == 0
    found = capsys.readouterr()
    assert found.out == 'no clusters\n'
    assert '3 episodes have no cluster yet; run: flywheel episodes rebuild' in found.err
    say(capsys, 'rebuild', out)
    assert '3 clusters of 3 episodes' in say(capsys, 'clusters', out)


def test_show_tells_the_cluster(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = say(capsys, 'show', ID, '--out', out)
    assert f'{FIRST["id"][:8]} picture (lower left), emergency stop, 1 episode\n' in said


def test_an_id_without_a_label_is_refused(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert f'say what {ID} was: one of' in say(capsys, 'label', ID, '--out', out, code=2)


def test_list_of_nothing_says_so(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert say(capsys, 'list', out, '--robot', 'g1') == 'no episodes in 0 watched hours\n'


def test_list_says_when_folder_and_catalogue_differ(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (out / FIRST['id'] / 'manifest.json').unlink()
    assert main(['episodes', 'list', str(out)]) == 0
    assert 'knows 3 episodes, the folder holds 2; run: flywheel' in capsys.readouterr().err


def test_show_tells_all_evidence(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = say(capsys, 'show', ID, '--out', out)
    for words in (
        f'episode {FIRST["id"]}: untriaged',
        'lower left of the picture was not what the engine expected',
        'bag_a (rosbag2, mcap)',
        '2.00 s to 8.00 s from its first message, alarm at 5.00 s',
        'mujoco_push; task: push the box',
        'flow, calibration none, action grounding not measured',
        'emergency_stop at',
        '/camera: 1 × undecodable',
        'one picture could not be decoded',
        '270 messages on 2 topics',
        str(out / FIRST['id'] / 'evidence' / 'strip.png'),
    ):
        assert words in said


def test_show_as_json_is_the_manifest_with_its_labels(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    say(capsys, 'label', ID, 'failure', '--reviewer', 'ann', '--out', out)
    shown = json.loads(say(capsys, 'show', ID, '--out', out, '--json'))
    assert shown['id'] == FIRST['id']
    assert [label['label'] for label in shown['labels']] == ['failure']


def test_a_label_is_listed_and_shown(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = say(
        capsys,
        'label',
        ID,
        'false_alarm',
        '--reviewer',
        'ann',
        '--reason',
        'a shadow',
        '--out',
        out,
    )
    assert said == f'{FIRST["id"]}: false_alarm, says ann\n'
    assert FIRST['id'] in say(capsys, 'list', out, '--state', 'false_alarm')
    shown = say(capsys, 'show', ID, '--out', out)
    assert shown.startswith(f'episode {FIRST["id"]}: false_alarm')
    assert 'says ann' in shown
    assert ': a shadow' in shown


def test_the_reviewer_is_the_user_unless_named(
    out: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('LOGNAME', 'zoe')
    assert 'says zoe' in say(capsys, 'label', ID, 'failure', '--out', out)


def test_an_unknown_label_is_refused(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(['episodes', 'label', ID, 'broken', '--out', str(out)])
    assert "invalid choice: 'broken'" in capsys.readouterr().err


def test_rebuild_says_what_it_found(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (out / 'catalogue.sqlite').write_bytes(b'garbage' * 100)
    error = say(capsys, 'list', out, code=2)
    assert f'run: flywheel episodes rebuild {out}' in error
    assert '3 episodes of 2 watched bags' in say(capsys, 'rebuild', out)
    assert '3 episodes' in say(capsys, 'list', out)


def test_rebuild_names_what_it_left_out(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (out / FIRST['id'] / 'manifest.json').write_text('{')
    assert f'left out: {out / FIRST["id"]}' in say(capsys, 'rebuild', out, code=1)


def test_a_folder_without_catalogue_is_still_listed(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (out / 'catalogue.sqlite').unlink()
    assert '3 episodes' in say(capsys, 'list', out)


@pytest.mark.parametrize('action', [['list'], ['show', ID, '--out'], ['rebuild']])
def test_a_wrong_folder_is_named_and_left_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], action: list[str]
) -> None:
    assert 'none: ' in say(capsys, *action, tmp_path / 'none', code=2)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_something_else_gets_no_catalogue(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert 'holds no episodes; run: flywheel harvest' in say(capsys, 'list', tmp_path, code=2)
    assert list(tmp_path.iterdir()) == []
