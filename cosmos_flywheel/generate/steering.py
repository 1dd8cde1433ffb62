# SPDX-License-Identifier: Apache-2.0
"""Pictures under changed commands → does the picture move as it should, and how much beside it.

What a change moves is the mean optical flow from the last picture under the unchanged commands to
that under the changed ones. A reference, such as the simulator, says in which direction and how
far it should be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from cosmos_flywheel.core.types import Picture

Floats = NDArray[np.float64]

STILL = 1e-9
"""A slope below this has no leakage: nothing moves."""


@dataclass(frozen=True, slots=True)
class Responses:
    """What came of one command, changed by several amounts at one instant."""

    axis: str
    """The command's name."""
    amounts: Floats
    """(n,) by which its last step was changed, in its unit."""
    flows: Mapping[str, Floats]
    """By who showed it, (n, 2) mean flow in px, right and down."""


@dataclass(frozen=True, slots=True)
class Steering:
    """How one generator answers to one command."""

    slope: float
    """Px of mean flow a unit of the command, along the direction in which the reference moves."""
    share: float
    """Of the reference's slope."""
    leakage: float
    """The response across that direction, as a share of the slope."""
    sign_right: float
    """Share of the changes whose picture moves the reference's way."""


def flow(before: Picture, after: Picture) -> Floats:
    """(2,) mean optical flow between two pictures (H, W, 3), in px, right and down."""
    grey = [cv2.cvtColor(p, cv2.COLOR_RGB2GRAY) for p in (before, after)]
    tracker = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    found = tracker.calc(grey[0], grey[1], None)  # type: ignore[call-overload]  # from no guess
    return np.asarray(found.mean((0, 1)), np.float64)


def steering(name: str, found: Sequence[Responses], reference: str) -> Steering:
    """How `name` answers, as a mean over the instants.

    Args:
        name: whose flows are judged.
        found: responses to one command, an instant each; at least one.
        reference: whose flows say what is right.

    """
    own = real = across = 0.0
    right = changes = 0
    for one in found:
        true = _slope(one, reference)
        along = true / np.linalg.norm(true)
        response = _slope(one, name)
        own += float(response @ along) / len(found)
        real += float(np.linalg.norm(true)) / len(found)
        across += abs(float(response @ np.array([-along[1], along[0]]))) / len(found)
        right += int(((one.flows[name] @ along) * one.amounts > 0).sum())
        changes += len(one.amounts)
    leakage = across / abs(own) if abs(own) > STILL else 0.0
    return Steering(own, own / real, leakage, right / changes)


def agreement(found: Sequence[Responses], reference: str, moved: Sequence[Floats]) -> float:
    """Correlation of tracked and true motion, each within its command and instant.

    Args:
        found: responses of any commands.
        reference: whose flows are held against the truth.
        moved: beside each response, (n,) how far something truly moved, signed as the amounts.

    """
    tracked, true = [], []
    for one, truth in zip(found, moved, strict=True):
        slope = one.amounts @ one.flows[reference]
        along = one.flows[reference] @ (slope / np.linalg.norm(slope))
        tracked.append(along / np.abs(along).max())
        true.append(truth / np.abs(truth).max())
    return float(np.corrcoef(np.concatenate(tracked), np.concatenate(true))[0, 1])


def _slope(one: Responses, name: str) -> Floats:
    """(2,) px a unit, by least squares through nothing."""
    return np.asarray(one.amounts @ one.flows[name] / (one.amounts @ one.amounts), np.float64)
