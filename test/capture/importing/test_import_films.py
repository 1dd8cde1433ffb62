# SPDX-License-Identifier: Apache-2.0
"""A folder of films with captions becomes bags of pictures, the captions kept beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cosmos_flywheel import schemas
from cosmos_flywheel.bags.source import open_bag
from cosmos_flywheel.capture.importing.shelf import licence_of_bag
from cosmos_flywheel.cli.main import main
from cosmos_flywheel.store.robots import load_robot
from cosmos_flywheel.video.encode import encode_webm

TIMES_S = (0.0, 0.1, 0.25, 0.3)


@pytest.fixture
def films(tmp_path: Path) -> Path:
    root = tmp_path / 'films'
    (root / 'videos').mkdir(parents=True)
    (root / 'metas').mkdir()
    seen = [np.full((32, 48, 3), 60 * n, np.uint8) for n in range(len(TIMES_S))]
    data = encode_webm(seen, 10, times_s=TIMES_S)
    for name in ('fall', 'slip one', 'quiet'):
        (root / 'videos' / f'{name}.webm').write_bytes(data)
    (root / 'videos/fall.json').write_text(json.dumps({'caption': 'The box\n falls.'}))
    (root / 'metas/slip one.txt').write_text('The box slips. ')
    return root


def run(*words: str | Path) -> int:
    return main(['import', *map(str, words)])


def test_each_film_is_a_bag_with_its_caption_beside_it(films: Path, tmp_path: Path) -> None:
    out = tmp_path / 'out'
    assert run(films, '-o', out, '--licence', 'CC0-1.0') == 0
    said = schemas.load(out / 'source.json', 'source-v1')
    assert {one['bag']: one['tasks'] for one in said['episodes']} == {
        'fall': ['The box falls.'],
        'quiet': [],
        'slip_one': ['The box slips.'],
    }
    assert said['notes'] == ['1 of 3 films have no caption']
    assert (said['kind'], said['licence']) == ('films', 'CC0-1.0')
    assert licence_of_bag(out / 'bags/slip_one') == 'CC0-1.0'
    assert licence_of_bag(out / 'bags/another') is None
    with open_bag(out / 'bags/slip_one') as bag:
        stamps_ns = [bag.stamp_ns(message) or 0 for message in bag.messages()]
    assert [(ns - stamps_ns[0]) / 1e9 for ns in stamps_ns] == pytest.approx(TIMES_S, abs=1e-3)
    robot = load_robot(out / 'robot.yaml')
    assert [camera.topic for camera in robot.cameras] == ['/camera/film/compressed']
    assert robot.task == ''


def test_a_damaged_film_or_caption_is_told(films: Path, tmp_path: Path, capsys: Any) -> None:
    (films / 'videos/fall.json').write_text('{')
    assert run(films, '-o', tmp_path / 'out') == 2
    assert 'fall.json: cannot be read' in capsys.readouterr().err
    (films / 'videos/fall.json').write_text('[]')
    assert run(films, '-o', tmp_path / 'out') == 2
    assert 'fall.json: holds no caption' in capsys.readouterr().err
    (films / 'videos/fall.json').unlink()
    (films / 'videos/fall.webm').write_bytes(b'none')
    assert run(films, '-o', tmp_path / 'out') == 2
    assert 'fall.webm: cannot be decoded' in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_a_folder_of_neither_is_told(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / 'empty').mkdir()
    assert run(tmp_path / 'empty', '-o', tmp_path / 'out') == 2
    assert 'neither a LeRobot data set' in capsys.readouterr().err
    assert run(tmp_path / 'none', '-o', tmp_path / 'out') == 2
    assert 'no such folder' in capsys.readouterr().err
