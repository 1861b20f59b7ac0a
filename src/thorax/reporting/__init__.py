"""Reports on evaluations, comparisons, localizations and models: HTML, Markdown, JSON, SVG."""
