# SPDX-License-Identifier: Apache-2.0
"""The hours a robot was watched, from its folder to another: the divisor of every failure rate.

A bag's record travels whole under the bag's own id, with or without episodes. So it may come any
number of times, and by any road, and counts once; what is known of it never becomes less.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from cosmos_flywheel import schemas
from cosmos_flywheel.core.errors import SchemaError
from cosmos_flywheel.store.catalogue import BAGS, Catalogue
from cosmos_flywheel.store.records import WatchedBag

SCHEMA, BAG = 'hours-v1', 'bag-v1'


def read_hours(out: Path, robot: str | None) -> dict[str, Any]:
    """`hours-v1`: records of all bags of a robot, None for all; damaged ones are left out."""
    bags = []
    for path in sorted((out / BAGS).glob('[!.]*.json')):
        try:
            bag = schemas.load(path, BAG)
        except SchemaError:
            continue
        if robot is None or bag['robot'] == robot:
            bags.append(bag)
    return {'schema': SCHEMA, 'bags': bags}


def note_hours(out: Path, document: Mapping[str, Any], where: str) -> int:
    """Enter what is not known yet; returns of how many bags that was so.

    Raises SchemaError, naming `where`, before anything is entered if it is no `hours-v1`, or
    claims hours that no bag can have; StoreError if the folder cannot be written.
    """
    schemas.check(document, SCHEMA, where=where)
    bags = [_bag(record, f'{where}, bag {n}') for n, record in enumerate(document['bags'])]
    if not bags:
        return 0
    with Catalogue.open(out) as catalogue:
        return sum(catalogue.hear_of(bag) for bag in bags)


def _bag(record: Mapping[str, Any], where: str) -> WatchedBag:
    schemas.check(record, BAG, where=where)
    if not math.isfinite(record['duration_s']) or record['watched_s'] > record['duration_s'] + 1:
        raise SchemaError(f'{where}: was watched for longer than it is; refuse its sender')
    known = {field.name: record[field.name] for field in fields(WatchedBag)}
    return WatchedBag(**{**known, 'episodes': tuple(record['episodes'])})
