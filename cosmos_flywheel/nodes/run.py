# SPDX-License-Identifier: Apache-2.0
"""Makers of nodes to a process that runs them until a signal, and ends cleanly.

Signals are taken from the first moment on, so import rclpy, and with it a node's module, only
within `make`: loading it takes a while in which somebody may press Ctrl-C.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any, Protocol

from cosmos_flywheel.core.errors import ConfigError, FlywheelError

ERROR_CODE = 2
"""A wrong parameter, a missing file: something that the user can repair."""
LOOK_S = 0.1
"""A signal is noticed after so long at the latest: waiting for messages, rclpy sees none."""
REMEDY = "pip install 'cosmos_flywheel[ros]' (x86_64 Linux), or source a ROS 2 installation"
SIGNALS = (signal.SIGINT, signal.SIGTERM)
PARENT = 'FLYWHEEL_PARENT'
"""Environment: the id of the process without which this one has no business to run."""
PARENT_S = 0.5
"""Whether the parent is still there is looked at so often."""
ENDING_S = 30.0
"""After the parent's death, a process that does not end by itself is ended."""


class Finished(Exception):  # noqa: N818 - not an error
    """Raised within a callback by a node whose work is done: the process ends with code 0."""


class LiveNode(Protocol):
    """An rclpy node that can be closed."""

    def get_name(self) -> str:
        """Its name, without the namespace."""
        ...

    def close(self) -> None:
        """End threads, finish files, and say goodbye while that still can be published."""
        ...

    def destroy_node(self) -> object:
        """Leave the graph."""
        ...


def need_rclpy() -> None:
    """Raise ConfigError where there is no rclpy, or where it cannot be loaded."""
    try:
        importlib.import_module('rclpy')
    except ImportError as error:
        raise ConfigError(f'rclpy cannot be imported ({error}); {REMEDY}') from error


def run_node(make: Callable[[], Any], argv: Sequence[str] | None = None) -> int:
    """Run one node; see `run_nodes`."""
    return run_nodes([make], argv)


def run_nodes(makes: Sequence[Callable[[], Any]], argv: Sequence[str] | None = None) -> int:
    """Run nodes in one process and one thread, until a signal ends it.

    Args:
        makes: each gives a `LiveNode`, when ROS is up. What they raise ends the process.
        argv: the command line after the program's name; the process's own by default.

    Returns:
        0 after SIGINT, SIGTERM or `Finished`, 2 after an error of the user's making, of which
        one line is on stderr. A second signal ends the process at once, whatever it does.

    """
    with _Signals() as signals:
        try:
            _follow_parent()
            _run(makes, list(sys.argv[1:] if argv is None else argv), signals)
        except (Finished, _Stopped):
            pass
        except Exception as error:
            # A library that was broken off in mid-import makes an error of its own of it.
            if signals.broke_off:
                return 0
            if not isinstance(error, FlywheelError):
                raise
            sys.stderr.write(f'flywheel: error: {error}\n')
            return ERROR_CODE
    return 0


class _Stopped(BaseException):
    """A signal came while there was no loop yet to be told of it."""


class _Signals:
    """Takes signals: at first by breaking off whatever is done, later by a note to the loop."""

    def __init__(self) -> None:
        self.came = False
        self.breaks_off = True
        self.broke_off = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _Signals:
        # Only the main thread may; in another, as in tests, whoever started it sees to its end.
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._take) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def only_note(self) -> None:
        """From here on the loop looks whether one came."""
        self.breaks_off = False
        if self.came:
            raise _Stopped

    def _take(self, _number: int, _frame: FrameType | None) -> None:
        if self.came:
            os._exit(0)
        self.came = True
        if self.breaks_off:
            self.broke_off = True
            raise _Stopped


def _follow_parent() -> None:
    """End as by SIGTERM when whoever started this process is gone, even by SIGKILL."""
    given = os.environ.get(PARENT, '')
    if given.isdigit():
        threading.Thread(target=_end_with, args=(int(given),), daemon=True).start()


def _end_with(parent: int) -> None:
    # Asked for again and again: the kernel's own notice of it is Linux only, and would have to
    # be ordered between fork and exec, where Python code is not safe.
    while os.getppid() == parent:
        time.sleep(PARENT_S)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(ENDING_S)
    os._exit(0)


def _run(makes: Sequence[Callable[[], Any]], argv: list[str], signals: _Signals) -> None:
    need_rclpy()
    import rclpy
    from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
    from rclpy.signals import SignalHandlerOptions

    with contextlib.ExitStack() as stack:
        with _said_plainly():
            rclpy.init(args=argv, signal_handler_options=SignalHandlerOptions.NO)
        stack.callback(rclpy.try_shutdown)
        _refuse_strangers(argv)
        executor = SingleThreadedExecutor()
        stack.callback(executor.shutdown)
        try:
            for make in makes:
                with _said_plainly():
                    node = make()
                stack.callback(node.destroy_node)
                stack.callback(node.close)
                executor.add_node(node)
            signals.only_note()
            with contextlib.suppress(ExternalShutdownException):
                while not signals.came:
                    executor.spin_once(timeout_sec=LOOK_S)
        finally:
            signals.breaks_off = False


def _refuse_strangers(argv: list[str]) -> None:
    """Raise ConfigError for arguments that rclpy would silently pass over."""
    from rclpy.utilities import remove_ros_args

    strangers = remove_ros_args(['flywheel', *argv])[1:]
    if strangers:
        raise ConfigError(
            f'{strangers[0]!r} is no argument of a node; write --ros-args first, then '
            '-p NAME:=VALUE, --params-file FILE or -r FROM:=TO'
        )


@contextlib.contextmanager
def _said_plainly() -> Iterator[None]:
    """Turn what rclpy raises for wrong arguments, names and parameters into ConfigError."""
    from rclpy.exceptions import NameValidationException, ParameterException
    from rclpy.impl.implementation_singleton import rclpy_implementation

    kinds = (
        NameValidationException,
        ParameterException,
        rclpy_implementation.RCLError,
        rclpy_implementation.UnknownROSArgsError,
    )
    try:
        yield
    except kinds as error:
        words = ' '.join(str(error).split()) or type(error).__name__
        raise ConfigError(f'ROS 2 refused the start: {words}') from error
