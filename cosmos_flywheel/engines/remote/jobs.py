# SPDX-License-Identifier: Apache-2.0
"""The jobs of a vLLM-Omni server: made, waited for, fetched and deleted, none left behind.

What may be asked twice is asked again after a pause when no answer came or the server was busy. A
job may be asked for twice as well: before that it is looked for among the server's, by its prompt.
"""

from __future__ import annotations

import threading
import time
from typing import Any
from urllib.parse import quote

from cosmos_flywheel.core.errors import EngineError
from cosmos_flywheel.engines.remote.form import Form
from cosmos_flywheel.engines.remote.server import TOKEN_VARIABLE
from cosmos_flywheel.engines.remote.settings import RemoteSettings
from cosmos_flywheel.engines.remote.wire import (
    MOST_JSON_BYTES,
    MOST_VIDEO_BYTES,
    Answer,
    NoAnswerError,
    StoppedError,
    Wire,
)

JOBS = '/v1/videos'
MODELS = '/v1/models'
BUSY = (408, 429, 502, 503, 504)
"""Statuses of a server or of what stands before it that pass."""
RUNNING = ('queued', 'in_progress')
SLOWEST_POLL_S = 0.5
CLEARING_S = 5.0
"""Deleting what is left may take so long after a request's own time."""
LATE_S = 60.0
"""A request whose answer was lost may be carried out so much later."""
LONGEST_WORDS = 300


class LostJobError(EngineError):
    """The server knows the job no more: it was started anew."""


class Jobs:
    """One server's jobs; several threads may ask.

    Args:
        wire: asks the server.
        settings: how long is waited, and how often is tried.

    """

    def __init__(self, wire: Wire, settings: RemoteSettings) -> None:
        self._wire = wire
        self._settings = settings
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
        answer = self._ask('GET', MODELS, until_s, stop)
        listed = answer.document().get('data')
        if answer.status != 200 or not isinstance(listed, list):
            raise self._refused(answer, f'GET {MODELS}')
        return [one for one in listed if isinstance(one, dict)]

    def create(self, form: Form, until_s: float, stop: threading.Event) -> dict[str, Any]:
        """Make a job; the server's document of it.

        Raises:
            EngineError: refused, or no answer after all tries.

        """
        is_doubtful = True
        self._asking.add(form.prompt)
        try:
            made, is_doubtful = self._create(form, until_s, stop)
            return made
        finally:
            self._asking.discard(form.prompt)
            if is_doubtful:
                self._doubtful[form.prompt] = time.monotonic()

    def wait(self, job_id: str, until_s: float, stop: threading.Event) -> dict[str, Any]:
        """The document of a job that is done.

        Raises:
            LostJobError: the server knows it no more.
            EngineError: it failed, or was not done in time.

        """
        pause_s = self._settings.poll_s
        while True:
            answer = self._ask('GET', _path(job_id), until_s, stop)
            document = answer.document()
            status = document.get('status')
            if status is None and answer.status == 404:
                raise LostJobError(f'{self._at}: job {job_id} is not known any more')
            if status == 'completed':
                return document
            if status not in RUNNING:
                raise self._failed(answer, document)
            if time.monotonic() + pause_s > until_s:
                raise EngineError(
                    f'{self._at}: the chunk was not done in {self._settings.chunk_s:g} s; take '
                    'fewer steps or tier 256, or raise chunk_s'
                )
            self._rest(pause_s, stop)
            pause_s = min(pause_s * 1.5, SLOWEST_POLL_S)

    def content(self, job_id: str, until_s: float, stop: threading.Event) -> bytes:
        """The film of a job that is done.

        Raises:
            LostJobError: the server knows it no more.
            EngineError: what came is no film.

        """
        path = f'{_path(job_id)}/content'
        answer = self._ask('GET', path, until_s, stop, most_bytes=MOST_VIDEO_BYTES)
        if answer.status == 404:
            raise LostJobError(f'{self._at}: the film of job {job_id} is not there any more')
        if answer.status != 200:
            raise self._refused(answer, f'GET {path}')
        if answer.kind != 'video/mp4':
            raise EngineError(
                f'{self._at}{path} gave {answer.kind or "no media type"} instead of video/mp4; is '
                'it a vLLM-Omni server?'
            )
        return answer.data

    def release(self, job_id: str) -> None:
        """Let the server forget a job, running or done; what fails is done by `clear`."""
        self._left.add(job_id)
        self._used.discard(job_id)
        self._delete(job_id)

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
        self, form: Form, until_s: float, stop: threading.Event
    ) -> tuple[dict[str, Any], bool]:
        """The job's document, and whether there may be another job of that prompt."""
        problem = ''
        for attempt in range(self._settings.tries):
            if attempt:
                self._pause(attempt, problem, until_s, stop)
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
                return made, attempt > 0
            if answer.status not in BUSY:
                raise self._refused(answer, f'POST {JOBS}')
            problem = f'POST {self._at}{JOBS}: {_words(answer)}'
        raise NoAnswerError(self._tried(problem))

    def _delete(self, job_id: str) -> None:
        until_s, stop = time.monotonic() + CLEARING_S, threading.Event()
        try:
            answer = self._ask('DELETE', _path(job_id), until_s, stop, busy=(*BUSY, 409))
        except EngineError:
            return
        if answer.status in (200, 204, 404):
            self._left.discard(job_id)

    def _settle(self, prompt: str, spared: set[str]) -> None:
        """Delete the jobs of a prompt; one may be made late, so they are looked for again."""
        now_s = time.monotonic()
        try:
            found = self._found(prompt, now_s + CLEARING_S, threading.Event())
        except EngineError:
            return
        for known in found:
            if known['id'] not in spared:
                self._left.add(known['id'])
                self._delete(known['id'])
        if now_s - self._doubtful.get(prompt, now_s) > LATE_S:
            self._doubtful.pop(prompt, None)

    def _found(self, prompt: str, until_s: float, stop: threading.Event) -> list[dict[str, Any]]:
        """The jobs of a prompt."""
        answer = self._ask('GET', f'{JOBS}?limit=100&order=desc', until_s, stop)
        listed = answer.document().get('data')
        if answer.status != 200 or not isinstance(listed, list):
            raise self._refused(answer, f'GET {JOBS}')
        mine = [job for job in listed if isinstance(job, dict) and job.get('prompt') == prompt]
        return [job for job in mine if isinstance(job.get('id'), str)]

    def _ask(
        self,
        method: str,
        path: str,
        until_s: float,
        stop: threading.Event,
        *,
        busy: tuple[int, ...] = BUSY,
        most_bytes: int = MOST_JSON_BYTES,
    ) -> Answer:
        """Ask what may be asked twice, as often as it may be."""
        problem = ''
        for attempt in range(self._settings.tries):
            if attempt:
                self._pause(attempt, problem, until_s, stop)
            try:
                answer = self._wire.ask(method, path, until_s, stop, most_bytes=most_bytes)
            except NoAnswerError as error:
                problem = str(error)
                continue
            if answer.status not in busy or 'status' in answer.document():
                return answer
            problem = f'{method} {self._at}{path}: {_words(answer)}'
            if answer.retry_after_s:
                self._rest(min(answer.retry_after_s, until_s - time.monotonic()), stop)
        raise NoAnswerError(self._tried(problem))

    def _pause(self, attempt: int, problem: str, until_s: float, stop: threading.Event) -> None:
        pause_s = self._settings.pause_s * 2 ** (attempt - 1)
        left_s = until_s - time.monotonic()
        if left_s <= 0:
            raise NoAnswerError(f'{problem}, and no time is left; raise chunk_s or answer_s')
        self._rest(min(pause_s, left_s), stop)

    def _rest(self, seconds: float, stop: threading.Event) -> None:
        if stop.wait(max(seconds, 0.0)):
            raise StoppedError(f'{self._at}: the session was closed')

    def _tried(self, problem: str) -> str:
        return (
            f'{problem} ({self._settings.tries} tries); see that the server runs and can be '
            'reached, or leave the level out'
        )

    def _refused(self, answer: Answer, what: str) -> EngineError:
        if answer.status in (401, 403):
            return EngineError(
                f'{self._at} wants another token ({answer.status}); put the one of its --api-key '
                f'into {TOKEN_VARIABLE}'
            )
        if 300 <= answer.status < 400:
            return EngineError(f'{self._at} sends elsewhere ({answer.status}); give that endpoint')
        if answer.status == 404:
            return EngineError(
                f'{self._at} knows no {what} (404); start it with `vllm serve MODEL --omni`'
            )
        return EngineError(f'{what} at {self._at}: {_words(answer)}; see the log of the server')

    def _failed(self, answer: Answer, document: dict[str, Any]) -> EngineError:
        if 'status' not in document:
            return self._refused(answer, f'GET {JOBS}')
        error = document.get('error')
        told = error.get('message') if isinstance(error, dict) else None
        return EngineError(
            f'{self._at}: the job ended as {document["status"]!r} '
            f'({_short(str(told or "no reason given"))}); see the log of the server'
        )


def _path(job_id: str) -> str:
    return f'{JOBS}/{quote(job_id, safe="")}'


def _words(answer: Answer) -> str:
    """What an answer says is wrong."""
    document = answer.document()
    error = document.get('error')
    told = error.get('message') if isinstance(error, dict) else document.get('detail')
    return f'{answer.status} {_short(str(told))}' if told else f'status {answer.status}'


def _short(text: str) -> str:
    line = ' '.join(text.split())
    return line if len(line) <= LONGEST_WORDS else f'{line[:LONGEST_WORDS]} …'
