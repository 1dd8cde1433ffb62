# SPDX-License-Identifier: Apache-2.0
"""The jobs of a vLLM-Omni server: made, waited for, fetched and deleted, none left behind.

What may be asked twice is asked again after a pause when no answer came or the server was busy. A
job may be asked for twice as well: before that it is looked for among the server's, by its prompt.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any, Protocol
from urllib.parse import quote

from cosmos_flywheel.core.errors import EngineError
from cosmos_flywheel.engines.remote.answers import failure, is_blocked, refusal, worded
from cosmos_flywheel.engines.remote.errors import (
    LostJobError,
    NoAnswerError,
    StoppedError,
    UnreachableError,
    WrongFilmError,
)
from cosmos_flywheel.engines.remote.patience import Patience
from cosmos_flywheel.engines.remote.wire import (
    MOST_JSON_BYTES,
    MOST_VIDEO_BYTES,
    Answer,
    Wire,
)

JOBS = '/v1/videos'
MODELS = '/v1/models'
RUNNING = ('queued', 'in_progress')
CLEARING_S = 5.0
"""Deleting what is left may take so long after a request's own time."""
LATE_S = 60.0
"""A request whose answer was lost may be carried out so much later."""
PAGE = 100
"""Jobs of a list, the most that the server gives."""

Progress = Callable[[str, float], None]
"""Told a job's status, and the seconds since it is waited for."""


class Posted(Protocol):
    """A form, whichever it is."""

    @property
    def prompt(self) -> str:
        """By which the server's list of jobs tells this one from all others."""
        ...

    def encode(self) -> tuple[bytes, str]:
        """Body and media type."""
        ...


class Jobs:
    """One server's jobs; several threads may ask.

    Args:
        wire: asks the server.
        patience: how long is waited, and how often is tried.

    """

    def __init__(self, wire: Wire, patience: Patience) -> None:
        self.away_since_s: float | None = None
        """Of time.time, when the first of the requests failed that were not answered lately."""
        self._wire = wire
        self._patience = patience
        self._at = wire.server.endpoint
        self._clearing = threading.Lock()
        self._used: set[str] = set()
        """Ids of jobs that somebody waits for."""
        self._left: set[str] = set()
        """Ids of jobs that nobody wants any more."""
        self._asking: set[str] = set()
        """Prompts of jobs that are being made."""
        self._doubtful: dict[str, float] = {}
        """Prompts of jobs that may exist unknown to us, and since when, of time.monotonic."""

    def models(self, until_s: float, stop: threading.Event) -> list[dict[str, Any]]:
        """What the server lists as served."""
        answer = self.ask('GET', MODELS, until_s, stop)
        listed = answer.document().get('data')
        if answer.status != 200 or not isinstance(listed, list):
            raise refusal(answer, f'GET {MODELS}', self._at)
        return [one for one in listed if isinstance(one, dict)]

    def create(
        self,
        form: Posted,
        until_s: float,
        stop: threading.Event,
        *,
        perhaps_made: bool = False,
    ) -> dict[str, Any]:
        """Make a job; the server's document of it.

        Args:
            form: what is posted.
            until_s: of time.monotonic.
            stop: set by whoever wants no answer any more.
            perhaps_made: somebody may have posted it before, so it is looked for first.

        Raises:
            EngineError: refused, or no answer after all tries.

        """
        is_doubtful = True
        self._asking.add(form.prompt)
        try:
            made, is_doubtful = self._create(form, until_s, stop, perhaps_made)
            return made
        finally:
            self._asking.discard(form.prompt)
            if is_doubtful:
                self._doubtful[form.prompt] = time.monotonic()

    def wait(
        self,
        job_id: str,
        until_s: float,
        stop: threading.Event,
        progress: Progress | None = None,
    ) -> dict[str, Any]:
        """The document of a job that is done.

        Raises:
            LostJobError: the server knows it no more.
            EngineError: it failed, or was not done in time.

        """
        self._used.add(job_id)
        pause_s, begun_s = self._patience.poll_s, time.monotonic()
        while True:
            answer = self.ask('GET', _path(job_id), until_s, stop)
            document = answer.document()
            status = document.get('status')
            if status is None and answer.status == 404:
                raise LostJobError(f'{self._at}: job {job_id} is not known any more')
            if status == 'completed':
                return document
            if status is None:
                raise refusal(answer, f'GET {JOBS}', self._at)
            if status not in RUNNING:
                raise failure(document, self._at)
            if progress:
                progress(status, time.monotonic() - begun_s)
            if time.monotonic() + pause_s > until_s:
                raise EngineError(
                    f'{self._at}: the job was not done in {self._patience.whole_s:g} s; '
                    f'{self._patience.remedy}'
                )
            self._rest(pause_s, stop)
            pause_s = min(pause_s * 1.5, self._patience.slowest_poll_s)

    def content(self, job_id: str, until_s: float, stop: threading.Event) -> bytes:
        """The film of a job that is done.

        Raises:
            LostJobError: the server knows it no more.
            EngineError: what came is no film.

        """
        path = f'{_path(job_id)}/content'
        answer = self.ask('GET', path, until_s, stop, most_bytes=MOST_VIDEO_BYTES)
        if answer.status == 404:
            raise LostJobError(f'{self._at}: the film of job {job_id} is not there any more')
        if answer.status != 200:
            raise refusal(answer, f'GET {path}', self._at)
        if answer.kind != 'video/mp4':
            raise WrongFilmError(
                f'{self._at}{path} gave {answer.kind or "no media type"} instead of video/mp4; is '
                'it a vLLM-Omni server?'
            )
        return answer.data

    def release(self, job_id: str) -> bool:
        """Let the server forget a job, running or done; what fails is done by `clear`.

        Returns:
            Whether it is gone.

        """
        self._left.add(job_id)
        self._used.discard(job_id)
        self._delete(job_id)
        return job_id not in self._left

    def keep(self, job_id: str, prompt: str) -> None:
        """Wait for a job no longer, and let it be, for whoever asks for it later."""
        self._used.discard(job_id)
        self._doubtful.pop(prompt, None)

    def discard(self, prompt: str, job_id: str = '') -> bool:
        """Let the server forget a job that is known by its prompt, and perhaps by its id.

        Returns:
            Whether it is gone.

        """
        is_gone = self.release(job_id) if job_id else True
        if prompt and not job_id:
            self._doubtful.setdefault(prompt, time.monotonic())
            is_gone = self._settle(prompt, spared=self._used - self._left)
        self.clear()
        return is_gone and job_id not in self._left

    def clear(self, *, everything: bool = False) -> None:
        """Delete what is left at the server.

        Args:
            everything: also what somebody still waits for.

        """
        with self._clearing:
            if everything:
                # First those that are being made: before one is no longer, it is in use.
                self._doubtful |= dict.fromkeys(self._asking, time.monotonic())
                self._left |= self._used
            for job_id in tuple(self._left):
                self._delete(job_id)
            for prompt in tuple(self._doubtful):
                self._settle(prompt, spared=set() if everything else self._used - self._left)

    def _create(
        self, form: Posted, until_s: float, stop: threading.Event, perhaps_made: bool
    ) -> tuple[dict[str, Any], bool]:
        """The job's document, and whether there may be another job of that prompt."""
        problem = ''
        for attempt in range(self._patience.tries):
            if attempt:
                self._pause(attempt, problem, until_s, stop)
            if attempt or perhaps_made:
                for known in self._found(form.prompt, until_s, stop):
                    self._used.add(known['id'])
                    return known, True
            try:
                body, kind = form.encode()
                answer = self._wire.ask('POST', JOBS, until_s, stop, body=body, kind=kind)
            except NoAnswerError as error:
                problem = str(error)
                continue
            made = answer.document()
            if answer.status == 200 and isinstance(made.get('id'), str):
                self._used.add(made['id'])
                self.away_since_s = None
                return made, perhaps_made or attempt > 0
            if answer.status not in self._patience.passing or is_blocked(answer):
                raise refusal(answer, f'POST {JOBS}', self._at)
            problem = f'POST {self._at}{JOBS}: {worded(answer)}'
            self._heed(answer, until_s, stop)
        raise self._unreachable(problem)

    def _delete(self, job_id: str) -> None:
        until_s, stop = time.monotonic() + CLEARING_S, threading.Event()
        try:
            busy = (*self._patience.passing, 409)
            answer = self.ask('DELETE', _path(job_id), until_s, stop, busy=busy)
        except EngineError:
            return
        if answer.status in (200, 204, 404):
            self._left.discard(job_id)

    def _settle(self, prompt: str, spared: set[str]) -> bool:
        """Delete the jobs of a prompt; one may be made late, so they are looked for again.

        Returns:
            Whether none is there now.

        """
        now_s = time.monotonic()
        try:
            found = self._found(prompt, now_s + CLEARING_S, threading.Event())
        except EngineError:
            return False
        unwanted = [known['id'] for known in found if known['id'] not in spared]
        for job_id in unwanted:
            self._left.add(job_id)
            self._delete(job_id)
        if now_s - self._doubtful.get(prompt, now_s) > LATE_S:
            self._doubtful.pop(prompt, None)
        return self._left.isdisjoint(unwanted)

    def _found(self, prompt: str, until_s: float, stop: threading.Event) -> list[dict[str, Any]]:
        """The jobs of a prompt, among all that the server has."""
        mine: list[dict[str, Any]] = []
        after = ''
        while True:
            query = f'?limit={PAGE}&order=desc' + (f'&after={quote(after)}' if after else '')
            answer = self.ask('GET', JOBS + query, until_s, stop)
            document = answer.document()
            listed = document.get('data')
            if answer.status != 200 or not isinstance(listed, list):
                raise refusal(answer, f'GET {JOBS}', self._at)
            jobs = [job for job in listed if isinstance(job, dict)]
            mine += [j for j in jobs if j.get('prompt') == prompt and isinstance(j.get('id'), str)]
            last = str(jobs[-1].get('id')) if jobs else after
            if mine or not document.get('has_more') or last == after:
                return mine
            after = last

    def ask(
        self,
        method: str,
        path: str,
        until_s: float,
        stop: threading.Event,
        *,
        busy: tuple[int, ...] = (),
        most_bytes: int = MOST_JSON_BYTES,
    ) -> Answer:
        """Ask what may be asked twice, as often as it may be.

        Args:
            method: such as GET.
            path: from the root.
            until_s: of time.monotonic.
            stop: set by whoever wants no answer any more.
            busy: statuses after which it is asked again, instead of the usual ones.
            most_bytes: longest answer.

        Raises:
            UnreachableError: no answer after all tries.

        """
        problem = ''
        for attempt in range(self._patience.tries):
            if attempt:
                self._pause(attempt, problem, until_s, stop)
            try:
                answer = self._wire.ask(method, path, until_s, stop, most_bytes=most_bytes)
            except NoAnswerError as error:
                problem = str(error)
                continue
            if answer.status not in (busy or self._patience.passing) or is_of_job(answer):
                self.away_since_s = None
                return answer
            problem = f'{method} {self._at}{path}: {worded(answer)}'
            self._heed(answer, until_s, stop)
        raise self._unreachable(problem)

    def _heed(self, answer: Answer, until_s: float, stop: threading.Event) -> None:
        """Wait for as long as the server asks for."""
        if answer.retry_after_s:
            self._rest(min(answer.retry_after_s, until_s - time.monotonic()), stop)

    def _pause(self, attempt: int, problem: str, until_s: float, stop: threading.Event) -> None:
        self.away_since_s = self.away_since_s or time.time()
        pause_s = min(self._patience.pause_s * 2 ** (attempt - 1), self._patience.longest_pause_s)
        left_s = until_s - time.monotonic()
        if left_s <= 0:
            raise self._unreachable(f'{problem}, and no time is left')
        self._rest(min(pause_s, left_s), stop)

    def _rest(self, seconds: float, stop: threading.Event) -> None:
        if stop.wait(max(seconds, 0.0)):
            raise StoppedError(f'{self._at}: closed or cancelled')

    def _unreachable(self, problem: str) -> UnreachableError:
        self.away_since_s = self.away_since_s or time.time()
        since = datetime.fromtimestamp(self.away_since_s, timezone.utc)
        return UnreachableError(
            f'{problem} ({self._patience.tries} tries); see that the server runs and can be '
            f'reached; unreachable since {since:%Y-%m-%d %H:%M:%S} UTC'
        )


def is_of_job(answer: Answer) -> bool:
    """Whether it is a job's document: one that failed comes with the status of its error."""
    return 'status' in answer.document()


def _path(job_id: str) -> str:
    return f'{JOBS}/{quote(job_id, safe="")}'
