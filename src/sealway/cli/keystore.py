# SPDX-License-Identifier: Apache-2.0
"""``sealway keystore``: a member's keys, in a file, a token or a TPM: which there are, a further one, and a test."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias, get_args

import typer

from sealway.cli import options
from sealway.cli.messages import say, show_json, show_table
from sealway.cli.options import AsJson, KeyFile, State
from sealway.errors import LocalMisuse

if TYPE_CHECKING:
    from sealway.keystore.ports import Keystore, Kind
    from sealway.keystore.trial import Trial

keystore_group = options.group("the keys of a member, in a file, a token or a TPM")

_FILE_NAME = "keystore"

Place: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--keystore", metavar="PLACE", help="file, pkcs11:token=NAME?module-path=FILE.so, or tpm:device:/dev/tpmrm0"
    ),
]


@keystore_group.command("list")
def list_command(state: State, as_json: AsJson = False, key_file: KeyFile = None) -> None:
    """Say which keys there are and where."""
    from sealway.keystore.places import place_of

    keystore, place = _opened(state, key_file), place_of(state / _FILE_NAME)
    rows = [(label, kind, str(keystore.suite(label).number)) for label, kind in keystore.labels().items()]
    if as_json:
        keys = [{"label": label, "kind": kind, "suite": int(number)} for label, kind, number in rows]
        show_json({"place": place, "keys": keys})
        return
    say(f"in {place}")
    show_table(("label", "kind", "suite"), rows)


@keystore_group.command("generate")
def generate_command(
    state: State,
    label: Annotated[str, typer.Option(help="what the key is called")],
    kind: Annotated[str, typer.Option(metavar="sign|agree|hop", help="what it is for")] = "sign",
    suite: Annotated[int, typer.Option(metavar="1|2|3", help="what it is made for")] = 1,
    place: Place = None,
    key_file: KeyFile = None,
) -> None:
    """Make a further key; without a keystore in the directory, a keystore first."""
    from sealway.crypto.suites import suite as suite_of
    from sealway.keystore.places import FILE, create_keystore
    from sealway.storage.directory import DirectoryLock

    path, chosen, wanted = state / _FILE_NAME, suite_of(suite), _kind(kind)
    with DirectoryLock(state, "sealway keystore"):
        if path.exists():
            _demand_same(path, place)
            keystore = _opened(state, key_file)
        else:
            where = place or FILE
            keystore = create_keystore(where, path, options.secret_of(where, key_file, fresh=True))
        keystore.generate(label, wanted, chosen)
    say(f"made the key {label}")


@keystore_group.command("test")
def trial_command(
    state: Annotated[Path | None, typer.Option("--state", metavar="DIR", help="try the keys in there")] = None,
    place: Place = None,
    as_json: AsJson = False,
    key_file: KeyFile = None,
) -> None:
    """Let each key do what it is for, and check the result; or make keys in a place to try it, and remove them."""
    from sealway.keystore.trial import try_keys

    if (state is None) == (place is None):
        raise LocalMisuse("give either --state or --keystore", hint="--keystore tries a place with keys of its own")
    if state is not None:
        trials: Sequence[Trial] = try_keys(_opened(state, key_file), os.urandom, time.perf_counter)
    else:
        trials = _tried(place or "", key_file)
    _show(trials, as_json=as_json)


def _tried(place: str, key_file: Path | None) -> Sequence[Trial]:
    from sealway.keystore.places import FILE, check_place, create_token_keystore
    from sealway.keystore.trial import try_place

    check_place(place)
    if place == FILE:
        raise LocalMisuse("a file needs no trial", hint="give the place of a token or a TPM")
    secret = options.secret_of(place, key_file, fresh=True)
    with tempfile.TemporaryDirectory(prefix="sealway-keystore-") as directory:
        keystore = create_token_keystore(place, Path(directory) / _FILE_NAME, secret)
        return try_place(keystore, os.urandom, time.perf_counter)


def _show(trials: Sequence[Trial], *, as_json: bool) -> None:
    if as_json:
        show_json(
            [
                {
                    "label": trial.label,
                    "kind": trial.kind,
                    "suite": trial.suite.number,
                    "public": trial.public.hex(),
                    "milliseconds": round(trial.seconds * 1_000, 3),
                }
                for trial in trials
            ]
        )
        return
    rows = [
        (trial.label, trial.kind, str(trial.suite.number), f"{trial.seconds * 1_000:.2f} ms", trial.public.hex())
        for trial in trials
    ]
    show_table(("label", "kind", "suite", "takes", "public"), rows)
    say("every key does what it is for")


def _opened(state: Path, key_file: Path | None) -> Keystore:
    from sealway.keystore.places import open_keystore, place_of

    options.demand_directory(state)
    path = state / _FILE_NAME
    return open_keystore(path, options.secret_of(place_of(path), key_file, fresh=False))


def _demand_same(path: Path, place: str | None) -> None:
    from sealway.keystore.places import place_of

    if place not in (None, present := place_of(path)):
        raise LocalMisuse(f"the keys are in {present}", hint="use a directory of its own")


def _kind(text: str) -> Kind:
    from sealway.keystore.ports import Kind

    kinds: tuple[Kind, ...] = get_args(Kind)
    found = next((kind for kind in kinds if kind == text), None)
    if found is None:
        raise LocalMisuse(f"there is no kind of key named {text}", hint="use sign, agree or hop")
    return found
