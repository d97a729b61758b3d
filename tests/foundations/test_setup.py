# SPDX-License-Identifier: Apache-2.0
"""``make demo`` and ``make test`` on a machine where something is missing: one ``error:`` and one ``hint:`` line."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BASE_PYTHON = Path(sys.base_prefix) / "bin" / "python3"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what the set-up needs of the repository."""
    directory = tmp_path / "checkout"
    shutil.copytree(ROOT / "scripts", directory / "scripts")
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, directory)
    return directory


def _run(checkout: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {
        key: value for key, value in os.environ.items() if key not in {"VENV", "MAKEFLAGS", "MAKELEVEL", "PYTHONPATH"}
    }
    return subprocess.run(
        command,
        cwd=checkout,
        env={**clean, "PYTHON": str(BASE_PYTHON), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _assert_one_error_and_one_hint(finished: subprocess.CompletedProcess[str]) -> tuple[str, str]:
    assert finished.returncode != 0
    lines = [line for line in finished.stderr.splitlines() if not line.startswith("make: ***")]
    assert len(lines) == 2, finished.stderr
    assert lines[0].startswith("error: ")
    assert lines[1].startswith("hint: ")
    return lines[0], lines[1]


def _program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("hidden", ["ensurepip", "venv"])
@pytest.mark.parametrize("target", ["demo", "test", "check", "setup"])
def test_where_venv_is_missing_one_hint_says_what_to_install(
    target: str, hidden: str, checkout: Path, tmp_path: Path
) -> None:
    (tmp_path / "shadow").mkdir()
    (tmp_path / "shadow" / f"{hidden}.py").write_text("raise ImportError('hidden by the test')\n")

    path = _path_without_apt(tmp_path, "make")
    finished = _run(checkout, "make", target, PYTHONPATH=str(tmp_path / "shadow"), PATH=path)

    error, hint = _assert_one_error_and_one_hint(finished)
    assert "virtual environment" in error
    assert "apt-get install python3-venv" in hint
    assert not (checkout / ".venv").exists()


def test_a_python_that_is_too_old_is_named(checkout: Path, tmp_path: Path) -> None:
    old = _program(
        tmp_path / "bin" / "python3",
        '#!/bin/sh\ncase "$*" in *platform*) echo 3.9.2;; *) exit 1;; esac\n',
    )

    error, hint = _assert_one_error_and_one_hint(_run(checkout, "make", "demo", PYTHON=str(old)))

    assert "3.9.2" in error
    assert "3.11" in error
    assert "PYTHON=" in hint


def test_no_python_at_all(checkout: Path) -> None:
    finished = _run(checkout, "make", "demo", PYTHON="no-such-python")

    error, hint = _assert_one_error_and_one_hint(finished)
    assert "no Python found" in error
    assert "apt-get install python3" in hint


def _fake_python(directory: Path, *, pip_works: bool) -> Path:
    """A Python whose environments hold a pip that does nothing, or that fails after half of its work."""
    pip = "exit 0" if pip_works else 'echo "no route to the package index"; exit 1'
    return _program(
        directory / "python3",
        f"""#!/bin/sh
if [ "$1 $2" = "-m pip" ]; then echo "$@" >>"{directory}/pip-calls"; {pip}; fi
if [ "$1 $2" = "-m venv" ]; then
    mkdir -p "$4/bin" && cp "$0" "$4/bin/python" && touch "$4/bin/pip" && chmod +x "$4/bin/pip"; exit
fi
exec "{BASE_PYTHON}" "$@"
""",
    )


def test_a_failed_installation_leaves_no_stamp_and_says_why(checkout: Path, tmp_path: Path) -> None:
    python = _fake_python(tmp_path / "fake", pip_works=False)

    finished = _run(checkout, "scripts/setup.sh", "runtime", PYTHON=str(python))

    assert finished.returncode != 0
    assert "no route to the package index" in finished.stderr
    assert finished.stderr.splitlines()[-2].startswith("error: ")
    assert finished.stderr.splitlines()[-1].startswith("hint: ")
    assert not list((checkout / ".venv").glob("*.stamp"))


def test_where_the_fuzzer_has_no_wheel_it_says_so_and_the_tools_stay(checkout: Path, tmp_path: Path) -> None:
    python = _fake_python(tmp_path / "fake", pip_works=True)
    python.write_text(
        python.read_text().replace("exit 0", 'case "$*" in *fuzz*) echo "no matching wheel"; exit 1;; esac; exit 0')
    )

    finished = _run(checkout, "scripts/setup.sh", "fuzz", PYTHON=str(python), PATH=_path_without_apt(tmp_path))

    assert finished.returncode != 0
    error, hint = [line for line in finished.stderr.splitlines() if line.startswith(("error: ", "hint: "))]
    assert "could not install atheris for CPython" in error
    assert "Linux x86_64" in hint
    assert {path.name for path in (checkout / ".venv").glob("*.stamp")} == {
        "sealway-dev.stamp",
        "sealway-runtime.stamp",
    }


def test_the_fuzzer_comes_on_top_of_the_tools_once(checkout: Path, tmp_path: Path) -> None:
    python = _fake_python(tmp_path / "fake", pip_works=True)
    for _ in range(2):
        finished = _run(checkout, "scripts/setup.sh", "fuzz", PYTHON=str(python), PATH=_path_without_apt(tmp_path))
        assert finished.returncode == 0, finished.stderr
    installed = (tmp_path / "fake" / "pip-calls").read_text().splitlines()
    assert [call.rsplit(maxsplit=1)[1] for call in installed] == [".[dev,docs]", ".[tpm]", ".[fuzz]"]


def test_what_is_installed_is_installed_once(checkout: Path, tmp_path: Path) -> None:
    python = _fake_python(tmp_path / "fake", pip_works=True)
    calls = tmp_path / "fake" / "pip-calls"

    def install(level: str) -> int:
        assert (
            _run(checkout, "scripts/setup.sh", level, PYTHON=str(python), PATH=_path_without_apt(tmp_path)).returncode
            == 0
        )
        return len(calls.read_text().splitlines())

    assert install("runtime") == 1
    assert install("runtime") == 1
    assert install("dev") == 3  # the tools come on top, and what has to be built
    assert install("dev") == 3
    assert install("runtime") == 3  # and include all that the demo needs


@pytest.mark.parametrize("changed", ["pyproject.toml", "scripts/setup.sh"])
def test_a_changed_input_installs_anew(changed: str, checkout: Path, tmp_path: Path) -> None:
    python = _fake_python(tmp_path / "fake", pip_works=True)
    assert _run(checkout, "scripts/setup.sh", "runtime", PYTHON=str(python)).returncode == 0
    with (checkout / changed).open("a") as file:
        file.write("\n# changed\n")

    assert _run(checkout, "scripts/setup.sh", "runtime", PYTHON=str(python)).returncode == 0

    assert len((tmp_path / "fake" / "pip-calls").read_text().splitlines()) == 2


def test_an_interrupted_second_installation_is_finished_by_the_third(checkout: Path, tmp_path: Path) -> None:
    directory = tmp_path / "fake"
    assert (
        _run(checkout, "scripts/setup.sh", "runtime", PYTHON=str(_fake_python(directory, pip_works=True))).returncode
        == 0
    )
    (checkout / "pyproject.toml").write_text("# changed\n")
    broken = _fake_python(directory, pip_works=False)
    shutil.copy(broken, checkout / ".venv" / "bin" / "python")
    assert _run(checkout, "scripts/setup.sh", "runtime", PYTHON=str(broken)).returncode != 0
    assert not list((checkout / ".venv").glob("*.stamp"))

    mended = _fake_python(directory, pip_works=True)
    shutil.copy(mended, checkout / ".venv" / "bin" / "python")

    assert _run(checkout, "scripts/setup.sh", "runtime", PYTHON=str(mended)).returncode == 0
    assert list((checkout / ".venv").glob("*.stamp"))


def _path_without_apt(directory: Path, *more: str) -> str:
    """A PATH on which the system's package manager cannot be found: a test must not install anything."""
    tools = directory / "tools"
    if not tools.exists():
        tools.mkdir()
        for tool in (
            "cat",
            "cp",
            "chmod",
            "dirname",
            "grep",
            "id",
            "mkdir",
            "rm",
            "sed",
            "sh",
            "tail",
            "touch",
            "env",
            *more,
        ):
            found = shutil.which(tool)
            assert found is not None, tool
            (tools / tool).symlink_to(found)
    return str(tools)


def _fake_packages(directory: Path, *, user: int) -> str:
    """A PATH with a package manager that writes down what it was asked for."""
    path = _path_without_apt(directory)
    _program(directory / "apt" / "dpkg-query", "#!/bin/sh\necho unknown ok not-installed\n")
    _program(directory / "apt" / "apt-get", f'#!/bin/sh\necho "$@" >>"{directory}/apt-calls"\n')
    _program(directory / "apt" / "id", f"#!/bin/sh\necho {user}\n")
    return f"{directory / 'apt'}:{path}"


def test_root_gets_the_system_packages_that_tests_need(checkout: Path, tmp_path: Path) -> None:
    python = _fake_python(tmp_path / "fake", pip_works=True)

    finished = _run(checkout, "scripts/setup.sh", "dev", PYTHON=str(python), PATH=_fake_packages(tmp_path, user=0))

    assert finished.returncode == 0, finished.stderr
    assert "install" in (tmp_path / "apt-calls").read_text()
    assert (
        "libcoap3-bin libtss2-dev openssl pkg-config python3-dev softhsm2 sqlite3"
        in (tmp_path / "apt-calls").read_text()
    )


def test_where_the_bindings_of_tpms_cannot_be_built_it_says_so(checkout: Path, tmp_path: Path) -> None:
    python = _fake_python(tmp_path / "fake", pip_works=True)
    python.write_text(
        python.read_text().replace("exit 0", 'case "$*" in *tpm*) echo "no compiler"; exit 1;; esac; exit 0')
    )

    finished = _run(checkout, "scripts/setup.sh", "dev", PYTHON=str(python), PATH=_path_without_apt(tmp_path))

    assert finished.returncode == 0, finished.stderr
    assert "hint: could not build tpm2-pytss" in finished.stderr
    assert "no compiler" in (checkout / ".venv" / "tpm.log").read_text()


def test_one_package_that_cannot_be_had_keeps_none_of_the_others_away(checkout: Path, tmp_path: Path) -> None:
    python = _fake_python(tmp_path / "fake", pip_works=True)
    path = _fake_packages(tmp_path, user=0)
    apt = tmp_path / "apt" / "apt-get"
    apt.write_text(apt.read_text() + 'case "$*" in *chromium*) exit 100;; esac\n')

    finished = _run(checkout, "scripts/setup.sh", "dev", PYTHON=str(python), PATH=path)

    assert finished.returncode == 0, finished.stderr
    assert "hint: could not install all of" in finished.stderr
    calls = (tmp_path / "apt-calls").read_text().splitlines()
    assert [call.rsplit(maxsplit=1)[1] for call in calls if call.startswith("install")][2:] == [
        line.split()[0] for line in (checkout / "scripts" / "apt-packages.txt").read_text().splitlines()[1:]
    ]
    assert calls[1].startswith("update")
    # The tools are there for the demo; the next run tries again.
    assert [stamp.name for stamp in (checkout / ".venv").glob("*.stamp")] == ["sealway-runtime.stamp"]


def test_root_gets_the_module_that_makes_environments(checkout: Path, tmp_path: Path) -> None:
    python = _fake_python(tmp_path / "fake", pip_works=True)
    shadow = tmp_path / "shadow" / "ensurepip.py"
    shadow.parent.mkdir()
    shadow.write_text("raise ImportError('hidden by the test')\n")
    path = _fake_packages(tmp_path, user=0)
    apt = tmp_path / "apt" / "apt-get"
    apt.write_text(apt.read_text() + f'case "$*" in *python3-venv) rm -f "{shadow}";; esac\n')

    finished = _run(
        checkout, "scripts/setup.sh", "runtime", PYTHON=str(python), PATH=path, PYTHONPATH=str(shadow.parent)
    )

    assert finished.returncode == 0, finished.stderr
    assert "python3-venv" in (tmp_path / "apt-calls").read_text()


def test_anybody_else_is_told_which_ones(checkout: Path, tmp_path: Path) -> None:
    python = _fake_python(tmp_path / "fake", pip_works=True)

    finished = _run(checkout, "scripts/setup.sh", "dev", PYTHON=str(python), PATH=_fake_packages(tmp_path, user=1000))

    assert finished.returncode == 0, finished.stderr
    assert "hint: " in finished.stderr
    assert "libcoap3-bin" in finished.stderr
    assert not (tmp_path / "apt-calls").exists()
