# SPDX-License-Identifier: Apache-2.0
"""The embedded engine: a small forward-dynamics model fitted on one robot's nominal bags.

Fitting needs torch (`network`, `training`); running needs onnxruntime, OpenCV and numpy.
"""

from cosmos_flywheel.engines.local.model import LocalModel
from cosmos_flywheel.engines.local.session import Local

__all__ = ['Local', 'LocalModel']
