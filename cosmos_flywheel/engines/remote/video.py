# SPDX-License-Identifier: Apache-2.0
"""A film to be made → its file, whole or not there, and no job left at the server.

A journal beside the file names the server's job from before it is asked for until it is deleted:
a process that is killed, or a server that is away for hours, costs no second job.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from cosmos_flywheel.core.errors import EngineError, NotNowError, PictureError
from cosmos_flywheel.core.lineage import sha256_hex
from cosmos_flywheel.core.types import Picture, Vector
from cosmos_flywheel.engines.remote.client import VideoClient, check_server
from cosmos_flywheel.engines.remote.control import LEAST_PSNR_DB, psnr_db
from cosmos_flywheel.engines.remote.errors import (
    FailedJobError,
    LostJobError,
    StoppedError,
    UnreachableError,
    WrongFilmError,
)
from cosmos_flywheel.engines.remote.form import new_tag
from cosmos_flywheel.engines.remote.jobs import Progress
from cosmos_flywheel.engines.remote.journal import Journal
from cosmos_flywheel.engines.remote.video_form import video_form
from cosmos_flywheel.engines.remote.video_job import VideoJob

RATE_TOLERANCE = 0.01
"""Share by which a film's rate may differ from the asked one: a container rounds its times."""


@dataclass(frozen=True, slots=True)
class VideoResult:
    """A film that came, and what the server said of it."""

    video: Path
    sha256: str
    actions: Vector | None
    """(frames - 1, width) in model space, of kind `policy`."""
    seconds: float | None
    """That the server worked on it, as it says; None where it does not."""
    peak_memory_bytes: int | None
    model: str
    """To which the server gave it."""
    job_id: str
    psnr_db: float | None
    """Of the first picture to the given one; None where they need not be alike."""
    is_left: bool
    """Whether the server's job could not be deleted yet; `forget` does that later."""


def run(
    client: VideoClient,
    job: VideoJob,
    out: Path,
    *,
    progress: Progress | None = None,
    cancelled: threading.Event | None = None,
    least_psnr_db: float = LEAST_PSNR_DB,
) -> VideoResult:
    """Have a film made; again with the same file, it goes on where it was left.

    Args:
        client: whom to ask.
        job: what for.
        out: the file; it must not be there.
        progress: told while it is waited for.
        cancelled: set by whoever wants no film any more.
        least_psnr_db: of the first picture to the given one, where they have to be alike.

    Raises:
        NotNowError: the server is away, or another process is at it; the job is kept.
        RefusedError, BlockedError: asked again, the same is answered.
        StoppedError: cancelled.
        EngineError: no film, or a wrong one.

    """
    stop = cancelled or threading.Event()
    given = _given(client, job)
    if client.facts is None:
        check_server(client, stop)
    with Journal(journal_of(out)) as journal:
        mine = {'job': job.sha256, 'endpoint': client.server.endpoint}
        if not mine.items() <= journal.told.items():
            if not _drop(client, journal):
                raise UnreachableError(f'{out}: an earlier job of it cannot be deleted now')
            journal.clear()
            journal.tell(**mine)
        asking = _Asking(client, job, out, journal, given, least_psnr_db)
        if out.exists() and not asking.has(out):
            journal.forget()
            raise EngineError(f'{out} is there already; remove it, or name another file')
        return asking.run(progress, stop)


def forget(client: VideoClient, out: Path) -> bool:
    """Delete the server's job of a film that nobody wants any more, and all traces of it.

    Returns:
        Whether nothing is left.

    """
    path = journal_of(out)
    if not path.exists():
        return True
    with Journal(path) as journal:
        is_gone = _drop(client, journal)
        if is_gone:
            _partial(out).unlink(missing_ok=True)
            journal.forget()
        return is_gone


def journal_of(out: Path) -> Path:
    """Where a film's journal lies."""
    return out.with_name(f'.{out.name}.job')


def film_of(journal: Path) -> Path:
    """Inverse of `journal_of`."""
    return journal.with_name(journal.name.removeprefix('.').removesuffix('.job'))


@dataclass(slots=True)
class _Asking:
    """One film on its way."""

    client: VideoClient
    job: VideoJob
    out: Path
    journal: Journal
    given: Picture | None
    least_psnr_db: float

    def run(self, progress: Progress | None, stop: threading.Event) -> VideoResult:
        if not self.has(self.out):
            try:
                self._fetch(stop, progress)
            except NotNowError:
                told = self.journal.told
                self.client.jobs.keep(str(told.get('id')), str(told.get('prompt')))
                raise
            except BaseException:
                self._end()
                raise
            os.replace(_partial(self.out), self.out)
        told = dict(self.journal.told['result'])
        actions = told.pop('actions')
        return VideoResult(
            video=self.out,
            actions=None if actions is None else np.array(actions, np.float32),
            is_left=not self._end(),
            **told,
        )

    def has(self, path: Path) -> bool:
        """Whether it is the film: an earlier process may have had it, and been killed then."""
        told = self.journal.told.get('result')
        with suppress(OSError):
            return isinstance(told, dict) and sha256_hex(path.read_bytes()) == told['sha256']
        return False

    def _end(self) -> bool:
        """Delete what is at the server, and what lies here half done."""
        is_gone = _drop(self.client, self.journal)
        _partial(self.out).unlink(missing_ok=True)
        if is_gone:
            self.journal.forget()
        return is_gone

    def _fetch(self, stop: threading.Event, progress: Progress | None) -> None:
        """Have the film whole beside its place."""
        until_s, left = self.client.until_s(), self.client.patience.remakes
        while not self.has(_partial(self.out)):
            try:
                self._once(until_s, stop, progress)
            except (LostJobError, FailedJobError) as error:
                if not left and isinstance(error, LostJobError):
                    raise UnreachableError(f'{error}: it starts anew too often') from error
                if not left:
                    raise
                left -= 1
                _drop(self.client, self.journal)
                self.journal.tell(id='', prompt='')

    def _once(self, until_s: float, stop: threading.Event, progress: Progress | None) -> None:
        jobs, told = self.client.jobs, self.journal.told
        if stop.is_set():
            raise StoppedError(f'{self.client.server.endpoint}: cancelled')
        if not told.get('id'):
            self._create(until_s, stop)
        job_id = str(told['id'])
        document = jobs.wait(job_id, until_s, stop, progress)
        data = jobs.content(job_id, until_s, stop)
        result = self._result(document, data)
        _write(_partial(self.out), data)
        self.journal.tell(result=result)

    def _create(self, until_s: float, stop: threading.Event) -> None:
        told, served = self.journal.told, _served(self.client)
        perhaps_made = bool(told.get('prompt'))
        if not perhaps_made:
            self.journal.tell(prompt=self.job.prompt.strip() + new_tag())
        form = video_form(self.job, served, str(told['prompt']))
        made = self.client.jobs.create(form, until_s, stop, perhaps_made=perhaps_made)
        self.journal.tell(id=str(made['id']))
        if made.get('model') not in (None, served):
            raise EngineError(
                f'{self.client.server.endpoint} gave the job to {made["model"]!r}, not to '
                f'{served!r}; ask the server itself, not a router of several models'
            )

    def _result(self, document: Mapping[str, Any], data: bytes) -> dict[str, Any]:
        memory_mb, seconds = document.get('peak_memory_mb'), document.get('inference_time_s')
        return {
            'sha256': sha256_hex(data),
            'actions': self._actions(document),
            'seconds': float(seconds) if isinstance(seconds, int | float) else None,
            'peak_memory_bytes': round(memory_mb * 2**20) if memory_mb else None,
            'model': str(document.get('model') or _served(self.client)),
            'job_id': str(document.get('id')),
            'psnr_db': self._check(data),
        }

    def _check(self, data: bytes) -> float | None:
        """PSNR of a film's first picture, if the film can be the answer."""
        at, job = self.client.server.endpoint, self.job
        first: Picture | None = None
        count, times_s = 0, [0.0, 0.0]
        try:
            for time_s, picture in self.client.decode(data):
                if picture.shape[:2] != job.size:
                    (down, across), (high, wide) = picture.shape[:2], job.size
                    raise WrongFilmError(
                        f'{at} gave pictures of {across}x{down} px instead of {wide}x{high}'
                    )
                first = picture if first is None else first
                times_s[bool(count)] = time_s
                count += 1
        except PictureError as error:
            raise WrongFilmError(f'{at} gave a film that cannot be read: {error}') from error
        if count != job.frames or first is None:
            raise WrongFilmError(f'{at} gave {count} pictures instead of {job.frames}')
        rate = (count - 1) / max(times_s[1] - times_s[0], 1e-9)
        if abs(rate / job.fps - 1) > RATE_TOLERANCE:
            raise WrongFilmError(f'{at} gave a film of {rate:.3g} Hz instead of {job.fps:g}')
        if self.given is None:
            return None
        found_db = psnr_db(self.given, first)
        if found_db < self.least_psnr_db:
            raise WrongFilmError(
                f'{at} gave a film that does not begin with the picture it was given '
                f'({found_db:.1f} dB, at least {self.least_psnr_db:g}): it is not '
                f'{self.client.server.model}, or answers somebody else'
            )
        return found_db

    def _actions(self, document: Mapping[str, Any]) -> list[Any] | None:
        if self.job.kind != 'policy':
            return None
        at, told = self.client.server.endpoint, document.get('action')
        shape = (self.job.frames - 1, self.job.width)
        try:
            values = np.asarray(told['data'] if isinstance(told, dict) else [], np.float32)
        except (KeyError, TypeError, ValueError) as error:
            raise WrongFilmError(f'{at} gave actions that are no numbers: {error}') from error
        if values.shape != shape or not np.isfinite(values).all():
            raise WrongFilmError(f'{at} gave actions {values.shape} instead of {shape}')
        if isinstance(told, dict) and told.get('domain_id') not in (None, self.job.domain_id):
            raise WrongFilmError(
                f'{at} gave actions of domain {told["domain_id"]}, not {self.job.domain_id}'
            )
        rows: list[Any] = values.tolist()
        return rows


def _given(client: VideoClient, job: VideoJob) -> Picture | None:
    """The first picture that was given, where the film has to begin with it.

    Raises:
        EngineError: what is given is of another size, or too short to be followed.

    """
    # The server works a control out of the given film, and ends with the shortest.
    least = job.frames if any(control.film is None for control in job.controls) else 1
    first = _first(client, 'reference', job.reference, job, least) if job.reference else None
    for control in job.controls:
        if control.film is not None:
            _first(client, f'control {control.kind}', control.film, job, job.frames)
    return first if job.begins_with_reference else None


def _first(client: VideoClient, what: str, data: bytes, job: VideoJob, least: int) -> Picture:
    first, count = None, 0
    try:
        for _, picture in islice(client.decode(data), least):
            first = picture if first is None else first
            count += 1
    except PictureError as error:
        raise EngineError(f'{what} cannot be read: {error}') from error
    if first is None or first.shape[:2] != job.size:
        found = 'empty' if first is None else f'of {first.shape[1]}x{first.shape[0]} px'
        high, wide = job.size
        raise EngineError(f'{what} is {found}; give pictures of {wide}x{high} px, as size has')
    if count < least:
        raise EngineError(f'{what} has {count} pictures; give {least}, as frames has')
    return first


def _served(client: VideoClient) -> str:
    return client.facts.served if client.facts else client.server.model


def _drop(client: VideoClient, journal: Journal) -> bool:
    """Delete the job that a journal names; whether it is gone.

    One of another server is not asked about from here, and left to that.
    """
    told = journal.told
    if told.get('endpoint') != client.server.endpoint or not told.get('prompt'):
        return True
    return client.jobs.discard(str(told['prompt']), str(told.get('id') or ''))


def _partial(out: Path) -> Path:
    return out.with_name(f'.{out.name}.partial')


def _write(path: Path, data: bytes) -> None:
    try:
        with path.open('wb') as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        path.unlink(missing_ok=True)
        raise EngineError(f'{path}: cannot be written ({error.strerror}); free space') from error
