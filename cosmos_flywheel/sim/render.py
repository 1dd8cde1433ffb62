# SPDX-License-Identifier: Apache-2.0
"""The one door to MuJoCo: its module, and pictures of a model rendered without a screen.

MuJoCo chooses how it renders once, when it is imported, by the variable MUJOCO_GL. Unless the
user set it, EGL is taken where it renders, otherwise OSMesa.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from functools import cache
from typing import Any

import numpy as np

from cosmos_flywheel.core.errors import SimError
from cosmos_flywheel.core.types import Picture

HEIGHT, WIDTH = 192, 320

REMEDY = 'apt install libegl1 libgl1-mesa-dri, or apt install libosmesa6'

_TRIAL = "import mujoco; mujoco.Renderer(mujoco.MjModel.from_xml_string('<mujoco/>'), 8, 8)"


@cache
def load_mujoco() -> Any:
    """The module `mujoco`; raises SimError when it is not installed or refuses MUJOCO_GL."""
    if sys.platform == 'linux' and not os.environ.get('MUJOCO_GL') and (found := _backend()):
        os.environ['MUJOCO_GL'] = found
    try:
        return importlib.import_module('mujoco')
    except ModuleNotFoundError as error:
        raise SimError("the simulator needs MuJoCo: pip install 'cosmos_flywheel[sim]'") from error
    except (ImportError, OSError, RuntimeError) as error:
        raise SimError(f'MuJoCo cannot be loaded ({error}); {_advice()}') from error


class Eye:
    """Renders one camera of one model; close it.

    Costs 2.5 ms a picture with OSMesa or Mesa's EGL on one core, because multisampling and
    shadows are off: with both it would be 36 ms.

    Args:
        model: an MjModel. Changes of its colours, lights and positions show in later pictures.
        camera: the camera's name in the model.

    Raises:
        SimError: Neither EGL nor OSMesa works here.

    """

    def __init__(self, model: Any, camera: str, height: int = HEIGHT, width: int = WIDTH) -> None:
        mujoco = load_mujoco()
        model.vis.quality.offsamples = 0
        model.vis.quality.shadowsize = 0
        model.light_castshadow[:] = 0
        self._camera = camera
        try:
            self._renderer = mujoco.Renderer(model, height, width)
        # What a backend raises when it finds no driver has no common class.
        except Exception as error:
            raise SimError(f'nothing can be rendered here ({error}); {_advice()}') from error

    def picture(self, data: Any) -> Picture:
        """The model in the state of an MjData: uint8 (H, W, 3) RGB, a fresh array."""
        self._renderer.update_scene(data, self._camera)
        return np.asarray(self._renderer.render(), np.uint8)

    def close(self) -> None:
        """Free the rendering context; a second call does nothing."""
        self._renderer.close()


def _advice() -> str:
    chosen = os.environ.get('MUJOCO_GL')
    return f'{REMEDY}' + (f'; MUJOCO_GL is {chosen!r}, unset it if it is wrong' if chosen else '')


def _backend() -> str | None:
    """EGL, otherwise OSMesa; tried in a process of its own, since a first failure would last.

    A display that opens is not enough: with drivers of mixed versions only the first picture
    tells. Processes started by this one find the answer in their environment.
    """
    trial = [sys.executable, '-c', _TRIAL]
    for name in ('egl', 'osmesa'):
        tried = subprocess.run(trial, env=os.environ | {'MUJOCO_GL': name}, capture_output=True)
        if tried.returncode == 0:
            return name
    return None
