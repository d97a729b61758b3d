# SPDX-License-Identifier: Apache-2.0
"""Names and addresses: one text for one meaning, and nothing that another reader could take for something else."""

from __future__ import annotations

import base64
import contextlib
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealway.errors import Malformed
from sealway.wire.address import MAX_NAME_BYTES, MailboxAddress, Name, check_domain, check_hub
from tests.wire.wire_strategies import hubs, mailboxes, names


def test_a_name_and_its_mailbox() -> None:
    name = Name.parse("sealway://building.example/device/meter-1")
    assert name == Name("building.example", "device", "meter-1")
    digest = hashlib.sha256(b"sealway mailboxsealway://building.example/device/meter-1").digest()
    assert name.mailbox == base64.b32encode(digest[:10]).decode().lower()
    assert len(name.mailbox) == 16


@given(names())
def test_names_round_trip(name: Name) -> None:
    assert Name.parse(str(name)) == name


@given(hubs, mailboxes)
def test_addresses_round_trip(hub: str, mailbox: str) -> None:
    address = MailboxAddress(hub, mailbox)
    assert MailboxAddress.parse(str(address)) == address
    assert str(address) == f"{hub}/v1/mailboxes/{mailbox}"


@given(st.text(max_size=60) | st.text(max_size=30).map("sealway://a/device/".__add__))
def test_what_parses_is_its_own_text(text: str) -> None:
    with contextlib.suppress(Malformed):
        assert str(Name.parse(text)) == text
    with contextlib.suppress(Malformed):
        assert str(MailboxAddress.parse(text)) == text


def test_the_longest_name() -> None:
    domain = ".".join(["a" * 49, "b" * 50])
    name = Name(domain, "application", "c" * 63)
    assert len(str(name)) == MAX_NAME_BYTES
    assert Name.parse(str(name)) == name
    with pytest.raises(Malformed):
        Name(domain + "b", "application", "c")


@pytest.mark.parametrize(
    "text",
    ["", "sealway://", "sealway://a/device", "sealway://a/device/", "sealway://a/device/b/c", "sealway://a/device/b/",
     "sealway://a/owner/b", "sealway://a/Device/b", "sealway://A/device/b", "sealway://a/device/B",
     "sealway://a_b/device/c", "sealway://-a/device/c", "sealway://a-/device/c", "sealway://a..b/device/c",
     "sealway://.a/device/c", "sealway://a./device/c", "sealway:///device/c", "sealway://a/device/.b",
     "sealway://a/device/*", "sealway://a/device/b\n", "sealway://a/device/b ", " sealway://a/device/b",
     "sealway://a/device/ä", "sealway://٣/device/b", "sealway://a/device/" + "b" * 64,
     "sealway://" + "a" * 64 + "/device/b", "https://a/device/b", "SEALWAY://a/device/b",
     "sealway://a:1/device/b", "sealway://a/device/b?c", "sealway://a/device/%62"],
)  # fmt: skip
def test_no_other_names(text: str) -> None:
    with pytest.raises(Malformed):
        Name.parse(text)


@pytest.mark.parametrize(
    "hub",
    ["https://hub.example", "https://hub.example:8443", "https://127.0.0.1:1", "https://[::1]:65535",
     "https://[2001:db8::1]", "https://localhost"],
)  # fmt: skip
def test_hubs(hub: str) -> None:
    assert check_hub(hub) == hub


@pytest.mark.parametrize(
    "hub",
    ["http://hub.example", "https://", "https://hub.example/", "https://hub.example:0", "https://hub.example:65536",
     "https://hub.example:08443", "https://hub.example:", "https://Hub.example", "https://user@hub.example",
     "https://hub.example?x", "https://hub..example", "https://[::1", "https://::1", "https://[:::]",
     "https://[0:0::1]", "https://[::ffff:1.2.3.4]", "https://hub.example\n", "hub.example", 7, None],
)  # fmt: skip
def test_no_other_hubs(hub: object) -> None:
    with pytest.raises(Malformed):
        check_hub(hub)


@pytest.mark.parametrize(
    "text",
    ["", "https://hub.example/v1/mailboxes/", "https://hub.example/v1/mailboxes/ABCDEFGHIJKLMNOP",
     "https://hub.example/v1/mailboxes/abcdefghijklmno1", "https://hub.example/v2/mailboxes/abcdefghijklmnop",
     "https://hub.example/v1/mailboxes/abcdefghijklmnop/", "https://hub.example"],
)  # fmt: skip
def test_no_other_addresses(text: str) -> None:
    with pytest.raises(Malformed):
        MailboxAddress.parse(text)


@pytest.mark.parametrize("domain", ["", "a" * 101, 5, None, "a b", "xn--é"])
def test_no_other_domains(domain: object) -> None:
    with pytest.raises(Malformed):
        check_domain(domain)
