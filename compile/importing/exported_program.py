"""Programs that torch.export.save wrote (.pt2): vetted, rebuilt from what is plain, converted.

`torch.export.load` unpickles what a file asks it to, evaluates its expressions and writes its
names into code. So no file is handed to it: an archive is made anew from the parts that are
numbers and names, and loaded from memory. docs/decisions says what is refused.
"""

from __future__ import annotations

import ast
import io
import json
import re
import warnings
import zipfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import torch

from kenpin.config.errors import ConfigError, kind_and_words
from kenpin.config.text import brief, shorten
from kenpin.runtime.judging.telemetry import silence

silence()
import openvino as ov  # noqa: E402

__all__ = ["converted", "loaded", "vetted"]

_MODEL: Final = "models/model.json"
_WEIGHTS: Final = "data/weights/model_weights_config.json"
_CONSTANTS: Final = "data/constants/model_constants_config.json"
_SAMPLE: Final = "data/sample_inputs/model.pt"
# What is taken over besides, as it is: a few bytes each.
_PLAIN: Final = ("archive_format", "archive_version", "byteorder", ".data/version")
_FEW_BYTES: Final = 64
_PAYLOAD: Final = re.compile(r"data/(weights|constants)/(weight|tensor)_\d+")

# Names of values, layers and operators; dots and nothing that Python would take for more.
_NAME: Final = re.compile(r"[A-Za-z0-9_.]*")
# Arguments that are text: modes of padding, equations of einsum.
_TEXT: Final = re.compile(r"[A-Za-z0-9_., >+-]*")
_OPERATOR: Final = re.compile(
    r"torch\.ops\.aten\.(?!from_file\b)\w+\.\w+"
    r"|_operator\.(getitem|add|sub|mul|floordiv|truediv|mod|neg|pow|eq|ne|lt|le|gt|ge)"
    r"|torch\.sym_(int|float|max|min|not)"
)
# torch.export tells sizes as sympy's own constructors.
_CONSTRUCTORS: Final = frozenset(
    {"Add", "CeilDiv", "CleanDiv", "FloorDiv", "Integer", "Max", "Min", "Mod", "Mul", "Pow",
     "PythonMod", "Rational", "Symbol"}
)  # fmt: skip
_SYMBOL: Final = re.compile(r"[su]\d+")
_PLAIN_TREES: Final = frozenset({None, "builtins.tuple", "builtins.list", "builtins.dict"})


def converted(file: Path) -> Any:
    """The program as an OpenVINO model of its own, its outputs named.

    Outputs of a dictionary have its keys for names; others are output0, output1, …

    Raises
    ------
    ConfigError
        If the file is refused, or OpenVINO cannot convert it.
    """
    # A file that has changed is another.
    state = file.stat()
    return _converted(file, state.st_size, state.st_mtime_ns).clone()


def loaded(file: Path) -> Any:
    """The program itself, loaded from what `vetted` lets through.

    Raises
    ------
    ConfigError
        If the file is refused or torch cannot load it.
    """
    archive = vetted(file)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.export.load(io.BytesIO(archive))
    except Exception as error:  # noqa: BLE001 its reader raises whatever a part of it does
        why = shorten(kind_and_words(error), 240)
        raise ConfigError(
            f"{file}: torch {torch.__version__} cannot load it ({why}); save it "
            "again with torch.export.save of that version, or export to ONNX"
        ) from None


def vetted(file: Path) -> bytes:
    """A .pt2 archive made anew from what cannot run code in the file's.

    Raises
    ------
    ConfigError
        If the file has anything else that would be needed, and what that is.
    """
    parts = _parts(file)
    tree = _json(parts, _MODEL, file)
    for config in (_WEIGHTS, _CONSTANTS):
        _check_payloads(_json(parts, config, file), parts, file)
    made = {_MODEL: json.dumps(_plain_program(tree, file)).encode()}
    for name, data in parts.items():
        plain = name in _PLAIN and len(data) <= _FEW_BYTES
        if plain or name in (_WEIGHTS, _CONSTANTS) or _PAYLOAD.fullmatch(name):
            made[name] = data
    made[_SAMPLE] = _plain_sample(parts.get(_SAMPLE, b""), file)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for name, data in made.items():
            archive.writestr(f"model/{name}", data)
    return packed.getvalue()


@lru_cache(maxsize=1)
def _converted(file: Path, _size: int, _changed_ns: int) -> Any:
    program = loaded(file)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            model = ov.convert_model(program)
            # The conversion forgets the sizes that the program was traced for.
            names = program.graph_signature.user_inputs
            known = {
                port: _sizes(program, name) for port, name in zip(model.inputs, names, strict=True)
            }
            model.reshape(known)
    except Exception as error:  # noqa: BLE001 its frontend raises whatever a pass of torch does
        why = shorten(kind_and_words(error), 240)
        raise ConfigError(
            f"{file}: OpenVINO cannot convert it ({why}); export it to ONNX, and import that"
        ) from None
    for port, name in zip(model.outputs, _output_names(program, len(model.outputs)), strict=True):
        port.get_tensor().set_names({name})
    return model


def _sizes(program: Any, name: str) -> Any:
    """Of an input as it was traced; -1 where any will do."""
    node = next(node for node in program.graph.nodes if node.name == name)
    return ov.PartialShape([n if isinstance(n, int) else -1 for n in node.meta["val"].shape])


def _output_names(program: Any, count: int) -> list[str]:
    spec = program.call_spec.out_spec
    keys = [str(key) for key in spec.context] if spec.type is dict else []
    # A dictionary of lists has more values than keys.
    return keys if len(keys) == count else [f"output{n}" for n in range(count)]


def _parts(file: Path) -> dict[str, bytes]:
    """Files of the archive by their names below its one folder."""
    try:
        with zipfile.ZipFile(file) as archive:
            items = archive.infolist()
            if any(item.compress_type != zipfile.ZIP_STORED for item in items):
                raise _refused(file, "its parts are compressed, which torch never does")
            found = {item.filename.partition("/")[2]: archive.read(item) for item in items}
    except (OSError, zipfile.BadZipFile) as error:
        raise ConfigError(f"{file}: is no archive of torch.export.save: {error}") from None
    for name in found:
        if name.startswith("data/aotinductor/"):
            raise _refused(file, "it holds compiled code")
        if name.startswith("models/") and name != _MODEL:
            raise _refused(file, f"it holds {name}, expected {_MODEL} alone")
    return found


def _json(parts: dict[str, bytes], name: str, file: Path) -> dict[str, Any]:
    if name not in parts:
        raise ConfigError(
            f"{file}: has no {name}; save it again with torch.export.save of torch 2.9 or later"
        )
    try:
        tree = json.loads(parts[name])
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{file}: {name} is no JSON: {error}") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"{file}: {name} holds no object")
    return tree


def _check_payloads(config: dict[str, Any], parts: dict[str, bytes], file: Path) -> None:
    """Weights and constants must be plain numbers: bytes with a shape beside them."""
    for name, payload in config.get("config", {}).items():
        place = str(payload.get("path_name"))
        if payload.get("use_pickle") or payload.get("tensor_meta") is None:
            raise _refused(file, f"the weight {name!r} is a pickle")
        known = any(f"data/{kind}/{place}" in parts for kind in ("weights", "constants"))
        if not known or not re.fullmatch(r"(weight|tensor)_\d+", place):
            raise _refused(file, f"{name!r} lies in {place!r}, which is no plain tensor")
    _check_strings(config, file)


def _plain_program(tree: dict[str, Any], file: Path) -> dict[str, Any]:
    """The program without traces of its source, each of its strings checked."""
    try:
        module = tree["graph_module"]
        graph = module["graph"]
        for node in graph["nodes"]:
            target = node["target"]
            if not _OPERATOR.fullmatch(target):
                raise _refused(file, f"it calls {target!r}, which is no operation of torch's own")
            node["metadata"] = {}
        if graph.get("custom_obj_values") or module.get("treespec_namedtuple_fields"):
            raise _refused(file, "it holds objects of classes of its own")
        calls = [call for call in module["module_call_graph"] if call["fqn"] == ""]
        module |= {"module_call_graph": calls, "metadata": {}}
        tree |= {"guards_code": [], "torch_version": torch.__version__}
        for call in calls:
            for key in ("in_spec", "out_spec"):
                _check_tree_spec(call["signature"][key], file)
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{file}: is not as torch.export.save writes it ({type(error).__name__}: {error}); "
            "save it again with torch 2.9 or later"
        ) from None
    _check_strings(tree, file)
    return tree


def _check_strings(tree: Any, file: Path) -> None:
    for key, text in _strings(tree):
        if key == "expr_str":
            _check_expression(text, file)
        elif key in ("in_spec", "out_spec", "torch_version"):
            continue
        elif not (_TEXT if key == "as_string" else _NAME).fullmatch(text):
            raise _refused(file, f"{brief(text)} stands where a name is expected")


def _strings(tree: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every string of a tree, the keys of its objects too, with the key that it stands under."""
    if isinstance(tree, str):
        yield key, tree
    elif isinstance(tree, dict):
        for name, value in tree.items():
            yield "", name
            yield from _strings(value, name)
    elif isinstance(tree, list):
        for value in tree:
            yield from _strings(value, key)


def _check_expression(text: str, file: Path) -> None:
    """A size must be a number, a symbol, or sympy's constructors of those: it is evaluated."""
    try:
        nodes = list(ast.walk(ast.parse(text, mode="eval")))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise _refused(file, f"{brief(text)} is no size") from None
    for node in nodes:
        fine = isinstance(
            node, ast.Expression | ast.Call | ast.keyword | ast.Load | ast.UnaryOp | ast.USub
        )
        if isinstance(node, ast.Call):
            fine = isinstance(node.func, ast.Name)
        elif isinstance(node, ast.Name):
            fine = node.id in _CONSTRUCTORS or bool(_SYMBOL.fullmatch(node.id))
        elif isinstance(node, ast.Constant):
            plain = isinstance(node.value, int)
            fine = plain or bool(isinstance(node.value, str) and _SYMBOL.fullmatch(node.value))
        if not fine:
            raise _refused(file, f"{brief(text)} is no size")


def _check_tree_spec(text: str, file: Path) -> None:
    """How inputs and outputs are nested: tuples, lists and dictionaries alone."""
    pending = [json.loads(text)[1]]
    while pending:
        spec = pending.pop()
        if spec["type"] not in _PLAIN_TREES:
            raise _refused(file, f"it takes or gives a {spec['type']}")
        context = spec["context"]
        _check_strings(json.loads(context) if context else None, file)
        pending += spec["children_spec"]


def _plain_sample(data: bytes, file: Path) -> bytes:
    """The example that it was traced with: a pickle, read as weights are, and written anew."""
    try:
        example = torch.load(io.BytesIO(data), weights_only=True)
    except Exception as error:  # noqa: BLE001 whatever a pickle does is a reason to refuse it
        why = f"its example is no plain tensor ({type(error).__name__})"
        raise _refused(file, why) from None
    written = io.BytesIO()
    torch.save(example, written)
    return written.getvalue()


def _refused(file: Path, why: str) -> ConfigError:
    return ConfigError(
        f"{file}: {why}; a program that would run code is refused: export it to ONNX where you "
        "trained it, and import that"
    )
