# SPDX-License-Identifier: Apache-2.0
"""`flywheel inspect BAG`: what is in a bag, how healthy it is, and what would be watched."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import Any

from cosmos_flywheel.bags.source import open_bag
from cosmos_flywheel.capture.proposal import Choice, Proposal, propose, proposed_robot
from cosmos_flywheel.capture.survey import BagSurvey, TopicSurvey, describe_clock, survey_bag
from cosmos_flywheel.cli.table import amount, printable, table
from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.store.robots import load_robot, robot_names

PAIRS_SHOWN = 6


def add_parser(subparsers: Any) -> None:
    """Declare the verb."""
    parser = subparsers.add_parser(
        'inspect', help='look a bag over: topics, rates, gaps, clocks, what would be watched'
    )
    parser.add_argument('bag', type=Path, help='a rosbag2 folder, .mcap, .db3 or .bag')
    parser.add_argument('--robot', help='a shipped robot or the path of a robot file')
    parser.add_argument('--json', action='store_true', help='print JSON instead of a table')
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print what is in the bag."""
    robot = load_robot(args.robot) if args.robot else None
    with open_bag(args.bag) as bag:
        survey = survey_bag(bag)
    shipped = [load_robot(name) for name in robot_names()]
    proposal = propose(survey, 'robot', shipped)
    chosen = robot or proposed_robot(proposal)
    if args.json:
        print(json.dumps(_document(survey, proposal, robot, chosen), indent=2))
    else:
        print('\n'.join(_lines(survey, proposal, robot, chosen)))
    return 0


def _document(
    survey: BagSurvey, proposal: Proposal, robot: Robot | None, chosen: Robot | None
) -> dict[str, Any]:
    """The same findings as JSON; unknown numbers are null."""
    found: dict[str, Any] = _plain({
        'bag': survey.name,
        'bag_id': survey.bag_id,
        'storage': survey.storage,
        'duration_s': survey.duration_s,
        'message_count': survey.message_count,
        'damage': survey.damage,
        'clock_offsets_s': survey.clock_offsets,
        'topics': [_topic(topic) for topic in survey.topics],
        'choices': [asdict(choice) for choice in proposal.choices],
        'fits': list(proposal.fits),
        'robot': robot.name if robot else None,
        'missing_topics': list(_missing(survey, robot)) if robot else [],
        'tracking_pairs': list(_pairs(chosen)) if chosen else [],
        'cosmos_domain': chosen.cosmos.domain or None if chosen else None,
        'engine': _engine(chosen, proposal),
    })  # fmt: skip
    return found


def _topic(topic: TopicSurvey) -> dict[str, Any]:
    return {
        'name': topic.name, 'type': topic.msgtype, 'count': topic.count,
        'readable': topic.readable, 'latched': topic.latched, **asdict(topic.pace),
        'picture': asdict(topic.sight) if topic.sight else None, 'problem': topic.problem,
    }  # fmt: skip


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _lines(
    survey: BagSurvey, proposal: Proposal, robot: Robot | None, chosen: Robot | None
) -> Iterator[str]:
    yield printable(
        f'{survey.name}: {survey.duration_s:.2f} s, {survey.message_count} messages, '
        f'{survey.storage}, id {survey.bag_id}'
    )
    if survey.damage:
        yield printable(f'DAMAGED: {survey.damage}')
    yield ''
    yield from _topic_table(survey)
    notes = list(_notes(survey))
    if notes:
        yield from ('', 'notes', *notes)
    yield ''
    if robot:
        yield from _robot_lines(survey, robot)
    else:
        yield from _choice_lines(proposal.choices)
    if chosen:
        yield from _pair_lines(chosen)
    yield f'  engine    {_engine(chosen, proposal)}'
    if not robot and proposal.fits:
        yield f'  fits      --robot {" or --robot ".join(proposal.fits)}'


def _topic_table(survey: BagSurvey) -> list[str]:
    offsets = survey.clock_offsets
    head = ('topic', 'type', 'count', 'rate', 'max gap', 'jitter', 'clock', 'picture')
    rows = [head]
    for topic in survey.topics:
        pace = topic.pace
        faults = sum(1 for _ in describe_clock(topic, offsets))
        clock = 'no stamp' if pace.by == 'arrival' else 'see notes' if faults else 'ok'
        rows.append((
            topic.name,
            topic.msgtype.replace('/msg/', '/'),
            str(topic.count),
            amount(pace.rate_hz, ' Hz'),
            amount(pace.largest_gap_s, ' s'),
            amount(pace.jitter_s * 1e3, ' ms'),
            clock,
            _picture(topic),
        ))  # fmt: skip
    return table(rows, right=(2, 3, 4, 5))


def _picture(topic: TopicSurvey) -> str:
    if topic.sight is None:
        return ''
    sizes = ', '.join(f'{width}x{height}' for height, width in topic.sight.sizes)
    return f'{sizes} {topic.sight.encoding}'.strip()


def _notes(survey: BagSurvey) -> Iterator[str]:
    offsets = survey.clock_offsets
    for topic in survey.topics:
        found = list(describe_clock(topic, offsets))
        if topic.name in offsets:
            found.append(
                f'put "{topic.name}: {offsets[topic.name]:.3f}" under clock.topic_offsets'
            )
        if not topic.readable:
            found.append('type unknown: carried into clips, not read')
        if topic.sight and len(topic.sight.sizes) > 1:
            found.append('the picture size changes')
        found += [text for text in (topic.problem, topic.sight and topic.sight.problem) if text]
        yield from (printable(f'  {topic.name}: {text}') for text in found)


def _choice_lines(choices: tuple[Choice, ...]) -> Iterator[str]:
    yield 'would watch'
    roles = ('camera', 'state', 'action', 'left out')
    rows = [
        (f'  {c.role:<8}', c.topic, c.what, c.why) for r in roles for c in choices if c.role == r
    ]
    yield from table(rows) if rows else ['  nothing: no topic can be a camera, state or action']


def _robot_lines(survey: BagSurvey, robot: Robot) -> Iterator[str]:
    yield f'robot {printable(robot.name)}'
    counts = {topic.name: topic.count for topic in survey.topics}
    rows = [('  camera  ', c.topic, c.name) for c in robot.cameras]
    rows += [
        ('  state   ', s.topic, f'{s.field}, {len(s.names)} numbers') for s in robot.state_sources
    ]
    rows += [
        ('  action  ', s.topic, f'{s.field}, {len(s.names)} numbers') for s in robot.action_sources
    ]
    rows += [('  outcome ', o.topic, o.field) for o in robot.outcomes]
    yield from table([(*row, f'{counts.get(row[1], 0) or "NO"} messages') for row in rows])


def _missing(survey: BagSurvey, robot: Robot) -> list[str]:
    there = {topic.name for topic in survey.topics if topic.count}
    return [topic for topic in robot.topics if topic not in there]


def _pairs(robot: Robot) -> list[tuple[str, str]]:
    return [
        (robot.action_names[action], robot.state_names[state])
        for action, state in robot.tracking_pairs
    ]


def _pair_lines(robot: Robot) -> Iterator[str]:
    pairs = [
        action if action == state else f'{action} -> {state}' for action, state in _pairs(robot)
    ]
    shown = ', '.join(pairs[:PAIRS_SHOWN]) + (', …' if len(pairs) > PAIRS_SHOWN else '')
    yield printable(f'  tracking  {len(pairs)} pairs{": " if pairs else ""}{shown}')


def _engine(robot: Robot | None, proposal: Proposal) -> str:
    if robot and robot.domain:
        return f'Cosmos domain {robot.domain.name} (id {robot.domain.id})'
    for name in proposal.fits:
        domain = load_robot(name).domain
        if domain:
            return f'Cosmos domain {domain.name} with --robot {name}; else local engine'
    return 'no trained domain: local engine'
