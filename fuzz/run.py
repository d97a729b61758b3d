# SPDX-License-Identifier: Apache-2.0
"""`make fuzz`: atheris on every target, for so many seconds in all, and a table of what came of it.

All targets are imported once, instrumented, and each is fuzzed in a process forked from there. The kept corpus in
fuzz/corpus is where each begins; what is found on the way goes to build/fuzz, and from there into the kept corpus with
--keep, as far as it reaches code that nothing kept reaches.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from fuzz.target import Check, Target

BUILD: Final = Path(__file__).resolve().parent.parent / "build" / "fuzz"
CONTROL: Final = "control"
_RSS_MB: Final = 1024
_SLOWEST_SECONDS: Final = 10  # for one input; all of them are small
_GRACE_SECONDS: Final = 60  # after its time, a process that does not end is ended
_FINISHED: Final = re.compile(r"cov: (\d+) ft: \d+ corp: (\d+)/")
_EXECUTED: Final = re.compile(r"stat::number_of_executed_units: *(\d+)")
_BROKEN: Final = re.compile(r"=== Uncaught Python exception: ===\n(.*)|ERROR: (libFuzzer: .*)")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one target: executions, seconds, code reached, inputs that reach it, and what broke, if anything."""

    name: str
    executions: int
    seconds: float
    reached: int
    inputs: int
    finding: str | None

    def row(self) -> str:
        """Return the target's line of the table."""
        rate = self.executions / self.seconds if self.seconds else 0.0
        verdict = self.finding or "-"
        return f"{self.name:<20} {self.executions:>11} {rate:>8.0f} {self.reached:>8} {self.inputs:>7}  {verdict}"


HEADER: Final = f"{'target':<20} {'executions':>11} {'per s':>8} {'reached':>8} {'inputs':>7}  finding"


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz; return 1 if anything was found, 2 if it cannot be done here."""
    asked = _parsed(arguments)
    if importlib.util.find_spec("atheris") is None:
        sys.stderr.write(
            "error: atheris is not installed\nhint: `make fuzz` installs it, where there is a wheel of it\n"
        )
        return 2
    targets = instrumented_targets()
    unknown = [name for name in asked.only if name not in targets]
    if unknown:
        sys.stderr.write(f"error: no target {', '.join(unknown)}\nhint: one of {', '.join(targets)}\n")
        return 2
    chosen = [target for name, target in targets.items() if not asked.only or name in asked.only]
    if not _control_is_found(asked):
        sys.stderr.write("error: the fuzzer does not find what is there to be found\n")
        sys.stderr.write(f"hint: see the log in {BUILD / CONTROL}\n")
        return 2
    begun = time.monotonic()
    outcomes = list(_fuzzed(chosen, asked))
    took = time.monotonic() - begun
    if asked.keep:
        broken = {outcome.name for outcome in outcomes if outcome.finding is not None}
        _keep([target for target in chosen if target.name not in broken])
    print("", HEADER, *(outcome.row() for outcome in outcomes), sep="\n")
    found = [outcome for outcome in outcomes if outcome.finding is not None]
    for outcome in found:
        print(f"found in {outcome.name}: {outcome.finding}; the input and the log are in {BUILD / outcome.name}")
    total = sum(outcome.executions for outcome in outcomes)
    print(f"{len(outcomes)} targets, {total} executions, {len(found)} findings, in {took:.0f} s")
    return 1 if found else 0


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make fuzz", description="Fuzz every decoder of untrusted bytes.")
    parser.add_argument("--seconds", type=float, default=60.0, help="in all, shared by the targets (default 60)")
    parser.add_argument("--only", action="extend", nargs="+", default=[], metavar="TARGET", help="these targets only")
    parser.add_argument("--seed", type=int, default=7, help="of the fuzzer's chance, not 0 (default 7)")
    parser.add_argument("--jobs", type=int, default=min(4, os.cpu_count() or 1), help="targets at the same time")
    parser.add_argument("--keep", action="store_true", help="take what reaches new code into fuzz/corpus")
    return parser.parse_args(arguments)


def instrumented_targets() -> dict[str, Target]:
    """Import all targets so that the fuzzer sees which code an input reaches."""
    import atheris

    quiet = contextlib.redirect_stderr(io.StringIO())  # it names every module
    with quiet, atheris.instrument_imports(include=["sealway", "aiocoap"], enable_loader_override=False):
        from fuzz.targets import TARGETS

    return TARGETS


def _control_is_found(asked: argparse.Namespace) -> bool:
    """Fuzz a check that is known to fail for some inputs: a fuzzer that does not find them has shown nothing."""
    from fuzz.targets import control

    folder = _made(CONTROL)
    for path in folder.glob("found-*"):
        path.unlink()
    target = control(CONTROL)
    shutil.rmtree(_made(CONTROL, "corpus"))
    os.waitpid(_forked(target, [f"-seed={asked.seed}", "-runs=20000"], _begins_with(target)), 0)
    return len(list(folder.glob("found-*"))) == 1


# running -------------------------------------------------------------------------------------------------------------
def _fuzzed(targets: Sequence[Target], asked: argparse.Namespace) -> Iterator[Outcome]:
    """Fuzz the targets in turn, a few at a time."""
    share = asked.seconds * asked.jobs / sum(target.weight for target in targets)
    waiting = list(targets)
    running: dict[int, tuple[Target, float]] = {}
    while waiting or running:
        while waiting and len(running) < asked.jobs:
            target = waiting.pop(0)
            # It stops when more than this many whole seconds have passed.
            options = [
                f"-max_total_time={max(1, round(share * target.weight) - 1)}",
                f"-seed={asked.seed}",
                "-print_final_stats=1",
            ]
            running[_forked(target, options, _begins_with(target))] = (
                target,
                time.monotonic(),
            )
        for process, status in _ended(running, share):
            target, begun = running.pop(process)
            outcome = _outcome(target.name, status, time.monotonic() - begun)
            print(outcome.row(), flush=True)
            yield outcome


def _forked(target: Target, options: Sequence[str], folders: Sequence[Path]) -> int:
    """Start the fuzzer in a process of its own; its words go to a log."""
    sys.stdout.flush()
    process = os.fork()
    if process:
        return process
    log = os.open(_made(target.name) / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for stream in (1, 2):
        os.dup2(log, stream)
    _become_fuzzer(target, options, folders)
    os._exit(3)  # the fuzzer does not return


def _become_fuzzer(target: Target, options: Sequence[str], folders: Sequence[Path]) -> None:
    import atheris

    bounds = [f"-max_len={target.longest}", f"-rss_limit_mb={_RSS_MB}", f"-timeout={_SLOWEST_SECONDS}"]
    places = [f"-artifact_prefix={_made(target.name)}/", *map(str, folders)]
    # A seed says more by its structure than by the code it reaches: it is not to be cut down to what reaches the same.
    seeds = ["-keep_seed=1", "-reduce_inputs=0"]
    atheris.Setup(
        ["fuzz", *bounds, *seeds, *options, *places], _recording(target), custom_mutator=_mutator(target.mutate)
    )
    atheris.Fuzz()


def _recording(target: Target) -> Check:
    """Return the target's check, which leaves the input behind if it finds something."""
    from fuzz.targets import name_of

    def check(data: bytes) -> None:
        try:
            target.check(data)
        except BaseException:
            (_made(target.name) / f"found-{name_of(data)}").write_bytes(data)
            raise

    return check


def _mutator(mutate: Callable[[bytes, Random], bytes]) -> Callable[[bytes, int, int], bytes]:
    """Change the structure half of the time, and bytes as libFuzzer does the other half."""
    import atheris

    def change(data: bytes, longest: int, seed: int) -> bytes:
        random = Random(seed)
        if random.random() < 0.5:
            return bytes(atheris.Mutate(data, longest))
        for _ in range(random.choice((1, 1, 2, 4))):
            data = mutate(data, random)
        return data[:longest]

    return change


def _ended(running: dict[int, tuple[Target, float]], share: float) -> list[tuple[int, int]]:
    """Return (process, status) of those that have ended; end those that are far over their time."""
    time.sleep(0.05)
    ended = []
    for process, (target, begun) in running.items():
        if time.monotonic() - begun > share * target.weight + _GRACE_SECONDS:
            os.kill(process, signal.SIGKILL)
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            ended.append((process, os.waitstatus_to_exitcode(status)))
    return ended


def _outcome(name: str, status: int, seconds: float) -> Outcome:
    log = (BUILD / name / "log").read_text(errors="replace")
    executed = _EXECUTED.search(log)
    reached = _FINISHED.findall(log)
    broken = _BROKEN.search(log)
    finding = None if status == 0 else ((broken[1] or broken[2]) if broken else f"it ended with {status}")
    cov, inputs = map(int, reached[-1]) if reached else (0, 0)
    return Outcome(name, int(executed[1]) if executed else 0, seconds, cov, inputs, finding)


# the corpus ----------------------------------------------------------------------------------------------------------
def _keep(targets: Sequence[Target]) -> None:
    from fuzz.keeping import keep

    for target in targets:
        found = [path.read_bytes() for path in sorted(_made(target.name, "corpus").iterdir())]
        print(f"{target.name}: {keep(target, found)} more inputs kept")


def _begins_with(target: Target) -> list[Path]:
    """Return the folders of inputs that a target begins with: found in earlier runs, kept for good, and its seeds."""
    from fuzz.targets import CORPUS, name_of

    shutil.rmtree(BUILD / target.name / "seeds", ignore_errors=True)
    seeds = _made(target.name, "seeds")
    for seed in target.seeds():
        (seeds / name_of(seed)).write_bytes(seed)
    kept = CORPUS / target.name
    return [_made(target.name, "corpus"), seeds, *([kept] if kept.is_dir() else [])]


def _made(*parts: str) -> Path:
    folder = BUILD.joinpath(*parts)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


if __name__ == "__main__":
    raise SystemExit(main())
