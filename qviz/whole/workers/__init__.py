"""Who works on the pieces of a whole model: this process's threads, or the workers of a Dask cluster."""
