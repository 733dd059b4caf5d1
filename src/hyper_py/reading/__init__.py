"""FITS files into images: headers, units, beams, surveys, masks and errors."""
