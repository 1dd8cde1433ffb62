# SPDX-License-Identifier: Apache-2.0
"""A licence that forbids derivatives is known by its clause, and no other is."""

from __future__ import annotations

import pytest

from cosmos_flywheel.core.licence import forbids_derivatives


@pytest.mark.parametrize(
    'licence', ['CC-BY-ND-4.0', 'cc-by-nc-nd-4.0', 'CC BY-NC-ND', 'Attribution-NoDerivatives 4.0']
)
def test_no_derivatives_is_found(licence: str) -> None:
    assert forbids_derivatives(licence)


@pytest.mark.parametrize('licence', [None, '', 'mit', 'CC-BY-SA-4.0', 'Standard', 'NVIDIA Open'])
def test_other_licences_forbid_none(licence: str | None) -> None:
    assert not forbids_derivatives(licence)
