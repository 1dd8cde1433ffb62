# SPDX-License-Identifier: Apache-2.0
"""The report of a folder shows all that it keeps, whoever put it there."""

from __future__ import annotations

from pathlib import Path

import pytest
from episode_maker import harvest, make_manifest

from cosmos_flywheel.capture.kept import gather, report_kept
from cosmos_flywheel.cli.main import main
from cosmos_flywheel.core.errors import StoreError


def live_manifest(start_s: float, session: str) -> dict:
    manifest = make_manifest(start_s, 'live')
    manifest['source'] |= {'bag_id': session, 'format': 'live'}
    return manifest


def test_every_episode_is_there_though_its_clip_is_damaged(tmp_path: Path) -> None:
    manifests = [make_manifest(2.0, 'bag_a'), make_manifest(10.0, 'bag_a')]
    harvest(tmp_path, *manifests)
    result = gather(tmp_path)
    assert {e.id for e in result.episodes} == {m['id'] for m in manifests}
    assert [bag.bag for bag in result.bags] == ['bag_a']
    assert result.bags[0].duration_s == 20.0
    assert not any(e.clip for e in result.episodes)


def test_sessions_are_told_apart(tmp_path: Path) -> None:
    harvest(tmp_path, live_manifest(2.0, 'first'))
    other = live_manifest(30.0, 'second')
    other['id'] = 'f' * 16
    harvest(tmp_path, other)
    result = gather(tmp_path)
    assert len({e.bag for e in result.episodes}) == 2
    assert {e.bag for e in result.episodes} <= {bag.bag for bag in result.bags}


def test_a_verb_draws_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = make_manifest()
    harvest(tmp_path, manifest)
    assert main(['episodes', 'report', str(tmp_path)]) == 0
    assert 'report.html' in capsys.readouterr().out
    assert manifest['id'] in (tmp_path / 'report.html').read_text('utf-8')


def test_a_folder_without_episodes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match='holds no episode'):
        report_kept(tmp_path)
