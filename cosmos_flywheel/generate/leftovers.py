# SPDX-License-Identifier: Apache-2.0
"""What generators left half made in an output folder, and which of it nobody waits for."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from cosmos_flywheel.core.job import CLAIMED, WAITING, Job
from cosmos_flywheel.core.variation import candidate_id, variation_from
from cosmos_flywheel.generate.queue import QUEUE, Queue

GENERATING = '.generating'
"""Folder below the output folder; in it one for each candidate that is on its way, by its id."""
FRESH_S = 600.0
"""What changed so lately is another process's, which need not have its job from the queue."""


def unwanted(out: Path) -> Iterator[Path]:
    """Folders of candidates that no job of the queue, waiting or running, will make."""
    folders = [path for path in (out / GENERATING).glob('*') if path.is_dir()]
    old = [path for path in folders if time.time() - path.stat().st_mtime > FRESH_S]
    if not old or not (out / QUEUE).exists():
        return
    with Queue.open(out) as queue:
        wanted = {_candidate(job) for job in queue.jobs() if job.state in (WAITING, CLAIMED)}
    yield from (path for path in old if path.name not in wanted)


def _candidate(job: Job) -> str:
    """The id of the candidate that a job's attempt makes: its request names model and options."""
    order = job.order
    variation = variation_from(order.variation)
    return candidate_id(order.brief_id, variation, job.seed, order.backend, order.request)
