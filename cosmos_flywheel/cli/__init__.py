# SPDX-License-Identifier: Apache-2.0
"""The command `flywheel`, one verb per file."""
