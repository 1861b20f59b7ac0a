"""Reads pickles as data: nothing in them is ever called, imported or constructed.

A pickle is a program that can run any code. `pickle.Unpickler` cannot be made safe by overriding
`find_class` alone: it still calls whatever that returns with arguments from the file, runs `__setstate__`,
and accepts every opcode, so safety would depend on every allowed class and function. Here only the opcodes
that checkpoints use are accepted, and they only fill lists, tuples, dicts and sets. A class or function
stays a `GlobalName`, and a request to call it becomes a `PickledObject`. Names that checkpoints do not need
are refused anyway: such a file was made to do something else.
"""

import pickletools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from io import BytesIO
from mmap import mmap
from typing import IO, Any, cast

from thorax.errors import BundleError
from thorax.quoting import quoted

__all__ = ["GlobalName", "Pickle", "PickledObject", "Reference", "read_pickle"]


@dataclass(frozen=True, slots=True)
class GlobalName:
    """The name of a class or function in a pickle; pickle calls it a global.

    Attributes:
        path: Module and name, for example "torch.nn.modules.conv.Conv2d".
    """

    path: str


@dataclass(eq=False, slots=True)
class PickledObject:
    """An object that unpickling would construct.

    Attributes:
        constructor: The class or function that would be called.
        arguments: Its arguments.
        state: The state that would be passed to `__setstate__` or set as attributes.
    """

    constructor: GlobalName
    arguments: tuple[Any, ...]
    state: Any = None


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference to a storage of numbers outside the pickle.

    Attributes:
        content: The persistent ID that the pickle gives for it.
    """

    content: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Pickle:
    """The content of a pickle.

    Attributes:
        value: Lists, tuples, dicts, sets, strings, bytes, numbers, `GlobalName`, `PickledObject` and
            `Reference`. Ordered and default dicts become dicts. An object may occur several times, or
            contain itself.
        references: Every reference, in order.
    """

    value: Any
    references: tuple[Reference, ...]


_FAMILIES = ("torch.nn.modules.", "torch.nn.parallel.", "torchvision.models.", "torchxrayvision.models.")
"""Prefixes of the modules whose classes make up a pickled network."""

_KINDS = ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")
_TYPES = ("float16", "float32", "float64", "bfloat16", "int8", "int16", "int32", "int64", "uint8", "bool")

_NAMES = {
    *(f"torch.{kind}Storage" for kind in _KINDS),
    *(f"torch.cuda.{kind}Storage" for kind in _KINDS),
    *(f"torch.{name}" for name in (*_TYPES, "Size", "device")),
    *(f"torch._utils._rebuild_{name}" for name in ("tensor", "tensor_v2", "parameter")),
    "torch.nn.parameter.Parameter",
    # In networks pickled by torch before 1.3.
    "torch.nn.backends.thnn._get_thnn_function_backend",
    # Settings and scores that training scripts save with the weights.
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

_HUGE = 1 << 60
"""Smaller integers have different hashes."""

_DEEPEST = 500

_RENAMED = {"__builtin__": "builtins"}
"""Modules that had another name in Python 2."""

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
    """Read one pickle.

    Args:
        stream: Positioned at the first byte of the pickle; afterwards, just past its last.
        where: The file, for messages.

    Raises:
        BundleError: The pickle is damaged, or names something that checkpoints do not need.
    """
    machine = _Machine(where)
    try:
        # genops only parses opcodes and their arguments; it needs no more than read and readline.
        for opcode, argument, _ in pickletools.genops(cast("IO[bytes]", stream)):
            machine.step(opcode.name, argument)
        pickled = Pickle(machine.pop(), tuple(machine.references))
        _refuse_deep([pickled.value, *(reference.content for reference in pickled.references)])
    except (ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError) as error:
        raise BundleError(
            f"{where} holds a damaged pickle ({type(error).__name__}: {str(error)[:100]}); "
            "copy the file again"
        ) from error
    return pickled


@dataclass(slots=True)
class _Machine:
    """The stack machine of pickles, with only data on its stack."""

    where: str
    stack: list[Any] = field(default_factory=list)
    below: list[list[Any]] = field(default_factory=list)
    """The stacks below the open marks."""
    memo: dict[int, Any] = field(default_factory=dict)
    references: list[Reference] = field(default_factory=list)

    def step(self, opcode: str, argument: Any) -> None:
        """Execute one opcode."""
        if opcode in _VALUES:
            self.stack.append(argument)
        elif opcode in _CONSTANTS:
            self.stack.append(_CONSTANTS[opcode]())
        elif opcode in _TUPLES:
            self.stack[-_TUPLES[opcode] :] = [tuple(self.top(_TUPLES[opcode]))]
        else:
            self.step_memo(opcode, argument)

    def step_memo(self, opcode: str, argument: Any) -> None:
        """Execute an opcode of the memo or of marks, or one without effect."""
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
        """Execute an opcode that fills a list, dict, set or tuple."""
        match opcode:
            case "APPEND":
                value = self.pop()
                self.target(list).append(value)
            case "APPENDS":
                values = self.marked()
                self.target(list).extend(values)
            case "SETITEM":
                value, key = self.pop(), self.pop()
                self.target(dict)[_key(key)] = value
            case "SETITEMS":
                values = self.marked()
                self.target(dict).update(zip(map(_key, values[::2]), values[1::2], strict=True))
            case "ADDITEMS":
                values = self.marked()
                self.target(set).update(map(_key, values))
            case "TUPLE":
                values = self.marked()
                self.stack.append(tuple(values))
            case _:
                self.step_object(opcode, argument)

    def step_object(self, opcode: str, argument: Any) -> None:
        """Record what an opcode names or would construct."""
        match opcode:
            case "GLOBAL":
                module, _, name = argument.partition(" ")
                self.stack.append(self.named(module, name))
            case "STACK_GLOBAL":
                name, module = self.pop(), self.pop()
                self.stack.append(self.named(module, name))
            case "REDUCE" | "NEWOBJ":
                arguments, constructor = self.pop(), self.pop()
                self.stack.append(_constructed(constructor, arguments))
            case "BUILD":
                state = self.pop()
                if isinstance(self.stack[-1], PickledObject):
                    self.stack[-1].state = state
                elif not isinstance(self.stack[-1], dict):
                    raise TypeError("a state for an object that has none")
            case "BINPERSID":
                self.stack.append(self.referenced(tuple(self.pop())))
            case _:
                raise ValueError(f"opcode {opcode}")

    def pop(self) -> Any:
        """Remove and return the top of the stack."""
        return self.stack.pop()

    def top(self, count: int) -> list[Any]:
        """Return the top `count` values of the stack, which must hold that many."""
        if len(self.stack) < count:
            raise IndexError("the stack is empty")
        return self.stack[-count:]

    def marked(self) -> list[Any]:
        """Remove and return everything above the last mark."""
        values, self.stack = self.stack, self.below.pop()
        return values

    def target(self, kind: type) -> Any:
        """Return the top of the stack, which must have this type."""
        if not isinstance(self.stack[-1], kind):
            raise TypeError(f"{type(self.stack[-1]).__name__} instead of {kind.__name__}")
        return self.stack[-1]

    def referenced(self, content: tuple[Any, ...]) -> Any:
        """Return a reference to a storage, or the class whose source text is stored with it."""
        if content[:1] == ("module",) and isinstance(content[1], GlobalName):
            return content[1]
        self.references.append(Reference(content))
        return self.references[-1]

    def named(self, module: str, name: str) -> GlobalName:
        """Return the name of something that checkpoints may contain; refuse any other."""
        path = f"{_RENAMED.get(module, module)}.{name}"
        if path not in _NAMES and not path.startswith(_FAMILIES):
            raise BundleError(
                f"{self.where} refers to {quoted(path)}, which weights do not need, so it was not opened "
                "(a pickle can run code); where it was made, save only net.state_dict(), preferably as "
                "safetensors"
            )
        return GlobalName(path)


def _key(value: Any) -> Any:
    """Return a key of a dict or member of a set, which must be text, a name, or a number that is not huge.

    Others could be hashed for ever: tuples in tuples by recursion, which ends the process, and numbers that
    were chosen to have the same hash one after the other.
    """
    if isinstance(value, str | GlobalName) or value is None:
        return value
    if isinstance(value, int) and abs(value) < _HUGE:
        return value
    raise TypeError(f"a key or member that is a {type(value).__name__}")


def _refuse_deep(values: list[Any]) -> None:
    """Refuse what is nested so deep that code which walks through it would fail."""
    seen: set[int] = set()
    for _ in range(_DEEPEST):
        values = [value for value in values if _contents(value) is not None and id(value) not in seen]
        seen.update(map(id, values))
        values = [part for value in values for part in _contents(value) or ()]
        if not values:
            return
    raise ValueError(f"something in it is nested more than {_DEEPEST} deep")


def _contents(value: Any) -> Iterable[Any] | None:
    """Return what a container contains; None for anything else."""
    match value:
        case dict():
            return value.values()
        case list() | tuple():
            return value
        case PickledObject():
            return (value.arguments, value.state)
        case Reference():
            return value.content
        case _:
            return None


def _constructed(constructor: Any, arguments: Any) -> Any:
    if not isinstance(constructor, GlobalName) or not isinstance(arguments, tuple):
        raise TypeError("a call of something that is not a class or function")
    match constructor.path:
        case "collections.OrderedDict":
            # Python 2 passed the pairs as a single argument.
            return {_key(key): value for key, value in (arguments[0] if arguments else ())}
        case "collections.defaultdict" | "collections.Counter":
            return {}
        case _:
            return PickledObject(constructor, arguments)
