# SPDX-License-Identifier: Apache-2.0
"""A camera's picture → the canvas of a tier, and which part of its latents is the picture.

Bins and steps as diffusers 0.42.1 has them (`_prepare_action_video_conditioning`): the bin of the
nearest height to width, shrunk to fit and never enlarged, laid top left, padded by reflection.
The pipeline there first resizes pictures to multiples of 16 px; that is left to the caller here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cosmos_flywheel.core.errors import EngineError
from cosmos_flywheel.engines.cosmos.dims import SCALE

if TYPE_CHECKING:
    from torch import Tensor

Size = tuple[int, int]
BINS: dict[int, tuple[Size, ...]] = {
    256: ((256, 256), (256, 320), (320, 256), (192, 320), (320, 192)),
    480: ((640, 640), (544, 736), (736, 544), (480, 832), (832, 480)),
    704: ((960, 960), (832, 1088), (1088, 832), (704, 1280), (1280, 704)),
    720: ((960, 960), (832, 1104), (1104, 832), (720, 1280), (1280, 720)),
}
"""(H, W) in px by tier."""


@dataclass(frozen=True, slots=True)
class Canvas:
    """Where pictures of one size lie."""

    size: Size
    """(H, W) in px of what is encoded."""
    content: Size
    """(H, W) in px of the picture on it."""

    @classmethod
    def choose(cls, picture: Size, tier: int) -> Canvas:
        """The canvas of a tier for pictures of (H, W) px.

        Raises:
            EngineError: there is no such tier, or a side of the picture is 0.

        """
        if tier not in BINS:
            raise EngineError(f'there is no tier {tier}; take one of {", ".join(map(str, BINS))}')
        high, wide = picture
        if high < 1 or wide < 1:
            raise EngineError(f'a picture of {wide}x{high} px cannot be laid on a canvas')
        size = min(BINS[tier], key=lambda s: abs(s[0] / s[1] - high / wide))
        scale = min(size[0] / high, size[1] / wide, 1.0)
        return cls(size, (max(1, int(scale * high + 0.5)), max(1, int(scale * wide + 0.5))))

    @property
    def latent(self) -> Size:
        """(rows, columns) of latent cells that the picture covers; the rest is cut off."""
        return max(self.content[0] // SCALE, 1), max(self.content[1] // SCALE, 1)

    @property
    def shown(self) -> Size:
        """(H, W) in px of predicted pictures: the content without what fills no cell."""
        return self.latent[0] * SCALE, self.latent[1] * SCALE

    def lay(self, pictures: Tensor) -> Tensor:
        """(1, 3, T, H, W) in -1 … 1 → the same on the canvas, by bicubic shrinking."""
        from torch.nn import functional

        frames = pictures[0].transpose(0, 1)
        if tuple(frames.shape[-2:]) != self.content:
            frames = functional.interpolate(
                frames, size=self.content, mode='bicubic', align_corners=False, antialias=True
            )
        right, bottom = self.size[1] - self.content[1], self.size[0] - self.content[0]
        if right or bottom:
            far = right >= self.content[1] or bottom >= self.content[0]
            mode = 'replicate' if far else 'reflect'
            frames = functional.pad(frames, (0, right, 0, bottom), mode=mode)
        return frames.transpose(0, 1)[None]


def concatenated(wide: Tensor, below: Sequence[Tensor]) -> Tensor:
    """The concat view: one picture on top, two of half its width side by side below it.

    DROID: the wrist camera (360, 640) above two outer ones (180, 320) gives (540, 640).

    Args:
        wide: (3, H, W).
        below: two of (3, H / 2, W / 2); others are shrunk to that, with antialiasing.

    Raises:
        EngineError: there are not two pictures below, or the upper one's sides are odd.

    """
    import torch
    from torch.nn import functional

    high, across = wide.shape[-2:]
    if len(below) != 2 or high % 2 or across % 2:
        raise EngineError(
            f'a concat view needs two pictures below one of even sides, not {len(below)} below '
            f'{across}x{high}'
        )
    half = (high // 2, across // 2)
    fitted = [
        part
        if tuple(part.shape[-2:]) == half
        else functional.interpolate(part[None], size=half, mode='bilinear', antialias=True)[0]
        for part in below
    ]
    return torch.cat([wide, torch.cat(fitted, 2)], 1)
