"""A browser with JavaScript off, as far as the page tests need one: elements by name, and buttons that submit their form."""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

from django.test import Client

VOID = {"meta", "link", "input", "path", "circle", "br", "hr", "img"}


@dataclass
class Element:
    name: str
    attributes: dict[str, str | None]
    parent: "Element | None" = None
    children: list["Element"] = field(default_factory=list)
    own_text: str = ""

    def all(self, name: str = "", /, **wanted: str) -> list["Element"]:
        """The elements below this one of that name whose attributes have these values (`data_part` is `data-part`)."""
        pairs = {key.strip("_").replace("_", "-"): value for key, value in wanted.items()}
        found = []
        for child in self.children:
            if name in ("", child.name) and all(child.attributes.get(key) == value for key, value in pairs.items()):
                found.append(child)
            found += child.all(name, **wanted)
        return found

    def one(self, name: str = "", /, **wanted: str) -> "Element":
        (found,) = self.all(name, **wanted)
        return found

    @property
    def text(self) -> str:
        return " ".join(" ".join([self.own_text, *(child.text for child in self.children)]).split())

    @property
    def shape(self) -> tuple[Any, ...]:
        """Names and parts without what differs from row to row."""
        alike = [child for child in self.children if child.name != "b" and child.attributes.get("data-part") != "action"]
        return (self.name, self.attributes.get("data-part"), [child.shape for child in alike])

    def up(self, name: str) -> "Element":
        above = self.parent
        while above is not None and above.name != name:
            above = above.parent
        assert above is not None
        return above


class Reader(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.root = self.at = Element("root", {})
        self.feed(html)
        assert self.at is self.root, f"<{self.at.name}> is not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, dict(attrs), self.at)
        self.at.children.append(element)
        if tag not in VOID:
            self.at = element

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.at.name == tag, f"</{tag}> closes <{self.at.name}>"
            self.at = self.at.parent or self.root

    def handle_data(self, data: str) -> None:
        self.at.own_text += data


def read(response: Any) -> Element:
    """The page of a response, or of its text."""
    return Reader(response if isinstance(response, str) else response.content.decode()).root


def rows(page: Element) -> list[Element]:
    """The rows on the page; those inside `<template>` are none."""
    return [row for row in page.all("article", class_="notifications-item") if row.attributes["data-id"] != "0"]


def titles(page: Element) -> list[str]:
    return [row.one(data_part="title").text for row in rows(page)]


def press(client: Client, button: Element) -> Any:
    """Submit the button's form with what a browser would send, and follow the redirect."""
    assert "hidden" not in button.attributes
    form = button.up("form")
    data = {each.attributes["name"]: each.attributes["value"] for each in form.all("input") if "name" in each.attributes}
    data[button.attributes["name"]] = button.attributes["value"]
    return client.post(str(button.attributes.get("formaction") or form.attributes["action"]), data, follow=True)
