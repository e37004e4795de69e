"""Each folder says under which licence it is (CONTRIBUTING.md)."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GPL = "SPDX-License-Identifier: GPL-3.0-or-later"


def test_the_extension_is_under_the_gpl():
    addon = ROOT / "blender_addon"
    assert "GNU GENERAL PUBLIC LICENSE\n                       Version 3" in (
        addon / "LICENSE"
    ).read_text(encoding="utf-8")
    manifest = tomllib.loads((addon / "blender_manifest.toml").read_text(encoding="utf-8"))
    assert manifest["license"] == ["SPDX:GPL-3.0-or-later"]
    headers = {
        path: path.read_text(encoding="utf-8").partition("\n")[0] for path in addon.rglob("*.py")
    }
    assert [path for path, line in headers.items() if line != f"# {GPL}"] == []


def test_the_rest_is_under_the_apache_licence_without_headers():
    assert "Apache License\n                           Version 2.0" in (ROOT / "LICENSE").read_text(
        encoding="utf-8"
    )
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (project["license"], project["license-files"]) == ("Apache-2.0", ["LICENSE"])
    files = [p for top in ("restage4d", "backend") for p in (ROOT / top).rglob("*.py")]
    assert [p for p in files if "SPDX-License" in p.read_text(encoding="utf-8")] == []
