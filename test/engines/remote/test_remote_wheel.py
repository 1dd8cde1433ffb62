# SPDX-License-Identifier: Apache-2.0
"""What is sent, held against the sources of the published server.

    pip download vllm-omni==0.30.0 --no-deps
    VLLM_OMNI_WHEEL=vllm_omni-0.30.0-py3-none-any.whl pytest -k remote_wheel

Nothing of the wheel is imported, for it needs vllm and torch: its text is read, and the one class
that a request has to fit is built from it.
"""

from __future__ import annotations

import ast
import json
import os
from dataclasses import replace
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest

from cosmos_flywheel.core.domains import DOMAINS
from cosmos_flywheel.engines.remote.form import Form, form_of, png_of
from cosmos_flywheel.engines.remote.jobs import RUNNING
from cosmos_flywheel.engines.remote.model import RemoteModel
from cosmos_flywheel.engines.remote.server import Server
from cosmos_flywheel.engines.remote.settings import RemoteSettings
from cosmos_flywheel.engines.remote.video_form import video_form
from cosmos_flywheel.engines.remote.video_job import (
    BUCKETS,
    COMPUTED,
    CONTROLLED,
    CONTROLS,
    KINDS,
    RANGES,
    WITH_ACTIONS,
    Control,
    VideoJob,
)
from cosmos_flywheel.store.robots import load_robot

WHEEL = os.environ.get('VLLM_OMNI_WHEEL', '')
pytestmark = pytest.mark.skipif(
    not WHEEL, reason='VLLM_OMNI_WHEEL names no wheel: pip download vllm-omni==0.30.0 --no-deps'
)
API = 'vllm_omni/entrypoints/openai/'
COSMOS = 'vllm_omni/diffusion/models/cosmos3/'
MODEL = 'nvidia/Cosmos3-Nano'


def text_of(name: str) -> str:
    with ZipFile(WHEEL) as wheel:
        return wheel.read(name).decode()


def parsed(name: str, called: str) -> Any:
    """The class, function or assignment of that name."""
    for node in ast.walk(ast.parse(text_of(name))):
        target = getattr(node, 'target', None) or (getattr(node, 'targets', None) or [None])[0]
        if called in (getattr(node, 'name', None), getattr(target, 'id', None)):
            return node
    raise AssertionError(f'{name} has no {called}')


def fields_of(name: str, called: str) -> dict[str, dict[str, Any]]:
    """By field of a pydantic class, the bounds that it is given as numbers."""
    found = {}
    for node in parsed(name, called).body:
        if isinstance(node, ast.AnnAssign):
            words = getattr(node.value, 'keywords', [])
            found[node.target.id] = {
                w.arg: w.value.value for w in words if isinstance(w.value, ast.Constant)
            }
    return found


@pytest.fixture
def model() -> RemoteModel:
    push = load_robot('mujoco_push')
    robot = replace(push, cosmos=replace(push.cosmos, domain='pusht'))
    server = Server('http://127.0.0.1:80', MODEL)
    return RemoteModel.of(robot, (96, 128), RemoteSettings(tier=256, chunk=8), server)


@pytest.fixture
def form(model) -> Form:
    picture = np.zeros((96, 128, 3), np.uint8)
    return form_of(model, MODEL, picture, np.full((8, 2), 0.25, np.float32), 3)


def test_every_field_is_one_that_the_server_reads_and_in_its_range(form):
    read = parsed(f'{API}video/generation/helpers.py', '_parse_video_form').args.args
    assert {*form.fields, 'input_reference'} <= {arg.arg for arg in read}
    known = fields_of(f'{API}protocol/videos.py', 'VideoGenerationRequest')
    assert set(form.fields) <= set(known)
    for name, text in form.fields.items():
        bounds = known[name]
        assert bounds.get('ge', -np.inf) <= float(text) if 'ge' in bounds else True
        assert float(text) <= bounds['le'] if 'le' in bounds else True
    required = [n for n, node in known.items() if n == 'prompt' and not node.get('default')]
    assert required == ['prompt']


def test_settings_have_the_ranges_of_the_server(form):
    known = fields_of(f'{API}protocol/videos.py', 'VideoGenerationRequest')
    assert (known['num_inference_steps']['ge'], known['num_inference_steps']['le']) == (1, 200)
    assert known['guidance_scale']['le'] == 20
    assert known['fps']['ge'] == 1


def test_every_extra_parameter_is_one_that_the_model_or_the_film_takes(form):
    listed = parsed('vllm_omni/model_extras/cosmos3.py', 'COSMOS3_EXTRA_BODY_PARAMS').value
    taken = {element.value for element in listed.args[0].elts}
    assert set(json.loads(form.fields['extra_params'])) - taken == {'video_codec_options'}
    serving = text_of(f'{API}serving_video.py')
    assert 'request.extra_params["video_codec_options"]' in serving
    assert 'video_codec_options = {"preset": "ultrafast", "threads": "0"}' in serving
    assert 'options: dict[str, object] = {"crf": str(crf)}' in text_of(
        'vllm_omni/diffusion/utils/media_utils.py'
    )


def test_the_answers_have_the_fields_that_are_read():
    videos = f'{API}protocol/videos.py'
    assert {'id', 'status', 'model', 'prompt', 'error'} <= set(fields_of(videos, 'VideoResponse'))
    assert 'message' in fields_of(videos, 'VideoError')
    assert 'data' in fields_of(videos, 'VideoListResponse')
    states = parsed(videos, 'VideoGenerationStatus').body
    assert {s.value.value for s in states if isinstance(s, ast.Assign)} == {
        *RUNNING, 'completed', 'failed',
    }  # fmt: skip
    server = text_of(f'{API}api_server.py')
    for route in (
        '@router.get("/v1/models")',
        '@router.get("/v1/videos", response_model=VideoListResponse',
        '@router.get("/v1/videos/{video_id}/content"',
        '@router.delete("/v1/videos/{video_id}"',
    ):
        assert route in server
    assert 'id=base_model.name' in text_of(f'{API}models/serving.py')


def test_domains_have_the_ids_of_the_server():
    table = parsed(f'{COSMOS}action.py', 'EMBODIMENT_TO_DOMAIN_ID').value
    ids = {k.value: v.value for k, v in zip(table.keys, table.values, strict=True)}
    ours = {name: domain.id for name, domain in DOMAINS.items() if name in ids}
    assert len(ours) > 10
    assert ours == {name: ids[name] for name in ours}


def test_the_blanks_behind_a_caption_never_reach_the_model(form, model):
    code = ast.Module([parsed(f'{COSMOS}pipeline_cosmos3.py', '_format_json_object_prompt')], [])
    room: dict[str, Any] = {'json': json, 'Any': Any}
    exec('from __future__ import annotations\n' + ast.unparse(code), room)
    about = {'num_frames': 9, 'frame_rate': 15.0, 'height': 96, 'width': 128}
    prompt = form.prompt
    shown = room['_format_json_object_prompt'](prompt, **about, aspect_ratio='4,3')
    assert prompt != prompt.rstrip()
    assert shown == room['_format_json_object_prompt'](
        prompt.rstrip(), **about, aspect_ratio='4,3'
    )
    assert json.loads(shown) == json.loads(prompt), 'the server would write the same caption'


FORMS = (KINDS[2], KINDS[0], KINDS[1], KINDS[3], *CONTROLS, 'a control alone')


def video_forms() -> list[Form]:
    """One of every kind, and of everything that may be asked beside it."""
    picture = png_of(np.zeros((192, 320, 3), np.uint8))
    about = {'prompt': 'A cube falls.', 'size': (192, 320), 'frames': 9, 'fps': 10.0}
    acting = {'domain_id': 4, 'width': 2}
    jobs = [VideoJob(kind=KINDS[2], reference=picture, negative_prompt='blur', **about)]
    rows = np.zeros((8, 2), np.float32)
    jobs.append(VideoJob(kind=KINDS[0], reference=picture, actions=rows, **acting, **about))
    jobs.append(VideoJob(kind=KINDS[1], reference=picture, **acting, **about))
    jobs.append(VideoJob(kind=KINDS[3], reference=b'film', **about))
    for kind in CONTROLS:
        controls = (Control(kind, b'film'), *(Control(c) for c in COMPUTED if c != kind))
        jobs.append(VideoJob(kind=KINDS[3], reference=b'film', controls=controls, **about))
    alone = {'controls': (Control('edge', b'film'),), 'condition_frames': ()}
    jobs.append(VideoJob(kind=KINDS[3], **alone, **about, **CONTROLLED))
    return [video_form(job, MODEL, job.prompt + ' \t') for job in jobs]


@pytest.mark.parametrize('form', video_forms(), ids=FORMS)
def test_every_field_of_a_film_is_one_that_the_server_reads(form):
    read = parsed(f'{API}video/generation/helpers.py', '_parse_video_form').args.args
    sent = {*form.fields, *(upload.field for upload in form.uploads)}
    assert sent <= {arg.arg for arg in read}
    known = fields_of(f'{API}protocol/videos.py', 'VideoGenerationRequest')
    assert set(form.fields) - set(known) <= {'control_type'}


@pytest.mark.parametrize('form', video_forms(), ids=FORMS)
def test_the_servers_own_request_model_takes_every_film(form):
    """Its class is built from the wheel's text, with the two helpers that it imports."""
    pytest.importorskip('pydantic')
    text = text_of(f'{API}protocol/videos.py')
    room: dict[str, Any] = {'__name__': 'videos'}
    lines = [line for line in text.splitlines() if not line.startswith('from vllm_omni')]
    room |= {'parse_size': lambda size: size, 'DIFFUSION_QUALITY_LEVELS': ('high', 'lossless')}
    exec(compile('\n'.join(lines), 'videos', 'exec', dont_inherit=True), room)
    asked = {k: v for k, v in form.fields.items() if k != 'control_type'}
    asked['extra_params'] = json.loads(asked['extra_params'])
    made = room['VideoGenerationRequest'](**asked)
    assert made.num_frames == 9
    with pytest.raises(ValueError, match='num_inference_steps'):
        room['VideoGenerationRequest'](**asked | {'num_inference_steps': '0'})


@pytest.mark.parametrize('form', video_forms(), ids=FORMS)
def test_every_extra_parameter_of_a_film_is_one_that_the_model_reads(form):
    listed = parsed('vllm_omni/model_extras/cosmos3.py', 'COSMOS3_EXTRA_BODY_PARAMS').value
    of_transfer = fields_of(f'{COSMOS}transfer.py', 'Cosmos3TransferConfig')
    hints = {e.value for e in parsed(f'{COSMOS}transfer.py', 'TRANSFER_HINT_KEYS').value.elts}
    taken = {e.value for e in listed.args[0].elts} | set(of_transfer) | hints
    extra = json.loads(form.fields['extra_params'])
    assert set(extra) - taken == {'video_codec_options'}
    of_hint = fields_of(f'{COSMOS}transfer.py', 'Cosmos3TransferHint')
    assert all(set(extra[hint]) <= set(of_hint) for hint in hints & set(extra))


def test_kinds_controls_and_sizes_are_those_of_the_server():
    modes = text_of(f'{COSMOS}action.py')
    assert all(f'= "{kind}"' in modes for kind in WITH_ACTIONS)
    assert '("edge", "blur", "depth", "seg", "wsm")' in text_of(
        'vllm_omni/diffusion/model_metadata.py'
    )
    table = ast.literal_eval(parsed(f'{COSMOS}utils.py', 'VIDEO_RES_SIZE_INFO').value)
    ours = {tier: {(wide, high) for high, wide in sizes} for tier, sizes in BUCKETS.items()}
    assert ours == {tier: set(sizes.values()) for tier, sizes in table.items()}
    known = fields_of(f'{API}protocol/videos.py', 'VideoGenerationRequest')
    defaults = parsed(f'{COSMOS}transfer.py', 'TRANSFER_DEFAULTS').value
    of_edge = ast.literal_eval(defaults)['edge']
    assert CONTROLLED['guidance'] == of_edge['guidance_scale']
    assert (CONTROLLED['shift'], VideoJob.control_guidance) == (
        of_edge['flow_shift'],
        of_edge['control_guidance'],
    )
    for ours_, theirs in (('steps', 'num_inference_steps'), ('guidance', 'guidance_scale')):
        assert RANGES[ours_] == (known[theirs]['ge'], known[theirs]['le'])


def test_the_blanks_behind_plain_words_never_reach_the_model():
    """They are stripped before the text is read, as they are from a caption."""
    templates = ast.unparse(parsed(f'{COSMOS}pipeline_cosmos3.py', '_apply_metadata_templates'))
    assert 'prompt = prompt.strip()' in templates


def test_a_guardrail_says_what_is_taken_for_one():
    from cosmos_flywheel.engines.remote.answers import GUARDRAIL

    said = text_of(f'{COSMOS}guardrails.py')
    assert 'Input was blocked by Cosmos3 guardrails.' in said
    assert GUARDRAIL.search('Input was blocked by Cosmos3 guardrails.')
    assert not GUARDRAIL.search('The guardrails are enabled but not functional')
