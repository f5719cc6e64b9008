"""The rooms of the house, and what may pass between them, proved from the source of every module."""

import ast
import functools
import re
from pathlib import Path

import pytest

import qviz

PACKAGE = Path(qviz.__file__).resolve().parent

# Room -> the rooms it may import. A room of the course may use every room of the engine, never the other way round.
GROUND = {"errors", "_version", "_types", "_files", "_arrays", "_arguments", "_machine"}
TYPES = GROUND | {"formats", "grids", "metrics", "architectures"}
FILES = TYPES | {"gguf", "calibration", "recipes"}
WORK = FILES | {"models", "methods", "checkpoints", "transformer"}
ENGINE = WORK | {"whole", "measure"}
ROOMS = {
    "_version": set(),
    "_types": set(),
    "errors": set(),
    "_files": {"errors"},
    "_arrays": {"errors"},
    "_arguments": {"errors", "_types", "_arrays"},
    "_machine": {"errors"},
    "formats": GROUND,
    "grids": GROUND,
    "metrics": GROUND,
    "architectures": {"errors"},
    "gguf": TYPES,
    "calibration": TYPES | {"gguf"},
    "recipes": TYPES,
    "models": FILES | {"checkpoints"},  # what was fetched may have to be converted
    "methods": FILES,
    "checkpoints": FILES,
    "transformer": FILES - {"calibration"},  # it takes a callback instead
    "whole": WORK,
    "measure": WORK | {"whole"},
    # a figure takes arrays and frozen dataclasses
    "figures": GROUND | {"formats.base", "grids", "metrics", "methods.result"},
    "widgets": ENGINE | {"figures"},
    "course": ENGINE | {"figures", "widgets"},
    "__main__": {"cli"},
    "cli": ENGINE | {"course"},
}
LLVM = ("_machine.native", "_machine.simd")
NOT_CODE = {"__init__.py", "__init__.pyi", "__pycache__", "_bundled", "py.typed"}

MODULES = sorted(PACKAGE.rglob("*.py"))


@functools.cache
def parsed(path):
    return ast.parse(path.read_text(encoding="utf-8"))


@functools.cache
def nodes_of(path):
    """Every node of a module; many tests look at them, so they are listed once."""
    return list(ast.walk(parsed(path)))


@pytest.fixture(scope="module", autouse=True)
def forget():
    yield
    nodes_of.cache_clear()
    parsed.cache_clear()


def name_of(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def imports(path):
    """Every name under qviz that a module imports, wherever in it; what only a type checker sees does not count."""
    for_types = {
        id(inner)
        for node in nodes_of(path)
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        for statement in node.body
        for inner in ast.walk(statement)
    }
    here = ["qviz", *path.relative_to(PACKAGE).parent.parts]
    for node in nodes_of(path):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else []
            base += node.module.split(".") if node.module else []
            found = [".".join([*base, alias.name]) for alias in node.names]
        else:
            continue
        yield from (name.removeprefix("qviz.") for name in found if name.split(".")[0] == "qviz")


def test_every_room_is_known():
    entries = {path.name for path in PACKAGE.iterdir()} - NOT_CODE
    rooms = {name.removesuffix(".py") for name in entries}
    assert rooms <= set(ROOMS), f"not in the design: {rooms - set(ROOMS)}; give it a place in ROOMS and in the docs"
    assert {"errors", "_machine", "formats", "grids", "metrics", "gguf", "models", "figures", "widgets", "cli"} <= rooms


def climbs(path):
    """What a module imports and may not."""
    name = name_of(path)
    if name == "":  # the public face loads everything, on first use
        return
    room = name.split(".")[0]
    for target in imports(path):
        if target.split(".")[0] in (room, "qviz"):
            continue
        if not any(target == door or target.startswith(f"{door}.") for door in ROOMS[room]):
            yield f"qviz.{name} imports qviz.{target}; {room} may only import {sorted(ROOMS[room])}"


def test_imports_point_down():
    assert [said for path in MODULES for said in climbs(path)] == []


def test_rooms_have_no_way_round():
    def reachable(room, seen=()):
        assert room not in seen, f"a circle of rooms: {' -> '.join([*seen, room])}"
        for door in ROOMS[room]:
            reachable(door.split(".")[0], (*seen, room))

    for room in ROOMS:
        reachable(room)


def test_numba_flags_and_vectors_live_in_one_place_each():
    jit = re.compile(r"\b(njit|jit|vectorize|guvectorize|cfunc|stencil)\b")
    vectors = re.compile(r"\b(llvmlite|intrinsic)\b")
    for path in MODULES:
        names = {n.id for n in nodes_of(path) if isinstance(n, ast.Name)}
        names |= {n.attr for n in nodes_of(path) if isinstance(n, ast.Attribute)}
        for node in nodes_of(path):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names |= {alias.name for alias in node.names} | {getattr(node, "module", None) or ""}
        said = " ".join(names)
        if name_of(path) != "_machine.kernels":
            assert not jit.search(said), f"{path} compiles by itself; use qviz._machine.kernels.kernel"
        if not name_of(path).startswith(LLVM):
            assert not vectors.search(said), f"{path} writes LLVM; that belongs into one of {LLVM}"


def test_numba_is_never_imported_at_the_top_of_a_module():
    for path in MODULES:
        if name_of(path).startswith(LLVM):  # themselves imported late, by those who need them
            continue
        for node in parsed(path).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                modules = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
                assert not any(m.split(".")[0] in ("numba", "llvmlite") for m in modules), path
                if name_of(path).split(".")[0] not in ("figures", "widgets", "course"):
                    assert not any(m.split(".")[0] in ("plotly", "ipywidgets", "anywidget") for m in modules), path


def test_a_class_has_a_name_of_its_own():
    homes = {}
    for path in MODULES:
        for node in nodes_of(path):
            if isinstance(node, ast.ClassDef):
                homes.setdefault(node.name, []).append(name_of(path))
    twice = {name: where for name, where in homes.items() if len(where) > 1}
    assert not twice, f"one name, two things: {twice}; say in each name what it is of"


def documented(node):
    """Public functions and classes, and their public methods."""
    for child in node.body:
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and child.name[0] != "_":
            yield child
            if isinstance(child, ast.ClassDef):
                yield from documented(child)


def test_everything_public_is_documented():
    assert [path for path in MODULES if not ast.get_docstring(parsed(path))] == [], "do not say what they are for"
    bare = [
        f"{path}: {node.name}"
        for path in MODULES
        for node in documented(parsed(path))
        if not any(ast.unparse(d).endswith(("overload", ".setter")) for d in node.decorator_list)
        and not ast.get_docstring(node)
    ]
    assert bare == [], "have no docstring"


def lines_of(node):
    """Lines of a function without its docstring, which may take the room that it needs."""
    length = node.end_lineno - node.lineno + 1
    return length - (node.body[0].end_lineno - node.body[0].lineno + 1 if ast.get_docstring(node) else 0)


def compiled(node):
    """Whether it is a kernel: numba has its own reasons for length."""
    names = {n.id for d in node.decorator_list for n in ast.walk(d) if isinstance(n, ast.Name)}
    return bool(names & {"kernel", "loose_kernel", "intrinsic"})


def test_files_and_functions_are_short():
    long = []
    for path in MODULES:
        text = path.read_text(encoding="utf-8")
        functions = [
            node
            for node in nodes_of(path)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not compiled(node)
        ]
        long += [name_of(path)] if len(text.splitlines()) > 600 else []
        long += [f"{name_of(path)}.{node.name}" for node in functions if lines_of(node) > 60]
    assert not long, f"files over 600 lines, or functions over 60: {long}; take an idea out of each"


def test_docstrings_begin_with_what_a_thing_does_or_is():
    for path in MODULES:
        for node in nodes_of(path):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                text = ast.get_docstring(node) or ""
                riddle = re.search(r"^ +Of .*", text, re.MULTILINE)  # whoever reads this first asks: what of it?
                assert not riddle, f"{path}: {riddle[0].strip()!r}; begin with a verb, or name it"


def test_a_format_is_one_file():
    for fmt in qviz.formats.FORMATS.values():
        if fmt.can_encode or fmt.can_decode:
            assert (PACKAGE / "formats" / f"{fmt.name.lower()}.py").is_file(), f"{fmt} has no file of its own"


def test_lessons_import_only_the_public_face():
    notebooks = PACKAGE.parent / "notebooks"
    import nbformat

    for path in notebooks.rglob("*.ipynb"):
        for cell in nbformat.read(path, 4).cells:
            if cell.cell_type == "code":
                for name in re.findall(r"^\s*(?:from|import)\s+(qviz[\w.]*)", cell.source, re.MULTILINE):
                    inner = name.split(".")[1:]
                    assert not any(part.startswith("_") for part in inner), f"{path}: {name} is private"


def test_files_of_tests_have_names_of_their_own():
    """pytest imports them by name; a second one of the same name is not collected when all run together."""
    names = [path.name for path in Path(__file__).parent.rglob("test_*.py")]
    assert len(names) == len(set(names))


COMPILED = {"kernel", "loose_kernel", "intrinsic"}


def untyped(nodes):
    """Functions of a module that neither numba compiles nor annotations describe, by their lines."""
    for node in nodes:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        marks = {n.id for d in node.decorator_list for n in ast.walk(d) if isinstance(n, ast.Name)}
        if marks & COMPILED:
            continue
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
        bare = [a.arg for a in arguments if a is not None and a.annotation is None and a.arg not in ("self", "cls")]
        if bare or (node.returns is None and not (node.name == "__init__" and arguments)):
            yield f"{node.name} (line {node.lineno})"


def inside_kernels(nodes):
    return {
        inner
        for node in nodes
        if isinstance(node, ast.FunctionDef)
        and {n.id for d in node.decorator_list for n in ast.walk(d) if isinstance(n, ast.Name)} & COMPILED
        for inner in ast.walk(node)
        if isinstance(inner, ast.FunctionDef) and inner is not node
    }


# put on show as they stand, for people to read
SHOWN = PACKAGE / "course" / "museum" / "exhibits"


def test_everything_but_kernels_is_annotated():
    bare = {}
    for path in MODULES:
        if SHOWN not in path.parents:
            within = {f"{node.name} (line {node.lineno})" for node in inside_kernels(nodes_of(path))}
            bare |= {name_of(path): left} if (left := set(untyped(nodes_of(path))) - within) else {}
            assert "no-untyped-def" not in path.read_text(encoding="utf-8"), path
    assert bare == {}, "annotate these, or compile them"
