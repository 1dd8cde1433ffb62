# SPDX-License-Identifier: Apache-2.0
"""A little of the hub's API over one folder, with faults on demand; prints its port.

    python hub_server.py FOLDER OWNER/NAME COMMIT LOG [drop=FILE] [wrong=FILE]

`drop` cuts FILE off in mid-body, once; `wrong` flips a byte of it. Every request goes to LOG.
"""

from __future__ import annotations

import hashlib
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

LARGE = '.safetensors'


class Hub(BaseHTTPRequestHandler):
    folder: Path
    repo: str
    commit: str
    log: Path
    drop = ''
    wrong = ''
    gated = ''
    protocol_version = 'HTTP/1.1'

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        with self.log.open('a') as log:
            log.write(f'{self.command} {self.path} {self.headers.get("Range", "")}\n')
        path = self.path.partition('?')[0]
        files = f'/{self.repo}/resolve/{self.commit}/'
        if path == f'/api/models/{self.repo}/revision/{self.commit}':
            self.send(200, json.dumps(self.listed()).encode(), {}, body)
        elif path.startswith(files) and self.gated:
            self.send(403, b'{}', {'X-Error-Code': 'GatedRepo'}, body)
        elif path.startswith(files) and (self.folder / path[len(files) :]).is_file():
            self.send_file(path[len(files) :], body)
        else:
            code = 'RevisionNotFound' if f'/{self.repo}' in path else 'RepoNotFound'
            self.send(404, b'{}', {'X-Error-Code': code}, body)

    def listed(self) -> dict[str, object]:
        siblings = []
        for path in sorted(p for p in self.folder.rglob('*') if p.is_file()):
            data = path.read_bytes()
            entry: dict[str, object] = {
                'rfilename': str(path.relative_to(self.folder)),
                'size': len(data),
                'blobId': hashlib.sha1(b'blob %d\0' % len(data) + data).hexdigest(),
            }
            if path.suffix == LARGE:
                sum_ = hashlib.sha256(data).hexdigest()
                entry['lfs'] = {'sha256': sum_, 'size': len(data), 'pointerSize': 134}
            siblings.append(entry)
        card = {'license': 'other', 'license_name': 'openmdw-1.1', 'license_link': 'LICENSE.md'}
        return {'id': self.repo, 'sha': self.commit, 'siblings': siblings, 'cardData': card}

    def send_file(self, name: str, body: bool) -> None:
        data = (self.folder / name).read_bytes()
        sums = {True: hashlib.sha256(data).hexdigest(), False: hashlib.sha1(data).hexdigest()}
        heads = {'ETag': f'"{sums[name.endswith(LARGE)]}"', 'X-Repo-Commit': self.commit}
        if name == self.wrong:
            data = data[:-1] + bytes([data[-1] ^ 1])
        begin = int(self.headers.get('Range', 'bytes=0-')[6:].partition('-')[0])
        if begin:
            heads['Content-Range'] = f'bytes {begin}-{len(data) - 1}/{len(data)}'
        if body and name == self.drop:
            Hub.drop = ''
            self.send(200, data[: len(data) // 2], heads, body, length=len(data))
            self.close_connection = True
            return
        self.send(206 if begin else 200, data[begin:], heads, body)

    def send(
        self, code: int, data: bytes, heads: dict[str, str], body: bool, length: int | None = None
    ) -> None:
        self.send_response(code)
        for key, value in heads.items():
            self.send_header(key, value)
        self.send_header('Content-Length', str(len(data) if length is None else length))
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        pass


if __name__ == '__main__':
    Hub.folder, Hub.repo = Path(sys.argv[1]), sys.argv[2]
    Hub.commit, Hub.log = sys.argv[3], Path(sys.argv[4])
    for word in sys.argv[5:]:
        setattr(Hub, *word.split('='))
    server = ThreadingHTTPServer(('127.0.0.1', 0), Hub)
    sys.stdout.write(f'{server.server_port}\n')
    sys.stdout.flush()
    server.serve_forever()
