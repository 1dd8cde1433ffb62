# SPDX-License-Identifier: Apache-2.0
"""A loop and an autoencoder → the same numbers as recorded CUDA graphs, optionally in float8.

One graph per step, one to encode a frame, one per decoded latent frame, so that the first pictures
leave while later ones are decoded. Replaying costs the host nothing per kernel.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from cosmos_flywheel.core.errors import EngineError
from cosmos_flywheel.engines.cosmos.generation import (
    MATRICES,
    Generation,
    RunLayer,
    quantised,
    run_layer,
)
from cosmos_flywheel.engines.cosmos.loop import Loop, is_exact
from cosmos_flywheel.engines.cosmos.vae import PLAIN, Passes, Stream, Vae

Work = Callable[[], Any]


def require_cuda() -> None:
    """EngineError with the remedy where torch sees no NVIDIA GPU."""
    if torch.cuda.is_available():
        return
    built = torch.version.cuda
    remedy = 'update its driver' if built else 'install a torch built for CUDA'
    raise EngineError(f'torch {torch.__version__} sees no NVIDIA GPU; {remedy}, or take eager')


def limit_memory(most_gb: float) -> None:
    """Let torch take no more of the GPU's memory: the rest is for perception, or the policy.

    Raises:
        EngineError: the limit is not above 0, or there is no GPU.

    """
    require_cuda()
    if not most_gb > 0:
        raise EngineError(f'a limit of {most_gb:g} GB leaves nothing; give more than 0')
    whole = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, most_gb * 1e9 / whole))


def record(work: Work, pool: Any = None) -> tuple[Work, Any, Any]:
    """Record work as a graph, warmed up twice on a stream of its own.

    Returns:
        (replay, what the work returned, memory pool). Where there is no GPU, replay is the work.

    """
    if not torch.cuda.is_available():
        return work, work(), None
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(2):
            work()
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=pool):
        result = work()
    return graph.replay, result, graph.pool()


def compiled_layer() -> RunLayer:
    """`run_layer` through torch.compile: weights are arguments, so once for all layers."""
    torch._dynamo.config.cache_size_limit = max(64, torch._dynamo.config.cache_size_limit)
    made: RunLayer = torch.compile(run_layer, dynamic=False, fullgraph=True)
    return made


def compiled_passes() -> Passes:
    """The autoencoder's passes through torch.compile: once over memory instead of nine times."""
    torch._dynamo.config.cache_size_limit = max(64, torch._dynamo.config.cache_size_limit)
    enter, leave = (
        torch.compile(one, dynamic=False, fullgraph=True) for one in (PLAIN.enter, PLAIN.leave)
    )
    return Passes(enter, leave, adds_bias=True)


class GraphLoop:
    """The steps of a loop as graphs; begin and read the loop itself."""

    def __init__(
        self,
        loop: Loop,
        layer: RunLayer | None = None,
        *,
        keeps_exact: bool = True,
        duty: float = 1.0,
    ) -> None:
        """Record; the loop must have begun, and begins anew afterwards.

        Args:
            loop: what is recorded.
            layer: `run_layer`, or what a compiler made of it.
            keeps_exact: with float8 matrices, whether the first and last steps keep activations
                of 16 bits.
            duty: share of the time that steps may keep the GPU busy, above 0, at most 1; below 1
                each step is waited for, and followed by a rest in which others have the GPU.

        Raises:
            EngineError: the duty is out of range.

        """
        if not 0 < duty <= 1:
            raise EngineError(f'a duty of {duty:g} cannot be kept; give more than 0, at most 1')
        self.loop, self._duty = loop, duty
        loop.layer = layer
        packed = keeps_exact and isinstance(loop.generation.layers[0]['qkv'], tuple)
        self._replays = {
            exact: self._record(exact) for exact in ((False, True) if packed else (False,))
        }
        steps = loop.schedule.steps
        self._order = [
            self._replays[packed and is_exact(i, steps) and steps > 1] for i in range(steps)
        ]

    def _record(self, exact: bool) -> Work:
        loop = self.loop

        def work() -> None:
            loop.index.zero_()
            loop.step(exact)

        start = loop.state.clone()
        if torch.cuda.is_available():
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                work()
                work()
            torch.cuda.current_stream().wait_stream(stream)
            loop.index.zero_()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                loop.step(exact)
            replay: Work = graph.replay
        else:
            work()

            def replay() -> None:
                loop.step(exact)

        loop.state.copy_(start)
        loop.rewind()
        return replay

    def run(self) -> None:
        """All steps; without waiting for them, unless others are to have the GPU in between."""
        for replay in self._order:
            if self._duty == 1:
                replay()
            else:
                self._work_and_rest(replay)

    def _work_and_rest(self, replay: Work) -> None:
        begun_s = time.perf_counter()
        replay()
        if torch.cuda.is_available():
            torch.cuda.current_stream().synchronize()
        time.sleep((time.perf_counter() - begun_s) * (1 / self._duty - 1))

    def step(self, exact: bool = False) -> None:
        """One step alone, at whatever index the loop is."""
        self._replays[exact]()


class GraphVae:
    """Encoding one frame and decoding a chunk's latents as graphs, with pinned host buffers."""

    def __init__(self, vae: Vae, canvas: tuple[int, int], latent: tuple[int, int, int]) -> None:
        """Record for a canvas (H, W) in px and latents (T, h, w) cropped from its own."""
        like = vae.tensors['encoder.conv_in.weight']
        where = {'device': like.device, 'dtype': torch.uint8}
        pinned = {'dtype': torch.uint8, 'pin_memory': like.is_cuda}
        frames, rows, columns = latent
        # Graphs read the weights where they lie, and do not keep them there.
        self._vae = vae
        self.picture = torch.zeros(*canvas, 3, **where)
        """uint8 RGB on the device, written by `encode`."""
        self.latents = torch.zeros(1, vae.dims.channels, *latent, device=like.device)
        self.host = torch.zeros(4 * frames - 3, 16 * rows, 16 * columns, 3, **pinned)
        self._encode, self.first, _ = record(lambda: self._encoded(vae, like, rows, columns))
        stream, pool = Stream(), None
        self._decode = []
        for index in range(frames):
            kept = Stream(dict(stream.memory), stream.first)

            def work(kept: Stream = kept, index: int = index) -> tuple[Tensor, Stream]:
                passing = Stream(dict(kept.memory), kept.first)
                latent = self.latents[:, :, index : index + 1].to(like.dtype)
                pictures = vae.decode_group(latent, passing)[0].permute(1, 2, 3, 0)
                return ((pictures.float() + 1) * 127.5).round().to(torch.uint8), passing

            replay, (shown, stream), pool = record(work, pool)
            self._decode.append((replay, shown, kept, stream))

    def _encoded(self, vae: Vae, like: Tensor, rows: int, columns: int) -> Tensor:
        picture = self.picture.permute(2, 0, 1)[None, :, None].to(like.dtype) / 127.5 - 1
        return vae.encode_group(picture, Stream())[..., :rows, :columns]

    def encode(self, picture: Tensor) -> Tensor:
        """Latent (1, 48, 1, h, w) of a pinned uint8 picture (H, W, 3); overwritten by the next."""
        self.picture.copy_(picture, non_blocking=True)
        self._encode()
        return self.first

    def decode(self, latents: Tensor) -> Iterator[Tensor]:
        """Pinned uint8 pictures (1 or 4, H, W, 3), the first early; synchronize before reading."""
        self.latents.copy_(latents)
        begin = 0
        for index in range(len(self._decode)):
            replay, shown, _, _ = self._decode[index]
            if self.picture.is_cuda:
                replay()
            else:
                shown = self._again(index)
            part = self.host[begin : begin + len(shown)]
            part.copy_(shown, non_blocking=True)
            begin += len(shown)
            yield part

    def _again(self, index: int) -> Tensor:
        """Without graphs, what a replay would leave behind."""
        replay, _, kept, _ = self._decode[index]
        if index:
            before = self._decode[index - 1][3]
            kept.memory.update(before.memory)
        shown, stream = replay()
        self._decode[index] = (replay, shown, kept, stream)
        return shown


def to_float8(loop: Loop) -> None:
    """Quantise a begun loop's tower in place, scales from its first velocity.

    Layer by layer, so that the peak is barely above the weights that are there already.
    """
    task, generation = loop.task, loop.generation
    largest: list[dict[str, Tensor]] = []

    def noting(x: Tensor, *rest: Any) -> Tensor:
        seen: dict[str, Tensor] = {}
        largest.append(seen)

        def note(name: str, value: Tensor) -> None:
            seen[name] = value.abs().amax()

        key, value, cos, sin, mask, weights, head, eps, exact = rest
        return run_layer(x, key, value, cos, sin, mask, weights, head, eps, exact, note)

    before, loop.layer = loop.layer, noting
    loop.velocity()
    loop.layer = before
    branches = 1 if task.guidance == 1.0 else 2
    count = len(generation.layers)
    for index, weights in enumerate(generation.layers):
        for name in MATRICES:
            top = torch.stack([largest[b * count + index][name] for b in range(branches)]).amax()
            weights[name] = quantised(weights[name], top)


def channels_last(vae: Vae, passes: Passes = PLAIN) -> Vae:
    """The same autoencoder with its kernels laid out as cuDNN likes them."""
    laid = {
        5: torch.channels_last_3d,
        4: torch.channels_last,
    }
    tensors = {
        name: tensor.to(memory_format=laid[tensor.ndim])
        if name.endswith('weight') and tensor.ndim in laid
        else tensor
        for name, tensor in vae.tensors.items()
    }
    return Vae(vae.dims, tensors, passes)


def whole_size_gb(generation: Generation) -> float:
    """Gigabytes of the tower's layers."""
    tensors = [
        part
        for layer in generation.layers
        for held in layer.values()
        for part in (held if isinstance(held, tuple) else (held,))
    ]
    return float(sum(t.numel() * t.element_size() for t in tensors)) / 1e9
