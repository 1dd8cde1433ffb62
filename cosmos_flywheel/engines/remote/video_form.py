# SPDX-License-Identifier: Apache-2.0
"""A film to be made → the multipart form of `POST /v1/videos`."""

from __future__ import annotations

import json
from typing import Any

from cosmos_flywheel.engines.remote.form import CODEC, Form, Upload
from cosmos_flywheel.engines.remote.video_job import VideoJob

PNG, JPEG = b'\x89PNG\r\n\x1a\n', b'\xff\xd8\xff'
WEBM = b'\x1a\x45\xdf\xa3'
MEDIA = {PNG: ('png', 'image/png'), JPEG: ('jpg', 'image/jpeg'), WEBM: ('webm', 'video/webm')}
"""Ending and media type by the first bytes; anything else is taken for MP4."""


def video_form(job: VideoJob, served: str, prompt: str) -> Form:
    """The form of a film.

    Args:
        job: what is asked.
        served: what the server calls the model.
        prompt: the job's, with blanks by which it is found again; see `form.new_tag`.

    """
    high, wide = job.size
    fields = {
        'prompt': prompt,
        'model': served,
        'size': f'{wide}x{high}',
        'num_frames': str(job.frames),
        'fps': repr(float(job.fps)),
        'num_inference_steps': str(job.steps),
        'guidance_scale': repr(float(job.guidance)),
        'flow_shift': repr(float(job.shift)),
        'seed': str(job.seed),
        'extra_params': json.dumps(_extra(job)),
    }
    if job.negative_prompt:
        fields['negative_prompt'] = job.negative_prompt
    uploads = []
    if job.reference:
        uploads.append(_upload('input_reference', 'reference', job.reference))
    for control in job.controls:
        if control.film is not None:
            fields['control_type'] = control.kind
            uploads.append(_upload('control_reference', 'control', control.film))
    return Form(fields, tuple(uploads))


def _extra(job: VideoJob) -> dict[str, Any]:
    extra: dict[str, Any] = {
        'guardrails': job.guardrails,
        'video_codec_options': {**CODEC, 'crf': str(job.crf)},
    }
    if job.has_actions:
        extra |= {
            'action_mode': job.kind,
            'domain_id': job.domain_id,
            'raw_action_dim': job.width,
            'action_chunk_size': job.frames - 1,
        }
    if job.actions is not None:
        extra['action'] = job.actions.tolist()
    if job.controls:
        extra |= {c.kind: {'control_weight': c.weight} for c in job.controls}
        # A kept latent frame holds the first picture, each further one four more.
        kept = 4 * len(job.condition_frames) - 3 if job.condition_frames else 0
        extra |= {
            'resolution': job.tier,
            'control_guidance': job.control_guidance,
            'num_first_chunk_conditional_frames': kept,
        }
    elif job.kind == 'video_to_video':
        extra |= {
            'condition_frame_indexes_vision': list(job.condition_frames),
            'condition_video_keep': job.keep,
        }
    return extra


def _upload(field: str, stem: str, data: bytes) -> Upload:
    ending, kind = next(
        (media for first, media in MEDIA.items() if data.startswith(first)), ('mp4', 'video/mp4')
    )
    return Upload(field, f'{stem}.{ending}', kind, data)
