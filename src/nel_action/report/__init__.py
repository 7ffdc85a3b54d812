"""What a person reads: Markdown, HTML, JUnit."""
