# SPDX-License-Identifier: Apache-2.0
"""Nominal clips → a local model: networks fitted with torch, then the simpler parts beside them.

Everything is drawn from one seed. Training looks at whole small pictures and at a window of the
full size, so that the fields suit both. The loss of a horizon is its squared error over that of
persistence, so that no horizon drowns another, plus the likelihood of the absolute error under the
spread that the network gives (Laplace), which does not move the picture.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from cosmos_flywheel.engines.local.clips import Table, sight_of
from cosmos_flywheel.engines.local.fields import SMALL, candidates, carry
from cosmos_flywheel.engines.local.model import LocalModel
from cosmos_flywheel.engines.local.motion import (
    HORIZONS,
    MotionModel,
    Situation,
    fit_motion,
)
from cosmos_flywheel.engines.local.network import Decoder, Encoder, compose
from cosmos_flywheel.engines.local.session import Local

SEED = 0
BATCH = 8
AT_ONCE = 3
"""Horizons per batch: the encoder's work is shared by them."""
RATE, DECAY = 3e-3, 1e-2
LEAST_STEPS, MOST_STEPS = 400, 1500
STEPS_PER_TICK = 1.6
"""Few recordings are soon known by heart (docs/experiments.md)."""
SPREAD_WEIGHT = 0.1
RARE_SHARE, RARE_MOST = 0.7, 8.0
"""Ticks at which going on as before fails are drawn more often, up to so many times: a robot turns
round seldom, and it is then that a model is needed."""
GAIN, BIAS = 0.15, 0.04
"""Exposure and white balance are varied by this much, standard deviations."""
LATE_SHARE = 0.5
"""The mean of the weights over the last half of the steps is kept (Polyak and Juditsky, 1992)."""
BLEND_EXAMPLES = 240
BLEND_PRIOR, BLEND_STRENGTH = (0.5, 0.5, 0.0, 0.0, 0.0, 0.0), 1e-3
"""Towards what, and how strongly, the blend is drawn where held-out recordings say little."""
Tell = Callable[[float], None]
"""Told which share of the work is done."""


@dataclass(frozen=True, slots=True)
class Split:
    """Which clips are learnt from and which are held out."""

    learnt: tuple[int, ...]
    held_out: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class About:
    """What a model says of itself, as `LocalModel` has it."""

    robot: str
    size: tuple[int, int]
    camera_size: tuple[int, int]
    clock_hz: float
    fitted: Mapping[str, Any]


def fit_local(
    table: Table,
    split: Split,
    pairs: Sequence[tuple[int, int]],
    about: About,
    *,
    threads: int = 1,
    tell: Tell | None = None,
) -> LocalModel:
    """Fit networks, motion model and blend.

    Args:
        table: all clips.
        split: the blend is fitted on what is held out, everything else on the rest.
        pairs: (action index, state index) of the same quantity in the same unit.
        about: goes into the model.
        threads: of torch.
        tell: told which share is done.

    """
    torch.manual_seed(SEED)
    torch.set_num_threads(threads)
    motion = _fit_motion(table, split.learnt, pairs)
    encoder = Encoder()
    decoder = Decoder(motion.width, len(motion.state_mean))
    steps = _train(encoder, decoder, table, split.learnt, motion, tell)
    made = LocalModel(
        about.robot,
        about.size,
        about.camera_size,
        about.clock_hz,
        motion,
        np.tile(np.array(BLEND_PRIOR, np.float32), (len(HORIZONS), 1)),
        *_export(encoder, decoder, motion.width),
        {**about.fitted, 'steps': steps, 'ticks': len(table), 'torch': torch.__version__},
    )
    return _with_blend(made, table, split.held_out or split.learnt)


def _fit_motion(
    table: Table, clips: Sequence[int], pairs: Sequence[tuple[int, int]]
) -> MotionModel:
    examples: list[tuple[Situation, NDArray[np.float32]]] = []
    groups = []
    for steps in HORIZONS:
        ticks = table.starts(steps, clips)
        examples.append((table.situation(ticks, steps), table.state[ticks + steps]))
        groups.append(table.clip[ticks])
    return fit_motion(examples, groups, pairs)


def _train(
    encoder: Encoder,
    decoder: Decoder,
    table: Table,
    clips: Sequence[int],
    motion: MotionModel,
    tell: Tell | None,
) -> int:
    """Fit both networks; returns how many steps were taken."""
    networks = nn.ModuleList([encoder, decoder]).train()
    starts = table.starts(HORIZONS[-1], clips)
    steps = min(max(round(STEPS_PER_TICK * len(starts)), LEAST_STEPS), MOST_STEPS)
    optimiser = torch.optim.AdamW(networks.parameters(), RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, steps, pct_start=0.15)
    mean = torch.optim.swa_utils.AveragedModel(
        networks,
        multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(1 - 10 / steps),
        use_buffers=True,
    )
    draw = np.random.default_rng(SEED)
    odds = _odds(table, starts)
    plain = {k: _persistence_error(table, starts, k) for k in HORIZONS}
    for step in range(steps):
        batch = _Batch.draw(table, starts[draw.choice(len(starts), BATCH, p=odds)], draw)
        features = encoder(batch.seen, batch.before, batch.mean, batch.flow)
        loss = torch.zeros(())
        for index in draw.permutation(len(HORIZONS))[:AT_ONCE]:
            horizon = HORIZONS[index]
            loss = loss + batch.loss(decoder, features, motion, horizon, plain[horizon], draw)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(networks.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step >= steps * (1 - LATE_SHARE):
            mean.update_parameters(networks)
        if tell is not None and step % 5 == 0:
            tell((step + 1) / steps)
    networks.load_state_dict(mean.module.state_dict())
    networks.eval()
    return steps


@dataclass(frozen=True, slots=True)
class _Batch:
    """A batch of starts, one exposure each."""

    table: Table
    ticks: NDArray[np.intp]
    gain: Tensor
    bias: Tensor
    seen: Tensor
    before: Tensor
    mean: Tensor
    flow: Tensor
    large: Tensor
    large_mean: Tensor

    @classmethod
    def draw(cls, table: Table, ticks: NDArray[np.intp], draw: np.random.Generator) -> _Batch:
        """Vary exposure and white balance, the same before and after."""
        count = len(ticks)
        colours = draw.choice([1, 3])
        gain = 1 + GAIN * np.clip(draw.standard_normal((count, colours, 1, 1)), -2, 2)
        bias = BIAS * draw.standard_normal((count, 1, 1, 1))
        gains, biases = _tensor(gain), _tensor(bias)

        def lit(pictures: NDArray[np.uint8]) -> Tensor:
            return _planes(pictures) / 255 * gains + biases

        return cls(
            table,
            ticks,
            gains,
            biases,
            lit(table.small[ticks]),
            lit(table.small[ticks - 1]),
            lit(table.small_mean[ticks]),
            _planes(table.small_flow[ticks]),
            lit(table.large[ticks]),
            lit(table.large_mean[ticks]),
        )

    def loss(
        self,
        decoder: Decoder,
        features: list[Tensor],
        motion: MotionModel,
        horizon: int,
        plain: float,
        draw: np.random.Generator,
    ) -> Tensor:
        """Of one horizon."""
        situation = self.table.situation(self.ticks, horizon)
        fields = decoder(features, torch.from_numpy(motion.condition(situation, horizon)))
        later = self.ticks + horizon
        corner = _corner(self.large, draw)
        picture = compose(fields, self.large, self.large_mean, self.flow, horizon, corner)
        wanted = _planes(_cut(self.table.large[later], corner)) / 255 * self.gain + self.bias
        error = ((picture - wanted) ** 2).mean() / plain
        with torch.no_grad():
            small = compose(fields, self.seen, self.mean, self.flow, horizon, (0, 0))
            actual = _planes(self.table.small[later]) / 255 * self.gain + self.bias
            apart = (small - actual).abs().mean(1, keepdim=True)
        spread = functional.interpolate(
            fields[:, 7:8], size=SMALL, mode='bilinear', align_corners=False
        )
        return error + SPREAD_WEIGHT * (apart / spread + spread.log()).mean()


def _corner(large: Tensor, draw: np.random.Generator) -> tuple[int, int]:
    """Where a window of SMALL's shape begins, in cells of four px of SMALL's double."""
    rows, columns = large.shape[2] // 4, large.shape[3] // 4
    return (
        int(draw.integers(0, rows - SMALL[0] // 4 + 1)),
        int(draw.integers(0, columns - SMALL[1] // 4 + 1)),
    )


def _cut(pictures: NDArray[np.uint8], corner: tuple[int, int]) -> NDArray[np.uint8]:
    top, left = 4 * corner[0], 4 * corner[1]
    return pictures[:, top : top + SMALL[0], left : left + SMALL[1]]


def _odds(table: Table, starts: NDArray[np.intp]) -> NDArray[np.float64]:
    """How often each start is drawn: by how badly the seen motion, carried on, foretells."""
    errors = np.zeros(len(starts))
    for index, tick in enumerate(starts):
        seen, flow = table.small[tick].astype(np.float32), table.small_flow[tick]
        for steps in HORIZONS[1:3]:
            foretold = carry(seen, flow.astype(np.float32) * steps)
            errors[index] += ((foretold - table.small[tick + steps]) ** 2).mean()
    rare = np.minimum(errors / max(errors.mean(), 1e-9), RARE_MOST)
    odds = (1 - RARE_SHARE) + RARE_SHARE * rare
    return np.asarray(odds / odds.sum())


def _persistence_error(table: Table, starts: NDArray[np.intp], steps: int) -> float:
    """Mean squared error of the seen picture, colours 0 … 1; never nothing."""
    some = starts[:: max(1, len(starts) // 200)]
    change = table.large[some + steps].astype(np.float32) - table.large[some]
    return max(float((change**2).mean()) / 255**2, 1e-6)


def _export(encoder: Encoder, decoder: Decoder, width: int) -> tuple[bytes, bytes]:
    """Both networks as ONNX."""
    pictures = [torch.rand(1, 3, *SMALL) for _ in range(3)]
    inputs = (*pictures, torch.randn(1, 2, *SMALL))
    features = encoder(*inputs)
    names = [f'feature_{i}' for i in range(len(features))]
    first = _onnx(encoder, inputs, ['seen', 'before', 'mean', 'flow'], names)
    second = _onnx(decoder, (features, torch.randn(1, width)), [*names, 'condition'], ['fields'])
    return first, second


def _onnx(network: nn.Module, inputs: Any, names: list[str], outputs: list[str]) -> bytes:
    """The older exporter: one file, and it needs no package beside torch and onnx."""
    buffer = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter('ignore')
        torch.onnx.export(
            network, inputs, buffer, dynamo=False, input_names=names, output_names=outputs
        )
    return buffer.getvalue()


def _with_blend(model: LocalModel, table: Table, clips: Sequence[int]) -> LocalModel:
    """Fit how the full-size picture is blended, on clips that the networks never saw."""
    session = Local(model)
    blend = []
    for steps in HORIZONS:
        starts = table.starts(steps, clips)
        some = starts[:: max(1, len(starts) // BLEND_EXAMPLES)]
        blend.append(_blend(session, table, some, steps))
    return LocalModel(
        model.robot,
        model.size,
        model.camera_size,
        model.clock_hz,
        model.motion,
        np.stack(blend).astype(np.float32),
        model.encoder,
        model.decoder,
        model.fitted,
    )


def _blend(
    session: Local, table: Table, starts: NDArray[np.intp], steps: int
) -> NDArray[np.float64]:
    """Least squares of the change that came on the candidates' changes, drawn to the prior."""
    prior = np.array(BLEND_PRIOR)
    inner, outer = np.zeros((len(prior), len(prior))), np.zeros(len(prior))
    for tick in starts:
        sight = sight_of(table, int(tick))
        fields = session.fields(sight, table.situation(np.array([tick]), steps), steps)
        changes = [c[::2, ::2].ravel() for c in candidates(fields, sight, steps)]
        columns = np.stack(changes).astype(np.float64)
        came = (table.large[tick + steps].astype(np.float64) - table.large[tick])[::2, ::2]
        inner += columns @ columns.T
        outer += columns @ came.ravel()
    penalty = BLEND_STRENGTH * np.trace(inner) / len(prior) * np.eye(len(prior))
    if not np.trace(inner):
        return prior
    return np.asarray(np.linalg.solve(inner + penalty, outer + penalty @ prior))


def _tensor(values: NDArray[Any]) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))


def _planes(pictures: NDArray[Any]) -> Tensor:
    """(N, H, W, C) → float (N, C, H, W)."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float()
