# SPDX-License-Identifier: Apache-2.0
"""Chunks asked of a server, each a job that is gone when its film is here.

Runtimes are shared by all sessions of a process that ask alike, so that a server is looked at and
tried out once. What is left at a server when the process ends is deleted then; only a process that
is killed leaves its job to the server.
"""

from __future__ import annotations

import atexit
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cosmos_flywheel.core.errors import EngineError, PictureError
from cosmos_flywheel.core.types import Picture, Vector
from cosmos_flywheel.engines.remote.control import NONSENSE, unexplained
from cosmos_flywheel.engines.remote.errors import LostJobError, StoppedError
from cosmos_flywheel.engines.remote.form import Form, form_of
from cosmos_flywheel.engines.remote.jobs import Jobs
from cosmos_flywheel.engines.remote.model import RemoteModel
from cosmos_flywheel.engines.remote.wire import Wire

Decode = Callable[[bytes], Sequence[Picture]]
"""A film's bytes → its pictures; PictureError for anything else."""
SNAPSHOT = re.compile(r'(?<![0-9a-f])[0-9a-f]{40}(?![0-9a-f])')
"""The commit in a path of the hub's cache."""
MOST_OPEN = 4
_open: dict[str, RemoteRuntime] = {}
_opening = threading.Lock()


class RemoteRuntime:
    """Asks a server; every call waits for its answer.

    Args:
        model: what is asked, and how.
        decode: reads films.

    """

    def __init__(self, model: RemoteModel, decode: Decode) -> None:
        self.model = model
        self.jobs = Jobs(Wire(model.server, model.settings.answer_s), model.settings.patience)
        self.served = ''
        """What the server calls the model, once it was asked."""
        self.is_proved = False
        """Whether it answered the control rightly."""
        self._decode = decode
        self._is_closed = False

    def check(self, stop: threading.Event) -> None:
        """See that the server is what the model says.

        Raises:
            EngineError: it cannot be reached, or serves another model or commit.

        """
        server = self.model.server
        listed = self.jobs.models(self._until_s(), stop)
        mine = [one for one in listed if server.model in (one.get('id'), one.get('root'))]
        if not mine:
            names = ', '.join(str(one.get('id')) for one in listed) or 'nothing'
            raise EngineError(
                f'{server.endpoint} serves {names}, not {server.model}; start it with `vllm serve '
                f'{server.model} --omni`, or fit with the model that it serves'
            )
        _check_commit(mine[0], server.commit, server.endpoint)
        self.served = str(mine[0].get('id'))

    def prove(self, picture: Picture, rows: Vector, stop: threading.Event) -> None:
        """Have the server foretell a robot that does not move: the picture has to stay.

        Args:
            picture: (H, W, 3) of the canvas.
            rows: (chunk, width) in model space, of no motion.
            stop: set by whoever wants no answer any more.

        Raises:
            EngineError: the server answers with something else.

        """
        frames = self.foretell(picture, rows, self.model.settings.seed, stop)[0]
        share = unexplained(frames[0], frames[-1])
        if not share < NONSENSE:
            raise EngineError(
                f'{self.model.server.endpoint} sees the world change while the robot does not '
                f'move ({share:.2f} of the picture unexplained, at most {NONSENSE:g}); see that '
                f'{self.model.server.model} knows domain {self.model.actions.domain}, and that '
                'steps and shift are those of its training'
            )
        self.is_proved = True

    def foretell(
        self, picture: Picture, rows: Vector, seed: int, stop: threading.Event
    ) -> NDArray[np.uint8]:
        """Pictures (1, 1 + chunk, H, W, 3) of what is shown of the canvas.

        Args:
            picture: (H, W, 3) of the canvas.
            rows: (chunk, width) in model space.
            seed: of the noise; equal pictures come only as far as the server is deterministic.
            stop: set by whoever wants no answer any more.

        Raises:
            EngineError: no right answer within the time and the tries that the settings allow.

        """
        if not self.served:
            self.check(stop)
        high, wide = self.model.view.canvas.shown
        given = np.ascontiguousarray(picture[:high, :wide])
        until_s = self._until_s()
        try:
            data = self._film(given, rows, seed, until_s, stop)
        finally:
            self.jobs.clear()
        return self._checked(data, given)[None]

    def pictures(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(1 + chunk, H, W, 3) of what `foretell` gave: a server decodes by itself."""
        shown: NDArray[np.uint8] = frames[0]
        return shown

    def close(self) -> None:
        """Delete what is left at the server, and ask for nothing more."""
        self._is_closed = True
        self.jobs.clear(everything=True)

    def _film(
        self, given: Picture, rows: Vector, seed: int, until_s: float, stop: threading.Event
    ) -> bytes:
        """A chunk's film, asked for anew when the server lost it."""
        for _ in range(self.model.settings.tries):
            if self._is_closed:
                raise StoppedError(f'{self.model.server.endpoint}: the runtime was closed')
            form = form_of(self.model, self.served, given, rows, seed)
            try:
                return self._once(form, until_s, stop)
            except LostJobError as error:
                lost = error
        raise EngineError(
            f'{lost} ({self.model.settings.tries} tries); see that the server does not start '
            'anew again and again, and that it has one API worker only'
        )

    def _once(self, form: Form, until_s: float, stop: threading.Event) -> bytes:
        made = self.jobs.create(form, until_s, stop)
        job_id = str(made['id'])
        try:
            if made.get('model') not in (None, self.served):
                raise EngineError(
                    f'{self.model.server.endpoint} gave the job to {made["model"]!r}, not to '
                    f'{self.served!r}; ask the server itself, not a router of several models'
                )
            self.jobs.wait(job_id, until_s, stop)
            return self.jobs.content(job_id, until_s, stop)
        finally:
            self.jobs.release(job_id)

    def _checked(self, data: bytes, given: Picture) -> NDArray[np.uint8]:
        """The film's pictures, if they can be the answer."""
        endpoint, count = self.model.server.endpoint, self.model.settings.chunk + 1
        try:
            pictures = self._decode(data)
        except PictureError as error:
            raise EngineError(f'{endpoint} gave a film that cannot be read: {error}') from error
        if len(pictures) != count:
            raise EngineError(
                f'{endpoint} gave {len(pictures)} pictures instead of {count}; see that it puts '
                'none in between (enable_frame_interpolation)'
            )
        frames = np.stack(pictures)
        if frames.shape[1:] != given.shape:
            (high, wide), (down, across) = frames.shape[1:3], given.shape[:2]
            raise EngineError(
                f'{endpoint} gave pictures of {wide}x{high} px instead of {across}x{down}; the '
                'size of the request has to be kept'
            )
        share = unexplained(given, frames[0])
        if not share < NONSENSE:
            raise EngineError(
                f'{endpoint} gave a film that does not begin with the picture it was given '
                f'({share:.2f} of it unexplained, at most {NONSENSE:g}): it is not '
                f'{self.model.server.model}, or answers somebody else'
            )
        return frames

    def _until_s(self) -> float:
        return time.monotonic() + self.model.settings.chunk_s


def runtime_of(model: RemoteModel, decode: Decode) -> RemoteRuntime:
    """The process' runtime of a model, made on the first call."""
    plain = model.with_settings(seed=0, seeds=1, stride=1)
    key = f'{plain.sha256} {model.server} {model.settings.answer_s} {model.settings.chunk_s}'
    with _opening:
        if key not in _open:
            while len(_open) >= MOST_OPEN:
                _open.pop(next(iter(_open))).close()
            _open[key] = RemoteRuntime(model, decode)
        return _open[key]


@atexit.register
def close_all() -> None:
    """Delete what all runtimes left at their servers."""
    while _open:
        _open.popitem()[1].close()


def _check_commit(listed: Mapping[str, Any], wanted: str, endpoint: str) -> None:
    """Raise EngineError if the server names another commit; most name none."""
    found = SNAPSHOT.findall(str(listed.get('root') or ''))
    if wanted and found and wanted not in found:
        raise EngineError(
            f'{endpoint} serves commit {found[-1]}, the model was fitted with {wanted}; serve '
            'that with `vllm serve --revision`, or fit again'
        )
