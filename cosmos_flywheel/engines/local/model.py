# SPDX-License-Identifier: Apache-2.0
"""A fitted local model ↔ files: networks as ONNX, arrays as safetensors, the rest as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from cosmos_flywheel import schemas
from cosmos_flywheel.core.errors import EngineError
from cosmos_flywheel.core.identifiability import Identifiability
from cosmos_flywheel.core.lineage import canonical_json, sha256_hex
from cosmos_flywheel.engines.local.motion import MotionModel

SCHEMA = 'local-v1'
DOCUMENT = 'local.json'
ARRAYS = 'local.safetensors'
ENCODER, DECODER = 'encoder.onnx', 'decoder.onnx'
REVISION = 1
"""Counts up whenever equal files and input get another prediction or residual."""


@dataclass(frozen=True, slots=True)
class LocalModel:
    """Everything that a session needs, and how it was made."""

    robot: str
    size: tuple[int, int]
    """(H, W) of the pictures that it takes."""
    camera_size: tuple[int, int]
    """(H, W) of the camera's own pictures when it was fitted."""
    clock_hz: float
    motion: MotionModel
    blend: NDArray[np.float32]
    """(len(HORIZONS), len(CANDIDATES))."""
    encoder: bytes
    """ONNX: two small pictures, mean and flow → features."""
    decoder: bytes
    """ONNX: features and condition → fields."""
    fitted: Mapping[str, Any]
    """Recordings, ticks, steps and errors of the fit; for people."""

    @property
    def sha256(self) -> str:
        """Of everything that decides predictions."""
        names = (ARRAYS, ENCODER, DECODER)
        files = self._binaries()
        digests = {name: sha256_hex(files[name]) for name in names}
        content = {**self._content(), 'files': digests, 'revision': REVISION}
        return sha256_hex(canonical_json(content))

    @property
    def identifiability(self) -> Identifiability | None:
        """Which commands it could learn; None where the fit did not say."""
        found = self.fitted.get('identifiability')
        return None if found is None else Identifiability.from_mapping(found)

    def files(self) -> dict[str, bytes]:
        """By file name, all that a model folder holds of it."""
        binaries = self._binaries()
        document = {
            'schema': SCHEMA,
            **self._content(),
            'files': {name: sha256_hex(data) for name, data in binaries.items()},
            'fitted': dict(self.fitted),
        }
        schemas.check(document, SCHEMA, where=DOCUMENT)
        text = json.dumps(json.loads(canonical_json(document)), indent=2, sort_keys=True) + '\n'
        return {DOCUMENT: text.encode('ascii'), **binaries}

    @classmethod
    def load(cls, folder: Path) -> LocalModel:
        """Read a folder that holds the files of `files`.

        Raises:
            SchemaError: the document does not hold.
            EngineError: a file is missing, cut short, or another than was written.

        """
        document = schemas.load(folder / DOCUMENT, SCHEMA)
        data = {
            name: _read(folder / name, document['files'].get(name))
            for name in (ARRAYS, ENCODER, DECODER)
        }
        try:
            arrays = load_arrays(data[ARRAYS])
            motion = MotionModel(
                arrays['state_mean'],
                arrays['state_spread'],
                arrays['command_spread'],
                tuple((int(a), int(s)) for a, s in document['pairs']),
                arrays['motion'],
            )
            blend = arrays['blend']
        except (SafetensorError, KeyError) as error:
            raise EngineError(
                f'{folder / ARRAYS}: holds no arrays of a local model ({error}); copy the model '
                f'folder again, or fit again with `flywheel fit`'
            ) from error
        return cls(
            document['robot'],
            tuple(document['size']),
            tuple(document['camera_size']),
            document['clock_hz'],
            motion,
            blend,
            data[ENCODER],
            data[DECODER],
            dict(document['fitted']),
        )

    def _content(self) -> dict[str, Any]:
        return {
            'robot': self.robot,
            'size': list(self.size),
            'camera_size': list(self.camera_size),
            'clock_hz': self.clock_hz,
            'pairs': [list(pair) for pair in self.motion.pairs],
        }

    def _binaries(self) -> dict[str, bytes]:
        arrays = {
            'state_mean': self.motion.state_mean,
            'state_spread': self.motion.state_spread,
            'command_spread': self.motion.command_spread,
            'motion': self.motion.weights,
            'blend': self.blend,
        }
        return {ARRAYS: save_arrays(arrays), ENCODER: self.encoder, DECODER: self.decoder}


def _read(path: Path, sha256: str | None) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise EngineError(
            f'{path}: cannot be read ({error.strerror}); copy the whole model folder, or fit '
            f'again with `flywheel fit`'
        ) from error
    if sha256_hex(data) != sha256:
        raise EngineError(
            f'{path}: is not the file that was written with {DOCUMENT} (cut short or replaced, '
            f'{len(data)} bytes); copy the model folder again, or fit again with `flywheel fit`'
        )
    return data
