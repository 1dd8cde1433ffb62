# SPDX-License-Identifier: Apache-2.0
"""The GPU as pycuda holds it: what is said where it cannot be had."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

torch = pytest.importorskip('torch', reason='engine cosmos needs torch')

from cosmos_flywheel.core.errors import EngineError  # noqa: E402
from cosmos_flywheel.engines.tensorrt import card  # noqa: E402
from cosmos_flywheel.engines.tensorrt.claim import Claim  # noqa: E402


def test_torch_without_cuda_is_told(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(torch.version, 'cuda', None)
    with pytest.raises(EngineError, match='install a torch built for CUDA'):
        card.Card()
    assert card.architecture() is None


def test_a_missing_pycuda_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, 'pycuda.driver', None)
    with pytest.raises(EngineError, match='pip install pycuda'):
        card.open_pycuda()


def test_a_pycuda_that_finds_no_driver_is_told(monkeypatch):
    def init() -> None:
        raise RuntimeError('cuInit failed: no CUDA-capable device is detected')

    monkeypatch.setitem(sys.modules, 'pycuda', SimpleNamespace())
    monkeypatch.setitem(sys.modules, 'pycuda.driver', SimpleNamespace(init=init))
    with pytest.raises(EngineError, match=r'no CUDA-capable device.*update it'):
        card.open_pycuda()


def test_another_cuda_of_pycuda_and_an_old_driver_are_told():
    card.check_versions((13, 0), (13, 1), (13, 0))
    card.check_versions((12, 4), (12, 8), (12, 6))
    with pytest.raises(EngineError, match=r'pycuda was built against CUDA 12\.8, torch for 13\.0'):
        card.check_versions((12, 8), (13, 0), (13, 0))
    with pytest.raises(EngineError, match=r'driver knows CUDA up to 12\.4.*update the driver'):
        card.check_versions((12, 8), (12, 4), (12, 8))


def test_two_processes_do_not_share_a_card(tmp_path):
    script = (
        'import sys, time\n'
        'from pathlib import Path\n'
        'from cosmos_flywheel.engines.tensorrt.claim import Claim\n'
        f'claim = Claim("0000:01:00.0", "RTX", Path({str(tmp_path)!r}))\n'
        'print("taken", flush=True)\n'
        'time.sleep(60)'
    )
    with subprocess.Popen([sys.executable, '-c', script], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b'taken\n'
        with pytest.raises(EngineError, match=f'RTX is taken by process {other.pid}'):
            Claim('0000:01:00.0', 'RTX', tmp_path)
        Claim('0000:02:00.0', 'another RTX', tmp_path).close()
        other.kill()
    claim = Claim('0000:01:00.0', 'RTX', tmp_path)
    (held,) = (p for p in tmp_path.iterdir() if '01-00' in p.name)
    assert held.read_text() == f'{os.getpid()}\n'
    claim.close()
