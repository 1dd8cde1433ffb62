# SPDX-License-Identifier: Apache-2.0
"""A checkpoint and a setting → engines on a shelf; only those that are not there are made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cosmos_flywheel.core.errors import EngineError
from cosmos_flywheel.engines.tensorrt.door import Door
from cosmos_flywheel.engines.tensorrt.export import export
from cosmos_flywheel.engines.tensorrt.network import Network, Tell
from cosmos_flywheel.engines.tensorrt.shelf import Entry, Key, Shelf
from cosmos_flywheel.engines.tensorrt.units import EXPORT, Units


def key_of(units: Units, name: str, door: Door, architecture: str) -> Key:
    """All that decides a unit's engine; no weight is read for it."""
    unit = units.shadow(name)
    return Key(
        name,
        architecture,
        door.library,
        door.version,
        units.setting.precision,
        units.checkpoint.revision,
        EXPORT,
        unit.inputs,
        unit.forms(),
    )


def build(
    units: Units, door: Door, architecture: str, shelf: Shelf, tell: Tell | None = None
) -> Iterator[tuple[Entry, bool]]:
    """Engines of all units, one by one, in the order in which they are run.

    Args:
        units: what to build.
        door: the library that builds.
        architecture: such as sm_89.
        shelf: where they go, and where those that are there already are taken from.
        tell: told how far each is.

    Yields:
        (engine, whether it was built just now).

    Raises:
        EngineError: a unit cannot be exported or built, or the shelf cannot be written; those
            that were yielded stay.

    """
    for name in units.names:
        key = key_of(units, name, door, architecture)
        entry = shelf.find(key)
        if entry is not None:
            yield entry, False
            continue
        yield _build_one(units, key, door, shelf, tell), True


def find(
    units: Units,
    door: Door,
    architecture: str,
    shelf: Shelf,
    names: Sequence[str] | None = None,
) -> list[Entry]:
    """Engines of the named units, or of all; EngineError if one is not there."""
    wanted = units.names if names is None else names
    found = {name: shelf.find(key_of(units, name, door, architecture)) for name in wanted}
    missing = [name for name, entry in found.items() if entry is None]
    if missing:
        raise EngineError(
            f'{shelf.folder}: has no whole engine of {", ".join(missing)} for {architecture}, '
            f'{door.library} {door.version}, this checkpoint and these sizes; build them with '
            '`flywheel engine build`'
        )
    return [entry for entry in found.values() if entry is not None]


def _build_one(units: Units, key: Key, door: Door, shelf: Shelf, tell: Tell | None) -> Entry:
    with shelf.scratch() as folder:
        network = Network(door, export(units.load(key.unit), folder))
        network.check(key.inputs, key.outputs)
        engine = network.build(key.architecture, tell)
        return shelf.put(key, memoryview(engine), network.layers, network.types)
