# SPDX-License-Identifier: Apache-2.0
"""``sealway demo``: the product at work on this computer, driven by its public commands only.

The demo starts every role as a process of its own, feeds it what a person would, kills it while it holds unacknowledged
envelopes, and afterwards asks the two ends, whose word alone counts, what was sent and what arrived.
"""
