"""What the code cites of docs/theory.md is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_section_that_the_code_cites_is_there() -> None:
    sections = set(re.findall(r"^## (.+)$", (ROOT / "docs" / "theory.md").read_text(encoding="utf-8"), re.MULTILINE))
    cited: dict[str, str] = {}
    for path in (ROOT / "spectra_app").rglob("*.py"):
        for words in re.findall(r'docs/theory\.md, ((?:"[^"]+"(?: and )?)+)', path.read_text(encoding="utf-8")):
            cited |= {name: str(path) for name in re.findall(r'"([^"]+)"', words)}
    assert len(cited) > 5
    assert not {name: place for name, place in cited.items() if name not in sections}


def test_formulas_are_cited_from_this_repository() -> None:
    elsewhere = [p for p in (ROOT / "spectra_app").rglob("*.py") if "physics.md" in p.read_text(encoding="utf-8")]
    assert not elsewhere
