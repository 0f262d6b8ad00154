"""Values as Python or JSON has them, parsed and never run."""

from __future__ import annotations

import ast
import json
import warnings
from typing import Any, NamedTuple

from ketama.admin.imports.pools import Source

# Characters of Python. CPython 3.10 crashes where an expression is nested 150,000 deep, as
# "1+1+1..." is, and each level takes two.
PYTHON_MAX = 1 << 16


class Item(NamedTuple):
    """A value, and its line; of a list or a dict, the values are items again."""

    value: Any
    line: int | None


class Code(NamedTuple):
    """What is not a literal."""

    text: str


def parse(source: Source) -> Item:
    """Return the value of a text: the only one, or the one that CACHES is assigned."""
    try:
        return _json_item(json.loads(source.text))
    except RecursionError:
        raise source.error(None, "nested too deeply") from None
    except ValueError:
        return _python_item(_expression(source))


def _json_item(value: Any) -> Item:
    if isinstance(value, dict):
        value = {key: _json_item(row) for key, row in value.items()}
    elif isinstance(value, list):
        value = [_json_item(row) for row in value]
    return Item(value, None)


def _expression(source: Source) -> ast.expr:
    """Return the only expression, the only value that is assigned, or that of CACHES."""
    if len(source.text) > PYTHON_MAX:
        reason = f"too large for Python: more than {PYTHON_MAX} characters; write JSON"
        raise source.error(None, reason)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of backslashes and such, in the user's code
            body = ast.parse(source.text).body
    except SyntaxError as error:
        raise source.error(error.lineno, f"invalid literal: {error.msg}") from None
    except (RecursionError, MemoryError):
        raise source.error(None, "nested too deeply") from None
    assigned = [row for row in body if isinstance(row, (ast.Assign, ast.AnnAssign))]
    caches = [row for row in assigned if "CACHES" in _targets(row)]
    statements = caches[-1:] or body
    if len(statements) == 1:
        (statement,) = statements
        if isinstance(statement, (ast.Expr, ast.Assign, ast.AnnAssign)) and statement.value:
            return statement.value
    raise source.error(None, "must be one literal, or assign CACHES")


def _targets(statement: ast.Assign | ast.AnnAssign) -> list[str]:
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _python_item(node: ast.expr) -> Item:
    value: Any
    if isinstance(node, ast.Constant):
        value = node.value
    elif isinstance(node, (ast.List, ast.Tuple)):
        value = [_python_item(element) for element in node.elts]
    elif isinstance(node, ast.Dict) and all(
        isinstance(key, ast.Constant) and isinstance(key.value, str) for key in node.keys
    ):
        keys = [key.value for key in node.keys if isinstance(key, ast.Constant)]
        value = dict(zip(keys, map(_python_item, node.values), strict=True))
    else:
        value = Code(type(node).__name__)
    return Item(value, node.lineno)
