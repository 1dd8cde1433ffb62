# SPDX-License-Identifier: Apache-2.0
"""Films of Cosmos 3 from a vLLM-Omni server, each begun from a failure and held to its brief.

What is on its way lies in `OUT/.generating/ORDER_ID`: films that came, and the journal of the
server's job. A worker that is killed is followed by one that goes on with the same job; after
success, refusal or cancellation nothing is left there or at the server.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cosmos_flywheel.bags.recording import Recording
from cosmos_flywheel.core.brief import Brief
from cosmos_flywheel.core.errors import (
    EngineError,
    FlywheelError,
    NotNowError,
    PermanentError,
    costing,
)
from cosmos_flywheel.core.types import Picture
from cosmos_flywheel.core.variation import Variation
from cosmos_flywheel.engines.base import FORWARD_DYNAMICS, POLICY
from cosmos_flywheel.engines.cosmos.hub import find_checkpoint, licence_of
from cosmos_flywheel.engines.remote.client import VideoClient
from cosmos_flywheel.engines.remote.errors import (
    BlockedError,
    StoppedError,
    UnfitServerError,
    UnreachableError,
)
from cosmos_flywheel.engines.remote.form import png_of
from cosmos_flywheel.engines.remote.patience import Patience
from cosmos_flywheel.engines.remote.proof import positive_control
from cosmos_flywheel.engines.remote.server import Server
from cosmos_flywheel.engines.remote.video import film_of, forget, journal_of, run
from cosmos_flywheel.engines.remote.video_job import Control, VideoJob
from cosmos_flywheel.generate.actions import Numbers
from cosmos_flywheel.generate.base import Guardrail, Made, Order
from cosmos_flywheel.generate.conditions import AXES_OF_EVENTS, EVERY_AXIS, Rows
from cosmos_flywheel.generate.film_kind import VIDEO_TO_VIDEO, film_kind
from cosmos_flywheel.generate.film_settings import SAMPLED, FilmSettings
from cosmos_flywheel.generate.leftovers import GENERATING, unwanted
from cosmos_flywheel.generate.make import order_id
from cosmos_flywheel.generate.proposal import Proposal
from cosmos_flywheel.generate.shot import Shot, shot_of, steered_shot
from cosmos_flywheel.store.files import write_bytes
from cosmos_flywheel.store.robots import load_robot
from cosmos_flywheel.video.decode import decode_video, each_picture
from cosmos_flywheel.video.encode import encode_webm

REVISION = 2
"""Counts up whenever equal orders are asked of the server in another way."""
PATIENCE = Patience(tries=3)
"""A server that stays away is left to the queue, which asks again for days."""


@dataclass(frozen=True, slots=True)
class Take:
    """One film that came."""

    frames: NDArray[np.uint8]
    """(T, H, W, 3)."""
    seconds: float
    """That the server worked on it, as it says; that it was waited for where it says nothing."""
    psnr_db: float | None
    """Of its first picture to the given one."""
    rows: NDArray[np.float32] | None
    """(T - 1, width) of kind `policy`."""


class Remote:
    """The generator `remote`: see `Generator`.

    Args:
        server: who is asked, for which model.
        robot: a robot or a robot file that goes before the brief's.
        guardrails: whether the server is asked to let its guardrails look.
        settings: how it is asked.

    """

    name = 'remote'
    kind = 'generated'
    repeatable = False
    """The same seed gives another film on another build or card of the server."""
    axes: Mapping[str, Collection[str]] = EVERY_AXIS

    def __init__(
        self,
        server: Server,
        *,
        robot: str = '',
        guardrails: bool = True,
        settings: FilmSettings | None = None,
    ) -> None:
        own = self._settings = settings or FilmSettings()
        self.model: tuple[str, str | None] = (server.model, server.commit or None)
        self.model_licence = _licence(server)
        self.parameters: Mapping[str, Any] = {
            'revision': REVISION,
            'guardrails': guardrails,
            'tier': own.tier,
            'frames': own.frames,
            'sampling': {kind: own.sampling(kind) for kind in SAMPLED},
        }
        self._robot = robot
        self._guardrails = guardrails
        self._client = VideoClient(server, each_picture, PATIENCE)
        self._proved_db: float | None = None
        """PSNR of the positive control; None before it."""

    def check(self) -> None:
        """It is there and passes a positive control; one that is away is waited for later."""
        with suppress(UnreachableError):
            self._prove(None)

    def refusal(self, brief: Brief, variation: Variation) -> str:
        """It needs commands that the robot's Cosmos domain can tell, or a film without any."""
        robot = load_robot(self._robot or brief.origin.robot)
        kind, why = film_kind(brief, variation, robot)
        looks = ', '.join(axis for axis in variation.cell if axis not in AXES_OF_EVENTS)
        if looks and kind != VIDEO_TO_VIDEO and not why:
            return (
                f'begins with a recorded picture and keeps its {looks}; the brief has no control'
            )
        return why

    def make(self, order: Order) -> Made:
        """Some recorded frames, and what the server makes of them.

        Raises:
            ConfigError: the commands leave the envelope, those that the model proposes too.
            PermanentError: guardrails stopped the prompt, or the clip is too short.
            NotNowError: the server is away or unfit; what was begun is kept and gone on with.
            EngineError: no film, or a wrong one.

        """
        shot = shot_of(order, self._settings.tier, self._settings.frames)
        folder = order.episode.parent / GENERATING / order_id(order, self)
        self._prove(folder.parent)
        folder.mkdir(parents=True, exist_ok=True)
        takes: list[Take] = []
        try:
            with costing(lambda: sum(take.seconds for take in takes)):
                return self._taken(shot, folder, takes)
        except NotNowError as error:
            error.gpu_s = 0.0  # what came is kept, and paid for when the film is whole
            raise
        except BlockedError as error:
            self._clear(folder)
            raise PermanentError(str(error)) from error
        except EngineError as error:
            if not _is_of_disk(error):
                # Is it the film, or the server? One that fails the control is waited for.
                self._proved_db = None
                self._prove(folder.parent)
            self._clear(folder)
            raise
        except BaseException:
            self._clear(folder)
            raise

    def steered(
        self, order: Order, recording: Recording, keyframe: int, path: Numbers
    ) -> tuple[NDArray[np.uint8], float]:
        """See `Steerable`; raises what `make` does."""
        shot = steered_shot(order, recording, keyframe, path, self._settings.tier)
        out = order.episode.parent / GENERATING
        self._prove(out)
        out.mkdir(exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix='steered-', dir=out))
        try:
            takes = list(self._takes(shot, folder))
        finally:
            self._clear(folder)
        high, wide = shot.shown
        frames = [take.frames[1:, :high, :wide] for take in takes]
        return np.concatenate(frames), sum(take.seconds for take in takes)

    def _prove(self, folder: Path | None) -> None:
        """Once a process, the positive control; before it, what nobody waits for is deleted."""
        if self._proved_db is not None:
            return
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            for left in unwanted(folder.parent):
                self._clear(left)
        try:
            self._proved_db = positive_control(self._client, folder=folder)
        except (NotNowError, StoppedError):
            raise
        except EngineError as error:
            if _is_of_disk(error):
                raise
            raise UnfitServerError(
                f'{error}; nothing is asked of this server until it passes the control'
            ) from error

    def _takes(self, shot: Shot, folder: Path) -> Iterator[Take]:
        """The film, or chunk by chunk, each from the last picture of the one before."""
        given: Picture | None = shot.context[-1] if len(shot.context) else None
        for number, at in enumerate(range(0, shot.frames - 1, shot.chunk)):
            take = self._take(self._job(shot, at, given), folder / f'{number}.mp4')
            given = take.frames[-1]
            yield take

    def _take(self, job: VideoJob, path: Path) -> Take:
        """One film; one that is there is not asked for again."""
        said = path.with_suffix('.json')
        if not said.exists():
            if not journal_of(path).exists():
                path.unlink(missing_ok=True)  # whole, but what the server said of it is lost
            begun_s = time.monotonic()
            with costing(lambda: time.monotonic() - begun_s):
                result = run(self._client, job, path)
            told = {
                'seconds': result.seconds,
                'waited_s': time.monotonic() - begun_s,
                'psnr_db': result.psnr_db,
                'rows': None if result.actions is None else result.actions.tolist(),
            }
            write_bytes(said, json.dumps(told).encode())
        told = json.loads(said.read_bytes())
        rows = None if told['rows'] is None else np.array(told['rows'], np.float32)
        seconds = told['waited_s'] if told['seconds'] is None else told['seconds']
        _, pictures = decode_video(path.read_bytes())
        return Take(np.stack(pictures), seconds, told['psnr_db'], rows)

    def _job(self, shot: Shot, at: int, given: Picture | None) -> VideoJob:
        """What is asked for from a frame on."""
        order, count = shot.order, min(shot.chunk, shot.frames - 1 - at)
        given_of_kind: dict[str, Any] = {}
        if shot.kind in (FORWARD_DYNAMICS, POLICY):
            domain = order.robot.domain
            assert domain is not None  # `film_kind` has seen it
            given_of_kind = {'domain_id': domain.id, 'width': domain.width}
        if shot.rows is not None:
            given_of_kind['actions'] = shot.rows[at : at + count]
        if shot.control is not None:
            name, pictures = shot.control
            film = encode_webm(list(pictures), shot.fps)
            given_of_kind |= {'controls': (Control(name, film),), 'condition_frames': ()}
        return VideoJob(
            kind=shot.kind,
            prompt=shot.caption(at, count + 1),
            size=shot.size,
            frames=count + 1,
            fps=shot.fps,
            reference=None if given is None else png_of(given),
            seed=order.seed + at,
            negative_prompt=shot.avoid,
            guardrails=self._guardrails,
            **self._settings.sampling(shot.kind),
            **given_of_kind,
        )

    def _taken(self, shot: Shot, folder: Path, takes: list[Take]) -> Made:
        """All chunks, or of a policy those that may be followed; `takes` gets each as it comes."""
        if shot.kind == POLICY:
            return self._proposed(shot, folder, takes)
        for take in self._takes(shot, folder):
            takes.append(take)
        return self._made(shot, takes, folder)

    def _proposed(self, shot: Shot, folder: Path, takes: list[Take]) -> Made:
        """Chunk by chunk, for as long as what the model proposes may be followed."""
        proposal = Proposal(shot)
        rows: list[Rows] = []
        for take in self._takes(shot, folder):
            takes.append(take)
            assert take.rows is not None  # `run` sees to it
            rows.append(take.rows)
            if not proposal.follows(np.concatenate(rows)):
                break
        shot = replace(shot, commands=proposal.commands, notes=proposal.notes)
        return self._made(shot, takes, folder, left_out=not proposal.is_whole)

    def _made(self, shot: Shot, takes: list[Take], folder: Path, left_out: int = 0) -> Made:
        """Of all films but the last ones that are left out; what they cost counts."""
        high, wide = shot.shown
        skipped = 1 if len(shot.context) else 0  # a film begins with the picture it was given
        kept = takes[: len(takes) - left_out]
        made = [take.frames[skipped:, :high, :wide] for take in kept]
        decibels = [take.psnr_db for take in takes if take.psnr_db is not None]
        return Made(
            frames=np.concatenate([shot.context, *made]),
            fps=shot.fps,
            commands=shot.commands,
            onset_s=shot.onset_s,
            begins_step=len(shot.context),
            notes=(*self._notes(shot, decibels), *shot.notes),
            gpu_s=sum(take.seconds for take in takes),
            guardrail=Guardrail(self._guardrails, None, False if self._guardrails else None),
            asked=self._asked(shot, len(takes)),
            release=lambda: self._clear(folder),
        )

    def _notes(self, shot: Shot, decibels: list[float]) -> Iterator[str]:
        yield 'generated: what a world model makes of it; nobody has looked at it yet'
        yield f'the server passed a positive control ({self._proved_db:.1f} dB)'
        if decibels:
            yield f'films begin with the given picture ({min(decibels):.1f} dB at the least)'
        if shot.order.variation.cell:
            yield 'cell: told to the model in words; whether it heeded them is not known'

    def _asked(self, shot: Shot, calls: int) -> dict[str, Any]:
        """Of the first call; further ones differ in the picture and the times of the text."""
        return {
            'kind': shot.kind,
            'prompt': shot.caption(0, shot.chunk + 1),
            'negative_prompt': shot.avoid,
            'size': list(shot.size),
            'fps': shot.fps,
            'frames': shot.frames,
            'calls': calls,
            'control': shot.control and shot.control[0],
            'control_guidance': VideoJob.control_guidance if shot.control else None,
            'crf': VideoJob.crf,
            **self._settings.sampling(shot.kind),
        }

    def _clear(self, folder: Path) -> None:
        """Delete what lies there and at the server; what cannot be now, a later process does."""
        try:
            films = [film_of(journal) for journal in folder.rglob('.*.job')]
            gone = [forget(self._client, film) for film in films]
        except FlywheelError:
            return
        if all(gone):
            shutil.rmtree(folder, ignore_errors=True)


def _licence(server: Server) -> str | None:
    """No server tells it; where somebody vouches for the commit, the hub's cache here may."""
    if not server.commit:
        return None
    try:
        return licence_of(find_checkpoint(f'{server.model}@{server.commit}'))
    except EngineError:
        return None


def _is_of_disk(error: EngineError) -> bool:
    """Whether it is the file system of this machine that did not do."""
    return isinstance(error.__cause__, OSError)
