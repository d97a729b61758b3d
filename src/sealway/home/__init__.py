# SPDX-License-Identifier: Apache-2.0
"""A member's state directory: keys, enrolment, grants; and the next hop that the enrolment names. Prints nothing."""
