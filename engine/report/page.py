"""The whole page, from the doctype to the last word."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable

from engine.explain.account import Line
from engine.explain.explanation import Section
from engine.report.boots import boots
from engine.report.commands import commands
from engine.report.edits import edits
from engine.report.markup import Markup, Own, Writer
from engine.report.material import Material
from engine.report.proof import proof
from engine.report.states import states
from engine.report.style import STYLE
from engine.report.topology import pictures

# By this a file is known to be a report of ours, which may be replaced by a newer one.
MARK = "<!doctype html>\n<!-- vfiostate journal report -->\n"


def page(material: Material, redact: Callable[[str], str]) -> str:
    """One setup as a page of HTML. Whatever the journal holds, it cannot be more than text in it; and a browser that
    keeps to the policy in its head runs no script and fetches nothing."""
    h = Writer(redact)
    parts: list[tuple[str, str, Iterable[Markup]]] = [
        ("short", "In short", _answers(h, material)),
        ("way", "The way it took", (states(h, material.setup, material.events),)),
        ("boots", "Boot by boot", (boots(h, material.rows),)),
        ("devices", "Devices and IOMMU groups", pictures(h, material)),
        ("edits", "Edits of files", edits(h, material)),
        ("commands", "Commands and their output", commands(h, material)),
        ("proof", "The journal itself", proof(h, material.proof)),
    ]
    links = (h.tag("li", h.tag("a", Own(title), href=f"#{name}")) for name, title, _ in parts)
    sections = [
        h.tag("section", h.tag("h2", Own(title), id=f"{name}-title"), *body, id=name, aria_labelledby=f"{name}-title")
        for name, title, body in parts
    ]
    body = h.tag(
        "body",
        h.tag("header", *_head(h, material), h.tag("nav", h.tag("ul", *links), aria_label=Own("Contents"))),
        h.tag("main", *sections),
        h.tag("footer", _foot(h, material)),
    )
    return f'{MARK}<html lang="en">\n{_meta(h, material)}\n{body}\n</html>\n'


def _meta(h: Writer, material: Material) -> Markup:
    digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    title = h.tag("title", Own(f"vfiostate: setup {material.setup.id}"))
    return Markup(
        '<head><meta charset="utf-8">'
        f"<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{digest}'\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"{title}<style>{STYLE}</style></head>"
    )


def _head(h: Writer, material: Material) -> Iterable[Markup]:
    explanation = material.explanation
    yield h.tag("h1", Own(f"What became of setup {explanation.setup}"))
    failed = material.setup.last_failure is not None or material.setup.cut_short is not None
    edge = "bad-edge" if failed else "ok-edge" if material.setup.finished else ""
    first = explanation.sections[0]
    lines = [h.tag("p", h.marked(line.text)) for line in first.lines]
    failure = next((s for s in explanation.sections if s.title == "What failed"), None)
    if failed and failure is not None:
        lines.append(h.tag("p", h.marked(failure.lines[0].text)))
    yield h.tag("div", *lines, class_=f"call {edge}".strip())


def _answers(h: Writer, material: Material) -> Iterable[Markup]:
    for section in material.explanation.sections[1:]:
        yield h.tag("h3", h.marked(section.title))
        yield _list(h, section)


def _list(h: Writer, section: Section) -> Markup:
    return h.tag("ul", *(h.tag("li", *_line(h, line)) for line in section.lines), class_="lines")


def _line(h: Writer, line: Line) -> Iterable[Markup]:
    yield h.marked(line.text)
    if line.event:
        yield h.tag("span", Own(f" (event {line.event})"), class_="soft")
    for detail in line.details:
        # Of evidence every character counts; a hint names commands.
        yield h.tag("span", h.marked(detail) if detail.lstrip().startswith("->") else detail, class_="detail")


def _foot(h: Writer, material: Material) -> Markup:
    said = (
        f"Made by vfiostate {material.version} on {material.made} UTC, from the journal alone. Serial numbers, MAC and"
        " other addresses, UUIDs, host and user names are replaced. Look at it before you give it away: the diffs carry"
        " what stands beside our lines in your files."
    )
    return h.tag("p", Own(said), class_="soft")
