"""Fingerprints: digests of values with all that is in them, private state, code and what code reads, or a clear refusal."""

from __future__ import annotations

import builtins
import dis
import hashlib
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MappingProxyType,
    MemberDescriptorType,
    MethodType,
    MethodWrapperType,
    ModuleType,
    WrapperDescriptorType,
)
from typing import Any

import numpy as np

__all__ = ["UnknownStateError", "fingerprint"]

_PLAIN = (type(None), bool, int, float, complex, str, bytes, range, type(Ellipsis), type(NotImplemented))
_OF_C = (BuiltinFunctionType, MethodWrapperType, WrapperDescriptorType, MemberDescriptorType, GetSetDescriptorType)

# of a class, what says nothing about what it does, or what is there twice
_ASIDE = frozenset(
    ("__dict__", "__weakref__", "__doc__", "__module__", "__qualname__", "__annotations__", "__annotate__", "_abc_impl")
    + ("__annotate_func__", "__annotations_cache__", "__firstlineno__", "__static_attributes__", "__parameters__")
    + ("__orig_bases__", "__abstractmethods__", "__dataclass_fields__", "__dataclass_params__", "__match_args__")
    + ("__slotnames__",)
)

_HEAP = 1 << 9  # flag of classes that were made by Python code, or might have been

_INSTALLED = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})


class UnknownStateError(TypeError):
    """Of a value that nothing tells from another one of its kind."""


def fingerprint(*values: Any, shorter: Mapping[type, Callable[[Any], Any]] | None = None) -> str:
    """A sha256, in 64 digits, over values with everything that makes what they do.

    Arrays and tensors count with types and shapes; functions with their code, defaults, closures, and the global names that
    they read; classes with their methods; objects with their whole state, as `pickle` would keep it, private or not. Of
    what is installed (Python's own, and packages), the names and versions count. Values that were worked out on the way
    (`functools.cached_property`) do not count.

    Args:
        values: anything.
        shorter: for types, and what is derived from them, a function that returns what counts of a value.

    Raises:
        UnknownStateError: if something has state that cannot be read (an open file, a generator, a lock); it says where.

    Example:
        >>> fingerprint([1, 2], np.zeros(2)) == fingerprint([1, 2], np.zeros(2))
        True
        >>> fingerprint(lambda x: x + 1) == fingerprint(lambda x: x + 2)
        False
    """
    walk = _Walk(shorter or {})
    found = hashlib.sha256()
    for value in values:
        found.update(walk.of(value, ()))
    return found.hexdigest()


class _Walk:
    """What has been met on the way through some values."""

    def __init__(self, shorter: Mapping[type, Callable[[Any], Any]]) -> None:
        self.shorter = dict(shorter)
        self.done: dict[int, bytes] = {}  # by id, so that what is shared is walked through once
        self.alive: list[Any] = []  # ids are free again once a value is gone
        self.open: dict[int, int] = {}  # what holds the present value, with how far down it is: things may hold each other

    def of(self, value: Any, where: tuple[str, ...]) -> bytes:
        """The digest of a value; ``where`` is the way to it, for messages."""
        if isinstance(value, _PLAIN) and type(value) in _PLAIN:
            return _digest("plain", type(value).__name__, repr(value))
        key = id(value)
        if key in self.done:
            return self.done[key]
        if key in self.open:
            return _digest("above", str(len(self.open) - self.open[key]))
        self.open[key] = len(self.open)
        self.alive.append(value)
        try:
            found = self._of(value, where)
        finally:
            del self.open[key]
        self.done[key] = found
        return found

    def _of(self, value: Any, where: tuple[str, ...]) -> bytes:
        for kind, part in self.shorter.items():
            if isinstance(value, kind):
                return _digest("shorter", kind.__qualname__, self.of(part(value), where))
        if isinstance(value, np.ndarray):
            return self._array(value, where)
        if type(value) in (list, tuple):
            return _digest(type(value).__name__, *(self.of(x, (*where, f"[{i}]")) for i, x in enumerate(value)))
        if type(value) in (dict, MappingProxyType):
            return self._mapping(value, where)
        if type(value) in (set, frozenset):
            return _digest("set", *sorted(self.of(x, where) for x in value))
        if isinstance(value, FunctionType):
            return self._function(value, where)
        if isinstance(value, MethodType):
            return _digest("method", self.of(value.__func__, where), self.of(value.__self__, where))
        if isinstance(value, ModuleType):
            return _digest("module", value.__name__, _release(value.__name__) or "")
        if isinstance(value, CodeType):
            return self._code(value, where)
        if isinstance(value, type):
            return self._class(value, where)
        if isinstance(value, _OF_C):
            held = getattr(value, "__self__", None)
            rest = () if held is None or isinstance(held, ModuleType) else (self.of(held, where),)
            return _digest("of C", getattr(value, "__module__", None) or "", value.__qualname__, *rest)
        if isinstance(value, property):
            return _digest("property", *(self.of(f, where) for f in (value.fget, value.fset, value.fdel)))
        if isinstance(value, (staticmethod, classmethod)):
            return _digest(type(value).__name__, self.of(value.__func__, where))
        if isinstance(value, cached_property):
            return _digest("property", self.of(value.func, where))
        torch = sys.modules.get("torch")  # who holds a tensor has loaded it
        if torch is not None and isinstance(value, torch.Tensor):
            return self._tensor(value, where)
        return self._object(value, where)

    def _array(self, value: Any, where: tuple[str, ...]) -> bytes:
        more = [self.of(vars(value), where)] if getattr(value, "__dict__", None) else []
        head = ("array", type(value).__qualname__, str(value.dtype.descr if value.dtype.names else value.dtype.str))
        if value.dtype.hasobject:
            return _digest(*head, str(value.shape), self.of(value.tolist(), where), *more)
        return _digest(*head, str(value.shape), np.ascontiguousarray(value).tobytes(), *more)

    def _tensor(self, value: Any, where: tuple[str, ...]) -> bytes:
        import torch

        if value.layout != torch.strided or value.device.type == "meta":
            return self._object(value, where)
        held = value.detach().cpu().contiguous()
        content = held.reshape(-1).view(torch.uint8).numpy().tobytes() if held.numel() else b""  # numpy knows no bfloat16
        return _digest("tensor", str(held.dtype), str(tuple(held.shape)), str(value.requires_grad), content)

    def _mapping(self, value: Mapping[Any, Any], where: tuple[str, ...]) -> bytes:
        pairs = sorted((self.of(k, where), self.of(v, (*where, _step(k)))) for k, v in value.items())
        return _digest("dict", *(part for pair in pairs for part in pair))

    def _function(self, value: FunctionType, where: tuple[str, ...]) -> bytes:
        name, release = f"{value.__module__}.{value.__qualname__}", _release(value.__module__ or "")
        here = (*where, f"{value.__qualname__}()")
        held = [_content(cell) for cell in value.__closure__ or ()]
        given = [self.of(x, here) for x in (held, value.__defaults__, value.__kwdefaults__)]
        if release is not None:
            return _digest("installed", name, release, *given)
        given += [self.of({k: v for k, v in vars(value).items() if k != "__wrapped__"}, here)]
        for read in sorted(_globals_of(value.__code__)):
            if read in value.__globals__:
                given += [_digest(read), self.of(value.__globals__[read], (*here, f"global {read}"))]
        return _digest("function", name, self._code(value.__code__, here), *given)

    def _code(self, code: CodeType, where: tuple[str, ...]) -> bytes:
        constants = (self.of(c, where) for c in code.co_consts)
        return _digest("code", code.co_code, *code.co_names, *code.co_varnames, *constants)

    def _class(self, value: type, where: tuple[str, ...]) -> bytes:
        name, release = f"{value.__module__}.{value.__qualname__}", _release(value.__module__)
        if release is not None or not value.__flags__ & _HEAP:
            return _digest("installed", name, release or "")
        own = {k: v for k, v in vars(value).items() if k not in _ASIDE}
        bases = (self.of(base, where) for base in value.__bases__)
        return _digest("class", name, *bases, self._mapping(own, (*where, value.__qualname__)))

    def _object(self, value: Any, where: tuple[str, ...]) -> bytes:
        kind = type(value)
        if kind.__module__.split(".")[0] == "activebmr" and hasattr(value, "__dict__"):
            # in our own types, private attributes are what is worked out on the way; in those of others they may be settings
            state = {k: v for k, v in vars(value).items() if not k.startswith("_") and not _is_cached(kind, k)}
            return _digest("ours", self.of(kind, where), self._mapping(state, (*where, kind.__qualname__)))
        try:
            held = value.__reduce_ex__(4)
        except Exception as error:  # TypeError, PicklingError, and what strangers raise
            raise UnknownStateError(
                f"{'.'.join(where) or 'it'} holds a {kind.__module__}.{kind.__qualname__}, whose state cannot be read ({error})"
            ) from error
        here = (*where, kind.__qualname__)
        if isinstance(held, str):
            return _digest("global", kind.__module__, held, _release(kind.__module__) or "")
        made, arguments, state, items, pairs = (*held, None, None, None)[:5]
        if isinstance(state, dict):
            state = {k: v for k, v in state.items() if not _is_cached(kind, k)}
        return _digest(
            "object",
            self.of(kind, where),
            self.of(made, here),
            *(self.of(x, here) for x in arguments),
            self.of(state, here),
            self.of(None if items is None else list(items), here),
            self.of(None if pairs is None else dict(pairs), here),
        )


def _digest(*parts: str | bytes) -> bytes:
    """A digest that tells parts apart wherever they end."""
    found = hashlib.sha256()
    for part in parts:
        content = part if isinstance(part, bytes) else part.encode("utf-8", "surrogatepass")
        found.update(f"{len(content)};".encode() + content)
    return found.digest()


def _step(key: Any) -> str:
    return key if isinstance(key, str) and key.isidentifier() else f"[{key!r:.40}]"


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return None  # not yet filled


def _is_cached(kind: type, name: Any) -> bool:
    return isinstance(getattr(kind, str(name), None), cached_property)


def _globals_of(code: CodeType) -> Iterator[str]:
    """Global names that a function, or one that is written in it, reads."""
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME") and not hasattr(builtins, str(step.argval)):
            yield str(step.argval)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _globals_of(constant)


def _release(module: str) -> str | None:
    """The release of the package that a module belongs to, if it is installed; None if it is the user's own code."""
    top = module.partition(".")[0]
    if top == "builtins":  # so says code that was made by exec
        return None
    if top in sys.stdlib_module_names:
        return "Python"
    held = sys.modules.get(top)
    place = getattr(sys.modules.get(module), "__file__", None) or getattr(held, "__file__", None)
    if top == "activebmr" or (place is not None and any(place.startswith(path) for path in _INSTALLED)):
        return str(getattr(held, "__version__", ""))
    return None
