"""Commands whose modules are imported when they are first asked for: one of them a process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup
from typer.main import get_group

if TYPE_CHECKING:
    from typer._click import Command


class LazyCommands(MutableMapping[str, "Command"]):
    """Commands by name, each made of `module:attribute` the first time that it is looked at."""

    def __init__(self, where: Mapping[str, str]) -> None:
        self._where = dict(where)
        self._made: dict[str, Command] = {}

    def __getitem__(self, name: str) -> Command:
        if name not in self._made:
            self._made[name] = _made(name, self._where[name])
        return self._made[name]

    def __setitem__(self, name: str, command: Command) -> None:
        self._made[name] = command
        self._where.setdefault(name, "")

    def __delitem__(self, name: str) -> None:
        del self._where[name]
        self._made.pop(name, None)

    def __iter__(self) -> Iterator[str]:
        return iter(self._where)

    def __len__(self) -> int:
        return len(self._where)


def lazy_group(where: Mapping[str, str]) -> type[TyperGroup]:
    """Give the class of a group with the commands that `where` tells the places of."""

    class LazyGroup(TyperGroup):
        def __init__(self, *, commands: Mapping[str, Command], **attributes: Any) -> None:
            every = LazyCommands(where)
            every.update(commands)
            super().__init__(commands=every, **attributes)  # type: ignore[arg-type]

    return LazyGroup


def _made(name: str, where: str) -> Command:
    module, attribute = where.split(":")
    found = getattr(import_module(module), attribute)
    around = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)
    if isinstance(found, typer.Typer):
        around.add_typer(found, name=name)
    else:
        around.command(name)(found)
    return get_group(around).commands[name]
