"""The documentation's site: ``make docs`` builds it, and treats every warning as an error."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import condensery

if TYPE_CHECKING:
    from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

from outside import to_repository
from reference import write_reference

project = "Condensery"
author = "the Condensery developers"
copyright = author
version = release = condensery.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]
nitpicky = False

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_typehints = "description"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
napoleon_use_rtype = False

html_theme = "furo"
html_title = f"Condensery {release}"
html_extra_path = ["extra"]  # the gallery's pages, as they are
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {
    "source_repository": "https://github.com/condensery/condensery/",
    "source_branch": "main",
    "source_directory": "docs/",
}


def setup(app: Sphinx) -> None:
    """Write the pages that the code knows, and lead links out of the documentation."""
    app.connect("builder-inited", lambda app: write_reference(Path(app.srcdir) / "reference"))
    app.connect("source-read", to_repository)
