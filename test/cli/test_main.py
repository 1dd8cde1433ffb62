# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from cosmos_flywheel import __version__
from cosmos_flywheel.cli.actions import OUT
from cosmos_flywheel.cli.main import VERBS, main, module_of
from cosmos_flywheel.core.errors import BagError

FLYWHEEL = (sys.executable, '-m', 'cosmos_flywheel.cli.main')


def verb_that_raises(monkeypatch, error: BaseException) -> None:
    def run(args):
        raise error

    monkeypatch.setattr('cosmos_flywheel.cli.inspect.run', run)


@pytest.mark.parametrize('verb', VERBS)
def test_every_verb_is_a_module_that_explains_itself(verb, capsys):
    assert callable(importlib.import_module(module_of(verb)).run)
    with pytest.raises(SystemExit) as exit_:
        main([verb, '--help'])
    assert exit_.value.code == 0
    assert f'flywheel {verb}' in capsys.readouterr().out


def test_help_lists_every_verb_without_importing_them():
    script = (
        'import sys\n'
        'from cosmos_flywheel.cli.main import main\n'
        'try: main(["--help"])\n'
        'except SystemExit: pass\n'
        'print("numpy" in sys.modules, "cv2" in sys.modules)'
    )
    out = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True).stdout
    assert all(verb in out for verb in VERBS)
    assert out.endswith('False False\n')


def test_the_version_is_the_packages(capsys):
    with pytest.raises(SystemExit):
        main(['--version'])
    assert capsys.readouterr().out == f'flywheel {__version__}\n'


@pytest.mark.parametrize('words', [['here'], ['--out', 'here'], []])
def test_a_folder_is_named_by_its_place_or_by_its_option(words, capsys):
    assert main(['candidates', 'sheet', *words]) == 2
    assert capsys.readouterr().err.startswith(f'flywheel: error: {"here" if words else OUT}: ')


def test_options_are_not_cut_short(capsys):
    with pytest.raises(SystemExit):
        main(['import', 'somewhere', '--out', 'here'])  # which has --output
    assert '-o/--output' in capsys.readouterr().err


def test_an_error_of_the_users_is_one_line_and_code_2(monkeypatch, capsys):
    verb_that_raises(monkeypatch, BagError('x: no such bag'))
    assert main(['inspect', 'x']) == 2
    assert capsys.readouterr().err == 'flywheel: error: x: no such bag\n'


def test_an_error_of_ours_is_not_hidden(monkeypatch):
    verb_that_raises(monkeypatch, ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        main(['inspect', 'x'])


def test_ctrl_c_is_code_130(monkeypatch):
    verb_that_raises(monkeypatch, KeyboardInterrupt())
    assert main(['inspect', 'x']) == 130


@pytest.mark.parametrize('arguments', [[], ['inspct'], ['inspect']])
def test_a_wrong_command_line_is_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert 'usage: flywheel' in capsys.readouterr().err


def test_a_reader_that_leaves_is_not_answered(tmp_path):
    """As in `flywheel inspect BAG | head -0`: nothing on stderr."""
    script = (
        'import sys\n'
        'from cosmos_flywheel.cli import inspect, main\n'
        'inspect.run = lambda args: print("x" * 100000) or 0\n'
        'sys.exit(main.main(["inspect", "x"]))'
    )
    child = subprocess.Popen(
        [sys.executable, '-c', script], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert child.stdout is not None
    child.stdout.close()
    assert child.stderr is not None
    assert child.stderr.read() == b''
    child.stderr.close()
    assert child.wait() == 141
