"""Figures of the source: sizes, signatures, parallel sequences, private words, duplicates, unused names.

    python benchmarks/structure.py [--src DIR] [--title TEXT]

DIR holds the package (`src`, or `src` of another checkout). Prints tables in Markdown. Nothing is imported.

Lines of a module are all its lines. Lines of code of a function are those from `def` to its end that are not
blank, a comment or a docstring. Parameters of a signature are all but `self`, `cls`, `*args` and `**kwargs`.
A parallel sequence is a parameter annotated as Sequence, list, Iterable, Collection, Iterator or
tuple[X, ...], or as one of these or None. Private words are looked for in identifiers and in names of
modules, not in prose, and by parts: `window` is found in `fit_windows` and `WindowCache`. Words that are
usual elsewhere (`sky`, `unit`, `level`) are looked for in the packages of the measurement only. Duplicates
are pairs of longest runs of at least 8 equal lines of code, imports left out. An unused definition is a
function, class or constant at the top of a module that no other place of the source names; `__init__.py` of
the package is such a place. Functions with a decorator are left out.
"""

import argparse
import ast
import io
import re
import tokenize
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path

MODULE_LINES, FUNCTION_LINES, PARAMETERS, SEQUENCES, RUN = 450, 60, 8, 2, 8
SEQUENCE_TYPES = ("Sequence", "list", "List", "Iterable", "Collection", "Iterator")
NO_CODE = (
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER,
    tokenize.ENCODING,
)  # fmt: skip
Function = ast.FunctionDef | ast.AsyncFunctionDef

MEASUREMENT = (
    "numerics", "steps", "pipeline", "noise", "detection", "psf", "fitting", "background", "photometry",
    "deblending",
)  # fmt: skip
"""Packages in which words such as `sky`, `window` and `unit` are not used in their usual sense."""


@dataclass(frozen=True)
class Word:
    """A word that is not to be used, what is said for it, and how it is found in an identifier.

    `whole`: the identifier as it is written; otherwise one of its parts, in the singular or plural.
    """

    word: str
    say: str
    whole: bool = False
    everywhere: bool = True


WORDS = (
    Word("UnitFit", "GroupFit", whole=True),
    Word("fit_units", "fit_groups", whole=True),
    Word("unit", "group", everywhere=False),
    Word("Task", "FitProblem", whole=True, everywhere=False),
    Word("task", "group, FitProblem", everywhere=False),
    Word("Round", "FitSetup", whole=True),
    Word("rounds", "FitSetup; iterations", whole=True, everywhere=False),
    Word("window", "fit pixels, cutout", everywhere=False),
    Word("Seen", "fit pixels", whole=True),
    Word("seen", "fit pixels", whole=True, everywhere=False),
    Word("metric", "whitener, whitening"),
    Word("sweep", "iterative fit"),
    Word("revising", "model selection"),
    Word("revise", "model selection"),
    Word("confirmed", "model selection", everywhere=False),
    Word("told", "identifiable"),
    Word("misfit", "PSF residual, residual pattern"),
    Word("beyond", "PSF residual"),
    Word("grain", "multiplicative noise"),
    Word("Sky", "background model", whole=True),
    Word("sky", "background model", whole=True, everywhere=False),
    Word("skies", "background model", whole=True),
    Word("ground", "background model"),
    Word("apart", "separate", whole=True, everywhere=False),
    Word("along", "joint", whole=True, everywhere=False),
    Word("level", "relative rms", whole=True, everywhere=False),
    Word("levels", "relative rms", whole=True, everywhere=False),
    Word("even", "flattened", whole=True, everywhere=False),
    Word("left", "residual", whole=True, everywhere=False),
    Word("rough", "initial"),
    Word("assumed", "prior variance", everywhere=False),
    Word("evidence", "simulation, validation"),
    Word("coarse", "mesh"),
    Word("neighbours", "pairs", whole=True, everywhere=False),
    Word("block", "tiles", everywhere=False),
)
ORDINARY = (
    (r"(background/(evaluate|separate|wiener)|photometry/(aperture|background_errors))\.py: left",
     "the left edge of a rectangle, beside its top or bottom"),
    (r"psf/residual\.py: left",
     "the left edge of a rectangle, beside its top or bottom"),
    (r"(noise/level|pipeline/(cubes|extraction|measurement|why)|detection/given)\.py: level",
     "the noise level of a map in Jy/pixel, `noise.level`"),
    (r"(pipeline/(extraction|why)|detection/given)\.py: sky", "positions on the sky"),
    (r".*: sliding_window_view", "a function of NumPy"),
    (r"(noise|pipeline)/\w+\.py: (assumed|(NOISE|SHAPE)_ASSUMED)",
     "assumed, not measured: the covariance of a small map, and two bits of the column FLAGS"),
)  # fmt: skip
"""Places (modules and identifiers) where one of the words is ordinary English, with what it means there."""
UNITS = re.compile(
    r"(?i:bunit)|MapUnit|Unit|_?(?:in_units_of|units_in)_\w+|unit_(?:roundoff|vectors?)"
    r"|(?:\w*_)?(?:map|working|residual|rms|flux|header|parse|convert|per|beam|image|data|physical|error)_units?"
)
"""Identifiers with `unit` that mean Jy/beam and the like."""


@dataclass(frozen=True)
class Module:
    """A file of the source, by its name relative to the package."""

    name: str
    text: str

    @property
    def package(self) -> str:
        """The first folder, or the module itself if it is in none."""
        return Path(self.name).parts[0].removesuffix(".py")

    @property
    def lines(self) -> int:
        return len(self.text.splitlines())

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @cached_property
    def tokens(self) -> list[tokenize.TokenInfo]:
        return list(tokenize.generate_tokens(io.StringIO(self.text).readline))

    @cached_property
    def docstrings(self) -> set[int]:
        """The lines of docstrings, and of other texts that stand for themselves."""
        texts = [
            node
            for node in ast.walk(self.tree)
            if isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ]
        return {line for node in texts for line in range(node.lineno, (node.end_lineno or 0) + 1)}

    @cached_property
    def code(self) -> set[int]:
        """The lines that hold code."""
        spans = [(t.start[0], t.end[0]) for t in self.tokens if t.type not in NO_CODE]
        return {line for first, last in spans for line in range(first, last + 1)} - self.docstrings

    @cached_property
    def functions(self) -> list[tuple[str, Function, bool]]:
        """Qualified name, node, and whether it is a method."""
        return list(_functions(self.tree, ""))


def _functions(node: ast.AST, prefix: str) -> Iterator[tuple[str, Function, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function):
            yield prefix + child.name, child, isinstance(node, ast.ClassDef)
        inner = isinstance(child, Function | ast.ClassDef)
        yield from _functions(child, f"{prefix}{child.name}." if inner else prefix)


def read_modules(package: Path) -> list[Module]:
    """Return the modules of a package in the order of their names."""
    paths = sorted(package.rglob("*.py"))
    return [Module(path.relative_to(package).as_posix(), path.read_text()) for path in paths]


# --------------------------------------------------------------------------------------------------------
# Sizes
# --------------------------------------------------------------------------------------------------------


def long_functions(modules: list[Module]) -> list[tuple[str, int]]:
    """Return functions with more lines of code than are asked for."""
    found = []
    for module in modules:
        for name, node, _ in module.functions:
            span = range(node.lineno, (node.end_lineno or 0) + 1)
            found.append((f"{module.name}: {name}", len(module.code.intersection(span))))
    return sorted((one for one in found if one[1] > FUNCTION_LINES), key=lambda one: -one[1])


def parameters(node: Function, *, method: bool) -> list[ast.arg]:
    """Return the parameters of a function without self and cls."""
    arguments = node.args
    named = [*arguments.posonlyargs, *arguments.args]
    static = any(isinstance(d, ast.Name) and d.id == "staticmethod" for d in node.decorator_list)
    return [*(named[1:] if method and not static else named), *arguments.kwonlyargs]


def long_signatures(modules: list[Module]) -> list[tuple[str, int]]:
    """Return functions with more parameters than are asked for, in the order of the packages."""
    found = [
        (f"{module.name}: {name}", len(parameters(node, method=method)))
        for module in modules
        for name, node, method in module.functions
    ]
    return [one for one in found if one[1] > PARAMETERS]


def is_sequence(annotation: ast.expr | None) -> bool:
    """Return whether an annotation is a sequence, or one or None."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        annotation = ast.parse(annotation.value, mode="eval").body
    if isinstance(annotation, ast.BinOp):
        return is_sequence(annotation.left) or is_sequence(annotation.right)
    if not isinstance(annotation, ast.Subscript):
        return False
    kind = ast.unparse(annotation.value).rpartition(".")[2]
    inner = annotation.slice
    if kind == "Optional":
        return is_sequence(inner)
    if kind == "tuple" and isinstance(inner, ast.Tuple):
        return isinstance(inner.elts[-1], ast.Constant) and inner.elts[-1].value is ...
    return kind in SEQUENCE_TYPES


def parallel_sequences(modules: list[Module]) -> list[tuple[str, str]]:
    """Return functions that take more sequences than are asked for, with the names of these."""
    found = []
    for module in modules:
        for name, node, method in module.functions:
            sequences = [a.arg for a in parameters(node, method=method) if is_sequence(a.annotation)]
            if len(sequences) > SEQUENCES:
                found.append((f"{module.name}: {name}", ", ".join(sequences)))
    return found


# --------------------------------------------------------------------------------------------------------
# Words
# --------------------------------------------------------------------------------------------------------


def identifiers(module: Module) -> Counter[str]:
    """Return how often a module uses each identifier; its own name, and its package's, are among them.

    Attributes `unit`, and the module `units` in imports, are the unit of a map.
    """
    names = [part.removesuffix(".py") for part in Path(module.name).parts]
    before = ""
    for token in module.tokens:
        if token.type == tokenize.NAME:
            of_map = before == "." or token.line.startswith(("from ", "import "))
            if not (token.string in ("unit", "units") and of_map):
                names.append(token.string)
        before = token.string
    return Counter(names)


def parts_of(identifier: str) -> set[str]:
    """Return the parts of an identifier in lower case: `WindowCache` has window and cache."""
    return {part.lower() for part in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", identifier)}


def has_word(identifier: str, word: Word) -> bool:
    """Return whether an identifier has a private word in it."""
    if word.whole:
        return identifier == word.word
    if word.word == "unit" and UNITS.fullmatch(identifier):
        return False
    return bool(parts_of(identifier) & {word.word, f"{word.word}s"})


def is_ordinary(place: str) -> bool:
    """Return whether a word is ordinary English in an identifier of a module."""
    return any(re.fullmatch(pattern, place) for pattern, _ in ORDINARY)


def private_words(modules: list[Module]) -> dict[Word, Counter[str]]:
    """Return the identifiers with each private word in them, by module and identifier."""
    found: dict[Word, Counter[str]] = {word: Counter() for word in WORDS}
    for module in modules:
        names = identifiers(module)
        for word in WORDS:
            if word.everywhere or module.package in MEASUREMENT:
                hits = {f"{module.name}: {name}": n for name, n in names.items() if has_word(name, word)}
                found[word].update({place: n for place, n in hits.items() if not is_ordinary(place)})
    return found


# --------------------------------------------------------------------------------------------------------
# Duplicates and unused definitions
# --------------------------------------------------------------------------------------------------------


def duplicates(modules: list[Module]) -> list[tuple[str, str, int]]:
    """Return pairs of places with equal runs of lines of code, and how many lines these have."""
    sources = {module.name: _normalised(module) for module in modules}
    places: dict[tuple[str, ...], list[tuple[str, int]]] = defaultdict(list)
    for name, lines in sources.items():
        for start in range(len(lines) - RUN + 1):
            places[tuple(text for _, text in lines[start : start + RUN])].append((name, start))
    found = []
    for same in places.values():
        for (one, i), (other, j) in combinations(same, 2):
            a, b = sources[one], sources[other]
            if i and j and a[i - 1][1] == b[j - 1][1]:
                continue  # inside a longer run
            limit = min(len(a) - i, len(b) - j, j - i if one == other else len(a))
            length = next((n for n in range(limit) if a[i + n][1] != b[j + n][1]), limit)
            if length >= RUN:
                found.append((f"{one}:{a[i][0]}", f"{other}:{b[j][0]}", length))
    return sorted(found)


def _normalised(module: Module) -> list[tuple[int, str]]:
    """Return the lines of code with their numbers, white space, comments and imports taken away."""
    nodes = [node for node in ast.walk(module.tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    imports = {line for node in nodes for line in range(node.lineno, (node.end_lineno or 0) + 1)}
    comments = {t.start[0]: t.start[1] for t in module.tokens if t.type == tokenize.COMMENT}
    text = module.text.splitlines()
    return [
        (line, "".join(text[line - 1][: comments.get(line)].split()))
        for line in sorted(module.code - imports)
    ]


def unused_definitions(modules: list[Module]) -> list[str]:
    """Return what is defined at the top of a module and named nowhere else."""
    named: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for module in modules:
        for token in module.tokens:
            if token.type == tokenize.NAME:
                named[token.string].append((module.name, token.start[0]))
            elif token.type == tokenize.STRING and token.start[0] not in module.docstrings:
                for name in re.findall(r"[A-Za-z_]\w*", token.string):
                    named[name].append((module.name, token.start[0]))
    found = []
    for module in modules:
        for name, first, last in _definitions(module):
            others = [
                (where, line)
                for where, line in named[name]
                if where != module.name or not first <= line <= last
            ]
            if not others:
                found.append(f"{module.name}: {name}")
    return found


def _definitions(module: Module) -> Iterator[tuple[str, int, int]]:
    """Yield the name and the lines of each definition at the top of a module."""
    for node in module.tree.body:
        targets: list[ast.expr] = []
        if isinstance(node, Function | ast.ClassDef) and not node.decorator_list:
            if node.name.startswith("__"):
                continue  # such as __getattr__
            yield node.name, node.lineno, node.end_lineno or 0
        elif isinstance(node, ast.ClassDef):
            decorators = {ast.unparse(d).partition("(")[0] for d in node.decorator_list}
            if decorators == {"dataclass"}:
                yield node.name, node.lineno, node.end_lineno or 0
        elif isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AnnAssign):
            targets = [node.target]
        for target in targets:
            if isinstance(target, ast.Name) and not target.id.startswith("__"):
                yield target.id, node.lineno, node.end_lineno or 0


# --------------------------------------------------------------------------------------------------------
# The report
# --------------------------------------------------------------------------------------------------------


def table(head: tuple[str, ...], rows: list[tuple[object, ...]]) -> str:
    """Return a table in Markdown."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def listed(title: str, head: tuple[str, ...], rows: list[tuple[object, ...]]) -> list[str]:
    """Return a heading with a table below it, or nothing if there are no rows."""
    return [f"\n## {title}\n", table(head, rows)] if rows else []


def report(modules: list[Module], *, title: str) -> str:
    """Return all figures in Markdown."""
    packages: dict[str, list[Module]] = defaultdict(list)
    for module in modules:
        packages[module.package if "/" in module.name else "(no package)"].append(module)
    pipeline = packages.get("pipeline", [])
    large = sorted(((m.name, m.lines) for m in modules if m.lines > MODULE_LINES), key=lambda one: -one[1])
    functions, signatures = long_functions(modules), long_signatures(modules)
    sequences, same, unused = parallel_sequences(modules), duplicates(modules), unused_definitions(modules)
    words = {word: names for word, names in private_words(modules).items() if names}
    uses = {(name, n) for names in words.values() for name, n in names.items()}
    named = [m for m in pipeline if not m.name.endswith("__init__.py")]
    figures = [
        ("modules of `pipeline`, without `__init__`", len(named), "at most 8"),
        ("lines of `pipeline`", sum(m.lines for m in pipeline), "at most 2000"),
        (f"modules above {MODULE_LINES} lines", len(large), "none"),
        (f"functions above {FUNCTION_LINES} lines of code", len(functions), "none"),
        (f"signatures above {PARAMETERS} parameters", len(signatures), "none from numerics to deblending"),
        (f"functions that take more than {SEQUENCES} parallel sequences", len(sequences), "none"),
        ("private words: identifiers (uses)", f"{len(uses)} ({sum(n for _, n in uses)})", "none"),
        (f"pairs of equal runs of at least {RUN} lines", len(same), ""),
        ("unused definitions", len(unused), "none"),
    ]
    sizes = [(name, len(found), sum(m.lines for m in found), max(m.lines for m in found))
             for name, found in sorted(packages.items())]  # fmt: skip
    sizes.append(
        ("all", len(modules), sum(m.lines for m in modules), max((m.lines for m in modules), default=0))
    )
    by_package = Counter(
        name.partition(":")[0].partition("/")[0].removesuffix(".py") for name, _ in signatures
    )
    parts = [
        f"# {title}\n",
        "`python benchmarks/structure.py`; what is counted is said there.\n",
    ]
    parts.append(table(("figure", "value", "aim"), figures))
    parts += listed("Packages", ("package", "modules", "lines", "largest module"), sizes)
    parts += listed("Large modules", ("module", "lines"), large)
    parts += listed("Long functions", ("function", "lines of code"), functions)
    parts += listed("Long signatures by package", ("package", "functions"), sorted(by_package.items()))
    parts += listed("Long signatures", ("function", "parameters"), signatures)
    parts += listed("Parallel sequences", ("function", "sequences"), sequences)
    parts += listed("Private words", ("word", "say", "identifiers", "uses", "where most"), [
        (word.word, word.say, len(names), sum(names.values()),
         ", ".join(f"{name} ({n})" for name, n in names.most_common(4)))
        for word, names in words.items()
    ])  # fmt: skip
    parts += listed("Equal runs of lines", ("place", "place", "lines"), same)
    parts += listed("Unused definitions", ("definition",), [(name,) for name in unused])
    return "\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    default = Path(__file__).parents[1] / "src"
    parser.add_argument("--src", type=Path, default=default, help="folder of the package")
    parser.add_argument("--title", default="Structure of the source")
    arguments = parser.parse_args()
    package = arguments.src / "hyper_py"
    modules = read_modules(package)
    if not modules:
        parser.error(f"{package}: no modules")
    print(report(modules, title=arguments.title), end="")


if __name__ == "__main__":
    main()
