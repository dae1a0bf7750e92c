"""The OpenAPI document as a page that needs nothing from elsewhere: no script, no style sheet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, Final

import orjson

_STYLE: Final = (
    "body{font:16px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em}"
    "table{border-collapse:collapse}td,th{border:1px solid #bbb;padding:.3em .6em;text-align:left;"
    "vertical-align:top}pre{background:#eee;padding:1em;overflow:auto}code{background:#eee}"
)
_MARKS: Final = {
    "minimum": "at least",
    "maximum": "at most",
    "pattern": "of the form",
    "format": "as",
    "const": "only",
    "maxItems": "items at most",
    "enum": "one of",
}


def page(document: Mapping[str, Any]) -> str:
    """Return the document as HTML."""
    return "".join(_page(document))


def _page(document: Mapping[str, Any]) -> Iterator[str]:
    info = document["info"]
    yield f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(info['title'])}</title>"
    yield f"<style>{_STYLE}</style><h1>{escape(info['title'])}</h1>"
    yield f"<p>{escape(info['summary'])}</p><p>{_prose(info['description'])}</p>"
    yield "<p>For programs: <a href=/openapi.json>/openapi.json</a></p>"
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield f"<h2><code>{escape(method.upper())} {escape(path)}</code></h2>"
            yield f"<p>{escape(operation['summary'])}</p>"
            yield from _operation(operation)
    for scheme in document["components"]["securitySchemes"].values():
        yield "<h2>Key</h2><p><code>Authorization: Bearer KEY</code>. "
        yield _prose(scheme["description"])
    for name, schema in document["components"]["schemas"].items():
        yield f"<h2 id={escape(name)}>{escape(name)}</h2>"
        yield f"<p>{_prose(schema.get('description', ''))}"
        yield from _fields(schema)


def _operation(operation: Mapping[str, Any]) -> Iterator[str]:
    for parameter in operation.get("parameters", ()):
        yield f"<p>Header <code>{escape(parameter['name'])}</code>: "
        yield f"{_prose(parameter['description'])}</p>"
    if (body := operation.get("requestBody")) is not None:
        content = body["content"]["application/json"]
        example = orjson.dumps(content["example"], option=orjson.OPT_INDENT_2).decode()
        yield f"<p>Body: {_prose(body['description'])} {_kind(content['schema'])}</p>"
        yield f"<pre>{escape(example)}</pre>"
    yield "<table><tr><th>answer<th>when<th>with"
    for status, response in operation["responses"].items():
        content = response.get("content", {}).get("application/json", {})
        kind = _kind(content.get("schema", {}))
        yield f"<tr><td>{status}<td>{_prose(response['description'])}<td>{kind}"
    yield "</table>"


def _fields(schema: Mapping[str, Any]) -> Iterator[str]:
    required = schema.get("required", ())
    yield "<table><tr><th>field<th>value<th>meaning"
    for name, field in schema.get("properties", {}).items():
        mark = " (required)" if name in required else ""
        yield f"<tr><td><code>{escape(name)}</code>{mark}<td>{_kind(field)}"
        yield f"<td>{_prose(field.get('description', ''))}"
    yield "</table>"


def _kind(schema: Mapping[str, Any]) -> str:
    """Return in words what a schema allows."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f"<a href=#{name}>{name}</a>"
    if "anyOf" in schema:
        return " or ".join(_kind(choice) for choice in schema["anyOf"])
    words = [escape(str(schema.get("type", "")))]
    if "items" in schema:
        words.append(f"of {_kind(schema['items'])}")
    words += [
        f"{words} <code>{escape(str(schema[mark]))}</code>"
        for mark, words in _MARKS.items()
        if mark in schema
    ]
    return ", ".join(filter(None, words))


def _prose(text: str) -> str:
    """Return a sentence, with what stands between backquotes as code."""
    parts = escape(text).split("`")
    return "".join(
        f"<code>{part}</code>" if number % 2 else part for number, part in enumerate(parts)
    )
