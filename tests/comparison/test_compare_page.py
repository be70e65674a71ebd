"""The page and the pictures that compare writes."""

from html.parser import HTMLParser
from pathlib import Path

import pytest
from fake_runs import FIRST, SECOND, leaky_and_honest, write_run
from helpers import Cli
from PIL import Image


class Page(HTMLParser):
    """Collect what a page refers to, and its words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.references: list[str] = []
        self.tags: list[str] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        places = ("src", "srcset", "href", "action", "data", "poster", "background", "xlink:href")
        self.references += [value or "" for name, value in attrs if name in places]

    def handle_data(self, data: str) -> None:
        self.words += data


def test_the_page_needs_nothing_else_and_escapes_all(cli: Cli, tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>|&$_{}"
    write_run(tmp_path / "sweep/a", FIRST, settings={"model.note": evil})
    write_run(tmp_path / "sweep/b", SECOND, settings={"model.note": "plain"})
    assert cli("compare", str(tmp_path / "sweep")).code == 0
    text = (tmp_path / "sweep/comparison/comparison.html").read_text()
    page = Page(text)
    assert len(page.references) == 4
    assert all(reference.startswith("data:image/png;base64,") for reference in page.references)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert "url(" not in text
    assert "@import" not in text
    assert "http://" not in text
    assert "https://" not in text
    assert f"note={evil}" in page.words
    assert 'name="viewport"' in text
    assert "<script>" not in (tmp_path / "sweep/comparison/comparison.md").read_text()


@pytest.mark.pictures
def test_pictures_are_drawn(cli: Cli, tmp_path: Path) -> None:
    assert cli("compare", str(leaky_and_honest(tmp_path / "sweep"))).code == 0
    names = {"curves.png", "confusion.png", "genre_recall.png", "accuracy_parameters.png"}
    paths = set((tmp_path / "sweep/comparison/figures").iterdir())
    assert {path.name for path in paths} == names
    for path in paths:
        with Image.open(path) as picture:
            assert min(picture.size) > 200
            assert len(set(picture.convert("L").resize((64, 64)).tobytes())) > 10
