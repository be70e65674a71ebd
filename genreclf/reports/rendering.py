"""Render reports from the templates in ``templates/``."""

import base64
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genreclf.escaping import markdown

if TYPE_CHECKING:
    from jinja2 import Environment


def render(template: str, **values: Any) -> str:
    """Return a rendered template.

    In HTML, all values are escaped. In Markdown, consecutive empty lines are merged into one, so that omitted parts
    leave no gap. Templates can use the filters ``line``, ``markdown``, ``table`` and ``data_uri``.

    Args:
        template: File name of the template without ``.jinja``, such as ``run.md``.
        **values: Values of the variables in the template.
    """
    text = _templates().get_template(f"{template}.jinja").render(values)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n" if template.endswith(".md") else text


@cache
def _templates() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    templates = Environment(
        loader=PackageLoader("genreclf.reports"),
        autoescape=select_autoescape(["html.jinja"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {
        "data_uri": lambda path: f"data:image/png;base64,{base64.b64encode(Path(path).read_bytes()).decode()}",
        "line": lambda text: " ".join(str(text).split()).replace("<", "&lt;"),
        "markdown": markdown,
        "table": lambda table: table.markdown(),
    }
    return templates
