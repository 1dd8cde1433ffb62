# SPDX-License-Identifier: Apache-2.0
"""A stand-in for a vLLM-Omni server, in a process of its own, that shares no code with the client.

It takes what the video API of vllm-omni 0.30.0 takes from a robot, and refuses everything else:
unknown and missing fields, wrong ranges, a picture of another size. Its world is the given
picture, moved sideways by the first number of the actions. It can be told to misbehave.

    python omni_server.py    # prints its port
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import uuid
from email import message_from_bytes, policy
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from urllib.parse import urlsplit

import av
import numpy as np

MODEL = 'nvidia/Cosmos3-Nano'
FIELDS = {
    'prompt': str,
    'model': str,
    'size': str,
    'num_frames': int,
    'fps': float,
    'num_inference_steps': int,
    'guidance_scale': float,
    'flow_shift': float,
    'seed': int,
    'extra_params': json.loads,
}
EXTRA = {
    'action_mode', 'domain_id', 'raw_action_dim', 'action_chunk_size', 'action',
    'video_codec_options',
}  # fmt: skip
PX_PER_UNIT = 100


class RefusedError(Exception):
    """A request that does not hold."""


class State:
    """Jobs, and how the server is to misbehave."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.reset({})

    def reset(self, told: dict) -> None:
        """Forget everything; `told` is by name how often, or with what."""
        with self.lock:
            self.told = told
            self.jobs: dict[str, dict] = {}
            self.films: dict[str, bytes] = {}
            self.seen: list[str] = []
            self.forms: list[dict] = []
            self.most_at_once = 0

    def takes(self, name: str) -> bool:
        """Whether to misbehave now in this way, which then is done once less."""
        with self.lock:
            left = self.told.get(name, 0)
            if left:
                self.told[name] = left - 1
            return bool(left)


STATE = State()


def parse_form(kind: str, body: bytes) -> tuple[dict, bytes]:
    """Fields and the picture's bytes."""
    head = f'Content-Type: {kind}\r\nMIME-Version: 1.0\r\n\r\n'.encode()
    message = message_from_bytes(head + body, policy=policy.HTTP)
    if not message.is_multipart():
        raise RefusedError('the body is no multipart form')
    texts, image = {}, None
    for part in message.iter_parts():
        name = part.get_param('name', header='content-disposition')
        payload = part.get_payload(decode=True)
        if name == 'input_reference':
            if part.get_content_type() != 'image/png':
                raise RefusedError('input_reference is no PNG')
            image = payload
        elif name in texts or name not in FIELDS:
            raise RefusedError(f'field {name!r} is unknown, or there twice')
        else:
            texts[name] = payload.decode()
    missing = set(FIELDS) - set(texts)
    if missing or image is None:
        raise RefusedError(f'missing: {sorted(missing) or "input_reference"}')
    return {name: FIELDS[name](text) for name, text in texts.items()}, image


def check_form(form: dict) -> None:
    extra = form['extra_params']
    if set(extra) != EXTRA:
        raise RefusedError(f'extra_params: {sorted(set(extra) ^ EXTRA)}')
    if form['model'] != STATE.told.get('served', MODEL):
        raise RefusedError(f'Model mismatch: {form["model"]!r}')
    if not isinstance(json.loads(form['prompt']), dict):
        raise RefusedError('the prompt is no caption')
    if extra['action_mode'] != 'forward_dynamics' or not 0 < extra['domain_id'] < 32:
        raise RefusedError('no forward dynamics of a domain')
    rows = np.asarray(extra['action'], float)
    if rows.shape != (extra['action_chunk_size'], extra['raw_action_dim']):
        raise RefusedError(f'action {rows.shape}')
    if form['num_frames'] != len(rows) + 1 or not np.isfinite(rows).all():
        raise RefusedError('num_frames')
    ranges = {'num_inference_steps': (1, 200), 'guidance_scale': (0, 20), 'fps': (1, 1000)}
    for name, (least, most) in ranges.items():
        if not least <= form[name] <= most:
            raise RefusedError(name)


def read_picture(data: bytes, size: str) -> np.ndarray:
    with av.open(BytesIO(data)) as container:
        picture = next(container.decode(video=0)).to_ndarray(format='rgb24')
    if f'{picture.shape[1]}x{picture.shape[0]}' != size:
        raise RefusedError(f'the picture is not of {size}')
    return picture


def pictures_of(form: dict, first: np.ndarray) -> list[np.ndarray]:
    """The first picture and one for every action."""
    rows = np.asarray(form['extra_params']['action'], float)
    made = [first]
    for row in rows:
        moved = round(PX_PER_UNIT * (row[0] - rows[0][0]))
        made.append(np.roll(first, moved, axis=1))
    draw = np.random.default_rng(form['seed'])
    if STATE.takes('other'):
        made = [draw.integers(0, 256, first.shape, np.uint8) for _ in made]
    if STATE.takes('moves'):
        made[1:] = [np.roll(first, first.shape[1] // 2, axis=1) for _ in made[1:]]
    if STATE.takes('noisy'):
        noise = [draw.integers(-9, 10, first.shape) for _ in made[1:]]
        made[1:] = [
            np.clip(a + b, 0, 255).astype(np.uint8) for a, b in zip(made[1:], noise, strict=True)
        ]
    if STATE.takes('fewer'):
        made = made[:-3]
    if STATE.takes('smaller'):
        made = [picture[: first.shape[0] // 32 * 16, :] for picture in made]
    return made


def film_of(pictures: list[np.ndarray], fps: float, options: dict) -> bytes:
    buffer = BytesIO()
    with av.open(buffer, 'w', format='mp4') as container:
        stream = container.add_stream('libx264', rate=Fraction(fps).limit_denominator(10000))
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt, stream.options = 'yuv420p', {**options, 'threads': '1'}
        for picture in pictures:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format='rgb24')
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


class Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def log_message(self, *words: object) -> None:
        """Be silent."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get('Content-Length', 0)))
        if self.path == '/_behave':
            STATE.reset(json.loads(body))
            self._give(200, {})
        elif self._may_pass('create'):
            self._create(body)

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path == '/_state':
            self._give(200, {
                'jobs': sorted(STATE.jobs), 'seen': STATE.seen, 'forms': STATE.forms,
                'most_at_once': STATE.most_at_once,
            })  # fmt: skip
        elif path == '/v1/models':
            if self._may_pass('models'):
                served = STATE.told.get('served', MODEL)
                card = {'id': served, 'object': 'model', 'root': STATE.told.get('root', served)}
                self._give(200, {'object': 'list', 'data': [card]})
        elif path == '/v1/videos':
            if self._may_pass('list'):
                jobs = sorted(STATE.jobs.values(), key=lambda job: -job['created_at'])
                self._give(200, {'object': 'list', 'data': jobs, 'has_more': False})
        elif path.endswith('/content'):
            if self._may_pass('content'):
                self._content(path.split('/')[-2])
        elif self._may_pass('look'):
            self._look(path.split('/')[-1])

    def do_DELETE(self) -> None:
        if not self._may_pass('delete'):
            return
        job_id = self.path.split('/')[-1]
        if STATE.takes('delete_409'):
            self._give(409, {'detail': 'Cancellation in progress. Please try again later.'})
        elif STATE.jobs.pop(job_id, None) is None:
            self._give(404, {'detail': 'Video not found'})
        else:
            STATE.films.pop(job_id, None)
            self._give(200, {'id': job_id, 'deleted': True, 'object': 'video.deleted'})

    def _may_pass(self, what: str) -> bool:
        """Count a request, and misbehave where it is told to."""
        STATE.seen.append(what)
        token = STATE.told.get('token')
        if token and self.headers.get('Authorization') != f'Bearer {token}':
            self._give(401, {'error': {'message': 'Unauthorized', 'code': 401}})
        elif STATE.takes(f'{what}_503'):
            self._give(503, {'error': {'message': 'overloaded', 'code': 503}})
        elif STATE.takes(f'{what}_500'):
            self._give(500, {'error': {'message': 'something broke', 'code': 500}})
        elif STATE.takes(f'{what}_422'):
            self._give(422, {'detail': [{'msg': 'field required'}]})
        elif STATE.takes(f'{what}_302'):
            self._give(302, {}, Location='http://192.0.2.1/v1/models')
        elif STATE.takes(f'{what}_html'):
            self._send(200, b'<html>welcome</html>', 'text/html')
        elif STATE.takes(f'{what}_drop'):
            self.close_connection = True
        elif STATE.takes(f'{what}_stall'):
            time.sleep(2.0)
            self.close_connection = True
        elif STATE.takes(f'{what}_cut'):
            self._send(200, b'{"data": [', 'application/json', length=1000)
            self.close_connection = True
        elif STATE.takes(f'{what}_trickle'):
            self._trickle()
        else:
            return True
        return False

    def _create(self, body: bytes) -> None:
        try:
            form, image = parse_form(self.headers['Content-Type'], body)
            check_form(form)
            picture = read_picture(image, form['size'])
        except (RefusedError, ValueError, KeyError) as error:
            self._give(400, {'error': {'message': str(error), 'code': 400}})
            return
        job_id = f'video_gen_{uuid.uuid4().hex}'
        job = {
            'id': job_id, 'object': 'video', 'status': 'queued', 'model': form['model'],
            'prompt': form['prompt'], 'size': form['size'], 'created_at': time.time(),
        }  # fmt: skip
        STATE.forms.append(form)
        STATE.jobs[job_id] = job
        STATE.most_at_once = max(STATE.most_at_once, len(STATE.jobs))
        threading.Thread(target=self._work, args=(job, form, picture), daemon=True).start()
        if STATE.takes('made_drop'):
            self.close_connection = True
            return
        if STATE.takes('made_stall'):
            time.sleep(1.0)
        self._give(200, {**job, 'model': STATE.told.get('routed', job['model'])})
        if STATE.takes('restart'):
            STATE.jobs.clear()

    def _work(self, job: dict, form: dict, picture: np.ndarray) -> None:
        job['status'] = 'in_progress'
        if STATE.told.get('never_done'):
            return
        time.sleep(STATE.told.get('takes_s', 0.0))
        if STATE.takes('fails'):
            job['error'] = {'code': 500, 'message': 'Guardrail blocked the prompt'}
            job['status'] = 'failed'
            return
        pictures = pictures_of(form, picture)
        options = form['extra_params']['video_codec_options']
        STATE.films[job['id']] = film_of(pictures, form['fps'], options)
        job['status'] = 'completed'

    def _look(self, job_id: str) -> None:
        job = STATE.jobs.get(job_id)
        if job is None:
            self._give(404, {'detail': 'Video not found'})
        else:
            self._give(500 if job['status'] == 'failed' else 200, job)

    def _content(self, job_id: str) -> None:
        film = STATE.films.get(job_id)
        if film is None:
            self._give(404, {'detail': 'Generation is still in-progress'})
        elif STATE.takes('half'):
            self._send(200, film[: len(film) // 2], 'video/mp4', length=len(film))
            self.close_connection = True
        elif STATE.takes('truncated'):
            self._send(200, film[: len(film) // 2], 'video/mp4')
        else:
            self._send(200, film, 'video/mp4')

    def _trickle(self) -> None:
        """One byte after the other, for ever."""
        self.send_response(200)
        self.send_header('Content-Type', 'application/json')
        self.send_header('Content-Length', '100000')
        self.end_headers()
        try:
            while True:
                self.wfile.write(b' ')
                time.sleep(0.05)
        except OSError:
            self.close_connection = True

    def _give(self, status: int, document: dict, **headers: str) -> None:
        self._send(status, json.dumps(document).encode(), 'application/json', **headers)

    def _send(
        self, status: int, data: bytes, kind: str, *, length: int | None = None, **headers: str
    ) -> None:
        self.send_response(status)
        self.send_header('Content-Type', kind)
        self.send_header('Content-Length', str(len(data) if length is None else length))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        try:
            self.wfile.write(data)
        except OSError:
            self.close_connection = True


def main() -> None:
    server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    sys.stdout.write(f'{server.server_port}\n')
    sys.stdout.flush()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    server.serve_forever()


def _end_with_parent() -> None:
    """Its standard input is held open by whoever started it."""
    sys.stdin.read()
    os._exit(0)


if __name__ == '__main__':
    main()
