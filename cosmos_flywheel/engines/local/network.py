# SPDX-License-Identifier: Apache-2.0
"""The local engine's networks in torch: two pictures, mean and flow → features → fields.

A U-Net (Ronneberger et al., 2015) at half the compared size. The encoder sees pictures only, so it
runs once an observation; the decoder is told the robot's state, its expected motion and the
horizon by feature-wise scaling (Perez et al., 2018) and runs once a horizon. Three ways to explain
motion are laid out for it: what was seen to move goes on (inertia), goes on at the ratio at which
the robot's motion is expected to go on (the robot itself), and moves along a field by as much as
each of a few combinations of joints is expected to move (a Jacobian field).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from cosmos_flywheel.engines.local.fields import BLUR, CELLS, SMALL

WIDTHS = (16, 32, 48, 64)
"""Channels at 1, 1/2, 1/4 and 1/8 of CELLS."""
EMBEDDING = 64
DROPOUT = 0.2
COMBINATIONS = 4
"""Combinations of joints with a Jacobian field of their own."""
MOTION_PX, STILL_PX = 8.0, 0.25
"""Scale of the motion output; less than STILL_PX is no motion, so that texture stays sharp."""
SHARES_GAIN = 3.0
SHARES_BIAS = (3.0, 0.0, -1.0, -1.0)
"""Carried, kept, mean, blurred: at first nearly everything is carried."""
LEAST_SPREAD = 0.006
"""In the range of colours, 1.5 grey levels: sensor noise."""


def block(channels_in: int, channels_out: int, stride: int = 1) -> nn.Sequential:
    """One 3 × 3 convolution, normalised."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(),
    )


class Encoder(nn.Module):
    """(N, 3, *SMALL) seen, before and mean in 0 … 1 and (N, 2, *SMALL) flow → four features."""

    def __init__(self) -> None:
        super().__init__()
        first, second, third, fourth = WIDTHS
        self.first = block(3 * 12 + 2 + 2 + 1, first)
        self.second = nn.Sequential(block(first, second, 2), block(second, second))
        self.third = nn.Sequential(block(second, third, 2), block(third, third))
        self.fourth = nn.Sequential(block(third, fourth, 2), block(fourth, fourth))
        down, across = (torch.linspace(-1, 1, n) for n in CELLS)
        rows, columns = torch.meshgrid(down, across, indexing='ij')
        self.register_buffer('place', torch.stack([columns, rows])[None])

    def forward(self, seen: Tensor, before: Tensor, mean: Tensor, flow: Tensor) -> list[Tensor]:
        """Features at 1, 1/2, 1/4 and 1/8 of CELLS."""
        coarse = functional.avg_pool2d(flow, 2) / 2
        speed = (coarse**2).sum(1, keepdim=True).sqrt()
        level = seen.mean((2, 3), keepdim=True)
        parts = [
            functional.pixel_unshuffle(seen - level, 2),
            functional.pixel_unshuffle(seen - before, 2) * 4,
            functional.pixel_unshuffle(mean - seen, 2) * 2,
            coarse / 2,
            speed / 2,
            self.place.expand(len(seen), -1, -1, -1),
        ]
        first = self.first(torch.cat(parts, 1))
        second = self.second(first)
        third = self.third(second)
        return [first, second, third, self.fourth(third)]


class Decoder(nn.Module):
    """Features and (N, width) condition → (N, CHANNELS, *CELLS) fields.

    Args:
        width: of the condition, `MotionModel.width`.
        states: of the robot, the last columns of the condition.

    """

    def __init__(self, width: int, states: int) -> None:
        super().__init__()
        first, second, third, fourth = WIDTHS
        self.states = states
        self.embed = nn.Sequential(
            nn.Dropout(DROPOUT),
            nn.Linear(width, EMBEDDING),
            nn.ReLU(),
            nn.Linear(EMBEDDING, EMBEDDING),
            nn.ReLU(),
        )
        self.scale = nn.ModuleList(nn.Linear(EMBEDDING, 2 * w) for w in WIDTHS)
        self.bottom = block(fourth, fourth)
        self.narrow = nn.ModuleList(
            [nn.Conv2d(a, b, 1) for a, b in ((second, first), (third, second), (fourth, third))]
        )
        self.rise = nn.ModuleList(
            [
                nn.Sequential(block(first, first), block(first, first)),
                block(second, second),
                block(third, third),
            ]
        )
        self.combine = nn.Linear(states, COMBINATIONS, bias=False)
        self.out = nn.Conv2d(first, 2 + 1 + 4 + 1 + 1 + 2 * COMBINATIONS, 3, 1, 1)
        nn.init.normal_(self.out.weight, std=1e-3)
        nn.init.zeros_(self.out.bias)
        self.register_buffer('bias', torch.tensor(SHARES_BIAS)[None, :, None, None])

    def forward(self, features: list[Tensor], condition: Tensor) -> Tensor:
        """Motion (2), share of seen motion (1), shares (4), spread (1); see `fields`."""
        told = self.embed(condition)
        result = self.bottom(self._scaled(features[3], told, 3))
        for level in (2, 1, 0):
            wide = functional.interpolate(
                self.narrow[level](result), scale_factor=2.0, mode='bilinear', align_corners=False
            )
            result = self.rise[level](self._scaled(wide + features[level], told, level))
        return self._fields(self.out(result), condition)

    def _scaled(self, feature: Tensor, told: Tensor, level: int) -> Tensor:
        gain, shift = self.scale[level](told)[:, :, None, None].chunk(2, 1)
        return feature * (1 + gain) + shift

    def _fields(self, raw: Tensor, condition: Tensor) -> Tensor:
        ratio = condition[:, -self.states - 1][:, None, None, None]
        combined = torch.tanh(self.combine(condition[:, -self.states :]))[:, :, None, None]
        across, down = raw[:, 9 : 9 + COMBINATIONS], raw[:, 9 + COMBINATIONS :]
        jacobian = torch.cat(
            [(across * combined).sum(1, keepdim=True), (down * combined).sum(1, keepdim=True)], 1
        )
        motion = functional.softshrink((raw[:, :2] + jacobian) * MOTION_PX, STILL_PX)
        inertia, own = torch.sigmoid(raw[:, 2:3] + 2), torch.sigmoid(raw[:, 8:9] - 1)
        shares = torch.softmax(raw[:, 3:7] * SHARES_GAIN + self.bias, 1)
        spread = functional.softplus(raw[:, 7:8] - 3.5) + LEAST_SPREAD
        return torch.cat([motion, inertia * (1 - own) + own * ratio, shares, spread], 1)


def compose(
    fields: Tensor, seen: Tensor, mean: Tensor, flow: Tensor, steps: int, corner: tuple[int, int]
) -> Tensor:
    """As `fields.compose`, for a window of SMALL's shape.

    Args:
        fields: (N, CHANNELS, *CELLS).
        seen: (N, 3, H, W), SMALL or twice that.
        mean: the same.
        flow: (N, 2, *SMALL) in SMALL's px.
        steps: ticks ahead.
        corner: the window's first row and column, in cells of CELLS.

    Returns:
        (N, 3, *SMALL), the window's predicted picture.

    """
    scale = seen.shape[3] // SMALL[1]
    cell = 2 * scale
    rows, columns = SMALL[0] // cell, SMALL[1] // cell
    wide = _window(fields, corner, (rows, columns), 1, cell)
    seen_flow = _window(flow, (2 * corner[0], 2 * corner[1]), (2 * rows, 2 * columns), 2, scale)
    motion = (seen_flow * steps * wide[:, 2:3] + wide[:, :2]) * scale
    carried = _carry(seen, motion, (corner[0] * cell, corner[1] * cell))
    top, left = corner[0] * cell, corner[1] * cell
    inside = (..., slice(top, top + SMALL[0]), slice(left, left + SMALL[1]))
    box = (BLUR - 1) * scale + 1
    blurred = carried
    for kernel in ((box, 1), (1, box)):
        blurred = functional.avg_pool2d(
            blurred, kernel, 1, (kernel[0] // 2, kernel[1] // 2), count_include_pad=False
        )
    return (
        carried * wide[:, 3:4]
        + seen[inside] * wide[:, 4:5]
        + mean[inside] * wide[:, 5:6]
        + blurred * wide[:, 6:7]
    )


def _window(
    field: Tensor, corner: tuple[int, int], size: tuple[int, int], margin: int, factor: int
) -> Tensor:
    """Cut a window out and enlarge it, as if the whole had been enlarged."""
    padded = functional.pad(field, (margin,) * 4, mode='replicate')
    row, column = corner
    cut = padded[:, :, row : row + size[0] + 2 * margin, column : column + size[1] + 2 * margin]
    if factor == 1:
        return cut[:, :, margin:-margin, margin:-margin]
    wide = functional.interpolate(cut, scale_factor=factor, mode='bilinear', align_corners=False)
    edge = margin * factor
    return wide[:, :, edge:-edge, edge:-edge]


def _carry(seen: Tensor, motion: Tensor, corner: tuple[int, int]) -> Tensor:
    height, width = seen.shape[2:]
    rows = torch.arange(motion.shape[2], device=seen.device)[:, None] + corner[0]
    columns = torch.arange(motion.shape[3], device=seen.device)[None] + corner[1]
    across = (columns + motion[:, 0] + 0.5) / width * 2 - 1
    down = (rows + motion[:, 1] + 0.5) / height * 2 - 1
    return functional.grid_sample(
        seen, torch.stack([across, down], -1), padding_mode='border', align_corners=False
    )
