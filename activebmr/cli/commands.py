"""Commands that refuse what they would otherwise leave out: several values where one counts."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperCommand

from activebmr.cli.problems import Problem

__all__ = ["Commands"]


class _OneValueEach(TyperCommand):
    """A command that refuses an option given twice, unless it takes several values: the last one would win silently."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        order = self.make_parser(ctx).parse_args(args=list(args))[2]
        for param in order:
            once = not (getattr(param, "multiple", False) or getattr(param, "is_flag", False) or param.nargs == -1)
            if once and sum(other is param for other in order) > 1:
                raise Problem(f"{max(param.opts, key=len)} must be given once; it is there {order.count(param)} times")
        return super().parse_args(ctx, args)


class Commands(typer.Typer):
    """What `typer.Typer` is, of such commands."""

    def command(self, name: str | None = None, **settings: Any) -> Any:
        return super().command(name, **({"cls": _OneValueEach} | settings))
