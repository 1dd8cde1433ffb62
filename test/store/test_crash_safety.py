# SPDX-License-Identifier: Apache-2.0
"""A harvest that is killed at any step leaves only whole episodes, and run again it finishes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from episode_maker import CONFIG_HASH, harvest, make_manifest, write_files

from cosmos_flywheel.store.catalogue import Catalogue, rebuild
from cosmos_flywheel.store.episodes import EpisodeWriter, iter_episodes, read_episode
from cosmos_flywheel.store.folders import sweep

MANIFESTS = [make_manifest(2.0), make_manifest(10.0)]
IDS = sorted(manifest['id'] for manifest in MANIFESTS)
STEPS = ('fsync', 'rename', 'replace', 'mkdir', 'open')


def kill_at(step: int, work: Callable[[], None]) -> bool:
    """Run `work` in a process that dies before its `step`-th call; whether it came to that."""
    pid = os.fork()
    if pid == 0:
        calls = iter(range(step))
        for name in STEPS:
            setattr(os, name, dying(getattr(os, name), calls))
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitpid(pid, 0)[1]
    assert status in (0, signal.SIGKILL)
    return status == signal.SIGKILL


def dying(call: Callable[..., Any], calls: Any) -> Callable[..., Any]:
    def wrapped(*args: Any, **options: Any) -> Any:
        if next(calls, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*args, **options)

    return wrapped


def only_whole_episodes_are_listed(out: Path) -> None:
    on_disk = [read_episode(folder, verify=True)['id'] for folder in iter_episodes(out)]
    with Catalogue.open(out) as catalogue:
        assert {row.id for row in catalogue.episodes()} <= set(on_disk) <= set(IDS)
        if catalogue.bag_done('id of bag_003', CONFIG_HASH):
            assert sorted(row.id for row in catalogue.episodes()) == IDS


def test_killed_at_any_step_and_run_again_it_is_as_if_never_killed(tmp_path: Path) -> None:
    harvest(tmp_path / 'whole', *MANIFESTS)
    with Catalogue.open(tmp_path / 'whole') as catalogue:
        whole = catalogue.content_hash()
    for step in range(999):
        out = tmp_path / f'{step}'
        if not kill_at(step, partial(harvest, out, *MANIFESTS)):
            break
        only_whole_episodes_are_listed(out)
        sweep(out)
        assert not list(out.glob('.partial-*'))
        harvest(out, *MANIFESTS)
        assert rebuild(out).refused == ()
        with Catalogue.open(out) as catalogue:
            assert catalogue.content_hash() == whole
    assert 40 < step < 999  # every fsync, rename and folder of two episodes, a bag, a catalogue


def test_a_process_killed_while_it_writes_leaves_nothing_that_looks_whole(tmp_path: Path) -> None:
    code = (
        'import sys; from pathlib import Path\n'
        'from cosmos_flywheel.store.episodes import EpisodeWriter\n'
        'with EpisodeWriter(Path(sys.argv[1]), sys.argv[2]) as writer:\n'
        "    (writer.path / 'clip.mcap').write_bytes(b'half')\n"
        "    print('writing', flush=True)\n"
        '    sys.stdin.read()\n'
    )
    with subprocess.Popen(
        [sys.executable, '-c', code, str(tmp_path), IDS[0]],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b'writing\n'
        assert sweep(tmp_path) == 0  # it lives
        process.kill()
    assert list(iter_episodes(tmp_path)) == []
    assert len(list(tmp_path.glob('.partial-*'))) == 1
    assert sweep(tmp_path) == 1
    assert list(tmp_path.iterdir()) == []


def test_an_episode_whose_indexing_was_cut_off_is_indexed_by_the_next_run(tmp_path: Path) -> None:
    with EpisodeWriter(tmp_path, MANIFESTS[0]['id']) as writer:
        write_files(writer.path)
        writer.finish(MANIFESTS[0])
    harvest(tmp_path, *MANIFESTS)
    with Catalogue.open(tmp_path) as catalogue:
        assert sorted(row.id for row in catalogue.episodes()) == IDS


@pytest.mark.parametrize('step', range(4))
def test_killed_while_labelling_no_label_is_half_there(tmp_path: Path, step: int) -> None:
    harvest(tmp_path, MANIFESTS[0])

    def judge() -> None:
        with Catalogue.open(tmp_path) as catalogue:
            catalogue.label(MANIFESTS[0]['id'], 'failure', reviewer='ann')

    kill_at(step, judge)
    rebuild(tmp_path)
    with Catalogue.open(tmp_path) as catalogue:
        assert catalogue.episode(MANIFESTS[0]['id']).label in ('untriaged', 'failure')
        catalogue.label(MANIFESTS[0]['id'], 'false_alarm', reviewer='bob')
        assert catalogue.episode(MANIFESTS[0]['id']).label == 'false_alarm'
