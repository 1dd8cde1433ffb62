# SPDX-License-Identifier: Apache-2.0
"""Episode folders on disk, and the catalogue that answers questions about them."""
