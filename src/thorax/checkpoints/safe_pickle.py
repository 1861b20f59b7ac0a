"""Pickles read as data: nothing in them is ever called, imported or built.

A pickle is a program that can run anything. Here its opcodes only fill lists, tuples and dicts; a class or
function that it names stays a `Name`, and what it asks to be built a `Made` record. A name that
checkpoints have no need of is refused all the same: such a file was made to do something else.
"""

import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from mmap import mmap
from typing import IO, Any, cast

from thorax.errors import BundleError

__all__ = ["Made", "Name", "Pickle", "Reference", "read_pickle"]


@dataclass(frozen=True, slots=True)
class Name:
    """A class or function that a pickle names.

    Attributes:
        path: Module and name, for example "torch.nn.modules.conv.Conv2d".
    """

    path: str


@dataclass(eq=False, slots=True)
class Made:
    """What a pickle asks to be built.

    Attributes:
        maker: What would be called.
        arguments: With what.
        state: What its `__setstate__` or attributes would be given.
    """

    maker: Name
    arguments: tuple[Any, ...]
    state: Any = None


@dataclass(frozen=True, slots=True)
class Reference:
    """Something outside the pickle: a storage of numbers.

    Attributes:
        content: What the pickle says of it.
    """

    content: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Pickle:
    """What a pickle holds.

    Attributes:
        value: Lists, tuples, dicts, sets, strings, bytes, numbers, `Name`, `Made` and `Reference`. Ordered
            and default dicts become dicts. A part may occur in several places, or within itself.
        references: Every reference in it, in its order.
    """

    value: Any
    references: tuple[Reference, ...]


_FAMILIES = ("torch.nn.modules.", "torch.nn.parallel.", "torchvision.models.", "torchxrayvision.models.")
"""Modules whose classes a pickled net is made of."""

_KINDS = ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")
_TYPES = ("float16", "float32", "float64", "bfloat16", "int8", "int16", "int32", "int64", "uint8", "bool")

_NAMES = {
    *(f"torch.{kind}Storage" for kind in _KINDS),
    *(f"torch.cuda.{kind}Storage" for kind in _KINDS),
    *(f"torch.{name}" for name in (*_TYPES, "Size", "device")),
    *(f"torch._utils._rebuild_{name}" for name in ("tensor", "tensor_v2", "parameter")),
    "torch.nn.parameter.Parameter",
    # Nets pickled by torch before 1.3 carry it.
    "torch.nn.backends.thnn._get_thnn_function_backend",
    # Settings and scores that training scripts save beside the weights.
    *(f"builtins.{name}" for name in ("set", "frozenset", "list", "dict", "int", "float", "bytearray")),
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
    "numpy.dtype",
    "numpy.ndarray",
    "_codecs.encode",
    "argparse.Namespace",
    "collections.Counter",
    "collections.OrderedDict",
    "collections.defaultdict",
}

_RENAMED = {"__builtin__": "builtins"}
"""Modules that Python 2 called otherwise."""

_VALUES = {
    "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE",
    "BINUNICODE8", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
}  # fmt: skip
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_TUPLE": tuple,
    "EMPTY_SET": set,
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def read_pickle(stream: BytesIO | mmap, *, where: str) -> Pickle:
    """Read one pickle, up to its end.

    Args:
        stream: Stands at the pickle's first byte, and afterwards behind its last.
        where: What messages call the file.

    Raises:
        BundleError: It names something that checkpoints have no need of, or is damaged.
    """
    machine = _Machine(where)
    try:
        # It reads opcodes and their arguments, and does nothing with them; all it needs is read and readline.
        for opcode, argument, _ in pickletools.genops(cast("IO[bytes]", stream)):
            machine.step(opcode.name, argument)
        return Pickle(machine.pop(), tuple(machine.references))
    except (ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError) as error:
        raise BundleError(
            f"{where} holds a damaged pickle ({type(error).__name__}: {str(error)[:100]}); "
            "copy the file again"
        ) from error


@dataclass(slots=True)
class _Machine:
    """The stack machine of pickles, with nothing but data on its stack."""

    where: str
    stack: list[Any] = field(default_factory=list)
    below: list[list[Any]] = field(default_factory=list)
    """The stacks below the open marks."""
    memo: dict[int, Any] = field(default_factory=dict)
    references: list[Reference] = field(default_factory=list)

    def step(self, opcode: str, argument: Any) -> None:
        """Do what one opcode says."""
        if opcode in _VALUES:
            self.stack.append(argument)
        elif opcode in _CONSTANTS:
            self.stack.append(_CONSTANTS[opcode]())
        elif opcode in _TUPLES:
            self.stack[-_TUPLES[opcode] :] = [tuple(self.top(_TUPLES[opcode]))]
        else:
            self.step_memo(opcode, argument)

    def step_memo(self, opcode: str, argument: Any) -> None:
        """Do what an opcode of the memo, of marks, or one without effect says."""
        match opcode:
            case "PROTO" | "FRAME" | "STOP":
                pass
            case "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = self.stack[-1]
            case "MEMOIZE":
                self.memo[len(self.memo)] = self.stack[-1]
            case "BINGET" | "LONG_BINGET":
                self.stack.append(self.memo[argument])
            case "MARK":
                self.below.append(self.stack)
                self.stack = []
            case "POP":
                self.stack.pop()
            case _:
                self.step_container(opcode, argument)

    def step_container(self, opcode: str, argument: Any) -> None:
        """Do what an opcode that fills a list, dict, set or tuple says."""
        match opcode:
            case "APPEND":
                value = self.pop()
                self.target(list).append(value)
            case "APPENDS":
                values = self.marked()
                self.target(list).extend(values)
            case "SETITEM":
                value, key = self.pop(), self.pop()
                self.target(dict)[key] = value
            case "SETITEMS":
                values = self.marked()
                self.target(dict).update(zip(values[::2], values[1::2], strict=True))
            case "ADDITEMS":
                values = self.marked()
                self.target(set).update(values)
            case "TUPLE":
                values = self.marked()
                self.stack.append(tuple(values))
            case _:
                self.step_object(opcode, argument)

    def step_object(self, opcode: str, argument: Any) -> None:
        """Do what an opcode that names or would build something says."""
        match opcode:
            case "GLOBAL":
                module, _, name = argument.partition(" ")
                self.stack.append(self.named(module, name))
            case "STACK_GLOBAL":
                name, module = self.pop(), self.pop()
                self.stack.append(self.named(module, name))
            case "REDUCE" | "NEWOBJ":
                arguments, maker = self.pop(), self.pop()
                self.stack.append(_made(maker, arguments))
            case "BUILD":
                state = self.pop()
                if isinstance(self.stack[-1], Made):
                    self.stack[-1].state = state
                elif not isinstance(self.stack[-1], dict):
                    raise TypeError("a state for what has none")
            case "BINPERSID":
                self.stack.append(self.referenced(tuple(self.pop())))
            case _:
                raise ValueError(f"opcode {opcode}")

    def pop(self) -> Any:
        """Take the top of the stack."""
        return self.stack.pop()

    def top(self, count: int) -> list[Any]:
        """Return what lies on top of the stack, which must hold that much."""
        if len(self.stack) < count:
            raise IndexError("the stack is empty")
        return self.stack[-count:]

    def marked(self) -> list[Any]:
        """Take everything above the last mark."""
        values, self.stack = self.stack, self.below.pop()
        return values

    def target(self, kind: type) -> Any:
        """Return the top of the stack, which must be of that kind."""
        if not isinstance(self.stack[-1], kind):
            raise TypeError(f"{type(self.stack[-1]).__name__} instead of {kind.__name__}")
        return self.stack[-1]

    def referenced(self, content: tuple[Any, ...]) -> Any:
        """Return the storage that is referred to, or the class; its source text is of no use."""
        if content[:1] == ("module",) and isinstance(content[1], Name):
            return content[1]
        self.references.append(Reference(content))
        return self.references[-1]

    def named(self, module: str, name: str) -> Name:
        """Return the name of something that checkpoints may hold, or refuse it."""
        path = f"{_RENAMED.get(module, module)}.{name}"
        if path not in _NAMES and not path.startswith(_FAMILIES):
            raise BundleError(
                f"{self.where} wants {path!r}, which weights have no need of, so it was not opened (a pickle "
                "can run code); where it was made, save net.state_dict() alone, best as safetensors"
            )
        return Name(path)


def _made(maker: Any, arguments: Any) -> Any:
    if not isinstance(maker, Name) or not isinstance(arguments, tuple):
        raise TypeError("a call of what is no class")
    match maker.path:
        case "collections.OrderedDict":
            # Python 2 wrote the pairs as the one argument.
            return dict(arguments[0] if arguments else ())
        case "collections.defaultdict" | "collections.Counter":
            return {}
        case _:
            return Made(maker, arguments)
