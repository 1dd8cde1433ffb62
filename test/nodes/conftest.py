# SPDX-License-Identifier: Apache-2.0
"""The fixture `graph`: a ROS 2 graph of its own for each test, with node processes in it."""

from __future__ import annotations

import importlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

LOCK_PORT = 42_000
DOMAINS = range(1, 101)
"""Beyond, the ports of DDS meet those that the kernel hands out."""
PATIENCE_S = 60.0
"""How long anything may take on a machine that is busy; nothing is expected to."""


def free_domain() -> tuple[int, socket.socket]:
    """A domain that no other test of this machine has, and the lock that says so."""
    for step in range(len(DOMAINS)):
        domain = DOMAINS[(os.getpid() + step) % len(DOMAINS)]
        lock = socket.socket()
        try:
            lock.bind(('127.0.0.1', LOCK_PORT + domain))
        except OSError:
            lock.close()
            continue
        return domain, lock
    raise RuntimeError('all ROS domains of this machine are taken')


class Process:
    """One process of the graph; its output goes to a file."""

    def __init__(self, command: list[str], log: Path, environment: dict[str, str]) -> None:
        self.log = log
        with log.open('wb') as out:
            self._process = subprocess.Popen(
                command, stdout=out, stderr=subprocess.STDOUT, env=environment, cwd=log.parent
            )
        self.pid = self._process.pid

    @property
    def output(self) -> str:
        return self.log.read_text('utf-8', 'replace')

    @property
    def runs(self) -> bool:
        return self._process.poll() is None

    def send(self, number: int) -> None:
        self._process.send_signal(number)

    def wait(self, timeout_s: float = PATIENCE_S) -> int:
        """Wait for its end; returns the exit code."""
        return self._process.wait(timeout_s)

    def stop(self, number: int = signal.SIGINT) -> int:
        """Ask it to end and wait; returns the exit code."""
        self.send(number)
        return self.wait()

    def end(self) -> None:
        """Whatever it does, it is gone afterwards."""
        if self.runs:
            self.send(signal.SIGINT)
            try:
                self.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


class Graph:
    """One domain, the processes in it, and nodes of the test's own process."""

    def __init__(self, folder: Path, domain: int) -> None:
        self.folder, self.domain = folder, domain
        self.processes: list[Process] = []
        self._nodes: list[Any] = []
        self._executor: Any = None

    def run(self, *command: str, **environment: str) -> Process:
        """Start a command in the graph."""
        log = self.folder / f'process_{len(self.processes)}.log'
        process = Process(list(command), log, os.environ | environment)
        self.processes.append(process)
        return process

    def start(self, name: str, *ros_arguments: str, **parameters: object) -> Process:
        """Start `flywheel node NAME` with parameters, and arguments such as '-r', '__ns:=/r1'."""
        given = [f'-p {key}:={_yaml(value)}' for key, value in parameters.items()]
        words = [part for item in given for part in item.split(' ', 1)]
        command = [sys.executable, '-m', 'cosmos_flywheel.cli.main', 'node', name]
        if words or ros_arguments:
            command += ['--ros-args', *words, *ros_arguments]
        return self.run(*command)

    def node(self, name: str = 'tester', namespace: str = '/') -> Any:
        """A plain node in this process."""
        from rclpy.node import Node

        return self.make(lambda **_: Node(name, namespace=namespace))

    def make(self, maker: Callable[..., Any], **parameters: object) -> Any:
        """A node in this process, made by `maker(parameter_overrides=…)`."""
        import rclpy
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.parameter import Parameter

        if self._executor is None:
            rclpy.init(args=[])
            self._executor = SingleThreadedExecutor()
        overrides = [Parameter(name, value=value) for name, value in parameters.items()]
        node = maker(parameter_overrides=overrides)
        self._nodes.append(node)
        self._executor.add_node(node)
        return node

    def until(self, true: Callable[[], object], what: str, patience_s: float = PATIENCE_S) -> None:
        """Let the nodes of this process work until something is true."""
        end = time.monotonic() + patience_s
        while not true():
            assert time.monotonic() < end, f'waited {patience_s:g} s in vain: {what}'
            if self._executor is None:
                time.sleep(0.02)
            else:
                self._executor.spin_once(timeout_sec=0.02)

    def call(self, node: Any, kind: type[Any], name: str, request: Any = None) -> Any:
        """Call a service and wait for the answer."""
        client = node.create_client(kind, name)
        self.until(client.service_is_ready, f'service {name}')
        future = client.call_async(request or kind.Request())
        self.until(future.done, f'an answer of {name}')
        return future.result()

    def end(self) -> None:
        """Close nodes, end processes by their ids, and print what they said."""
        for node in self._nodes:
            if hasattr(node, 'close'):
                node.close()
            node.destroy_node()
        if self._executor is not None:
            import rclpy

            self._executor.shutdown()
            rclpy.try_shutdown()
        for process in self.processes:
            process.end()
            # Shown when the test failed.
            sys.stdout.write(f'--- {process.log.name}\n{process.output}\n')


def _yaml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, str | float) else str(value)


@pytest.fixture
def graph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, need: Callable[[str, str], NoReturn]
) -> Iterator[Graph]:
    """A graph that no other process of this or another machine sees."""
    try:
        importlib.import_module('rclpy')
    except ImportError as error:
        need('ros', f'rclpy cannot be imported: {error}')
    domain, lock = free_domain()
    monkeypatch.setenv('ROS_DOMAIN_ID', str(domain))
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    # Shared memory that a killed process leaves behind would bother the next test.
    monkeypatch.setenv('FASTDDS_BUILTIN_TRANSPORTS', 'UDPv4')
    monkeypatch.setenv('ROS_LOG_DIR', str(tmp_path / 'log'))
    made = Graph(tmp_path, domain)
    with lock:
        try:
            yield made
        finally:
            made.end()
