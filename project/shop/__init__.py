"""Hark, a small shop for bells: the site that shows the notifications."""
