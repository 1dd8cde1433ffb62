# SPDX-License-Identifier: Apache-2.0
"""The one door to MuJoCo: its module, and pictures of a model rendered without a screen.

MuJoCo chooses how it renders once, when it is imported, by the variable MUJOCO_GL. Unless the
user set it, EGL is taken where it opens a display, otherwise OSMesa.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib
import os
import sys
from functools import cache
from typing import Any

import numpy as np

from cosmos_flywheel.core.errors import SimError
from cosmos_flywheel.core.types import Picture

HEIGHT, WIDTH = 192, 320

REMEDY = 'apt install libegl1 libgl1-mesa-dri, or apt install libosmesa6'

_EGL_LIBRARY = 'libEGL.so.1'
_EGL_PLATFORM_DEVICE = 0x313F
"""EGL_EXT_platform_device: displays without a window system, the kind that MuJoCo opens."""
_MOST_DEVICES = 16


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
    if _egl_opens():
        return 'egl'
    return 'osmesa' if ctypes.util.find_library('OSMesa') else None


def _egl_opens() -> bool:
    """Whether some device gives a display.

    Asked of the library itself: once PyOpenGL has loaded EGL, OSMesa cannot be taken any more.
    """
    try:
        egl = ctypes.CDLL(_EGL_LIBRARY)
    except OSError:
        return False
    pointer, number = ctypes.c_void_p, ctypes.c_int32
    egl.eglGetProcAddress.restype = pointer
    query = egl.eglGetProcAddress(b'eglQueryDevicesEXT')
    display_of = egl.eglGetProcAddress(b'eglGetPlatformDisplayEXT')
    if not query or not display_of:
        return False
    devices, count = (pointer * _MOST_DEVICES)(), number()
    query_devices = ctypes.CFUNCTYPE(ctypes.c_uint, number, pointer, pointer)(query)
    get_display = ctypes.CFUNCTYPE(pointer, ctypes.c_uint, pointer, pointer)(display_of)
    egl.eglInitialize.argtypes = [pointer, pointer, pointer]
    egl.eglTerminate.argtypes = [pointer]
    if not query_devices(_MOST_DEVICES, devices, ctypes.byref(count)):
        return False
    for device in devices[: count.value]:
        display = get_display(_EGL_PLATFORM_DEVICE, device, None)
        if display and egl.eglInitialize(display, None, None):
            egl.eglTerminate(display)
            return True
    return False
