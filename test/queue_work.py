# SPDX-License-Identifier: Apache-2.0
"""Work for tests and benches of the queue: a candidate is a small folder with its price in it."""

from __future__ import annotations

import errno
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

from cosmos_flywheel.core.errors import EngineError, NotNowError, OrderError, StoreError
from cosmos_flywheel.core.job import Job, JobOrder, Outcome, Price
from cosmos_flywheel.core.lineage import canonical_json, sha256_hex

GPU_S, CPU_S, SIZE_BYTES = 2.0, 1.0, 1000


def order(number: int = 0, **changes: Any) -> JobOrder:
    """One of many different orders."""
    given: dict[str, Any] = {
        'brief_id': 'ab' * 8,
        'brief_sha256': 'cd' * 32,
        'backend': 'made_up',
        'variation': {'family': 'same_failure', 'cell': {'light': str(number)}},
        'seed': 7,
        'estimate': Price(GPU_S, CPU_S, 0.0, SIZE_BYTES),
    }
    return JobOrder(**{**given, **changes})


def candidate_id(job: Job) -> str:
    """As generators have it: the job and its seed."""
    return sha256_hex(canonical_json([job.id, job.seed]))[:16]


def make(job: Job, out: Path) -> Outcome:
    """Does what the request says; every making is a line of `made`, whatever comes of it."""
    name = candidate_id(job)
    folder = out / 'candidates' / name
    price = Price(GPU_S, CPU_S, 0.0, SIZE_BYTES)
    if folder.is_dir():
        return Outcome(price, name, found=True)
    note(out / 'made', f'{job.id} {job.attempt} {job.seed}')
    request = job.order.request
    time.sleep(request.get('seconds', 0))
    if job.attempt <= request.get('fails', 0):
        raise EngineError(f'attempt {job.attempt} shows nothing')
    if request.get('needs') and not (out / request['needs']).exists():
        raise StoreError(f'{request["needs"]}: is gone')
    if request.get('gone'):
        raise OrderError('episode: is gone')
    if request.get('away') and not (out / 'here').exists():
        raise NotNowError('the server does not answer')
    if request.get('kills') == 'always' or (request.get('kills') and first(out, job.id)):
        os.kill(os.getpid(), signal.SIGKILL)
    partial = folder.with_name(f'.partial-{name}-{os.getpid()}')
    os.makedirs(partial)
    if request.get('full'):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if request.get('wrong'):
        raise ZeroDivisionError('a bug')
    (partial / 'run.json').write_text(json.dumps({'gpu_s': GPU_S}))
    os.rename(partial, folder)
    return Outcome(price, name)


def first(out: Path, name: str) -> bool:
    """Whether nobody asked for this name before."""
    try:
        os.close(os.open(out / f'first-{name}', os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def note(path: Path, line: str) -> None:
    """Append one line, whole even if several processes do."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, f'{line}\n'.encode())
    os.close(descriptor)


def made(out: Path) -> list[str]:
    """What was noted."""
    return (out / 'made').read_text().splitlines() if (out / 'made').exists() else []
