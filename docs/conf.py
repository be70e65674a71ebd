"""Settings of Sphinx; ``docs/build_site.py`` builds the site."""

import re
from typing import Any

from sphinx.application import Sphinx

from genreclf import __version__

project = "genreclf"
author = "the genreclf authors"
version = release = __version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "sphinx_copybutton"]

myst_heading_anchors = 3
myst_html_meta = {"description": "genreclf trains, tests and compares music genre classifiers: the manual."}
nb_execution_mode = "off"  # The notebooks are stored with their output; the tests execute them.
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
python_display_short_literal_types = True
default_role = "code"  # Docstrings use single backticks for code.

html_theme = "furo"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_favicon = "icon.svg"
html_title = f"genreclf {release}"
html_copy_source = False
html_show_copyright = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0b6e69", "color-brand-content": "#0b6e69"},
    "dark_css_variables": {"color-brand-primary": "#5cc8bf", "color-brand-content": "#5cc8bf"},
}


def setup(app: Sphinx) -> None:
    """Add attributes for keyboards and screen readers that Sphinx leaves out."""

    def add(app: Sphinx, page: str, template: str, context: dict[str, Any], tree: object) -> None:
        shown = context.get("furo_navigation_tree", "")
        context["furo_navigation_tree"] = shown.replace('role="heading"', 'role="heading" aria-level="2"')
        scrolled = r'<(pre(?=[ >])|div(?= class="table-wrapper))'
        context["body"] = re.sub(scrolled, r'<\1 tabindex="0"', context.get("body", ""))

    app.connect("html-page-context", add, priority=900)
