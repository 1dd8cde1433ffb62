# SPDX-License-Identifier: Apache-2.0
"""One chunk to be foretold → the multipart form of `POST /v1/videos`.

Names and ranges are those of vllm-omni 0.30.0 (`entrypoints/openai/protocol/videos.py`,
`video/generation/helpers.py`, `model_extras/cosmos3.py`). The robot's actions go inline, in model
space, as `extra_params` has them.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from cosmos_flywheel.core.errors import EngineError
from cosmos_flywheel.core.types import Picture, Vector
from cosmos_flywheel.engines.cosmos.caption import action_caption
from cosmos_flywheel.engines.remote.model import RemoteModel

TAG_BITS = 48
BLANKS = ' \t'
CODEC = {'preset': 'ultrafast', 'threads': '0'}
"""The server's own choices for its film; what is given replaces all of them."""


@dataclass(frozen=True, slots=True)
class Upload:
    """A file of a form."""

    field: str
    name: str
    kind: str
    """Its media type."""
    data: bytes


@dataclass(frozen=True, slots=True)
class Form:
    """What is posted."""

    fields: Mapping[str, str]
    uploads: tuple[Upload, ...]

    @property
    def prompt(self) -> str:
        """By which the server's list of jobs tells this one from all others."""
        return self.fields['prompt']

    def encode(self) -> tuple[bytes, str]:
        """Body and media type."""
        boundary = secrets.token_hex(16)
        parts = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n'
            for name, text in self.fields.items()
        ]
        body = bytearray(''.join(parts).encode())
        for upload in self.uploads:
            body += (
                f'--{boundary}\r\nContent-Disposition: form-data; name="{upload.field}"; '
                f'filename="{upload.name}"\r\nContent-Type: {upload.kind}\r\n\r\n'
            ).encode()
            body += upload.data + b'\r\n'
        body += f'--{boundary}--\r\n'.encode()
        return bytes(body), f'multipart/form-data; boundary={boundary}'


def form_of(model: RemoteModel, served: str, picture: Picture, rows: Vector, seed: int) -> Form:
    """The form of a chunk.

    Args:
        model: who asks, and how.
        served: what the server calls the model.
        picture: (H, W, 3) RGB, sides multiples of 16 px.
        rows: (chunk, width) in model space.
        seed: of the noise.

    Raises:
        EngineError: rows are not finite or of another shape.

    """
    settings, width = model.settings, model.actions.width
    if rows.shape != (settings.chunk, width) or not np.isfinite(rows).all():
        raise EngineError(
            f'actions {rows.shape} with {np.count_nonzero(~np.isfinite(rows))} unknown numbers do '
            f'not fit; a chunk has ({settings.chunk}, {width})'
        )
    high, wide = picture.shape[:2]
    frames = settings.chunk + 1
    caption = action_caption(model.task, model.view.point, frames, model.clock_hz, (high, wide))
    extra = {
        'action_mode': 'forward_dynamics',
        'domain_id': model.actions.id,
        'raw_action_dim': width,
        'action_chunk_size': settings.chunk,
        'action': rows.tolist(),
        'video_codec_options': {**CODEC, 'crf': str(settings.crf)},
    }
    fields = {
        'prompt': caption + new_tag(),
        'model': served,
        'size': f'{wide}x{high}',
        'num_frames': str(frames),
        'fps': repr(float(model.clock_hz)),
        'num_inference_steps': str(settings.steps),
        'guidance_scale': repr(float(settings.guidance)),
        'flow_shift': repr(float(settings.shift)),
        'seed': str(seed),
        'extra_params': json.dumps(extra),
    }
    return Form(fields, (Upload('input_reference', 'first.png', 'image/png', png_of(picture)),))


def new_tag() -> str:
    """Blanks and tabs that no other job has.

    JSON counts no blanks, and the server writes a caption anew before the model reads it
    (`_format_json_object_prompt`); but it lists every job with the prompt as it was sent. So a job
    is found again though the answer that named it was lost, and nobody else's is touched.
    """
    number = secrets.randbits(TAG_BITS)
    return ''.join(BLANKS[number >> bit & 1] for bit in range(TAG_BITS))


def png_of(picture: Picture) -> bytes:
    """Without loss."""
    _, data = cv2.imencode('.png', cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    return data.tobytes()
