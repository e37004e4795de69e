"""Imports of the product go down the layers and form no circle; files and folders stay small.

docs/architecture.md explains the layers and says where everything is.
"""

import ast
from collections import Counter
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAX_LINES, MAX_MODULES = 400, 14

# From the bottom up. A module belongs to the layer with its longest prefix. It may import from its
# own prefix and from lower layers, not from another prefix of the same layer.
LAYERS = (
    ("restage4d", "restage4d.errors"),  # the package itself resolves its public API lazily
    ("restage4d.progress", "restage4d.se3", "restage4d.io.atomic"),
    ("restage4d.sh", "restage4d.srgb", "restage4d.finding", "restage4d.skeleton.body_parts"),
    ("restage4d.puppet", "restage4d.clips"),
    ("restage4d.skeleton", "restage4d.driving.draft.directions", "restage4d.posing"),
    ("restage4d.io", "restage4d.evaluate.metrics", "restage4d.driving.draft.prompt"),
    ("restage4d.protocol", "restage4d.providers"),
    ("restage4d.priors",),
    ("restage4d.splatting", "restage4d.driving"),
    ("restage4d.checks", "restage4d.exporting"),
    ("restage4d.reconstruct.config", "restage4d.reconstruct.model"),
    ("restage4d.reconstruct.losses",),
    ("restage4d.reconstruct.motion",),
    ("restage4d.reconstruct",),
    ("restage4d.evaluate",),
    ("restage4d.pipeline",),
    ("restage4d.jobs",),
    ("backend.store", "restage4d.status_page"),
    ("backend",),
    ("restage4d.cli",),
    ("restage4d.api",),
    ("blender_addon.session",),
    ("blender_addon",),
)
RANK = {prefix: rank for rank, layer in enumerate(LAYERS) for prefix in layer}
# The extension runs inside Blender, which has neither torch nor OpenCV.
EXTENSION_MAY_IMPORT = tuple(
    f"restage4d.{name}"
    for name in (
        *(
            "protocol",
            "puppet",
            "finding",
            "posing",
            "se3",
            "sh",
            "srgb",
            "errors",
            "progress",
            "defaults",
            "skeleton",
        ),
        *("io.ply", "io.atomic", "exporting.exr", "exporting.formats"),
        "exporting.still",
        *("driving.draft.prompt", "driving.draft.directions"),
        "jobs.mask_file",
    )
)


def find_modules(root: Path) -> dict[str, Path]:
    """Dotted name -> file of every module of the product."""
    tops = ("restage4d", "backend", "blender_addon")
    files = [path for top in tops for path in sorted((root / top).rglob("*.py"))]
    return {
        ".".join(p.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): p
        for p in files
    }


def find_statements(tree: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Import statements at any depth, but those under ``if TYPE_CHECKING``."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            yield from find_statements(ast.Module(node.orelse, []))
        else:
            yield from find_statements(node)


def find_imports(root: Path) -> list[tuple[str, str, str]]:
    """(importer, imported, file:line) within the product. ``from a import b`` imports the module
    a.b where there is one, else a."""
    modules, found = find_modules(root), []
    for importer, path in modules.items():
        package = importer if path.name == "__init__.py" else importer.rpartition(".")[0]
        for node in find_statements(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names]
            if isinstance(node, ast.ImportFrom):
                parts = package.split(".")
                base = parts[: len(parts) + 1 - node.level] if node.level else []
                source = ".".join([*base, *([node.module] if node.module else [])])
                names = [n if (n := f"{source}.{name}") in modules else source for name in names]
            place = f"{path.relative_to(root).as_posix()}:{node.lineno}"
            found += [(importer, n, place) for n in names if n in modules and n != importer]
    return list(dict.fromkeys(found))


def find_prefix(module: str, prefixes: tuple[str, ...] = tuple(RANK)) -> str:
    """The longest of ``prefixes`` that ``module`` begins with, or ""."""
    return max((p for p in prefixes if f"{module}.".startswith(f"{p}.")), key=len, default="")


def is_for_blender(module: str) -> bool:
    return module == "restage4d" or bool(
        find_prefix(module, ("blender_addon", *EXTENSION_MAY_IMPORT))
    )


def find_upward_imports(root: Path) -> list[str]:
    """Imports that do not go down the layers, and those that Blender cannot run."""
    wrong = []
    for importer, imported, place in find_imports(root):
        above, below = find_prefix(importer), find_prefix(imported)
        assert above, f"{importer} is in no layer: add it to LAYERS."
        if above != below and RANK[below] >= RANK[above]:
            wrong.append(f"{place}: imports {imported}, which is not below it")
        elif importer.startswith("blender_addon") and not is_for_blender(imported):
            wrong.append(f"{place}: imports {imported}, which Blender may not run")
    return wrong


def find_circle(root: Path) -> list[str]:
    """One circle, each module importing the next; empty if there is none."""
    graph: dict[str, list[str]] = {}
    for importer, imported, _ in find_imports(root):
        graph.setdefault(importer, []).append(imported)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [" -> ".join(reversed(error.args[1]))]
    return []


def find_oversized(root: Path) -> list[str]:
    """Files of more than `MAX_LINES` lines, folders of more than `MAX_MODULES` modules."""
    paths = find_modules(root).values()
    lengths = {p: len(p.read_text(encoding="utf-8").splitlines()) for p in paths}
    modules = Counter(p.parent for p in paths if p.name != "__init__.py")
    wrong = [(p, f"{n} lines") for p, n in lengths.items() if n > MAX_LINES]
    wrong += [(p, f"{n} modules") for p, n in modules.items() if n > MAX_MODULES]
    return [f"{p.relative_to(root).as_posix()}: {what}" for p, what in wrong]


@pytest.mark.parametrize("find_faults", [find_upward_imports, find_circle, find_oversized])
def test_product(find_faults):
    assert not (faults := find_faults(ROOT)), "\n".join(["", *faults])


UP = "\nfrom restage4d.io import ply"
ASIDE = "def f():\n    from ..driving import b"
CIRCLE = {"backend/a.py": "def f():\n    from .b import g", "backend/b.py": "from . import a"}
TYPES = {
    "backend/a.py": "if TYPE_CHECKING:\n    import backend.b",
    "backend/b.py": "from . import a",
}


@pytest.mark.parametrize(
    ("files", "find_faults", "faults"),
    [
        ({"restage4d/puppet.py": "", "restage4d/io/ply.py": "import restage4d.puppet"}, None, []),
        (
            {"restage4d/puppet.py": UP, "restage4d/io/ply.py": ""},
            find_upward_imports,
            ["restage4d/puppet.py:2: imports restage4d.io.ply, which is not below it"],
        ),
        (
            {"restage4d/splatting/a.py": ASIDE, "restage4d/driving/b.py": ""},
            find_upward_imports,
            ["restage4d/splatting/a.py:2: imports restage4d.driving.b, which is not below it"],
        ),
        (
            {"blender_addon/a.py": "import restage4d.clips", "restage4d/clips.py": ""},
            find_upward_imports,
            ["blender_addon/a.py:1: imports restage4d.clips, which Blender may not run"],
        ),
        (CIRCLE, find_circle, ["backend.a -> backend.b -> backend.a"]),
        (TYPES, None, []),
        ({"backend/a.py": "x = 1\n" * 401}, find_oversized, ["backend/a.py: 401 lines"]),
        ({f"backend/m{i}.py": "" for i in range(15)}, find_oversized, ["backend: 15 modules"]),
    ],
)
def test_each_fault_is_found_and_no_other(tmp_path, files, find_faults, faults):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).with_name("__init__.py").touch()
        (tmp_path / name).write_text(text)
    for find in (find_upward_imports, find_circle, find_oversized):
        assert find(tmp_path) == (faults if find is find_faults else [])
