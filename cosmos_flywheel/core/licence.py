# SPDX-License-Identifier: Apache-2.0
"""What the licence of a recording says of what may be made from it."""

from __future__ import annotations

import re

_NO_DERIVATIVES = re.compile(r'(?i)(?<![a-z])nd(?![a-z])|no[ -]?deriv')


def forbids_derivatives(licence: str | None) -> bool:
    """Whether it names the clause "no derivatives", as `CC-BY-ND-4.0` does.

    Nothing is known of a licence that is not stated, and nothing is forbidden by that.
    """
    return bool(_NO_DERIVATIVES.search(licence or ''))
