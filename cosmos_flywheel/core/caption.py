# SPDX-License-Identifier: Apache-2.0
"""The JSON text that Cosmos 3 was trained to read with actions, of a task or of a brief.

Keys and their order as diffusers 0.42.1 writes them (`_build_action_json_prompt`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from cosmos_flywheel.core.brief import Prompt

RATIOS = ((1, 1), (4, 3), (3, 4), (16, 9), (9, 16))


def caption_json(
    framing: str,
    actions: Sequence[tuple[float, float, str]],
    frames: int,
    fps: float,
    size: tuple[int, int],
) -> str:
    """The text; whatever the words hold, it stays one JSON object of these keys.

    No tokenizer finds a token of its own in it, such as one that ends a turn: `<` is written as
    JSON's escape.

    Args:
        framing: the viewpoint in a sentence.
        actions: from when to when, in seconds, and what is done or happens.
        frames: pictures of the clip, the given one included.
        fps: of the pictures.
        size: (H, W) in px of the canvas.

    """
    wide = size[1] / size[0]
    across, down = min(RATIOS, key=lambda ratio: abs(ratio[0] / ratio[1] - wide))
    told = json.dumps(
        {
            'cinematography': {'framing': framing},
            'actions': [
                {'time': f'{_clock(start_s)}-{_clock(stop_s)}', 'description': words}
                for start_s, stop_s, words in actions
            ],
            'duration': f'{int(frames / fps)}s',
            'fps': float(fps),
            'resolution': {'H': size[0], 'W': size[1]},
            'aspect_ratio': f'{across},{down}',
        }
    )
    return told.replace('<', '\\u003c')


def brief_caption(
    prompt: Prompt, frames: int, fps: float, size: tuple[int, int], begin_s: float = 0.0
) -> str:
    """The text of a brief's prompt, for a clip that begins so many seconds into its times.

    The scene has no key of its own in this form: it stands before the first action. What ended
    before the clip begins, or begins after it ends, is left out.
    """
    end_s = frames / fps
    cut = [
        (max(0.0, start_s - begin_s), min(end_s, stop_s - begin_s), words)
        for start_s, stop_s, words in prompt.actions
        if stop_s > begin_s and start_s < begin_s + end_s
    ]
    if not cut:
        cut = [(0.0, end_s, '')]
    start_s, stop_s, words = cut[0]
    cut[0] = start_s, stop_s, f'{prompt.scene} {words}'.strip()
    return caption_json(prompt.framing, cut, frames, fps, size)


def _clock(at_s: float) -> str:
    """Minutes and whole seconds, as M:SS."""
    minutes, rest = divmod(round(at_s), 60)
    return f'{minutes}:{rest:02d}'
