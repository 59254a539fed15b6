"""Filters of Cloud Logging, as far as infra/ uses them: comparisons with AND, OR and parentheses. OR binds tighter."""

import re

TOKEN = re.compile(r'\s*(?:(\(|\)|AND\b|OR\b)|([\w.]+)\s*(=~|!~|=)\s*("(?:[^"\\]|\\.)*"|[\w.]+))')


def matches(text, entry):
    """Whether a log entry, a dict of the API's form, matches a filter."""
    tokens, end = [], 0
    while text[end:].strip():
        found = TOKEN.match(text, end)
        if not found:
            raise ValueError(f"not understood from here: {text[end:]}")
        tokens.append(found)
        end = found.end()
    value, rest = _all(tokens, entry)
    if rest:
        raise ValueError(f"left over: {rest[0][0]}")
    return value


def _all(tokens, entry):
    return _joined(tokens, entry, "AND", _any, all)


def _any(tokens, entry):
    return _joined(tokens, entry, "OR", _one, any)


def _joined(tokens, entry, word, part, join):
    """The value of parts that a word joins, and the tokens after them."""
    value, tokens = part(tokens, entry)
    while tokens and tokens[0][1] == word:
        other, tokens = part(tokens[1:], entry)
        value = join((value, other))
    return value, tokens


def _one(tokens, entry):
    first = tokens[0]
    if first[1] == "(":
        value, tokens = _all(tokens[1:], entry)
        if not tokens or tokens[0][1] != ")":
            raise ValueError("a parenthesis is not closed")
        return value, tokens[1:]
    return _compare(_field(entry, first[2]), first[3], _literal(first[4])), tokens[1:]


def _field(entry, path):
    for name in path.split("."):
        entry = entry.get(name) if isinstance(entry, dict) else None
    return entry


def _literal(text):
    if text.startswith('"'):
        return re.sub(r"\\(.)", r"\1", text[1:-1])
    return text == "true" if text in ("true", "false") else float(text)


def _compare(actual, operator, expected):
    # A missing field matches no comparison, as in Cloud Logging, except a negated one.
    if operator == "=":
        return actual == expected
    found = isinstance(actual, str) and re.search(expected, actual) is not None
    return found if operator == "=~" else not found
