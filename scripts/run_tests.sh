#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Run all tests, in three parts; `make test` calls it, with options for pytest if there are any.
#   counted    tests/wire, tests/identity, tests/protocol: their branches must be taken by the tests that stand nearest to them
#   together   all others, as many at a time as there are cores; nothing is counted, which makes them two to five times as fast
#   processes  what starts processes and takes up the machine by itself, one after the other
# Every part runs, whatever another one says; the exit code is 1 if any of them failed.
set -u

cd "$(dirname "$0")/.."
python=${PYTHON_OF_TESTS:-.venv/bin/python}
counted="wire identity protocol"
several="--numprocesses logical --maxprocesses 8 --dist worksteal"
failed=0
chosen=no
[ $# -eq 0 ] || chosen=yes

paths="" measured="" left=""
for package in $counted; do
    paths="$paths tests/$package"
    measured="$measured --cov=src/sealway/$package"
    left="$left --ignore=tests/$package"
done

part() {
    name=$1
    shift
    echo "--- $name"
    "$python" -m pytest "$@"
    status=$?
    # 5: no test was chosen, which is in order only where the caller chose.
    [ $status -eq 0 ] || { [ $status -eq 5 ] && [ "$chosen" = yes ]; } || failed=1
}

# shellcheck disable=SC2086 # lists of words on purpose
{
    part counted $several $paths $measured --cov-branch --cov-report=json:.coverage.json --cov-report=term:skip-covered "$@"
    part together $several $left -m "not processes" tests "$@"
    part processes $left -m processes tests "$@"
}
if [ "$chosen" = no ]; then
    "$python" scripts/check_coverage.py .coverage.json 95 $counted || failed=1
fi
exit $failed
