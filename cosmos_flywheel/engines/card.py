# SPDX-License-Identifier: Apache-2.0
"""This machine → the names of its graphics cards and their driver, without torch.

Asked of NVIDIA's management library, which comes with the driver; a node that computes nothing
itself need not load torch for it.
"""

from __future__ import annotations

import ctypes
import platform
import sys
from pathlib import Path

from cosmos_flywheel.core.acceptance import Card

LIBRARY = 'libnvidia-ml.so.1'
NAME_BYTES = 96
"""NVML_DEVICE_NAME_V2_BUFFER_SIZE of nvml.h; versions are shorter."""


def cards_here() -> tuple[Card, ...]:
    """The graphics cards, in the order of the driver, and at last the processor."""
    try:
        nvml = ctypes.CDLL(LIBRARY)
    except OSError:
        return (_processor(),)
    if nvml.nvmlInit_v2() != 0:
        return (_processor(),)
    try:
        return (*_graphics(nvml), _processor())
    finally:
        nvml.nvmlShutdown()


def torch_card() -> Card:
    """The card that torch computes on in this process; the processor where it sees none."""
    import torch

    first = cards_here()[0]
    if not torch.cuda.is_available():
        return _processor()
    return Card(torch.cuda.get_device_name(torch.cuda.current_device()), first.driver)


def peak_memory_gb() -> float:
    """Most of the card's memory that torch has held in this process; 0 where it has no card."""
    torch = sys.modules.get('torch')
    if torch is None or not torch.cuda.is_available():
        return 0.0
    return float(torch.cuda.max_memory_allocated()) / 1e9


def _graphics(nvml: ctypes.CDLL) -> tuple[Card, ...]:
    text, count = ctypes.create_string_buffer(NAME_BYTES), ctypes.c_uint()
    if nvml.nvmlSystemGetDriverVersion(text, NAME_BYTES) or nvml.nvmlDeviceGetCount_v2(
        ctypes.byref(count)
    ):
        return ()
    driver = text.value.decode()
    found = []
    for index in range(count.value):
        handle = ctypes.c_void_p()
        if nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(handle)):
            continue
        if not nvml.nvmlDeviceGetName(handle, text, NAME_BYTES):
            found.append(Card(text.value.decode(), driver))
    return tuple(dict.fromkeys(found))


def _processor() -> Card:
    """Its name as Linux tells it, else as Python does."""
    try:
        lines = Path('/proc/cpuinfo').read_text('utf-8', 'replace').splitlines()
    except OSError:
        lines = []
    name = next((x.partition(':')[2].strip() for x in lines if x.startswith('model name')), '')
    return Card(name or platform.processor() or platform.machine() or 'a processor')
