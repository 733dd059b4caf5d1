"""From results to files: tables, regions, FITS products; atomic."""
