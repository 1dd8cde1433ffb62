# SPDX-License-Identifier: Apache-2.0
"""Whether a robot file tells the truth about its recordings; one question a file.

Each check holds what the file says against what else could be meant: another factor, sign, order,
frame, form, instant. The file is called wrong only where another reading of it explains what was
measured clearly better; where the recordings do not decide, the check says so.
"""

from cosmos_flywheel.core.preflight.finding import SCHEMA, Finding, Report, Verdict
from cosmos_flywheel.core.preflight.log import Log, Sight, Track
from cosmos_flywheel.core.preflight.run import CHECKS, preflight

__all__ = [
    'CHECKS',
    'SCHEMA',
    'Finding',
    'Log',
    'Report',
    'Sight',
    'Track',
    'Verdict',
    'preflight',
]
