"""Reports for people and machines: terminal, Markdown, HTML and JUnit."""
