# SPDX-License-Identifier: Apache-2.0
"""LeRobot data sets of both layouts become bags with every row at its time, or are refused."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from lerobot_maker import (
    CAMERA,
    FPS,
    LENGTHS,
    NAMES,
    TASK,
    change_info,
    make_v21,
    make_v30,
    picture,
    rows,
    square,
    write_film,
    write_table,
)

from cosmos_flywheel import schemas
from cosmos_flywheel.bags.picture import decode_picture
from cosmos_flywheel.bags.source import find_bags, open_bag
from cosmos_flywheel.capture.importing.run import open_origin
from cosmos_flywheel.capture.importing.shelf import Shelf, licence_of_bag
from cosmos_flywheel.cli.main import main
from cosmos_flywheel.core.errors import SourceError
from cosmos_flywheel.store.robots import load_robot

pytestmark = pytest.mark.usefixtures('pyarrow')
LAYOUTS = pytest.mark.parametrize('make', [make_v21, make_v30])


def run(*words: str | Path) -> int:
    return main(['import', *map(str, words)])


def source(out: Path) -> dict[str, Any]:
    return schemas.load(out / 'source.json', 'source-v1')


def messages(bag: Path) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    with open_bag(bag) as opened:
        for raw in opened.messages():
            found.setdefault(raw.topic, []).append(opened.deserialize(raw))
    return found


def stamp_s(message: Any) -> float:
    return message.header.stamp.sec % 3600 - 800 + message.header.stamp.nanosec / 1e9


@LAYOUTS
def test_every_row_is_in_the_bag_at_its_time(make: Callable[[Path], Path], tmp_path: Path) -> None:
    assert run(make(tmp_path / 'set'), '-o', tmp_path / 'out') == 0
    for episode, length in enumerate(LENGTHS):
        found = messages(tmp_path / f'out/bags/episode_{episode:06d}')
        assert {topic: len(said) for topic, said in found.items()} == dict.fromkeys(
            ['/state', '/action', '/camera/top/compressed'], length
        )
        begin_s = stamp_s(found['/state'][0])
        for row in range(length):
            state, action = found['/state'][row], found['/action'][row]
            assert state.name == action.name == NAMES
            assert list(state.position) == pytest.approx(rows(episode)['observation.state'][row])
            assert list(action.position) == pytest.approx(rows(episode)['action'][row])
            seen = found['/camera/top/compressed'][row]
            for message in (state, action, seen):
                assert stamp_s(message) - begin_s == pytest.approx(row / FPS, abs=1e-6)
            middle = square(decode_picture(seen))
            assert middle == pytest.approx(square(picture(episode, row)), abs=1.0)


@LAYOUTS
def test_where_it_comes_from_is_told(make: Callable[[Path], Path], tmp_path: Path) -> None:
    root = make(tmp_path / 'set')
    (root / 'README.md').write_text('---\nlicense: mit\n---\n# A set\n')
    run(root, '-o', tmp_path / 'out')
    said = source(tmp_path / 'out')
    assert (said['kind'], said['name'], said['licence']) == ('lerobot', 'set', 'mit')
    assert said['codebase_version'] in ('v2.1', 'v3.0')
    assert [one['rows'] for one in said['episodes']] == list(LENGTHS)
    assert {tuple(one['tasks']) for one in said['episodes']} == {(TASK,)}
    assert said['left_out'] == {'next.reward': 'neither observation nor action'}
    read = {one['file'] for one in said['files']}
    assert {name for one in said['episodes'] for name in one['files']} < read
    assert str(tmp_path) not in json.dumps(said)


def test_the_robot_file_names_what_is_in_the_bags(tmp_path: Path) -> None:
    run(make_v21(tmp_path / 'set'), '-o', tmp_path / 'out')
    robot = load_robot(tmp_path / 'out/robot.yaml')
    assert (robot.name, robot.task) == ('pusher', TASK)
    assert robot.state_names == robot.action_names == tuple(NAMES)
    assert [camera.topic for camera in robot.cameras] == ['/camera/top/compressed']


def test_a_harvest_runs_on_what_was_imported(tmp_path: Path) -> None:
    out = tmp_path / 'out'
    run(make_v30(tmp_path / 'set'), '-o', out, '--licence', 'CC-BY-4.0')
    assert [licence_of_bag(bag) for bag in sorted((out / 'bags').iterdir())] == ['CC-BY-4.0'] * 3
    words = ['harvest', out / 'bags', '--robot', out / 'robot.yaml', '--engine', 'persistence']
    words += ['--workers', 1, '--out', tmp_path / 'found', '--json', tmp_path / 'found.json']
    assert main([str(word) for word in words]) == 0
    found = json.loads((tmp_path / 'found.json').read_text())
    assert [len(bag.get('error', '')) for bag in found['bags']] == [0, 0, 0]
    assert [bag['duration_s'] for bag in found['bags']] == pytest.approx(
        [(length - 1) / FPS + 0.002 for length in LENGTHS], abs=1e-3
    )


def test_a_real_set_of_version_2_1_is_imported_and_harvested(root: Path, tmp_path: Path) -> None:
    g1 = root.parent / 'shared/data/g1_pick_bottle/lerobot_v21'
    if not g1.is_dir():
        pytest.skip('the G1 recordings are not beside the repository')
    out = tmp_path / 'out'
    assert run(g1, '-o', out, '--episodes', 24) == 0
    assert source(out)['notes'] == ['info.json counts 100 episodes, 3 are listed']
    assert len(load_robot(out / 'robot.yaml').tracking_pairs) == 26
    words = ['harvest', out / 'bags', '--robot', out / 'robot.yaml', '--engine', 'persistence']
    assert main([*map(str, words), '--workers', '1', '--out', str(tmp_path / 'found')]) == 0


def test_the_same_set_gives_the_same_bytes(tmp_path: Path) -> None:
    root = make_v21(tmp_path / 'set')
    for name in ('one', 'two'):
        run(root, '-o', tmp_path / name)
    for path in (tmp_path / 'one').rglob('*'):
        if path.is_file():
            twin = tmp_path / 'two' / path.relative_to(tmp_path / 'one')
            assert path.read_bytes() == twin.read_bytes(), path


def test_what_is_there_whole_is_not_made_again(tmp_path: Path, capsys: Any) -> None:
    root, out = make_v21(tmp_path / 'set'), tmp_path / 'out'
    run(root, '-o', out, '--episodes', '0,2')
    made_ns = {path: path.stat().st_mtime_ns for path in out.rglob('*.mcap')}
    (out / 'bags/episode_000002/episode_000002.mcap').write_bytes(b'cut off')
    capsys.readouterr()
    assert run(root, '-o', out) == 0
    assert '2 made, 1 there already' in capsys.readouterr().out
    whole = out / 'bags/episode_000000/episode_000000.mcap'
    assert whole.stat().st_mtime_ns == made_ns[whole]
    assert len(messages(out / 'bags/episode_000002')['/state']) == LENGTHS[2]
    assert [one['index'] for one in source(out)['episodes']] == [0, 1, 2]


def test_what_a_killed_import_left_is_removed_and_no_bag(tmp_path: Path) -> None:
    root, out = make_v21(tmp_path / 'set'), tmp_path / 'out'
    run(root, '-o', out, '--episodes', 0)
    left = out / 'bags/.recording-killed'
    shutil.copytree(out / 'bags/episode_000000', left / 'episode_000001')
    assert [path.name for path in find_bags([out / 'bags'])] == ['episode_000000']
    assert run(root, '-o', out, '--episodes', 1) == 0
    assert not left.exists()


def test_two_imports_do_not_fill_one_folder(tmp_path: Path, capsys: Any) -> None:
    root, out = make_v21(tmp_path / 'set'), tmp_path / 'out'
    with Shelf(out, open_origin(root)).claimed():
        assert run(root, '-o', out) == 2
    assert 'another import fills it' in capsys.readouterr().err
    assert run(root, '-o', out) == 0


def test_another_set_is_not_mixed_in(tmp_path: Path, capsys: Any) -> None:
    root, out = make_v21(tmp_path / 'set'), tmp_path / 'out'
    run(root, '-o', out)
    assert run(make_v30(tmp_path / 'other/set'), '-o', out) == 2
    assert "holds an import of 'set'" in capsys.readouterr().err
    assert run(root, '-o', out, '--without', CAMERA) == 2
    assert run(root, '-o', tmp_path / 'set') == 2
    assert 'is no import and not empty' in capsys.readouterr().err.splitlines()[-1]


def test_a_feature_that_is_not_wanted_is_left_out(tmp_path: Path) -> None:
    root = make_v21(tmp_path / 'set')
    assert run(root, '-o', tmp_path / 'out', '--without', CAMERA, '--episodes', 1) == 0
    assert set(messages(tmp_path / 'out/bags/episode_000001')) == {'/state', '/action'}
    assert source(tmp_path / 'out')['left_out'][CAMERA] == 'not wanted'


def test_pictures_of_a_table_are_taken_over_byte_for_byte(tmp_path: Path) -> None:
    root = make_v21(tmp_path / 'set')
    info = json.loads((root / 'meta/info.json').read_text())
    info['features'][CAMERA]['dtype'] = 'image'
    change_info(root, features=info['features'])
    stored = [cv2.imencode('.png', picture(1, row))[1].tobytes() for row in range(LENGTHS[1])]
    table = rows(1) | {CAMERA: [{'bytes': data, 'path': None} for data in stored]}
    write_table(root / 'data/chunk-000/episode_000001.parquet', table)
    assert run(root, '-o', tmp_path / 'out', '--episodes', 1) == 0
    found = messages(tmp_path / 'out/bags/episode_000001')['/camera/top/compressed']
    assert [bytes(message.data) for message in found] == stored
    assert {message.format for message in found} == {'png'}


def test_a_missing_film_is_told_before_anything_is_written(tmp_path: Path, capsys: Any) -> None:
    root = make_v21(tmp_path / 'set')
    (root / f'videos/chunk-000/{CAMERA}/episode_000002.mp4').unlink()
    assert run(root, '-o', tmp_path / 'out') == 2
    told = capsys.readouterr().err
    assert 'episode_000002.mp4: is missing' in told
    assert '--without' in told
    assert not (tmp_path / 'out').exists()


def test_a_damaged_episode_is_refused_and_the_others_go_on(tmp_path: Path, capsys: Any) -> None:
    root, out = make_v21(tmp_path / 'set'), tmp_path / 'out'
    films = root / f'videos/chunk-000/{CAMERA}'
    write_film(films / 'episode_000000.mp4', [0], less=2)
    (films / 'episode_000002.mp4').write_bytes(b'no film')
    assert run(root, '-o', out) == 1
    told = capsys.readouterr().out
    assert 'episode_000000.mp4: episode 0 has 10 pictures and 12 rows' in told
    assert 'episode_000002.mp4: cannot be decoded' in told
    assert [path.name for path in (out / 'bags').iterdir()] == ['episode_000001']
    assert [one['bag'] for one in source(out)['episodes']] == ['episode_000001']


@pytest.mark.parametrize(
    ('columns', 'told'),
    [
        ({'timestamp': [0.0, 0.1, 0.1, *np.arange(3, 8) / 10]}, 'do not increase at row 2'),
        ({'timestamp': np.arange(8) / 5}, 'the picture of row 1 is -0.100 s off its time'),
        ({'action': [[0.0]] * 8}, "'action' holds 1 numbers, info.json says 2"),
        ({'action': [[0.0, 1.0]] * 7 + [[0.0]]}, "'action' is not 2 numbers in every row"),
    ],
)
def test_a_damaged_table_is_told(
    columns: dict[str, Any], told: str, tmp_path: Path, capsys: Any
) -> None:
    root = make_v21(tmp_path / 'set')
    table = rows(1) | {key: list(values) for key, values in columns.items()}
    write_table(root / 'data/chunk-000/episode_000001.parquet', table)
    assert run(root, '-o', tmp_path / 'out', '--episodes', 1) == 1
    assert told in capsys.readouterr().out
    assert not list((tmp_path / 'out').rglob('*.mcap'))


def test_a_table_with_rows_missing_is_told(tmp_path: Path, capsys: Any) -> None:
    root = make_v21(tmp_path / 'set')
    cut = {key: values[:-3] for key, values in rows(0).items()}
    write_table(root / 'data/chunk-000/episode_000000.parquet', cut)
    run(root, '-o', tmp_path / 'out', '--episodes', 0)
    assert 'episode 0 has 9 rows and should have 12' in capsys.readouterr().out


def test_a_film_with_pictures_left_over_is_told(tmp_path: Path, capsys: Any) -> None:
    root = make_v21(tmp_path / 'set')
    write_film(root / f'videos/chunk-000/{CAMERA}/episode_000001.mp4', [2])
    run(root, '-o', tmp_path / 'out', '--episodes', 1)
    assert 'has more pictures than its 8 rows' in capsys.readouterr().out


def test_bytes_that_are_no_parquet_are_told(tmp_path: Path, capsys: Any) -> None:
    root = make_v30(tmp_path / 'set')
    (root / 'data/chunk-000/file-001.parquet').write_bytes(b'PAR1' + bytes(64))
    assert run(root, '-o', tmp_path / 'out') == 1
    assert 'file-001.parquet: cannot be read' in capsys.readouterr().out
    (root / 'meta/episodes/chunk-000/file-000.parquet').write_bytes(b'')
    with pytest.raises(SourceError, match=r'file-000.parquet: cannot be read'):
        open_origin(root)


@pytest.mark.parametrize(
    ('changes', 'told'),
    [
        ({'codebase_version': 'v9.0'}, "codebase_version is 'v9.0', known are v2.0, v2.1, v3.0"),
        ({'data_path': '/etc/{episode_index}.parquet'}, 'leads out of the data set'),
        ({'data_path': '../{episode_index}.parquet'}, 'leads out of the data set'),
        ({'video_path': '{video_key.__class__}'}, r"asks for 'video_key.__class__'"),
        ({'data_path': '{episode_index:999999999d}'}, "has the form '999999999d'"),
        ({'fps': 0}, 'fps is 0'),
        ({'features': {}}, 'lists no features'),
    ],
)
def test_a_description_that_cannot_be_true_is_refused(
    changes: dict[str, Any], told: str, tmp_path: Path
) -> None:
    root = make_v21(tmp_path / 'set')
    change_info(root, **changes)
    with pytest.raises(SourceError, match=told) as caught:
        open_origin(root)
    assert 'info.json' in str(caught.value)


def test_a_camera_whose_name_leads_out_of_the_set_is_refused(tmp_path: Path) -> None:
    root = make_v21(tmp_path / 'set')
    film = {'dtype': 'video', 'shape': [48, 64, 3]}
    change_info(root, features={'observation.images./../../../../x': film})
    with pytest.raises(SourceError, match='leads out of the data set'):
        open_origin(root)


def test_episodes_that_are_not_there_are_told(tmp_path: Path, capsys: Any) -> None:
    root = make_v21(tmp_path / 'set')
    for wanted, told in (
        ('7', 'has no episode 7; it lists 3, from 0 to 2'),
        ('x', 'write numbers'),
    ):
        assert run(root, '-o', tmp_path / 'out', '--episodes', wanted) == 2
        assert told in capsys.readouterr().err


def test_without_pyarrow_the_remedy_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_v30(tmp_path / 'set')
    monkeypatch.setitem(sys.modules, 'pyarrow', None)
    with pytest.raises(SourceError, match=r'pip install .cosmos_flywheel\[lerobot\]'):
        open_origin(root)
