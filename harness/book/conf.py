"""Sphinx's configuration of the book. Compared were:

- MkDocs with Material: fine to read, but its script loads the whole search index (some megabytes
  for 102 days) with every page, and its formulas need MathJax. It is in maintenance only.
- mdBook: no MathML, no PDF or EPUB, and a program that is not on PyPI.
- Sphinx with Furo and MyST: search loads on its own page, pages work without scripts, EPUB comes
  with it, and its parts are those of Python's own documentation.
"""

project = "102 days of machine learning systems"
author = "its contributors"
copyright = "its contributors, under the MIT licence"
html_title = project
version = "1"
epub_show_urls = "no"
extensions = ["myst_parser", "sphinx_copybutton", "harness.book.markup", "harness.book.terms"]
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
html_math_renderer = "mathml"
html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["book.css"]
html_js_files = [("steps.js", {"defer": "defer"})]
html_favicon = "static/favicon.svg"
html_use_index = False
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}
highlight_language = "python"
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"
copybutton_prompt_text = "$ "
copybutton_exclude = ".linenos, .gp, .go"
nitpicky = True
suppress_warnings = ["myst.header"]
