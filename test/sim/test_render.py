# SPDX-License-Identifier: Apache-2.0
"""The door to MuJoCo takes what can render here, and says what to install if nothing can."""

from __future__ import annotations

import os
import subprocess
import sys
from textwrap import dedent

import numpy as np
from sim_help import SCENE

from cosmos_flywheel.sim.render import HEIGHT, WIDTH, Eye

SCRIPT = dedent("""
    import os, sys
    from cosmos_flywheel.core.errors import SimError
    from cosmos_flywheel.sim import render
    {before}
    try:
        mujoco = render.load_mujoco()
        eye = render.Eye(mujoco.MjModel.from_xml_string({scene!r}), 'above')
    except SimError as error:
        print(error)
    else:
        print(os.environ.get('MUJOCO_GL'), eye.picture(mujoco.MjData(eye._renderer.model)).mean())
        eye.close()
""")
NO_EGL = {'__EGL_VENDOR_LIBRARY_FILENAMES': '/dev/null'}


def run(before: str = '', **variables: str) -> str:
    """What a fresh process says that opens the door in this environment."""
    kept = {k: v for k, v in os.environ.items() if k not in ('MUJOCO_GL', 'PYOPENGL_PLATFORM')}
    done = subprocess.run(
        [sys.executable, '-c', SCRIPT.format(before=before, scene=SCENE)],
        env={**kept, **variables},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_model_is_rendered_as_it_is(rendering):
    model = rendering.MjModel.from_xml_string(SCENE)
    data = rendering.MjData(model)
    rendering.mj_forward(model, data)
    eye = Eye(model, 'above')
    picture = eye.picture(data)
    eye.close()
    assert picture.shape == (HEIGHT, WIDTH, 3)
    assert picture.dtype == np.uint8
    red, green, _ = picture[HEIGHT // 2, WIDTH // 2].astype(int)
    assert red > green + 50
    assert np.ptp(picture[5, 5].astype(int)) < 5


def test_shadows_and_multisampling_are_off(rendering):
    model = rendering.MjModel.from_xml_string(SCENE)
    Eye(model, 'above').close()
    assert model.vis.quality.offsamples == model.vis.quality.shadowsize == 0
    assert not model.light_castshadow.any()


def test_a_backend_is_found_without_being_told(rendering):
    assert run().split()[0] in ('egl', 'osmesa')


def test_without_egl_it_is_osmesa(rendering, need):
    said = run(**NO_EGL)
    if 'apt install' in said:
        need('render', 'libosmesa6 is not installed')
    assert said.split()[0] == 'osmesa'


def test_what_the_user_chose_is_not_changed(mujoco):
    assert "MUJOCO_GL is 'bogus', unset it" in run(MUJOCO_GL='bogus')


def test_without_any_backend_the_error_says_what_to_install(mujoco):
    said = run('render._backend = lambda: None', MUJOCO_GL='', DISPLAY='', WAYLAND_DISPLAY='')
    assert 'nothing can be rendered here' in said
    assert 'apt install libegl1 libgl1-mesa-dri, or apt install libosmesa6' in said


def test_a_chosen_backend_that_does_not_work_is_named(mujoco):
    said = run(MUJOCO_GL='egl', **NO_EGL)
    assert 'apt install libegl1 libgl1-mesa-dri' in said
    assert "MUJOCO_GL is 'egl'" in said


def test_without_mujoco_the_error_says_how_to_get_it():
    said = run("sys.modules['mujoco'] = None")
    assert said == "the simulator needs MuJoCo: pip install 'cosmos_flywheel[sim]'\n"
