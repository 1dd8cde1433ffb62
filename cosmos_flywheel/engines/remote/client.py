# SPDX-License-Identifier: Apache-2.0
"""One server that films are asked of: is it there, and is it what it says?"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from cosmos_flywheel.core.errors import EngineError
from cosmos_flywheel.core.types import Picture
from cosmos_flywheel.engines.remote.answers import refusal
from cosmos_flywheel.engines.remote.errors import UnreachableError
from cosmos_flywheel.engines.remote.jobs import JOBS, Jobs
from cosmos_flywheel.engines.remote.patience import Patience
from cosmos_flywheel.engines.remote.server import Server
from cosmos_flywheel.engines.remote.wire import Wire

Decode = Callable[[bytes], Iterable[tuple[float, Picture]]]
"""A film's or a picture's bytes → seconds and pictures, one by one; PictureError for others."""
ROUTES = (JOBS, JOBS + '/{video_id}', JOBS + '/{video_id}/content')


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What a server says of itself."""

    served: str
    """What it calls the model."""
    root: str
    """Where it has it from: a name of the hub, or a path."""
    version: str
    """Of its software; empty where it tells none."""


class VideoClient:
    """Asks one server for films; several threads may.

    Args:
        server: which, and for which model.
        decode: reads films and pictures.
        patience: how long is waited, and how often is tried.

    """

    def __init__(self, server: Server, decode: Decode, patience: Patience | None = None) -> None:
        self.server = server
        self.decode = decode
        self.patience = patience or Patience()
        self.jobs = Jobs(Wire(server, self.patience.answer_s), self.patience)
        self.facts: ServerFacts | None = None

    def until_s(self) -> float:
        """Of time.monotonic: how long a job that begins now may take."""
        return time.monotonic() + self.patience.whole_s

    def close(self) -> None:
        """Delete what is left at the server."""
        self.jobs.clear(everything=True)


def check_server(client: VideoClient, stop: threading.Event | None = None) -> ServerFacts:
    """See that the server is healthy, serves the model, and has the routes of videos.

    Raises:
        UnreachableError: it does not answer, or is ill.
        EngineError: it is something else.

    """
    stop = stop or threading.Event()
    until_s, at, wanted = client.until_s(), client.server.endpoint, client.server.model
    listed = client.jobs.models(until_s, stop)
    mine = [one for one in listed if wanted in (one.get('id'), one.get('root'))]
    if not mine:
        names = ', '.join(str(one.get('id')) for one in listed) or 'nothing'
        raise EngineError(
            f'{at} serves {names}, not {wanted}; start it with `vllm serve {wanted}`, or ask for '
            'the model by the name that it has there (--served)'
        )
    health = client.jobs.ask('GET', '/health', until_s, stop)
    if health.status not in (200, 404):
        raise UnreachableError(f'{at} is not healthy ({health.status}); start it anew')
    videos = client.jobs.ask('GET', f'{JOBS}?limit=1', until_s, stop)
    if videos.status != 200 or not isinstance(videos.document().get('data'), list):
        raise refusal(videos, f'GET {JOBS}', at)
    paths = client.jobs.ask('GET', '/openapi.json', until_s, stop).document().get('paths')
    missing = [route for route in ROUTES if isinstance(paths, dict) and route not in paths]
    if missing:
        raise EngineError(f'{at} has no route {missing[0]}; serve with vllm-omni 0.30.0 or newer')
    version = client.jobs.ask('GET', '/version', until_s, stop).document().get('version')
    served, root = str(mine[0].get('id')), str(mine[0].get('root') or '')
    client.facts = ServerFacts(served, root, str(version or ''))
    return client.facts
