# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sys

import pytest

from cosmos_flywheel.cli.main import main


def test_an_unknown_node_is_refused_with_the_nearest(capsys):
    assert main(['node', 'plaier']) == 2
    assert "did you mean 'player'?" in capsys.readouterr().err


def test_every_node_of_one_process_is_looked_at(capsys):
    assert main(['node', 'player+recoder']) == 2
    assert "did you mean 'recorder'?" in capsys.readouterr().err


@pytest.mark.parametrize('arguments', [[], ['--help']])
def test_without_rclpy_the_remedy_is_named(monkeypatch, capsys, arguments):
    monkeypatch.setitem(sys.modules, 'rclpy', None)
    assert main(['node', 'sim', *arguments]) == 2
    said = capsys.readouterr().err
    assert said.startswith('flywheel: error: rclpy cannot be imported')
    assert "pip install 'cosmos_flywheel[ros]'" in said
    assert len(said.splitlines()) == 1
