# SPDX-License-Identifier: Apache-2.0
"""Labels as pictures: an independent reader finds in each form what was to be in it, from a fair distance."""

from __future__ import annotations

import re
from io import BytesIO
from pathlib import Path
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
import zxingcpp
from hypothesis import given, settings
from PIL import Image

from sealway.crypto.secret import Secret
from sealway.errors import LocalMisuse
from sealway.factory.drawing import QUIET, blocks, modules_of, png, svg
from sealway.factory.labelfile import Label
from sealway.factory.setupcode import SetupCode
from tests.factory.test_setupcode import codes, serials

LABEL = Label("Acme Meters", "Water meter WM-20", "SW-000001", SetupCode("471", Secret(b"9382556")))
LONG = Label("M" * 64, "W" * 64, "W" * 32, LABEL.code)
DEJAVU = Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"


def read(picture: np.ndarray) -> list[str]:
    """What the reader finds in a picture of grey values."""
    return [found.text for found in zxingcpp.read_barcodes(picture)]


def picture_of(modules: list[list[bool]], scale: int = 4) -> np.ndarray:
    grey = np.where(np.array(modules), 0, 255).astype(np.uint8)
    return np.kron(grey, np.ones((scale, scale), np.uint8))


def drawn(data: bytes) -> Image.Image:
    return Image.open(BytesIO(data))


@pytest.mark.parametrize("label", [LABEL, LONG], ids=["usual", "long"])
def test_a_reader_finds_the_code_in_the_png(label: Label) -> None:
    image = drawn(png(label))
    assert image.size == (1417, 600) and round(image.info["dpi"][0]) == 600
    assert read(np.asarray(image)) == [label.qr.reveal()]
    assert read(np.asarray(image.resize((300, 127)))) == [label.qr.reveal()]  # as a camera sees it
    assert read(np.asarray(image.rotate(33, fillcolor=255, expand=True))) == [label.qr.reveal()]


@settings(max_examples=20)
@given(codes, serials)
def test_a_reader_finds_every_code(code: SetupCode, serial: str) -> None:
    label = Label("Acme", "m", serial, code)
    assert read(picture_of([list(row) for row in modules_of(label)])) == [label.qr.reveal()]


def test_there_is_a_quiet_zone() -> None:
    modules = np.array(modules_of(LABEL))
    for side in (modules[:QUIET], modules[-QUIET:], modules[:, :QUIET], modules[:, -QUIET:]):
        assert not side.any()
    image = np.asarray(drawn(png(LABEL)))
    dark = np.argwhere(image[:, :600] < 128)
    assert dark.min() >= QUIET * 18  # pixels of a module; nothing is printed closer to the code than that


@pytest.mark.parametrize("label", [LABEL, LONG], ids=["usual", "long"])
def test_text_stays_on_the_label(label: Label) -> None:
    image = np.asarray(drawn(png(label)))
    assert image[:, -20:].min() == 255 and image[:10].min() == 255 and image[-10:].min() == 255
    assert image[:, 600:].min() < 40


def test_a_reader_finds_the_code_in_the_svg() -> None:
    text = svg(LABEL).decode()
    root = ElementTree.fromstring(text)  # noqa: S314 - our own
    path = root.find("{http://www.w3.org/2000/svg}path")
    assert path is not None
    side = len(modules_of(LABEL))
    modules = [[False] * side for _ in range(side)]
    for x, y in re.findall(r"M(\d+) (\d+)h1v1h-1z", path.attrib["d"]):
        modules[int(y)][int(x)] = True
    assert read(picture_of(modules)) == [LABEL.qr.reveal()]
    shown = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert shown == ["Acme Meters", "Water meter WM-20", "S/N SW-000001", "Setup code", "471-9382-5564"]


def test_what_a_name_is_made_of_is_escaped_in_the_svg() -> None:
    label = Label("A&B <i>", '"quoted"', "A", LABEL.code)
    shown = [element.text for element in ElementTree.fromstring(svg(label)).iter() if element.text]  # noqa: S314
    assert shown[:2] == ["A&B <i>", '"quoted"']


@pytest.mark.parametrize("colours", [True, False])
def test_a_reader_finds_the_code_in_the_terminal(colours: bool) -> None:
    lines = [re.sub("\x1b\\[[0-9;]*m", "", line) for line in blocks(LABEL, colours=colours)]
    rows = lines[: lines.index("")]
    upper = {" ": True, "▄": True, "▀": False, "█": False}
    lower = {" ": True, "▀": True, "▄": False, "█": False}
    modules = [[table[mark] for mark in row] for row in rows for table in (upper, lower)]
    assert read(picture_of(modules)) == [LABEL.qr.reveal()]
    assert lines[-1].endswith("471-9382-5564") and lines[-2].endswith("SW-000001")


def test_a_name_beyond_ascii_needs_a_font(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    label = Label("Söhne", "m", "A-1", LABEL.code)
    assert read(np.asarray(drawn(png(label, DEJAVU)))) == [label.qr.reveal()]
    with pytest.raises(LocalMisuse, match="cannot be read"):
        png(label, tmp_path / "none.ttf")

    def nothing(*_: object) -> None:
        raise OSError

    monkeypatch.setattr("PIL.ImageFont.truetype", nothing)
    with pytest.raises(LocalMisuse, match="no font for characters beyond ASCII"):
        png(label)
