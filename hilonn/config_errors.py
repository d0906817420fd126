"""Pydantic's complaints, as a person at a bench wants to read them."""

from __future__ import annotations

import difflib
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, ValidationError


def describe_validation_error(
    error: ValidationError, where: str, model: type[BaseModel], prefix: str = ""
) -> str:
    """One line a fault: file, key, value, what is allowed, and the key that was probably meant."""
    lines = []
    for fault in error.errors():
        path = [*([prefix] if prefix else []), *fault["loc"]]
        key = _key(path)
        if fault["type"] == "extra_forbidden":
            known = sorted(_fields(model, fault["loc"][:-1]))
            close = difflib.get_close_matches(str(fault["loc"][-1]), known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            allowed = f"; allowed here: {', '.join(known)}" if known else ""
            lines.append(f"{key}: unknown key{hint}{allowed}")
        elif fault["type"] == "missing":
            lines.append(f"{key}: missing")
        else:
            lines.append(f"{key} = {_short(fault['input'])}: {fault['msg'].lower()}")
    if len(lines) == 1:
        return f"{where}: {lines[0]}"
    return f"{where}: {len(lines)} faults\n" + "\n".join(f"  {line}" for line in lines)


def _key(path: list[Any]) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _fields(model: type[BaseModel], path: tuple[Any, ...]) -> set[str]:
    """Names of the keys allowed at ``path`` below ``model``; empty where it cannot be told."""
    current: type[BaseModel] | None = model
    named = False  # the next part is a name that the user gave, not a field
    for part in path:
        if isinstance(part, int) or named:
            named = False
            continue
        if current is None or part not in current.model_fields:
            return set()
        annotation = current.model_fields[part].annotation
        current, named = _model_in(annotation), _is_mapping(annotation)
    return set() if current is None else set(current.model_fields)


def _is_mapping(annotation: object) -> bool:
    return get_origin(annotation) is dict or (
        get_origin(annotation) is Annotated and _is_mapping(get_args(annotation)[0])
    )


def _model_in(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in get_args(annotation):
        found = _model_in(inner)
        if found is not None:
            return found
    return None
