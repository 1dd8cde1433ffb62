# SPDX-License-Identifier: Apache-2.0
"""Declarations to a node's parameters: checked, described, and some of them changeable live.

A name that nobody declared is refused, with the nearest that somebody did: a typing error in a
parameter file must not pass as a default.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import isfinite
from sys import float_info
from typing import Any

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node
from rclpy.parameter import Parameter as RosParameter

from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.core.settings import nearest

Value = bool | int | float | str | tuple[str, ...]
Changed = Callable[[str, Any], None]

ROS_OWN = ('use_sim_time', 'start_type_description_service')
ROS_OWN_BEGIN = 'qos_overrides.'
"""Parameters that every node may be given besides its own."""
_MOST_WHOLE = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a node, declared once."""

    name: str
    default: Value
    """It decides the type: bool, int, float, str, or a tuple of str for a list. An empty string
    means that nothing is set; a float may be given as a whole number too."""
    what: str
    """What it decides, in a few words."""
    unit: str = ''
    least: float | None = None
    most: float | None = None
    choices: tuple[str, ...] = ()
    """The only texts that are allowed, also in a list; any if empty."""
    live: bool = False
    """Whether it may be changed while the node runs."""

    def checked(self, value: Any) -> Value:
        """The value as this parameter holds it.

        Raises ConfigError that names the parameter and says what it takes.
        """
        kind = type(self.default)
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if kind is tuple and isinstance(value, str):
            value = [value]  # one entry needs no brackets
        if kind is tuple and isinstance(value, list | tuple):
            if not all(isinstance(item, str) for item in value):
                raise self._error(value, 'give a list of texts')
            value = tuple(item for item in value if item)
        if type(value) is not kind:
            raise self._error(value, f'give {_KINDS[kind]}')
        for one in value if isinstance(value, tuple) else (value,):
            if self.choices and one not in self.choices:
                raise self._error(one, nearest(str(one), self.choices))
        if isinstance(value, float) and not isfinite(value):
            raise self._error(value, 'give a finite number')
        if isinstance(value, int | float) and not isinstance(value, bool):
            self._check_range(value)
        return value

    def descriptor(self) -> ParameterDescriptor:
        """What `ros2 param describe` tells of it."""
        words = f'{self.what} ({self.unit})' if self.unit else self.what
        told = ParameterDescriptor(name=self.name, description=words, read_only=not self.live)
        told.additional_constraints = f'one of: {", ".join(self.choices)}' if self.choices else ''
        if self.least is None and self.most is None:
            return told
        if isinstance(self.default, float):
            least = -float_info.max if self.least is None else float(self.least)
            most = float_info.max if self.most is None else float(self.most)
            told.floating_point_range = [FloatingPointRange(from_value=least, to_value=most)]
        else:
            least = -_MOST_WHOLE if self.least is None else int(self.least)
            most = _MOST_WHOLE if self.most is None else int(self.most)
            told.integer_range = [IntegerRange(from_value=least, to_value=most)]
        return told

    def _check_range(self, value: float) -> None:
        if self.least is not None and value < self.least:
            raise self._error(value, f'give at least {self.least:g}{self._unit()}')
        if self.most is not None and value > self.most:
            raise self._error(value, f'give at most {self.most:g}{self._unit()}')

    def _unit(self) -> str:
        return f' {self.unit}' if self.unit else ''

    def _error(self, value: Any, remedy: str) -> ConfigError:
        return ConfigError(f'parameter {self.name} is {value!r}; {remedy}')


_KINDS = {
    bool: 'true or false',
    int: 'a whole number',
    float: 'a number',
    str: 'text, in quotes if need be',
    tuple: 'a list of texts',
}


class Parameters:
    """A node's parameters by name, as they are at present.

    Raises:
        ConfigError: The node was started with a parameter that is not declared here, or with a
            value of another type or out of range.

    """

    def __init__(self, node: Node, declared: Iterable[Parameter]) -> None:
        """Declare them all."""
        self._node = node
        self._declared = {parameter.name: parameter for parameter in declared}
        self._checks: list[Changed] = []
        self._told: list[Changed] = []
        given = self._given()
        self._values = {
            name: parameter.checked(given.get(name, parameter.default))
            for name, parameter in self._declared.items()
        }
        for name, parameter in self._declared.items():
            value = self._values[name]
            # rclpy takes an empty list for one of bytes, unless it is told otherwise.
            plain = list(value) or [''] if isinstance(value, tuple) else value
            node.declare_parameter(name, plain, parameter.descriptor(), ignore_override=True)
        node.add_pre_set_parameters_callback(self._in_our_types)
        node.add_on_set_parameters_callback(self._allow)
        node.add_post_set_parameters_callback(self._take)

    def __getitem__(self, name: str) -> Any:
        """The present value, of the type of its default."""
        return self._values[name]

    def check(self, callback: Changed) -> None:
        """Have `callback(name, value)` asked before a change; a ConfigError of it refuses."""
        self._checks.append(callback)

    def on_change(self, callback: Changed) -> None:
        """Have `callback(name, value)` called after a change."""
        self._told.append(callback)

    def _given(self) -> dict[str, Any]:
        """Values from the command line and parameter files."""
        # rclpy offers no other way to see overrides that nobody declared.
        overrides: dict[str, RosParameter[Any]] = self._node._parameter_overrides
        for name in overrides:
            if name in self._declared or name in ROS_OWN or name.startswith(ROS_OWN_BEGIN):
                continue
            raise ConfigError(
                f'{self._node.get_name()} has no parameter {name!r}; '
                f'{nearest(name, self._declared)}'
            )
        return {name: parameter.value for name, parameter in overrides.items()}

    def _in_our_types(self, changed: list[RosParameter[Any]]) -> list[RosParameter[Any]]:
        """Whole numbers for floats, as people type them; the rest as it is."""
        return [self._in_our_type(parameter) for parameter in changed]

    def _in_our_type(self, changed: RosParameter[Any]) -> RosParameter[Any]:
        mine = self._declared.get(changed.name)
        is_whole = changed.type_ == RosParameter.Type.INTEGER
        if mine is not None and isinstance(mine.default, float) and is_whole:
            return RosParameter(changed.name, value=float(changed.value))
        return changed

    def _allow(self, changed: list[RosParameter[Any]]) -> SetParametersResult:
        try:
            for parameter in self._ours(changed):
                value = self._declared[parameter.name].checked(parameter.value)
                for check in self._checks:
                    check(parameter.name, value)
        except ConfigError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _take(self, changed: list[RosParameter[Any]]) -> None:
        for parameter in self._ours(changed):
            value = self._declared[parameter.name].checked(parameter.value)
            self._values[parameter.name] = value
            for tell in self._told:
                tell(parameter.name, value)

    def _ours(self, changed: Sequence[RosParameter[Any]]) -> list[RosParameter[Any]]:
        return [parameter for parameter in changed if parameter.name in self._declared]
