"""All that knows MLflow: runs, registered models, and how a registered model is loaded."""
