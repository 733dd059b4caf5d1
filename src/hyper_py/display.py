"""How objects show themselves: on one screen of a terminal, and as a table in a notebook."""

import html
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


class _Unchanged:
    def __repr__(self) -> str:
        return "unchanged"


def shows_keywords(keywords: type) -> Callable[[F], F]:
    """Return a decorator that shows in the signature of a function which keywords its `**` takes.

    Help and completion read the signature. `keywords` is the TypedDict of them.
    """

    def decorated(function: F) -> F:
        own = inspect.signature(function)
        shown = [one for one in own.parameters.values() if one.kind is not one.VAR_KEYWORD]
        kind, default = inspect.Parameter.KEYWORD_ONLY, _Unchanged()
        shown += [inspect.Parameter(name, kind, default=default) for name in keywords.__annotations__]
        function.__signature__ = own.replace(parameters=shown)  # type: ignore[attr-defined]
        return function

    return decorated


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What an object says of itself.

    Attributes
    ----------
    title : str
    facts : tuple of (str, str)
        Names and values, one a line.
    header : tuple of str
        Of a small table below the facts.
    rows : tuple of tuples of str
        Of that table.
    """

    title: str
    facts: tuple[tuple[str, str], ...] = ()
    header: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()

    def text(self) -> str:
        """Return lines for a terminal.

        Examples
        --------
        >>> print(Summary(title="Beam", facts=(("major", "18 arcsec"), ("pa", "0 deg"))).text())
        Beam
          major  18 arcsec
          pa     0 deg
        """
        width = max((len(name) for name, _ in self.facts), default=0)
        lines = [self.title, *(f"  {name.ljust(width)}  {value}".rstrip() for name, value in self.facts)]
        if self.rows:
            columns = zip_longest(self.header, *self.rows, fillvalue="")
            widths = [max(map(len, column)) for column in columns]
            lines += ["  " + "  ".join(map(str.rjust, row, widths)) for row in (self.header, *self.rows)]
        return "\n".join(lines)

    def html(self) -> str:
        """Return the same as HTML, without styles of its own but for the alignment."""
        left = ' style="text-align:left"'
        parts = [f"<div><strong>{html.escape(self.title)}</strong>"]
        if self.facts:
            rows = (
                f"<tr><th{left}>{html.escape(name)}</th><td{left}>{html.escape(value)}</td></tr>"
                for name, value in self.facts
            )
            parts.append(f"<table>{''.join(rows)}</table>")
        if self.rows:
            head = "".join(f"<th>{html.escape(name)}</th>" for name in self.header)
            body = ("".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in self.rows)
            lines = "".join(f"<tr>{cells}</tr>" for cells in body)
            parts.append(f"<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>")
        return "".join([*parts, "</div>"])


class Summarised:
    """An object whose `repr` is its summary, in a notebook as a table."""

    def __init_subclass__(cls) -> None:
        cls.__repr__ = Summarised.__repr__  # type: ignore[method-assign] # or dataclass makes one

    def _summary(self) -> Summary:
        raise NotImplementedError

    def __repr__(self) -> str:
        return self._summary().text()

    def _repr_html_(self) -> str:
        return self._summary().html()


def listed(items: Iterable[object], *, most: int = 4, counted: bool = True) -> str:
    """Return items joined by commas, of many only the first, with their number.

    Examples
    --------
    >>> listed("abcdef", most=3)
    'a, b, c, ... (6)'
    >>> listed([3, 8, 9], most=2, counted=False)
    '3, 8, ...'
    """
    every = [str(item) for item in items]
    if len(every) <= most:
        return ", ".join(every)
    return ", ".join([*every[:most], f"... ({len(every)})" if counted else "..."])


def named(numbers: Iterable[int]) -> str:
    """Return the first numbers of rows, as warnings name them.

    Examples
    --------
    >>> named(range(8))
    '0, 1, 2, 3, 4, ...'
    """
    return listed(numbers, most=5, counted=False)
