"""The report as a self-contained HTML file: it loads nothing from a server or from other files."""

from nel_action.report.html.page import render_html

__all__ = ["render_html"]
