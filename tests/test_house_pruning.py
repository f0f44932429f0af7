"""The pruning wing of the house: who may import whom, read from the sources (late imports and those for types count)."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import activebmr

ROOT = Path(activebmr.__file__).parent
WING = "activebmr.pruning"
LAYERS = ("data", "networks", "units", "structures", "weights", "experiments")
"""From the ground up: a package imports from itself and from those before it."""
OUTSIDE = ("arrays", "checks", "files", "fingerprints", "folders", "workers", "dirichlet", "gaussian", "reduction")
"""What the wing may use of the rest; its figures use ``plots`` as well."""


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(path): path for path in sorted((ROOT / "pruning").rglob("*.py"))}
ROOMS = [name for name in FILES if name.count(".") == 3]


def imports(path: Path) -> set[str]:
    """All modules that a file imports, wherever it does."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{path}: relative import in line {node.lineno}"
            place = ROOT.parent / node.module.replace(".", "/")
            inside = {a.name for a in node.names if (place / f"{a.name}.py").is_file() or (place / a.name).is_dir()}
            found |= {f"{node.module}.{name}" for name in inside}
            found |= {node.module} if len(inside) < len(node.names) else set()
    return found


def test_the_wing_has_these_packages_and_no_more_than_16_modules_on_a_floor():
    folders = {path.parent for path in FILES.values()}
    assert {f"{WING}.{layer}" for layer in LAYERS} | {WING, *ROOMS} == set(FILES)
    for folder in folders:
        assert (folder / "__init__.py").is_file(), folder
        assert len(list(folder.glob("*.py"))) <= 16, folder
        doc = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8")))
        assert doc and (folder.name == "pruning" or "\n" not in doc), folder


@pytest.mark.parametrize("name", ROOMS, ids=lambda name: name.removeprefix(f"{WING}."))
def test_imports_go_downwards_and_only_where_they_may(name):
    layer = name.split(".")[2]
    below = {f"{WING}.{other}" for other in LAYERS[: LAYERS.index(layer) + 1]}
    allowed = below | {f"activebmr.{other}" for other in OUTSIDE}
    if layer == "experiments" and name.endswith("figures"):
        allowed.add("activebmr.plots")
    for module in imports(FILES[name]):
        if module.split(".")[0] == "activebmr":
            assert any(module == other or module.startswith(f"{other}.") for other in allowed), f"{name} imports {module}"


def test_the_wing_has_no_circles():
    graph = {name: imports(path) & set(FILES) for name, path in FILES.items()}
    assert sum(map(len, graph.values())) > 50
    TopologicalSorter(graph).prepare()  # raises CycleError


def test_nobody_but_the_command_imports_the_wing():
    for path in sorted(ROOT.rglob("*.py")):
        if (name := name_of(path)).startswith(WING) or name.startswith("activebmr.cli."):
            continue
        assert not any(module == WING or module.startswith(f"{WING}.") for module in imports(path)), name


def test_the_mathematics_of_gaussians_is_without_torch():
    todo, seen = ["gaussian"], set()
    while todo:
        seen.add(name := todo.pop())
        place = ROOT / name.replace(".", "/")
        for module in imports(place / "__init__.py" if place.is_dir() else place.with_suffix(".py")):
            assert module.split(".")[0] != "torch", name
            if module.startswith("activebmr.") and (inner := module.removeprefix("activebmr.")) not in seen:
                todo.append(inner)
    assert "gaussian" in seen
