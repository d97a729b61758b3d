# SPDX-License-Identifier: Apache-2.0
"""A label as a picture: PNG for a label printer, SVG for everything else, blocks for a terminal.

The QR code stands in a quiet zone of four modules (ISO/IEC 18004 §6.3.8), with the error correction that fits its
version; beside it what a person reads: maker, model, serial number, the setup code in its groups.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

from sealway.errors import LocalMisuse
from sealway.factory.labelfile import Label

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

Modules = tuple[tuple[bool, ...], ...]
"""Rows of a QR code, quiet zone included; True is dark."""

QUIET: Final = 4
WIDTH_MM, HEIGHT_MM = 60.0, 25.4
"""Of the label: 60 mm by one inch."""

_DPI: Final = 600
_PIXEL: Final = _DPI / 25.4
_TEXT_LEFT: Final = 25.4
_TEXT_WIDTH: Final = WIDTH_MM - _TEXT_LEFT - 2.5
_FONTS: Final = "Inter, 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif"
_INK, _GREY = "#111111", "#5a5a5a"


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of text: its baseline and its size in millimetres, and how it stands out."""

    text: str
    baseline: float
    size: float
    bold: bool = False
    grey: bool = False


def modules_of(label: Label) -> Modules:
    """Return the QR code of a label, quiet zone included."""
    import segno

    code = segno.make_qr(label.qr.reveal(), error="m", boost_error=True)
    return tuple(tuple(bool(module) for module in row) for row in code.matrix_iter(border=QUIET))


def png(label: Label, font: Path | None = None) -> bytes:
    """Return the label as a PNG of 600 dots an inch.

    Args:
        font: a TrueType or OpenType font; without it Pillow's own, which has ASCII only, or else DejaVu Sans.

    Raises:
        LocalMisuse: a font that cannot be read, or none for these characters.
    """
    from PIL import Image, ImageDraw

    image = Image.new("L", (_pixels(WIDTH_MM), _pixels(HEIGHT_MM)), 255)
    draw = ImageDraw.Draw(image)
    _draw_modules(draw, modules_of(label))
    lines = _lines(label)
    characters = "".join(line.text for line in lines)
    for line in lines:
        fitting, size = _fitting(line, characters, font)
        fill, stroke = (0x5A if line.grey else 0x11), (size / 40 if line.bold else 0)
        at = (_pixels(_TEXT_LEFT), _pixels(line.baseline))
        draw.text(at, line.text, font=fitting, fill=fill, anchor="ls", stroke_width=stroke, stroke_fill=fill)
    out = BytesIO()
    image.save(out, "PNG", optimize=True, dpi=(_DPI, _DPI))
    return out.getvalue()


def svg(label: Label) -> bytes:
    """Return the label as an SVG, in millimetres; its text stays text."""
    modules = modules_of(label)
    side = HEIGHT_MM / len(modules)
    path = "".join(
        f"M{x} {y}h1v1h-1z" for y, row in enumerate(modules) for x, dark in enumerate(row) if dark
    )  # fmt: skip
    texts = "".join(_svg_text(line) for line in _lines(label))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH_MM}mm" height="{HEIGHT_MM}mm" '
        f'viewBox="0 0 {WIDTH_MM} {HEIGHT_MM}">'
        f'<rect width="{WIDTH_MM}" height="{HEIGHT_MM}" rx="1.5" fill="#fff"/>'
        f'<path transform="scale({side:.5f})" fill="#000" shape-rendering="crispEdges" d="{path}"/>'
        f'<g font-family="{_FONTS}">{texts}</g></svg>\n'
    ).encode()


def blocks(label: Label, *, colours: bool) -> list[str]:
    """Return the label for a terminal: two rows of modules in each line, then what a person reads.

    Args:
        colours: say black on white, whatever colours the terminal has; without, dark modules are left blank, which
            is right on a dark background.
    """
    modules = modules_of(label)
    padded = (*modules, *(((False,) * len(modules[0]),) if len(modules) % 2 else ()))
    begin, end = ("\x1b[38;5;231;48;5;16m", "\x1b[0m") if colours else ("", "")
    rows = [
        begin + "".join(_BLOCKS[upper, lower] for upper, lower in zip(padded[at], padded[at + 1], strict=True)) + end
        for at in range(0, len(padded), 2)
    ]
    who = f"{label.manufacturer} {label.model}"
    return [*rows, "", f"  {who}", f"  serial number  {label.serial}", f"  setup code     {label.code.reveal()}"]


_BLOCKS: Final = {(True, True): " ", (True, False): "▄", (False, True): "▀", (False, False): "█"}


def _lines(label: Label) -> list[_Line]:
    return [
        _Line(label.manufacturer, 5.4, 2.5, grey=True),
        _Line(label.model, 9.4, 3.5, bold=True),
        _Line(f"S/N {label.serial}", 13.0, 2.4),
        _Line("Setup code", 18.0, 2.1, grey=True),
        _Line(label.code.reveal(), 22.3, 4.3, bold=True),
    ]


def _draw_modules(draw: ImageDraw, modules: Modules) -> None:
    side = _pixels(HEIGHT_MM) // len(modules)
    margin = (_pixels(HEIGHT_MM) - side * len(modules)) // 2
    for y, row in enumerate(modules):
        for x, dark in enumerate(row):
            if dark:
                left, top = margin + x * side, margin + y * side
                draw.rectangle((left, top, left + side - 1, top + side - 1), fill=0)


def _fitting(line: _Line, characters: str, path: Path | None) -> tuple[FreeTypeFont, float]:
    """The font in the line's size, or smaller, so that the line fits the label; and that size in pixels."""
    size, room = float(_pixels(line.size)), _pixels(_TEXT_WIDTH)
    wide = _font(characters, path, size).getlength(line.text)
    if wide > room:
        size *= room / wide
    return _font(characters, path, size), size


def _font(characters: str, path: Path | None, size: float) -> FreeTypeFont:
    from PIL import ImageFont

    if path is None and characters.isascii():
        found = ImageFont.load_default(size)
        if isinstance(found, ImageFont.FreeTypeFont):
            return found
    try:
        return ImageFont.truetype(str(path or "DejaVuSans.ttf"), size)
    except OSError:
        what = f"the font {path} cannot be read" if path else "there is no font for characters beyond ASCII"
        raise LocalMisuse(what, hint="give --font FILE, or an --out that ends in .svg") from None


def _svg_text(line: _Line) -> str:
    # Text stays text, in whatever font there is: its width is estimated, generously.
    wide = line.size * len(line.text) * (0.66 if line.bold else 0.6)
    size = line.size * min(1, _TEXT_WIDTH / wide)
    weight = ' font-weight="700"' if line.bold else ""
    fill = _GREY if line.grey else _INK
    return (
        f'<text x="{_TEXT_LEFT}" y="{line.baseline}" font-size="{size:.2f}" fill="{fill}"{weight}>'
        f"{escape(line.text)}</text>"
    )


def _pixels(millimetres: float) -> int:
    return round(millimetres * _PIXEL)
