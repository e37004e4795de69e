"""Docs name files that exist, link to headings that exist, and keep to their line length."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
TOPS = r"(?:restage4d|backend|blender_addon|scripts|tests|docs)"


def find_anchors(page: Path) -> set[str]:
    """Anchors of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


def find_broken_links(page: Path) -> list[str]:
    """Relative links to no file, or to no heading in it."""
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if "://" in link:
            continue
        if not target.exists() or (anchor and anchor not in find_anchors(target)):
            broken.append(link)
    return broken


def find_missing_files(page: Path) -> list[str]:
    """Paths from the root of the repository where there is nothing; capitals are placeholders."""
    text = page.read_text(encoding="utf-8")
    paths = re.findall(rf"(?<![\w/.]){TOPS}/[\w/.-]*\w/?", text)
    placeholder = re.compile(r"/[A-Z]+\.py$")
    return [p for p in paths if not any(ROOT.glob(f"{p}*")) and not placeholder.search(p)]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_pages(page):
    assert find_broken_links(page) == []
    assert page.name == "CHANGELOG.md" or find_missing_files(page) == []
    lines = page.read_text(encoding="utf-8").splitlines()
    assert [i for i, line in enumerate(lines, 1) if len(line) > 160] == []


def test_faults_are_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# One & Two: *three*\n[a](#one--two-three) [b](#four) [c](none.md) [d](https://x.y)\n"
        "`restage4d/se3.py`, restage4d/nothing.py and out/puppet.blend\n",
        encoding="utf-8",
    )
    assert find_broken_links(page) == ["#four", "none.md"]
    assert find_missing_files(page) == ["restage4d/nothing.py"]
