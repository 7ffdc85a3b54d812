"""The report as one HTML file that needs nothing else: no server, no network, no other file."""

from nel_action.report.html.page import render_html

__all__ = ["render_html"]
