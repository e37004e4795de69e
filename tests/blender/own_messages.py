"""Every message of the extension, as it stands in the code: what it reports, says in the status
bar, in a disabled button's tooltip and in an error."""

import ast
import re
from pathlib import Path

import blender_addon

ROOT = Path(blender_addon.__file__).parent
_TOLD = {"poll_message_set": 0, "status_text_set": 0, "report": 1}  # which argument is the text
_TRANSLATED = ("say", "translate", "explain")
# Names that hold what is told later.
_KEPT = ("done", "undone", "said", "span", "named", "kept", "hidden", "HELP", "REMEDY", "_NOTHING")
_SAYS = ("says", "describe_rates", "find_own", "hide_startup_cube")  # whose texts are told
_ELSEWHERE = ("headless.py",)  # the command line


def _walk():
    for path in sorted(ROOT.rglob("*.py")):
        if path.name not in _ELSEWHERE:
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                yield path, node


def _get_name(call):
    return getattr(call.func, "attr", getattr(call.func, "id", ""))


def find_untranslated():
    """Calls that tell something which goes through no table: file, line and code."""
    found = []
    for path, node in _walk():
        if not isinstance(node, ast.Call) or _get_name(node) not in _TOLD:
            continue
        at = _TOLD[_get_name(node)]
        text = node.args[at] if len(node.args) > at else None
        if text is None or (isinstance(text, ast.Constant) and text.value is None):
            continue
        calls = [c for c in ast.walk(text) if isinstance(c, ast.Call)]
        through = [c for c in calls if _get_name(c) in _TRANSLATED]
        words = _strip(text, through) if through else "all of it"
        if words:
            found.append(f"{path.relative_to(ROOT)}:{node.lineno} {ast.unparse(text)}")
    return found


def _strip(text, through):
    """Words that stand beside the calls that translate."""
    inside = {id(node) for call in through for node in ast.walk(call)}
    parts = [n for n in ast.walk(text) if isinstance(n, ast.Constant) and id(n) not in inside]
    return "".join(str(n.value) for n in parts if re.search("[A-Za-z]{2}", str(n.value)))


def list_messages():
    """Messages, with ``{0}`` and so on for what is put in, and where each stands."""
    found = {}
    for path, node in _walk():
        for told in _find_told(path, node):
            for text in _make_templates(told):
                if re.search("[A-Za-z]{2}", re.sub(r"\{\d\}", "", text)):
                    found.setdefault(text, path.name)
    return found


def _find_told(path, node):
    if isinstance(node, ast.Call):
        name = _get_name(node)
        if name == "InputError":
            return node.args
        if name == "say":
            return node.args[:1]
        return node.args[_TOLD[name] : _TOLD[name] + 1] if name in _TOLD else []
    returned = isinstance(node, ast.Return) and node.value is not None
    if returned and "operators" in path.parts:
        return [node.value]
    if isinstance(node, ast.FunctionDef) and node.name in _SAYS:
        return [r.value for r in ast.walk(node) if isinstance(r, ast.Return) and r.value]
    if isinstance(node, ast.Assign | ast.AugAssign):
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target
        if getattr(target, "attr", getattr(target, "id", "")) in _KEPT:
            return [node.value]
    return []


def _make_templates(node):
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    if isinstance(node, ast.IfExp):
        return [*_make_templates(node.body), *_make_templates(node.orelse)]
    if isinstance(node, ast.BinOp):
        return [*_make_templates(node.left), *_make_templates(node.right)]
    if isinstance(node, ast.BoolOp):
        return [text for value in node.values for text in _make_templates(value)]
    if isinstance(node, ast.JoinedStr):
        out, number, more = "", 0, []
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                out, number = f"{out}{{{number}}}", number + 1
                more += _make_templates(part.value)
            else:
                out += part.value
        return [out, *more]
    return []


def list_pieces(path):
    """Words of a module that stand together between what is put in, without its docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = ast.Module | ast.FunctionDef | ast.ClassDef
    docs = {id(n.body[0].value) for n in ast.walk(tree)
            if isinstance(n, kinds) and n.body and isinstance(n.body[0], ast.Expr)}  # fmt: skip
    texts = [n for n in ast.walk(tree) if isinstance(n, ast.Constant) and id(n) not in docs]
    return [n.value for n in texts if isinstance(n.value, str)]
