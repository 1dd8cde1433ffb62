# SPDX-License-Identifier: Apache-2.0
"""A model of `mujoco_push`, and `flywheel harvest` as one call whose outcome can be looked at."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from harvest_outcome import Outcome, folders
from push_bags import covered, recording, write

from cosmos_flywheel import schemas
from cosmos_flywheel.cli.main import main

PHASES = (0.4, 1.1, 2.3)


@pytest.fixture(scope='session')
def nominal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of bags in which nothing went wrong."""
    folder = tmp_path_factory.mktemp('nominal')
    for number, phase in enumerate(PHASES):
        write(folder / f'nominal_{number}', recording(16.0, phase))
    return folder


@pytest.fixture(scope='session')
def model(nominal: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `flywheel fit` learnt from them."""
    folder = tmp_path_factory.mktemp('fit') / 'model'
    words = ['fit', nominal, '--robot', 'mujoco_push', '--engine', 'flow', '-o', folder]
    words += ['--workers', 1]
    assert main([str(word) for word in words]) == 0
    return folder


@pytest.fixture
def covered_bag(tmp_path: Path) -> Path:
    """A sound bag with one failure in it."""
    return write(tmp_path / 'covered', covered())


@pytest.fixture
def harvest(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Outcome]:
    """Runs `flywheel harvest` in this process.

    `judged` adds `--model`; further words go to the command line as they are.
    """

    def run(*words: object, out: Path | None = None, judged: bool = True) -> Outcome:
        out, json_path = out or tmp_path / 'out', tmp_path / 'found.json'
        json_path.unlink(missing_ok=True)
        rest = ['--out', out, '--json', json_path, *(['--model', model] if judged else [])]
        rest += [] if '--workers' in words else ['--workers', 1]
        capsys.readouterr()
        code = main([str(word) for word in ('harvest', *words, *rest)])
        said, complained = capsys.readouterr()
        assert 'Traceback' not in complained
        document = json.loads(json_path.read_text('utf-8')) if json_path.exists() else None
        if document is not None:
            schemas.check(document, 'harvest-v1', where='--json')
        found = Outcome(code, said, complained, document, out)
        assert len(found.episodes) == len(folders(out))
        return found

    return run
