# SPDX-License-Identifier: Apache-2.0
"""What a harvest found → one page, and the evidence in every episode folder."""
