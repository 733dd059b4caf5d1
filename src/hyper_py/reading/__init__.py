"""From files to images: FITS, headers, beams, surveys, given sources."""
