# SPDX-License-Identifier: Apache-2.0
"""What Sealway costs, each figure beside what the same work costs without it. ``make bench`` runs all of it."""
