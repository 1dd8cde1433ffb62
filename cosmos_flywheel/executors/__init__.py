# SPDX-License-Identifier: Apache-2.0
"""Where work is done that one process cannot do alone: processes of this machine, or Ray."""
