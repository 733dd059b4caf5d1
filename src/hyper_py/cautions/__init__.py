"""Warnings about maps and catalogues as a whole, one line each, said by everything that shows them."""
