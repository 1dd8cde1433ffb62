# SPDX-License-Identifier: Apache-2.0
"""Replicas as actors of Ray, here or on the machines of a cluster; the only door to Ray.

Results are files, so all machines see the same folders at the same paths. A cluster of its own
listens on loopback only and asks everybody for a token that nobody else has.
"""

from __future__ import annotations

import importlib
import ipaddress
import logging
import os
import secrets
import socket
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2

from cosmos_flywheel import __version__
from cosmos_flywheel.core.errors import ConfigError, WorkerDiedError
from cosmos_flywheel.executors.base import Task

_LOOPBACK = '127.0.0.1'
_STORE_BYTES = 200 * 2**20
"""Of memory shared by the processes of a local cluster; what goes through it is small."""
_CLIENT = 'ray://'


class RayExecutor:
    """Connects, or starts a local cluster, when the first replica is wanted.

    Args:
        out: the folder that results go to; every machine must see it.
        address: HOST:PORT of a cluster that this machine is part of; None for one of its own.
        workers: processors of a cluster of its own.
        gpus: for each replica, whole ones or a share of one.

    Raises:
        ConfigError: Ray is not installed, or what was asked for makes no sense.

    """

    def __init__(
        self, out: Path, address: str | None = None, workers: int = 1, gpus: float = 0
    ) -> None:
        if find_spec('ray') is None:
            raise ConfigError("executor ray needs Ray; pip install 'cosmos_flywheel[ray]'")
        if address is not None and address.startswith(_CLIENT):
            raise ConfigError(
                f'{address}: run the command on a machine of the cluster and give HOST:PORT'
            )
        if gpus < 0 or (gpus > 1 and gpus != int(gpus)):
            raise ConfigError(f'{gpus:g} GPUs a worker: give whole ones, or a share of one')
        self._out = out
        self._address = address
        self._workers = workers
        self._gpus = gpus
        self._ray: Any = None
        self._actor: Any = None
        self._mark = ''
        self._replicas: list[RayReplica] = []
        self._closing = ExitStack()

    def __enter__(self) -> RayExecutor:
        return self

    def __exit__(self, *_: object) -> None:
        for replica in self._replicas:
            replica.end()
        self._replicas.clear()
        self._closing.close()
        self._ray = None

    def start(self, task: Task) -> RayReplica:
        """Begin an actor.

        Raises:
            ConfigError: there is no such cluster, or none of its machines has so many GPUs.

        """
        if self._ray is None:
            self._connect()
        place = _Place(__version__, Path.cwd(), self._out, self._mark)
        actor = self._actor.remote(task, place)
        replica = RayReplica(self._ray, actor)
        self._replicas = [one for one in self._replicas if not one.is_over] + [replica]
        return replica

    def told(self) -> Iterator[tuple[str, float]]:
        """What actors have said when they were asked last."""
        for replica in self._replicas:
            yield from replica.told()

    def _connect(self) -> None:
        ray: Any = _loopback_ray() if self._address is None else importlib.import_module('ray')
        quiet = {'log_to_driver': False, 'logging_level': logging.ERROR}
        try:
            if self._address is None:
                folder = tempfile.TemporaryDirectory(prefix='ray-', ignore_cleanup_errors=True)
                ray.init(
                    address='local',
                    num_cpus=self._workers,
                    num_gpus=None if self._gpus else 0,
                    include_dashboard=False,
                    object_store_memory=_STORE_BYTES,
                    _node_ip_address=_LOOPBACK,
                    _metrics_export_port=-1,
                    _temp_dir=self._closing.enter_context(folder),
                    **quiet,
                )
            else:
                ray.init(address=self._address, **quiet)
        except (ConnectionError, RuntimeError, ValueError) as error:
            where = self._address or 'a cluster of its own'
            raise ConfigError(f'executor ray: {where}: {error}') from error
        self._closing.callback(ray.shutdown)
        self._ray = ray
        self._require_place()
        mark = tempfile.NamedTemporaryFile(dir=self._out, prefix='.executor-')  # noqa: SIM115
        self._mark = self._closing.enter_context(mark).name
        self._actor = ray.remote(concurrency_groups={'aside': 1})(_Actor).options(
            num_cpus=1, num_gpus=self._gpus
        )

    def _require_place(self) -> None:
        nodes = [node for node in self._ray.nodes() if node['Alive']]
        if self._address is None:
            open_to = {node['NodeManagerAddress'] for node in nodes}
            if not all(ipaddress.ip_address(one).is_loopback for one in open_to):
                raise ConfigError(
                    f'executor ray: ray {self._ray.__version__} would listen on {open_to}; '
                    'install the version that is tested: see docs/queue.md'
                )
        most = max((node['Resources'].get('GPU', 0.0) for node in nodes), default=0.0)
        if most < self._gpus:
            raise ConfigError(
                f'executor ray: a worker is to have {self._gpus:g} GPUs, and the machine with '
                f'most of them has {most:g}; give fewer'
            )


class RayReplica:
    """One actor: jobs in one thread, questions how far it is in another."""

    def __init__(self, ray: Any, actor: Any) -> None:
        self._ray = ray
        self._actor = actor
        self._asked: Any = None
        self._heard: dict[str, float] = {}
        self._said: dict[str, float] = {}
        self.is_over = False
        self.ready: Future[None] = self._future(actor.ready.remote())

    def call(self, job: Any) -> Future[Any]:
        """Begin a job."""
        return self._future(self._actor.work.remote(job))

    def end(self) -> None:
        """Kill it: whatever it does, files are put into their places whole."""
        self.is_over = True
        with suppress(Exception):  # the cluster may be gone already
            self._ray.kill(self._actor)

    def told(self) -> Iterator[tuple[str, float]]:
        """What it said when it was asked last; and asks anew."""
        if self._asked is not None and self._ray.wait([self._asked], timeout=0)[0]:
            with suppress(self._ray.exceptions.RayError):
                self._hear(self._ray.get(self._asked))
            self._asked = None
        if self._asked is None and not self.is_over:
            self._asked = self._actor.told.options(concurrency_group='aside').remote()
        heard = dict(self._heard)
        yield from ((name, at_s) for name, at_s in heard.items() if self._said.get(name) != at_s)
        self._said = heard

    def _hear(self, told: Mapping[str, float]) -> None:
        """Answers may overtake one another."""
        for name, at_s in told.items():
            self._heard[name] = max(at_s, self._heard.get(name, at_s))

    def _future(self, reference: Any) -> Future[Any]:
        mine: Future[Any] = Future()
        mine.set_running_or_notify_cancel()

        def pass_on(theirs: Future[Any]) -> None:
            error = theirs.exception()
            if isinstance(error, self._ray.exceptions.RayTaskError):
                mine.set_exception(error)
            elif error is not None:
                mine.set_exception(WorkerDiedError(_died(error)))
            else:
                result, raised, told = theirs.result()
                self._hear(told)
                if raised is None:
                    mine.set_result(result)
                else:
                    mine.set_exception(raised)

        reference.future().add_done_callback(pass_on)
        return mine


@dataclass(frozen=True, slots=True)
class _Place:
    """What an actor must find where it is."""

    version: str
    folder: Path
    """In which the command was started: paths are relative to it."""
    out: Path
    mark: str
    """A file in `out` that was made for this."""

    def refusal(self) -> str | None:
        """Why this machine cannot do the work; None if it can."""
        here = f'executor ray: machine {socket.gethostname()}'
        if __version__ != self.version:
            return f'{here} has cosmos_flywheel {__version__}, and not {self.version}; install it'
        try:
            os.chdir(self.folder)
            Path(self.mark).stat()
        except OSError as error:
            return (
                f'{here} does not see {self.folder} and {self.out} as this one does '
                f'({error.strerror}); start the command in a folder that all machines share, '
                'under the same path'
            )
        return None


class _Actor:
    """In a process of Ray's; it answers with a result, or what was raised, and what was told."""

    def __init__(self, task: Task, place: _Place) -> None:
        self._task = task
        self._place = place
        self._told: dict[str, float] = {}

    def ready(self) -> tuple[None, Exception | None, dict[str, float]]:
        """Whether this machine can do the work, which only looks into folders that all share."""
        cv2.setNumThreads(1)
        refusal = self._place.refusal()
        return None, ConfigError(refusal) if refusal else None, {}

    def work(self, job: Any) -> tuple[Any, Exception | None, dict[str, float]]:
        self._told = {}
        try:
            result, raised = self._task(job, self._tell), None
        except Exception as error:
            result, raised = None, error
        return result, raised, self.told()

    def told(self) -> dict[str, float]:
        """Of the job that runs, by name; from another thread."""
        return dict(self._told)

    def _tell(self, name: str, seconds: float) -> None:
        self._told[name] = seconds


def _loopback_ray() -> Any:
    """Ray such that a cluster that it starts listens on loopback only, and tells nobody of it.

    `ray.init` replaces a loopback address by one of the network unless it takes this machine for
    one that cannot be part of a cluster.
    """
    os.environ['RAY_USAGE_STATS_ENABLED'] = '0'
    os.environ['RAY_AUTH_MODE'] = 'token'
    os.environ.setdefault('RAY_AUTH_TOKEN', secrets.token_hex(32))
    constants: Any = importlib.import_module('ray._private.ray_constants')
    constants.ENABLE_RAY_CLUSTER = False
    return importlib.import_module('ray')


def _died(error: BaseException) -> str:
    """The last line of Ray's says why, where it knows."""
    lines = str(error).strip().splitlines() or ['it is not known why']
    return f'a worker process died (out of memory?): {lines[-1].strip()}'
