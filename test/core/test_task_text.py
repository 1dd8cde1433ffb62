# SPDX-License-Identifier: Apache-2.0
"""What a task handles is told from where it puts it and from what it does it with."""

from __future__ import annotations

import pytest

from cosmos_flywheel.core.task_text import alternatives, named

WORDS = ('box', 'cup', 'cube', 'marker', 'bowl', 'parking space')


@pytest.mark.parametrize(
    ('task', 'handled'),
    [
        ('Put the red cube into the blue bowl.', 'cube'),
        ('Into the blue bowl put the red cube.', 'cube'),
        ('Put the box beside the cup.', 'box'),
        ('Pick the cup up from the box', 'cup'),
        ('Put down the cup on the box', 'cup'),
        ('Take the cup off the box.', 'cup'),
        ('The robot puts the cube in the box.', 'cube'),
        ('The cube is to be put in the box.', 'cube'),
        ('Using the marker, push the box to the cup.', 'box'),
        ('Put the cube in the cup or the box.', 'cube'),
        ('Take the cube that lies on the box.', 'cube'),
        ('pick cube, place in box', 'cube'),
        ('Pick up the cube and put it in the box.', 'cube'),
        ('Lift the boxes twice', 'box'),
        ('Leave the parking space beside the box', 'parking space'),
    ],
)
def test_the_object_of_the_verb_is_what_is_handled(task, handled):
    assert named(task, WORDS).handled == (handled,)


@pytest.mark.parametrize(
    'task',
    ['Open the box and put the cube in it', 'Put the box and the cube in the bowl'],
)
def test_a_task_that_handles_two_things_names_both(task):
    assert named(task, WORDS).handled == ('box', 'cube')


@pytest.mark.parametrize(
    'task', ['Take the lid off the box', 'Move the cup holder to the box', 'Place it on the box']
)
def test_a_place_is_never_taken_for_a_thing_that_has_no_word(task):
    found = named(task, WORDS)
    assert (found.handled, found.is_other) == ((), True)


@pytest.mark.parametrize('task', ['', 'Open the cupboard', 'Ready.'])
def test_nothing_is_found_where_nothing_stands(task):
    found = named(task, WORDS)
    assert (found.handled, found.placed) == ((), ())


def test_or_parts_tasks_but_not_things():
    both = 'Push the box to the mark, or put the red cube in the tray.'
    assert alternatives(both) == ('Push the box to the mark', 'put the red cube in the tray.')
    assert len(alternatives('Put the cube in the cup or the box.')) == 1
    assert alternatives('') == ()
