"""Reports in Markdown and HTML."""
