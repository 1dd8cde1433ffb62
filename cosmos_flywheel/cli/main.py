# SPDX-License-Identifier: Apache-2.0
"""The command `flywheel`: finds the verb, runs it, and turns errors into one line and a code."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from keyword import iskeyword
from typing import Any

from cosmos_flywheel import __version__
from cosmos_flywheel.cli.table import printable
from cosmos_flywheel.core.errors import FlywheelError

VERBS: Mapping[str, str] = {
    'harvest': 'find failures in recorded bags and keep them as episodes',
    'fit': 'learn from nominal bags what is normal',
    'preflight': 'check from bags whether the robot file says the truth about actions',
    'recalibrate': 'let what people called false alarms raise thresholds',
    'episodes': 'list, show and label what was found',
    'brief': 'make failures into orders for a generator',
    'trial': 'try a generator and the rules on episodes: go or no-go',
    'generate': 'make briefs into candidate episodes',
    'candidates': 'list and show what was generated',
    'plan': 'choose which candidates to make next, and say what they cover',
    'queue': 'show and steer what is being generated',
    'inspect': 'look a bag over: topics, rates, gaps, clocks, and what would be watched',
    'init': 'write a robot file for a bag',
    'import': 'make bags of a LeRobot data set or of films with captions',
    'engine': 'fetch, build, list and check engines for a GPU',
    'sim': 'record a simulated robot that fails at will, with labels',
    'live': 'watch a robot live: predict, compare, capture',
    'watch': 'show the running graph on a local page',
    'travel': 'bring episodes from the robot to the machine that generates',
    'node': 'run one ROS 2 node of the live graph',
}
"""What each verb does. Its module (`module_of`) offers `add_parser(subparsers)`, which sets `run`,
and `run(args) -> exit code`; it is imported only when it is asked for."""

ERROR_CODE = 2
INTERRUPT_CODE = 130
BROKEN_PIPE_CODE = 141
"""128 + the number of the signal, as a shell has it."""

ONE_THREAD = ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'OPENCV_FOR_THREADS_NUM')
"""Read by native libraries when they are imported: results must not depend on the machine's
cores, and bags are worked on in parallel instead."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb.

    Returns:
        The verb's own code; 2 for an error of the user's making, 130 after Ctrl-C.

    """
    for variable in ONE_THREAD:
        os.environ.setdefault(variable, '1')
    arguments = list(sys.argv[1:] if argv is None else argv)
    args = _parser(arguments).parse_args(arguments)
    try:
        code: int = args.run(args)
        sys.stdout.flush()
    except FlywheelError as error:
        print(f'flywheel: error: {_shown(error)}', file=sys.stderr)
        return ERROR_CODE
    except KeyboardInterrupt:
        return INTERRUPT_CODE
    except BrokenPipeError:
        # Whoever read our output has left: nothing more can be said, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE_CODE
    return code


def module_of(verb: str) -> str:
    """The name of a verb's module; that of a verb which is a word of Python ends with `_`."""
    return f'cosmos_flywheel.cli.{verb}' + '_' * iskeyword(verb)


def _shown(error: FlywheelError) -> str:
    """Its words as they may reach a terminal: they quote names that others chose."""
    return '\n'.join(map(printable, str(error).splitlines()))


class Parser(argparse.ArgumentParser):
    """Takes options by their whole names: `--out` is not short for `--output`."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given, allow_abbrev=False)


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """Build the parser; only the verb that is asked for is imported."""
    parser = Parser(prog='flywheel', description='Harvest the failures that a robot recorded.')
    parser.add_argument('--version', action='version', version=f'flywheel {__version__}')
    subparsers = parser.add_subparsers(metavar='VERB', required=True)
    asked = next((word for word in arguments if not word.startswith('-')), None)
    for verb, what in VERBS.items():
        if verb == asked:
            importlib.import_module(module_of(verb)).add_parser(subparsers)
        else:
            subparsers.add_parser(verb, help=what)
    return parser


if __name__ == '__main__':
    sys.exit(main())
