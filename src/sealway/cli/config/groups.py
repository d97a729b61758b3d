# SPDX-License-Identifier: Apache-2.0
"""The groups of commands whose options can be set from outside; other commands are told everything when called."""

from __future__ import annotations

from typing import Final

from sealway.cli.app import app_group
from sealway.cli.config.settings import Groups
from sealway.cli.device import device_group
from sealway.cli.factory import factory_group
from sealway.cli.gateway import gateway_group
from sealway.cli.hub import hub_group
from sealway.cli.owner import owner_group

GROUPS: Final[Groups] = {
    "owner": owner_group,
    "factory": factory_group,
    "hub": hub_group,
    "gateway": gateway_group,
    "device": device_group,
    "app": app_group,
}
