"""Which versions exist and where their files are: a plain folder, or an MLflow server."""
