# SPDX-License-Identifier: Apache-2.0
"""Names of places for keys, and of tokens among them (RFC 7512)."""

from __future__ import annotations

from pathlib import Path

import pytest

from sealway.crypto.secret import Secret
from sealway.errors import LocalMisuse
from sealway.keystore.file import FileKeystore
from sealway.keystore.pkcs11_uri import TokenName
from sealway.keystore.places import check_place, create_keystore, open_keystore, place_of
from sealway.keystore.tpm_name import TpmName

MODULE = "?module-path=/lib/p11.so"


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        (f"pkcs11:token=meter{MODULE}", TokenName("/lib/p11.so", "meter")),
        (f"pkcs11:token=My%20token;serial=0a{MODULE}", TokenName("/lib/p11.so", "My token", "0a")),
        (f"pkcs11:serial=1{MODULE}", TokenName("/lib/p11.so", None, "1")),
        ("pkcs11:token=%c3%a4?module-path=/a%3fb.so", TokenName("/a?b.so", "ä")),
    ],
)
def test_a_token_is_named_by_its_uri(uri: str, name: TokenName) -> None:
    assert TokenName.parse(uri) == name
    check_place(uri)


@pytest.mark.parametrize(
    ("uri", "complaint"),
    [
        ("pkcs11:token=a?module-path=/a.so&pin-value=1234", "a PIN has no place"),
        ("pkcs11:token=a?pin-source=file:/pin&module-path=/a.so", "a PIN has no place"),
        ("pkcs11:token=a", "by a whole path"),
        ("pkcs11:token=a?module-path=a.so", "by a whole path"),
        ("pkcs11:?module-path=/a.so", "must name the token"),
        ("pkcs11:token=?module-path=/a.so", "must name the token"),
        ("pkcs11:token=a;object=b?module-path=/a.so", "with object is not understood"),
        ("pkcs11:token=a;token=b?module-path=/a.so", "one twice"),
        ("pkcs11:token?module-path=/a.so", "cannot be read"),
        ("pkcs11:token=%ff?module-path=/a.so", "not UTF-8"),
        ("pkcs11:token=ä?module-path=/a.so", "not the URI"),
        ("pkcs11:token=" + "a" * 2_000, "not the URI"),
        ("tpm:/usr/lib/evil.so", "not the name of a TPM"),
        ("tpm:libevil:x", "not the name of a TPM"),
        ("tpm:device:/dev/tpm 0", "not the name of a TPM"),
        ("smartcard:", "no such place"),
        ("", "no such place"),
    ],
)
def test_other_names_are_refused(uri: str, complaint: str) -> None:
    with pytest.raises(LocalMisuse, match=complaint) as refused:
        check_place(uri)
    assert "1234" not in f"{refused.value.message} {refused.value.hint}"


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("tpm:", TpmName("device", "/dev/tpmrm0")),
        ("tpm:device:/dev/tpm0", TpmName("device", "/dev/tpm0")),
        ("tpm:swtpm:host=127.0.0.1,port=2321", TpmName("swtpm", "host=127.0.0.1,port=2321")),
        ("tpm:tabrmd:", TpmName("tabrmd", "")),
    ],
)
def test_a_tpm_is_named_by_the_way_to_it(place: str, name: TpmName) -> None:
    assert TpmName.parse(place) == name
    check_place(place)


def test_a_file_is_a_place(tmp_path: Path) -> None:
    path, secret = tmp_path / "keys", Secret(b"passphrase")
    create_keystore("file", path, secret).generate("a")
    assert place_of(path) == "file"
    keystore = open_keystore(path, secret)
    assert isinstance(keystore, FileKeystore)
    assert keystore.labels() == {"a": "sign"}
