# SPDX-License-Identifier: Apache-2.0
"""A task in words → the caption that Cosmos was trained on, and its tokens.

As diffusers 0.42.1 writes it (`_build_action_json_prompt`, `tokenize_prompt`): a JSON text in the
chat template of the checkpoint's own tokenizer, without a system prompt, then the end of the text
and the start of the pictures.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cosmos_flywheel.core.caption import caption_json
from cosmos_flywheel.core.errors import EngineError

TOKENIZER = 'text_tokenizer'
START = '<|vision_start|>'
FRAMINGS = {
    'ego_view': 'This video is captured from a first-person perspective looking at the scene.',
    'third_person_view': 'This video is captured from a third-person perspective looking towards '
    'the agent from the front.',
    'wrist_view': 'This video is captured from a wrist-mounted camera.',
    'concat_view': 'This video contains concatenated views from multiple camera perspectives.',
}
"""By view point: the very sentences of the training."""
LONGEST = 4096
"""Tokens; vLLM-Omni takes no longer text."""


def action_caption(
    task: str, view_point: str, frames: int, fps: float, size: tuple[int, int]
) -> str:
    """The JSON text.

    Args:
        task: what the robot is doing; may be empty.
        view_point: one of `FRAMINGS`.
        frames: pictures of a chunk, the given one included.
        fps: of the pictures.
        size: (H, W) in px of the canvas.

    """
    words = task.strip()
    if words and not words.endswith(('.', '!', '?')):
        words = f'{words}.'
    return caption_json(FRAMINGS[view_point], [(0.0, frames / fps, words)], frames, fps, size)


def token_ids(checkpoint: Path, text: str) -> list[int]:
    """Of a caption, or of a negative prompt.

    Raises:
        EngineError: the checkpoint has no tokenizer, transformers is missing, or the text is too
            long.

    """
    folder = checkpoint / TOKENIZER
    if not folder.is_dir():
        raise EngineError(f'{folder}: is missing; download the checkpoint whole')
    try:
        # Seconds of import, and only where a caption is not on the shelf yet.
        from transformers import AutoTokenizer
    except ImportError as error:
        raise EngineError(
            'reading captions needs transformers: `pip install transformers`'
        ) from error
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        ids = tokenizer.apply_chat_template(
            [{'role': 'user', 'content': text}],
            tokenize=True,
            add_generation_prompt=True,
            add_vision_id=False,
            return_dict=True,
        )['input_ids']
        start = tokenizer.convert_tokens_to_ids(START)
    except (OSError, ValueError, KeyError) as error:
        raise EngineError(
            f'{folder}: is no tokenizer of Cosmos 3 ({error}); download the checkpoint again'
        ) from error
    if tokenizer.eos_token_id is None or start is None:
        raise EngineError(f'{folder}: lacks {START} or the end of texts; download it again')
    found = [*ids, tokenizer.eos_token_id, start]
    if len(found) > LONGEST:
        raise EngineError(
            f'the caption has {len(found)} tokens, at most {LONGEST} are read; shorten the task'
        )
    return [int(i) for i in found]
