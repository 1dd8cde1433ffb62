# SPDX-License-Identifier: Apache-2.0
"""Films of Cosmos 3 in this process: under commands, by its policy, or from words alone.

Nothing is fetched: the checkpoint lies on this disk, and no gated weights are asked for unless
the guardrail is switched on.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from cosmos_flywheel.bags.recording import Recording
from cosmos_flywheel.core.brief import Brief
from cosmos_flywheel.core.errors import (
    ConfigError,
    EngineError,
    FlywheelError,
    NotNowError,
    PermanentError,
    costing,
)
from cosmos_flywheel.core.job import Price
from cosmos_flywheel.core.lineage import canonical_json, sha256_hex
from cosmos_flywheel.core.variation import Variation
from cosmos_flywheel.engines.base import FORWARD_DYNAMICS, POLICY
from cosmos_flywheel.engines.cosmos.canvas import Canvas
from cosmos_flywheel.engines.cosmos.caption import film_caption, token_ids
from cosmos_flywheel.engines.cosmos.dims import GROUP
from cosmos_flywheel.engines.cosmos.film import IMAGE_TO_VIDEO, Film, FilmOrder, NoRoomError
from cosmos_flywheel.engines.cosmos.guardrail import BlockedFilmError, FilmGuardrail
from cosmos_flywheel.engines.cosmos.hub import check_pulled, find_checkpoint, licence_of, repo_of
from cosmos_flywheel.engines.cosmos.model import COMMIT
from cosmos_flywheel.engines.cosmos.plan import film_s, size_of
from cosmos_flywheel.engines.cosmos.sums import PARTS, file_sums
from cosmos_flywheel.engines.cosmos.view import laid_again
from cosmos_flywheel.generate.actions import Numbers
from cosmos_flywheel.generate.base import Guardrail, Made, Order
from cosmos_flywheel.generate.conditions import AXES_OF_EVENTS, chunk_of
from cosmos_flywheel.generate.film_kind import VIDEO_TO_VIDEO, film_kind
from cosmos_flywheel.generate.film_settings import FilmSettings
from cosmos_flywheel.generate.proposal import Proposal
from cosmos_flywheel.generate.shot import (
    MOST_CHUNKS,
    MOST_FRAMES,
    Shot,
    shot_of,
    steered_shot,
)
from cosmos_flywheel.store.robots import load_robot

if TYPE_CHECKING:
    from cosmos_flywheel.engines.cosmos.checkpoint import Checkpoint
    from cosmos_flywheel.engines.cosmos.film_maker import Follows

Result = TypeVar('Result')
REVISION = 2
"""Counts up whenever equal orders get other films."""


class Cosmos:
    """The generator `cosmos`: see `Generator`.

    Args:
        checkpoint: a folder in the hub's layout, or OWNER/NAME[@COMMIT] in the hub's cache.
        settings: how it is asked.
        robot: a robot or a robot file that goes before the brief's.

    Raises:
        EngineError: the checkpoint is not there, is none, or is a causal one.

    """

    name = 'cosmos'
    kind = 'generated'
    axes: Mapping[str, Collection[str]] = AXES_OF_EVENTS

    def __init__(
        self, checkpoint: str, settings: FilmSettings | None = None, *, robot: str = ''
    ) -> None:
        self._robot = robot
        self._guardrails: dict[str, FilmGuardrail] = {}
        self._settings = settings or FilmSettings()
        self._folder = find_checkpoint(checkpoint)
        if not (self._folder / PARTS[0]).is_dir():
            raise EngineError(
                f'{self._folder}: holds no checkpoint (no {PARTS[0]}/); give the folder that '
                '`flywheel engine pull` made, which is named by its commit'
            )
        self._commit = self._folder.resolve().name
        if not COMMIT.fullmatch(self._commit):
            raise EngineError(
                f'{self._folder}: is not named by its commit of 40 hex digits; pull it with '
                '`flywheel engine pull`, or rename the folder'
            )
        self._checkpoint = _opened(self._folder, self._commit)
        if self._checkpoint.manifest is not None:
            raise EngineError(
                f'{self._folder}: is a causal checkpoint; films are made by a base model, such as '
                'nvidia/Cosmos3-Super'
            )
        name = repo_of(self._folder) or f'cosmos3-{size_of(self._checkpoint.dims)}'
        self.model: tuple[str, str | None] = (name, self._commit)
        self.model_licence = licence_of(self._folder)

    @cached_property
    def parameters(self) -> Mapping[str, Any]:
        """With the sum of the checkpoint's files, and whether a card or a processor computes."""
        own = self._settings
        return {
            'revision': REVISION,
            'files_sha256': sha256_hex(canonical_json(file_sums(self._folder))),
            'tier': own.tier,
            'frames': own.frames,
            'sampling': {k: own.sampling(k) for k in (FORWARD_DYNAMICS, POLICY, IMAGE_TO_VIDEO)},
            'precision': own.precision,
            'device': self._device or 'cuda',
            'guardrail': own.guardrail,
        }

    @property
    def repeatable(self) -> bool:
        """On a processor, where a test shows it; nobody has shown it of a card."""
        return self._device == 'cpu'

    def check(self) -> None:
        """Its files are whole, and there is a card; without one it may be waited for later."""
        check_pulled(self._folder, file_sums(self._folder))
        self._checkpoint.transformer()
        self._checkpoint.vae()
        token_ids(self._folder, '')
        if not self._device and self._settings.on_no_gpu == 'refuse':
            raise EngineError(_no_gpu())
        if self._device:
            self._guardrail(self._device)  # which says what is missing

    def refusal(self, brief: Brief, variation: Variation) -> str:
        """It needs commands that the robot's Cosmos domain can tell, or a film without any."""
        robot = load_robot(self._robot or brief.origin.robot)
        kind, why = film_kind(brief, variation, robot)
        return why or (_no_controls() if kind == VIDEO_TO_VIDEO else '')

    def estimate(self, brief: Brief, variation: Variation) -> Price:
        """Seconds of an H200, by the arithmetic of the longest film; its cards are not known."""
        robot = load_robot(self._robot or brief.origin.robot)
        kind, chunk = film_kind(brief, variation, robot)[0], chunk_of(robot)
        acts = kind in (FORWARD_DYNAMICS, POLICY)
        own = self._settings
        sampling = own.sampling(kind if acts else IMAGE_TO_VIDEO)
        canvas = Canvas.choose(brief.scene.size, own.tier or brief.scene.tier)
        steps = (own.frames or (MOST_CHUNKS * chunk + 1 if acts else MOST_FRAMES)) - 1
        once = film_s(
            self._checkpoint.dims,
            canvas.latent,
            chunk if acts else steps,
            chunk if acts else 0,
            sampling['steps'] * (1 if sampling['guidance'] == 1 else 2),
        )
        return Price(gpu_s=once * (max(1, steps // chunk) if acts else 1))

    def make(self, order: Order) -> Made:
        """Some recorded frames, and what the model makes of them.

        Raises:
            ConfigError: the commands leave the envelope, those that the model proposes too; or
                the guardrail stopped the film.
            PermanentError: the guardrail stopped the words, or the clip is too short.
            NotNowError: there is no card, or no room on it, and it is to be waited for.
            EngineError: a file of the checkpoint is missing or broken, or the film is not finite.

        """
        return self._with_room(lambda device: self._make(order, device))

    def steered(
        self, order: Order, recording: Recording, keyframe: int, path: Numbers
    ) -> tuple[NDArray[np.uint8], float]:
        """See `Steerable`; raises what `make` does."""
        shot = steered_shot(order, recording, keyframe, path, self._settings.tier)
        film = self._with_room(lambda device: self._film(self._asked(shot), device))
        return film.frames[1:], film.gpu_s

    def _make(self, order: Order, device: str) -> Made:
        shot = shot_of(order, self._settings.tier, self._settings.frames)
        if shot.kind == VIDEO_TO_VIDEO:
            raise PermanentError(_no_controls())
        asked = self._asked(shot)
        if not device:
            raise self._absent(_no_gpu())
        guardrail = self._guardrail(device)
        if guardrail is not None:
            try:
                guardrail.check_words(asked.captions[0])
            except BlockedFilmError as error:
                raise PermanentError(str(error)) from error
        proposal = Proposal(shot) if shot.kind == POLICY else None
        film = self._film(asked, device, None if proposal is None else proposal.follows)
        if proposal is not None:
            shot = replace(shot, commands=proposal.commands, notes=proposal.notes)
        return self._made(shot, asked, film, device, guardrail)

    def _with_room(self, work: Callable[[str], Result]) -> Result:
        """What comes of work on the device; without room there, of what `on_no_gpu` says."""
        try:
            return work(self._device)
        except NoRoomError as error:
            why = str(error)
        # Outside of the handler, which holds on to what the film had taken: whoever else uses the
        # card may have it until then.
        from cosmos_flywheel.engines.cosmos.film_opened import close

        self._guardrails.clear()
        close()
        if self._settings.on_no_gpu == 'cpu':
            return work('cpu')
        raise self._absent(why)

    def _absent(self, why: str) -> FlywheelError:
        """That there is no card, or no room on it."""
        return (NotNowError if self._settings.on_no_gpu == 'wait' else PermanentError)(why)

    @property
    def _device(self) -> str:
        """`cuda`, `cpu` if a processor may work, or '' for neither; a card may yet come."""
        import torch

        if torch.cuda.is_available():
            return 'cuda'
        return 'cpu' if self._settings.on_no_gpu == 'cpu' else ''

    def _guardrail(self, device: str) -> FilmGuardrail | None:
        """Loaded where it is asked for, once."""
        if self._settings.guardrail == 'off':
            return None
        if device not in self._guardrails:
            self._guardrails[device] = FilmGuardrail(device)
        return self._guardrails[device]

    def _asked(self, shot: Shot) -> FilmOrder:
        sampling = self._settings.sampling(shot.kind)
        avoid, given = shot.avoid, shot.context[-1]
        if shot.kind == IMAGE_TO_VIDEO:
            told = shot.frames, shot.fps, shot.size
            return FilmOrder(
                shot.kind,
                given,
                Canvas(shot.size, shot.size),
                (film_caption(shot.caption(), *told),),
                shot.frames,
                shot.fps,
                **sampling,
                seed=shot.order.seed,
                negative=film_caption(avoid, *told, avoid=True),
            )
        camera = shot.clip.recording.pictures.shape[1:3]
        canvas = Canvas.choose((camera[0], camera[1]), shot.order.brief.scene.tier)
        on_canvas = replace(shot, size=canvas.size)
        chunk = -(-shot.chunk // GROUP) * GROUP
        domain = shot.order.robot.domain
        assert domain is not None  # `film_kind` has seen it
        return FilmOrder(
            shot.kind,
            laid_again(given, canvas),
            canvas,
            tuple(on_canvas.caption(at, chunk + 1) for at in range(0, shot.frames - 1, chunk)),
            shot.frames,
            shot.fps,
            **sampling,
            seed=shot.order.seed,
            negative=avoid,
            chunk=chunk,
            domain=domain.id,
            width=domain.width,
            rows=shot.rows,
        )

    def _film(self, asked: FilmOrder, device: str, follows: Follows | None = None) -> Film:
        from cosmos_flywheel.engines.cosmos.film_opened import maker_of

        if not device:
            raise self._absent(_no_gpu())
        maker = maker_of(self._folder, self._commit, self._settings.precision, device)
        return maker.make(asked, follows)

    def _made(
        self,
        shot: Shot,
        asked: FilmOrder,
        film: Film,
        device: str,
        guardrail: FilmGuardrail | None,
    ) -> Made:
        frames, changed = film.frames[1:], None
        is_on = guardrail is not None
        if guardrail is not None:
            try:
                with costing(lambda: film.gpu_s):
                    frames, changed = guardrail.check_film(frames)
            except BlockedFilmError as error:
                raise ConfigError(str(error)) from error
        return Made(
            frames=np.concatenate([shot.context, frames]),
            fps=shot.fps,
            commands=shot.commands,
            onset_s=shot.onset_s,
            begins_step=len(shot.context),
            notes=(*self._notes(shot.order.variation, device), *shot.notes),
            gpu_s=film.gpu_s,
            guardrail=Guardrail(is_on, is_on, False if is_on else None, changed),
            asked={
                'kind': asked.mode,
                'prompt': asked.captions[0],
                'negative_prompt': asked.negative,
                'size': list(asked.canvas.size),
                'shown': list(asked.canvas.shown),
                'fps': asked.fps,
                'frames': asked.frames,
                'calls': film.calls,
                'steps': asked.steps,
                'guidance': asked.guidance,
                'shift': asked.shift,
                'domain_id': asked.domain if asked.acts else None,
                'device': device,
            },
        )

    def _notes(self, variation: Variation, device: str) -> Iterator[str]:
        import torch

        yield 'generated: what a world model makes of it; nobody has looked at it yet'
        if device == 'cuda':
            yield f'computed by a {torch.cuda.get_device_name()}: another card gives other bits'
        elif device != self.parameters['device']:
            yield 'computed by a processor, for the card had no room for it'
        if variation.cell:
            yield 'cell: told to the model in words; whether it heeded them is not known'


def _opened(folder: Any, commit: str) -> Checkpoint:
    try:
        from cosmos_flywheel.engines.cosmos.checkpoint import Checkpoint
    except ImportError as error:
        raise EngineError(
            f'generator cosmos needs torch: install one for the CUDA of this machine ({error})'
        ) from error
    return Checkpoint(folder, commit)


def _no_gpu() -> str:
    import torch

    return (
        f'torch {torch.__version__} sees no NVIDIA GPU; free or attach one, install a torch built '
        'for CUDA, or say --set on_no_gpu=cpu for a model that is small enough'
    )


def _no_controls() -> str:
    return (
        'follows no edges, depth or blur: the published pipelines that it is held against have '
        'none; ask a server of vLLM-Omni (backend remote)'
    )
