# SPDX-License-Identifier: Apache-2.0
"""The two ends: Device and Application, with durable state."""

from sealway.sdk.application import Application
from sealway.sdk.device import Device
from sealway.sdk.inbox import Received
from sealway.sdk.member import Member

__all__ = ["Application", "Device", "Member", "Received"]
