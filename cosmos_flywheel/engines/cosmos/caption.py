# SPDX-License-Identifier: Apache-2.0
"""A task in words → the caption that Cosmos was trained on, and its tokens.

As diffusers 0.42.1 writes it (`_build_action_json_prompt`, `tokenize_prompt`): with actions a JSON
text in the chat template of the checkpoint's own tokenizer, without a system prompt; for films
without actions plain words after a system prompt. Then the end of the text and the start of the
pictures.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cosmos_flywheel.core.caption import caption_json
from cosmos_flywheel.core.errors import EngineError
from cosmos_flywheel.engines.cosmos.errors import CheckpointError

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
FILM_SYSTEM = 'You are a helpful assistant who will generate videos from a give prompt.'
"""What stands before the words of a film without actions: the very words of the training."""
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


def film_caption(
    words: str, frames: int, fps: float, size: tuple[int, int], *, avoid: bool = False
) -> str:
    """Words of a film without actions, and in sentences how long and how large it is.

    Args:
        words: what is seen and happens; may be empty.
        frames: of the film.
        fps: of the film.
        size: (H, W) in px.
        avoid: whether the words are a negative prompt, whose sentences say the opposite.

    """
    no = ' not' if avoid else ''
    parts = [
        words.rstrip('.'),
        f'The video is{no} {frames / fps:.1f} seconds long and is{no} of {fps:.0f} FPS',
        f'This video is{no} of {size[0]}x{size[1]} resolution',
    ]
    return '. '.join(part for part in parts if part) + '.'


def conversation(text: str, *, is_film: bool) -> list[dict[str, str]]:
    """What the tokenizer's template is filled with."""
    said = [{'role': 'user', 'content': text}]
    return [{'role': 'system', 'content': FILM_SYSTEM}, *said] if is_film else said


def token_ids(checkpoint: Path, text: str, *, is_film: bool = False) -> list[int]:
    """Of a caption, or of a negative prompt.

    Args:
        checkpoint: whose tokenizer is taken.
        text: the whole of it.
        is_film: of a film without actions, before which a system prompt stands.

    Raises:
        EngineError: the checkpoint has no tokenizer, transformers is missing, or the text is too
            long.

    """
    folder = checkpoint / TOKENIZER
    if not folder.is_dir():
        raise CheckpointError(f'{folder}: is missing; download the checkpoint whole')
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
            conversation(text, is_film=is_film),
            tokenize=True,
            add_generation_prompt=True,
            add_vision_id=False,
            return_dict=True,
        )['input_ids']
        start = tokenizer.convert_tokens_to_ids(START)
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(
            f'{folder}: is no tokenizer of Cosmos 3 ({error}); download the checkpoint again'
        ) from error
    if tokenizer.eos_token_id is None or start is None:
        raise CheckpointError(f'{folder}: lacks {START} or the end of texts; download it again')
    found = [*ids, tokenizer.eos_token_id, start]
    if len(found) > LONGEST:
        raise EngineError(
            f'the caption has {len(found)} tokens, at most {LONGEST} are read; shorten the task'
        )
    return [int(i) for i in found]
