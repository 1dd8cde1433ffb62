# SPDX-License-Identifier: Apache-2.0
"""Cosmos 3 through TensorRT: exported units → engines on a shelf → one runtime that chains them.

`door`, `form` and `shelf` import no torch; every other module here does. Whoever wants one imports
the module.
"""
