"""One step of the algorithm each: detection, grouping, background, fitting, photometry."""
