"""The book: the lessons and the days as a static site, made by Sphinx from what the tracks hold."""
