"""Writing of tables, regions and FITS files; the files of a map appear together or not at all."""
