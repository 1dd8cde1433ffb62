# SPDX-License-Identifier: Apache-2.0
"""Our loop against diffusers' Cosmos3OmniPipeline: same weights, same noise, float32 on the CPU.

Tiny random checkpoints of Nano's and Edge's kind; all modes, three domains, odd sizes, the text
padded to a bucket, guidance. The relative error of the final latents and actions must stay below
1e-4; a frame encoded alone must equal, bit for bit, the first of a whole clip. Needs torch, and
diffusers 0.42.1 with transformers as the peer.
"""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import torch
from common import print_table
from nano import TINY

from cosmos_flywheel.core.domains import DOMAINS
from cosmos_flywheel.engines.cosmos.canvas import Canvas
from cosmos_flywheel.engines.cosmos.dims import Dims, VaeDims
from cosmos_flywheel.engines.cosmos.generation import Generation
from cosmos_flywheel.engines.cosmos.loop import Loop, Task
from cosmos_flywheel.engines.cosmos.prefill import prefill
from cosmos_flywheel.engines.cosmos.sampler import make_schedule
from cosmos_flywheel.engines.cosmos.vae import Vae
from cosmos_flywheel.engines.cosmos.weights import RandomWeights

MOST_ERROR = 1e-4
STEPS, SHIFT, FPS, CHUNK, BUCKET = 4, 10.0, 15.0, 16, 640
KINDS = {
    'nano': TINY,
    'edge': replace(
        TINY, gated=False, eps=1e-5, rope_base=1e8, text_qk_norm=False, text_k_norm_for_gen=True
    ),
}
VAE = VaeDims(base=8, decoder_base=8, blocks=1)
CASES = (
    ('nano', 'forward_dynamics', 'droid_lerobot', (192, 320), 1.0),
    ('nano', 'inverse_dynamics', 'av', (144, 176), 1.0),
    ('nano', 'policy', 'pusht', (150, 200), 1.0),
    ('nano', 'forward_dynamics', 'av', (97, 211), 3.0),
    ('edge', 'forward_dynamics', 'droid_lerobot', (150, 200), 1.0),
    ('edge', 'inverse_dynamics', 'pusht', (192, 320), 1.0),
    ('edge', 'policy', 'droid_lerobot', (97, 211), 1.0),
)


class Letters:
    """A tokenizer that takes one letter for one token."""

    eos_token_id = 1

    def convert_tokens_to_ids(self, token: str) -> int:
        """One id for every special token."""
        return 2

    def apply_chat_template(self, talk: Any, **_: Any) -> Any:
        """All parts' letters, at most 600."""
        text = ''.join(part['content'] for part in talk)
        return SimpleNamespace(input_ids=[3 + ord(letter) % 500 for letter in text[:600]])


def make_peer(dims: Dims, seed: int = 0) -> Any:
    """Diffusers' pipeline with our random weights."""
    from diffusers import (
        AutoencoderKLWan,
        Cosmos3OmniPipeline,
        Cosmos3OmniTransformer,
        UniPCMultistepScheduler,
    )

    def fill(module: Any, shapes: Any) -> Any:
        weights = RandomWeights(shapes, seed)
        module.load_state_dict({n: weights.get(n) for n in shapes}, strict=False)
        return module.float().eval().requires_grad_(False)

    def plain(config: dict[str, Any]) -> dict[str, Any]:
        return {k: v for k, v in config.items() if not k.startswith('_')}

    pipeline = Cosmos3OmniPipeline(
        transformer=fill(Cosmos3OmniTransformer(**plain(dims.config())), dims.shapes()),
        text_tokenizer=Letters(),
        vae=fill(AutoencoderKLWan(**plain(VAE.config())), VAE.shapes()),
        scheduler=UniPCMultistepScheduler(
            prediction_type='flow_prediction', use_flow_sigmas=True, flow_shift=SHIFT
        ),
        enable_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def compare(
    peer: Any, dims: Dims, mode: str, domain: str, size: tuple[int, int], guidance: float
) -> dict[str, Any]:
    """Both loops on one case; relative errors of latents and actions."""
    from diffusers import CosmosActionCondition

    draw = torch.Generator().manual_seed(7)
    frames = torch.rand(CHUNK + 1, 3, *size, generator=draw)
    known = DOMAINS[domain]
    moves, acts = mode != 'inverse_dynamics', mode != 'forward_dynamics'
    raw = torch.rand(CHUNK, known.width, generator=draw) * 2 - 1
    condition = CosmosActionCondition(
        mode=mode,
        chunk_size=CHUNK,
        domain_name=domain,
        resolution_tier=256,
        view_point='third_person_view',
        **({} if acts else {'raw_actions': raw}),
        **({'image': frames[:1]} if moves else {'video': frames}),
    )
    clip, _, _, _ = peer._prepare_action_video_conditioning(
        [condition.image] if moves else condition.video, 256, CHUNK + 1, 'cpu', torch.float32
    )
    # The peer brings pictures to multiples of 16 px before it looks for a canvas.
    seen = peer.video_processor.preprocess_video([condition.image] if moves else condition.video)
    canvas = Canvas.choose(tuple(seen.shape[-2:]), 256)
    laid = canvas.lay(seen)
    if not torch.equal(laid[:, :, : clip.shape[2]], clip[:, :, : laid.shape[2]]):
        raise SystemExit(f"our canvas of {size} is not the peer's")
    vae = Vae.load(RandomWeights(VAE.shapes()), VAE)
    ours = vae.encode(clip[:, :, :1] if moves else clip)
    theirs = peer._encode_video(clip)
    same = bool(torch.equal(ours[:, :, :1], theirs[:, :, :1]))
    ours = ours[..., : canvas.latent[0], : canvas.latent[1]]
    weights = RandomWeights(dims.shapes())
    texts = grab_texts(peer, dims, weights, mode, condition, guidance)
    task = Task(
        mode, (theirs.shape[2], *canvas.latent), CHUNK, known.width, known.id, FPS, guidance
    )
    loop = Loop(Generation.load(weights, dims), task, texts, make_schedule(STEPS, SHIFT))
    loop.begin(ours, None if acts else raw, loop.draw(3))
    latents, actions = loop.latents().clone(), loop.actions()
    start = raw if actions is None else actions
    start = torch.nn.functional.pad(start, (0, dims.action_dim - known.width)).clone()
    loop.run()
    out = peer(
        prompt='push', negative_prompt='bad', action=condition, num_inference_steps=STEPS,
        guidance_scale=guidance, fps=FPS, latents=latents, action_latents=start,
        use_system_prompt=False, output_type='latent',
    )  # fmt: skip
    errors = {'latents': relative(loop.latents(), out.video), 'encode_same': same}
    predicted = loop.actions()
    if predicted is not None:
        errors['actions'] = relative(predicted, out.action[0][..., : known.width])
    if moves:
        whole = torch.cat(list(vae.decode(out.video)), 2)
        mean, scale = (torch.tensor(v).view(1, -1, 1, 1, 1) for v in (VAE.mean, VAE.std))
        errors['frames'] = relative(whole, peer.vae.decode(out.video * scale + mean).sample)
    return errors


def grab_texts(
    peer: Any, dims: Dims, weights: Any, mode: str, condition: Any, guidance: float
) -> list[Any]:
    """The token ids that the peer makes, through our prefill; the first one padded."""
    clip = [condition.image] if condition.image is not None else condition.video
    high, wide = peer.video_processor.preprocess_video(clip).shape[-2:]
    from diffusers.pipelines.cosmos import pipeline_cosmos3_omni as module

    canvas = module.VideoProcessor.classify_height_width_bin(
        high, wide, ratios=module._ACTION_RESOLUTION_BINS['256']
    )
    ids = peer.tokenize_prompt(
        'push', 'bad', num_frames=CHUNK + 1, height=canvas[0], width=canvas[1], fps=FPS,
        use_system_prompt=False, action_mode=mode, action_view_point='third_person_view',
    )  # fmt: skip
    rows = [peer._prepare_text_segment(i, device='cpu')['input_ids'] for i in ids]
    kept = rows if guidance != 1.0 else rows[:1]
    texts = [prefill(weights, dims, row) for row in kept]
    return [texts[0].padded(max(BUCKET, texts[0].bucket + 3)), *texts[1:]]


def relative(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return float((ours - theirs).norm() / theirs.norm())


def main() -> int:
    torch.set_num_threads(2)
    peers = {kind: make_peer(dims) for kind, dims in KINDS.items()}
    rows: list[tuple[object, ...]] = [
        ('kind', 'mode', 'domain', 'size', 'guidance', 'latents', 'actions', 'frames', 'encode')
    ]
    worst, same = 0.0, True
    with torch.no_grad():
        for kind, mode, domain, size, guidance in CASES:
            found = compare(peers[kind], KINDS[kind], mode, domain, size, guidance)
            numbers = [found.get(k, float('nan')) for k in ('latents', 'actions', 'frames')]
            worst = max(worst, *(n for n in numbers if n == n))
            same &= found['encode_same']
            cells = ['' if n != n else f'{n:.1e}' for n in numbers]
            word = 'same bits' if found['encode_same'] else 'DIFFERS'
            rows.append((kind, mode, domain, f'{size[1]}x{size[0]}', guidance, *cells, word))
    print_table(rows)
    bars = {f'error below {MOST_ERROR:g}': worst < MOST_ERROR, 'one-frame encode same bits': same}
    print(json.dumps({'bench': 'cosmos_parity', 'figures': {'worst': worst}, 'bars': bars}))
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
