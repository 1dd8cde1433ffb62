# SPDX-License-Identifier: Apache-2.0
"""One order and a generator → one candidate folder, and from its manifest the same order again."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import cosmos_flywheel
from cosmos_flywheel import schemas
from cosmos_flywheel.bags.source import open_bag
from cosmos_flywheel.core.brief import SCHEMA as BRIEF_SCHEMA
from cosmos_flywheel.core.brief import Brief
from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.errors import ConfigError, OrderError, costing
from cosmos_flywheel.core.lineage import canonical_json
from cosmos_flywheel.core.types import Picture
from cosmos_flywheel.core.variation import Variation, candidate_id, variation_from
from cosmos_flywheel.generate.actions import Commands
from cosmos_flywheel.generate.base import Generator, Licensed, Made, Order, nothing
from cosmos_flywheel.store.candidates import (
    ACTIONS,
    BRIEF,
    THUMBNAIL,
    VIDEO,
    CandidateWriter,
    candidate_folder,
    is_made,
    read_candidate,
)
from cosmos_flywheel.store.files import write_document
from cosmos_flywheel.video.encode import encode_webm

THUMBNAIL_PX = 240
ROBOT = 'robot_sha256'
"""Among the parameters of a manifest: the robot file in force, whatever its path and layout."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One candidate that lies there."""

    id: str
    folder: Path
    is_new: bool
    """False if it lay there before."""
    cpu_s: float = 0.0
    gpu_s: float = 0.0


def order_id(order: Order, generator: Generator) -> str:
    """The id that the candidate of this order has or will have."""
    parameters = request_of(generator, order.robot, order.variation, order.nominal)
    return candidate_id(order.brief.id, order.variation, order.seed, generator.name, parameters)


def request_of(
    generator: Generator, robot: Robot, variation: Variation, nominal: Sequence[Path]
) -> dict[str, Any]:
    """Everything beside brief, variation and seed that decides what comes of an order.

    Nominal bags, by their ids, are among it where commands are taken from them.
    """
    bags = nominal_ids(generator, variation, nominal)
    with_bags = {'nominal': bags} if bags else {}
    return {**parameters_of(generator, robot), 'model': list(generator.model), **with_bags}


def parameters_of(generator: Generator, robot: Robot) -> dict[str, Any]:
    """The generator's own, and the robot file that clip and commands are read by."""
    return {**generator.parameters, ROBOT: robot.config_hash()}


def nominal_ids(generator: Generator, variation: Variation, nominal: Sequence[Path]) -> list[str]:
    """Of the bags that commands are taken from; none where a simulator's script commands."""
    if variation.actions != 'nominal' or generator.kind == 'simulation':
        return []
    return [_bag_id(path, path.stat().st_mtime_ns) for path in nominal]


@lru_cache(maxsize=1024)
def _bag_id(path: Path, _changed_ns: int) -> str:
    with open_bag(path) as bag:
        return bag.bag_id


def make_candidate(out: Path, order: Order, generator: Generator) -> Candidate:
    """Make one candidate, unless it is there already.

    Raises:
        OrderError: the generator does not make such a cell.
        ConfigError: the order cannot be met.
        FlywheelError: what else the generator or the disk has to say; nothing incomplete is left.

    """
    identity = order_id(order, generator)
    folder = candidate_folder(out, identity)
    if is_made(out, identity):
        return Candidate(identity, folder, is_new=False)
    reason = generator.refusal(order.brief, order.variation)
    if reason:
        raise OrderError(f'{generator.name}: {order.variation}: {reason}')
    started, began_s = datetime.now(timezone.utc), time.process_time()
    made = generator.make(order)
    lost_s = made.gpu_s if made.release is nothing else 0.0  # else it is gone on with
    with costing(lambda: lost_s), CandidateWriter(out, identity) as writer:
        write_document(writer.path / BRIEF, order.brief.document(), BRIEF_SCHEMA)
        files = _write_files(writer.path, made)
        manifest = _manifest(identity, order, generator, made, files)
        cpu_s = time.process_time() - began_s
        finished = datetime.now(timezone.utc)
        run = {
            'schema': 'run-v1',
            'started': started.isoformat(timespec='milliseconds'),
            'finished': finished.isoformat(timespec='milliseconds'),
            'duration_s': (finished - started).total_seconds(),
            'cpu_s': cpu_s,
            'gpu_s': made.gpu_s,
        }
        is_new = writer.finish(manifest, run, made.truth)
    made.release()
    return Candidate(identity, folder, is_new, cpu_s, made.gpu_s)


def brief_of(folder: Path) -> Brief:
    """The brief that a candidate was made from, as it lies in its folder."""
    return Brief.from_document(schemas.load(folder / BRIEF, BRIEF_SCHEMA))


def variation_of(manifest: Mapping[str, Any]) -> Variation:
    """What a candidate was to be."""
    return variation_from(manifest['variation'])


def differences(folder: Path, order: Order, generator: Generator) -> tuple[str, ...]:
    """Make a candidate again from its order; what of its manifest is not the same.

    Hashes of all files are in the manifest: where it is equal, so is every byte.

    Raises:
        ConfigError: the order is not the candidate's: brief, robot file, model or parameters are
            others, or it does not say by which robot file it was made.

    """
    before = read_candidate(folder, verify=True)
    identity = order_id(order, generator)
    if ROBOT not in before['parameters']:
        raise ConfigError(
            f'{folder}: was made by a version that did not note the robot file (no {ROBOT} among '
            'its parameters), so nobody knows what would be the same; make the order anew with: '
            'flywheel generate'
        )
    if identity != before['id']:
        raise ConfigError(
            f'{folder}: was made by {before["backend"]} {before["model"]["revision"] or ""} with '
            f'{dict(before["parameters"])}; this is another order ({identity}): give the robot '
            'file, model, options and nominal bags of then'
        )
    with tempfile.TemporaryDirectory(prefix='flywheel-again-') as aside:
        again = read_candidate(make_candidate(Path(aside), order, generator).folder)
    return tuple(
        key
        for key in sorted({*before, *again})
        if canonical_json(before.get(key)) != canonical_json(again.get(key))
    )


def _write_files(folder: Path, made: Made) -> list[dict[str, str]]:
    """The film, the commands, a still, and what else there is; entries of the latter two."""
    (folder / VIDEO).write_bytes(encode_webm(list(made.frames), made.fps))
    if made.commands is not None:
        (folder / ACTIONS).write_bytes(_packed(made.commands))
    onset = 0 if made.onset_s is None else round(made.onset_s * made.fps)
    still = made.frames[min(onset, len(made.frames) - 1)]
    (folder / THUMBNAIL).write_bytes(_thumbnail(still))
    for extra in made.files:
        (folder / extra.file).write_bytes(extra.data)
    entries = [{'file': THUMBNAIL, 'kind': 'thumbnail'}]
    return entries + [{'file': e.file, 'kind': e.kind} for e in made.files]


def _manifest(
    identity: str, order: Order, generator: Generator, made: Made, files: list[dict[str, str]]
) -> dict[str, Any]:
    brief, (model, revision) = order.brief, generator.model
    licence = generator.model_licence if isinstance(generator, Licensed) else None
    taken = nominal_ids(generator, order.variation, order.nominal)
    height, width = made.frames.shape[1:3]
    return {
        'schema': 'candidate-v1',
        'id': identity,
        'kind': generator.kind,
        'brief': {'id': brief.id, 'file': BRIEF},
        'episode': brief.origin.id,
        'robot': order.robot.name,
        'task': brief.origin.task,
        'variation': {
            'family': order.variation.family,
            'actions': order.variation.actions,
            'cell': dict(order.variation.cell),
        },
        'seed': order.seed,
        'backend': generator.name,
        'model': {
            'name': model,
            'revision': revision,
            **({'licence': licence} if licence else {}),
        },
        'parameters': parameters_of(generator, order.robot),
        'repeatable': generator.repeatable,
        'video': {
            'file': VIDEO,
            'frames': len(made.frames),
            'fps': made.fps,
            'size': [height, width],
            'begins_step': made.begins_step,
        },
        'actions': made.commands and _said(made.commands),
        'files': files,
        'guardrail': None if made.guardrail is None else asdict(made.guardrail),
        **({'asked': dict(made.asked)} if made.asked else {}),
        'onset_s': None if made.onset_s is None else round(made.onset_s, 6),
        'notes': [*made.notes, *_unknown(made.commands)],
        'provenance': {
            'parents': [brief.origin.id, *brief.parents, *taken],
            'version': cosmos_flywheel.__version__,
            'licence': brief.licence,
        },
    }


def _unknown(commands: Commands | None) -> list[str]:
    """Says of how many steps a recording does not tell the command."""
    if commands is None or not (steps := int(np.isnan(commands.values).any(1).sum())):
        return []
    return [f'not every command was heard in {steps} of {len(commands.values)} steps: NaN there']


def _said(commands: Commands) -> dict[str, Any]:
    return {
        'file': ACTIONS,
        'source': commands.source,
        'hz': commands.hz,
        'steps': len(commands.values),
        'names': list(commands.names),
        'has_model_units': commands.model is not None,
        'violations': list(commands.violations),
    }


def _packed(commands: Commands) -> bytes:
    """`robot` (N, A) in its own units, and `model` (N, D) where the robot has a domain."""
    arrays: dict[str, Any] = {'robot': commands.values}
    if commands.model is not None:
        arrays['model'] = commands.model
    buffer = BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def _thumbnail(picture: Picture) -> bytes:
    height, width = picture.shape[:2]
    size = THUMBNAIL_PX, max(1, round(height * THUMBNAIL_PX / width))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return bytes(cv2.imencode('.jpg', small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])[1])
