"""A million users on nodes that join, leave and are killed: docs/comet.md is the article."""
