"""The demo's view as an SVG file that any page can show: no script, nothing fetched from elsewhere."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console, RenderableType
from rich.terminal_theme import TerminalTheme

from service.errors import InputError

WIDTH_CHARS, HEIGHT_CHARS = 134, 38
THEME = TerminalTheme(
    background=(17, 20, 28),
    foreground=(214, 219, 229),
    normal=[
        (17, 20, 28), (255, 92, 87), (61, 214, 140), (255, 176, 46),
        (87, 155, 255), (200, 120, 255), (86, 214, 224), (214, 219, 229),
    ],
    bright=[
        (132, 141, 160), (255, 92, 87), (61, 214, 140), (255, 176, 46),
        (87, 155, 255), (200, 120, 255), (86, 214, 224), (255, 255, 255),
    ],
)  # fmt: skip
FORMAT = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{
    font-family: "Fira Code", "DejaVu Sans Mono", Menlo, Consolas, monospace;
    font-size: {char_height}px;
    line-height: {line_height}px;
}}
.{unique_id}-title {{ font: bold 17px "DejaVu Sans", Helvetica, Arial, sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def save_picture(view: RenderableType, path: Path) -> None:
    """Write a view as it would look in a terminal; raises InputError when the file cannot be written."""
    console = Console(
        record=True,
        width=WIDTH_CHARS,
        height=HEIGHT_CHARS,
        file=io.StringIO(),
        force_terminal=True,
        color_system="truecolor",
        legacy_windows=False,
    )
    console.print(view)
    svg = console.export_svg(title="vitals demo", theme=THEME, code_format=FORMAT, unique_id="vitals")
    try:
        path.write_text(svg, encoding="utf-8")
    except OSError as error:
        raise InputError(f"--picture {path}: {error.strerror}; name a file that can be written") from None
