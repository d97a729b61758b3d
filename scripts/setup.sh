#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Make the environment in .venv, once: `scripts/setup.sh runtime` for `make demo`, `scripts/setup.sh dev` for `make test` and `make check`,
# `scripts/setup.sh fuzz` for `make fuzz`.
#
# A stamp in .venv remembers what was installed, as a hash of everything that decides it; while it fits, nothing is done
# and no network is needed. Stamps are written last, so a failed or interrupted run never leaves one.
# PYTHON=... chooses the interpreter; VENV=... the place; both are for tests and unusual machines.
set -eu

cd "$(dirname "$0")/.."
level=${1:-runtime}
venv=${VENV:-.venv}

fail() {
    printf 'error: %s\nhint: %s\n' "$1" "$2" >&2
    exit 1
}

new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

# The first Python that is new enough; PYTHON, when set, is the only candidate.
find_python() {
    for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
        if command -v "$candidate" >/dev/null 2>&1; then
            found=$candidate
            if new_enough "$candidate"; then
                python=$candidate
                return
            fi
        fi
    done
    [ -n "${found:-}" ] || fail "no Python found" "install Python 3.11 or newer: apt-get install python3 python3-venv"
    version=$("$found" -c 'import platform; print(platform.python_version())' 2>/dev/null || echo "unknown version")
    fail "$found is Python $version, and Sealway needs 3.11 or newer" "install a newer one (apt-get install python3.11 python3.11-venv), or name it: make PYTHON=/path/to/python3"
}

has_venv() {
    "$python" -c 'import venv, ensurepip' >/dev/null 2>&1
}

need_venv() {
    if ! has_venv && [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; then
        apt_install python3-venv >/dev/null 2>&1 || :
    fi
    has_venv ||
        fail "this Python cannot make virtual environments: the modules venv and ensurepip are missing" "apt-get install python3-venv"
}

# What decides the contents of the environment: this script, the dependencies, the interpreter and the place.
fingerprint() {
    "$python" - "$level" <<'PYTHON'
import hashlib, pathlib, sys
inputs = ["pyproject.toml", "scripts/setup.sh"] + ["scripts/apt-packages.txt"] * (sys.argv[1] == "dev")
digest = hashlib.sha256(f"{sys.version} {sys.base_prefix} {pathlib.Path.cwd()}".encode())
for name in inputs:
    digest.update(pathlib.Path(name).read_bytes())
print(digest.hexdigest())
PYTHON
}

stamped() {
    [ -x "$venv/bin/python" ] && [ "$(cat "$venv/sealway-$1.stamp" 2>/dev/null)" = "$2" ]
}

# An environment cannot be moved or change its interpreter: then it is made anew.
make_venv() {
    base=$("$python" -c 'import sys; print(sys.base_prefix, sys.version_info[:3])')" in $PWD"
    if [ ! -x "$venv/bin/pip" ] || [ "$(cat "$venv/made-from" 2>/dev/null)" != "$base" ]; then
        "$python" -m venv --clear "$venv" ||
            fail "could not make a virtual environment in $venv" "apt-get install python3-venv, then run the same command again"
        echo "$base" >"$venv/made-from"
    fi
}

install_python_packages() {
    rm -f "$venv"/sealway-*.stamp
    make_venv
    echo "installing $1 into $venv; this takes a minute, once" >&2
    if ! "$venv/bin/python" -m pip install --disable-pip-version-check --no-input -e "$1" >"$venv/install.log" 2>&1; then
        tail -n 20 "$venv/install.log" >&2
        fail "could not install the dependencies; the end of $venv/install.log is above" "check the network or your package index, then run the same command again"
    fi
}

# Some tests use tools of the system. Root gets them installed; anybody else is told.
install_system_packages() {
    command -v dpkg-query >/dev/null 2>&1 || return 0
    missing=""
    for package in $(sed 's/#.*//' scripts/apt-packages.txt); do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    if [ "$(id -u)" -ne 0 ]; then
        echo "hint: some tests need system packages: sudo apt-get install$missing" >&2
        return 0
    fi
    # shellcheck disable=SC2086 # a list of words on purpose
    apt_install $missing >"$venv/apt.log" 2>&1 && return 0
    echo "hint: could not install all of$missing (see $venv/apt.log); the tests that need them will be skipped" >&2
    complete=no
}

# Built from source, for which it needs a compiler and the TPM software stack; so the tools come without it.
install_tpm_bindings() {
    echo "building what the tests of TPMs need, once" >&2
    "$venv/bin/python" -m pip install --disable-pip-version-check --no-input -e ".[tpm]" >"$venv/tpm.log" 2>&1 && return 0
    echo "hint: could not build tpm2-pytss (it needs gcc, libtss2-dev and python3-dev; see $venv/tpm.log); the tests that need it will be skipped" >&2
    [ "$(id -u)" -ne 0 ] || complete=no
}

# The fuzzer has wheels for some platforms only, and cannot be built without clang; so it is no part of the tools.
install_fuzzer() {
    echo "installing the fuzzer into $venv, once" >&2
    if ! "$venv/bin/python" -m pip install --disable-pip-version-check --no-input --only-binary atheris -e ".[fuzz]" >"$venv/install.log" 2>&1; then
        tail -n 5 "$venv/install.log" >&2
        fail "could not install atheris for $("$venv/bin/python" -c 'import platform as p; print(p.python_implementation(), p.python_version(), "on", p.system(), p.machine())' 2>/dev/null)" \
            "it has wheels for CPython 3.11 to 3.14 on Linux x86_64; elsewhere \`make test\` tries the kept inputs without it"
    fi
}

# The lists of packages may be missing or old. One package that cannot be had must not keep the others away.
apt_install() {
    apt_get_install "$@" && return 0
    DEBIAN_FRONTEND=noninteractive apt-get update -qq -o Acquire::Retries=3 </dev/null || :
    apt_get_install "$@" && return 0
    [ $# -gt 1 ] || return 1
    result=0
    for package in "$@"; do
        apt_get_install "$package" || result=1
    done
    return "$result"
}

# Another program may be installing something, for some minutes on a machine that has just been started.
apt_get_install() {
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 -o Dpkg::Options::=--force-confold "$@" </dev/null
}

main() {
    find_python
    case $level in
    runtime) wanted="." ;;
    dev) wanted=".[dev,docs]" ;;
    fuzz) wanted="" ;;
    *) fail "there is no level '$level'" "use: scripts/setup.sh runtime|dev|fuzz" ;;
    esac
    print=$(fingerprint)
    stamped "$level" "$print" && return
    need_venv
    if [ "$level" = fuzz ]; then
        scripts/setup.sh dev
        install_fuzzer
        echo "$print" >"$venv/sealway-fuzz.stamp"
        return
    fi
    install_python_packages "$wanted"
    complete=yes
    if [ "$level" = dev ]; then
        install_system_packages
        install_tpm_bindings
        # The tools include all that the demo needs.
        level=runtime
        fingerprint >"$venv/sealway-runtime.stamp"
        level=dev
    fi
    # Root could have had all of it: the next run tries again. Anybody else was told, and cannot do more here.
    [ "$complete" = no ] || echo "$print" >"$venv/sealway-$level.stamp"
}

main
