"""Tables that benchmarks write into pages of docs/."""

from __future__ import annotations

from pathlib import Path


def renew_section(page: Path, name: str, text: str) -> None:
    """Put a text between the marks ``<!-- name -->`` and ``<!-- end of name -->`` of a page."""
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    before, found, rest = page.read_text(encoding="utf-8").partition(begin)
    if not found:
        raise SystemExit(f"{page} has no place for {name}: add the lines {begin} and {end}")
    page.write_text(f"{before}{begin}\n{text}\n{end}{rest.partition(end)[2]}", encoding="utf-8")
